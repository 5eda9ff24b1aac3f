"""Writes the raw material of the bundle's small datasets: pictures in idx files and a text.

Patterns that pack well, none of them copied from anywhere. Usage: bundle_data.py FOLDER
"""

import pathlib
import random
import struct
import sys

WORDS = ("time river stone light house winter garden letter morning road mountain silver window paper voice "
         "forest evening bridge market glass shadow sailor tower bread candle harbour meadow thunder copper wheel").split()


def write_idx(path, dims, rows):
    with open(path, "wb") as file:
        file.write(bytes([0, 0, 8, len(dims)]) + struct.pack(f">{len(dims)}I", *dims))
        for row in rows:
            file.write(row)


def picture(number, side):
    """Bands of colour whose direction and width depend on the number."""
    a, b, width = 1 + number % 5, 1 + number % 7, 4 + number % 13
    line = bytearray()
    for y in range(side):
        for x in range(side):
            v = (a * x + b * y) // width
            line += bytes(((v * 31 + number) % 256, (v * 17 + 85) % 256, (v * 7 + 170) % 256))
    return bytes(line)


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    count = 256
    for side in (32, 224):
        write_idx(out / f"images-{side}.idx", (count, side, side, 3), (picture(i, side) for i in range(count)))
    write_idx(out / "labels.idx", (count,), [bytes(i % 10 for i in range(count))])
    draw = random.Random(1)
    with open(out / "text.txt", "w") as file:
        for _ in range(6000):
            words = [draw.choice(WORDS) for _ in range(draw.randint(6, 18))]
            file.write(" ".join(words).capitalize() + ".\n")
            if draw.random() < 0.1:
                file.write("\n")


main()
