"""Writes FOLDER/train-{images,labels}-idx*-ubyte: 512 grey pictures of 16 x 16 in four classes, each a
stripe pattern of its own, shifted from picture to picture."""

import struct
import sys

SIDE, COUNT, CLASSES = 16, 512, 4


def pixel(number, x, y):
    return (number // CLASSES * 7 + x * 5 * (number % CLASSES + 1) + y * 11) % 251


with open(sys.argv[1] + "/train-images-idx3-ubyte", "wb") as out:
    out.write(struct.pack(">4I", 0x803, COUNT, SIDE, SIDE))
    for number in range(COUNT):
        out.write(bytes(pixel(number, x, y) for y in range(SIDE) for x in range(SIDE)))
with open(sys.argv[1] + "/train-labels-idx1-ubyte", "wb") as out:
    out.write(struct.pack(">2I", 0x801, COUNT) + bytes(i % CLASSES for i in range(COUNT)))
