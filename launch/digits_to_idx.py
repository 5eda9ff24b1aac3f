"""Turns the handwritten digits inside a scikit-learn wheel into files of the MNIST family.

digits_to_idx.py WHEEL OUT: 1,797 grey pictures of 8 x 8, values 0..16; every fifth is for testing.
"""

import gzip
import pathlib
import struct
import sys
import zipfile

MEMBER = "sklearn/datasets/data/digits.csv.gz"


def write_idx(path, dims, values):
    header = struct.pack(">HBB", 0, 8, len(dims)) + struct.pack(f">{len(dims)}I", *dims)
    path.write_bytes(header + bytes(values))


def main(wheel, out):
    text = gzip.decompress(zipfile.ZipFile(wheel).read(MEMBER)).decode()
    rows = [[int(float(word)) for word in line.split(",")] for line in text.splitlines() if line]
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for split, chosen in (
        ("train", [row for i, row in enumerate(rows) if i % 5]),
        ("t10k", rows[::5]),
    ):
        pixels = [min(255, value * 16) for row in chosen for value in row[:64]]
        write_idx(out / f"{split}-images-idx3-ubyte", (len(chosen), 8, 8), pixels)
        write_idx(out / f"{split}-labels-idx1-ubyte", (len(chosen),), [row[64] for row in chosen])


main(*sys.argv[1:])
