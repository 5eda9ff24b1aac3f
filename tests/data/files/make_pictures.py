"""Writes pictures.json: small files of every flavour, and the pixels that Pillow makes of them.

    python3 make_pictures.py        with Pillow 12 and numpy

Each entry: "name", "file" (hexadecimal), "width", "height", "channels" and "pixels" (hexadecimal, as
shown: orientation applied, converted to grey or RGB). "tolerance" is what a decoder may differ by.
"""

import io
import json
import pathlib
import struct
import zlib

import numpy
from PIL import Image, ImageOps

ENTRIES = []


def pattern(mode, width=13, height=9):
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    y, x, c = numpy.mgrid[0:height, 0:width, 0:channels]
    values = (x * 19 + y * 23 + c * 71 + (x * y) % 7 * 3) % 256
    return Image.fromarray(values.astype("uint8").squeeze(), mode)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def add(name, file, tolerance=0, mode=None, pixels=None):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    if mode is None:
        mode = "L" if image.mode in ("L", "LA", "1") else "RGB"
    values = pixels if pixels is not None else numpy.asarray(image.convert(mode))
    height, width = values.shape[:2]
    ENTRIES.append({"name": name, "file": file.hex(), "width": width, "height": height,
                    "channels": 1 if values.ndim == 2 else 3, "tolerance": tolerance,
                    "pixels": values.astype("uint8").tobytes().hex()})


def without_segment(jpeg, marker):
    """The JPEG file without its segments of that marker."""
    out, at = bytearray(jpeg[:2]), 2
    while jpeg[at + 1] != 0xDA:
        size = 2 + struct.unpack(">H", jpeg[at + 2:at + 4])[0]
        if jpeg[at + 1] != marker:
            out += jpeg[at:at + size]
        at += size
    return bytes(out + jpeg[at:])


def with_segment(jpeg, marker, content):
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def tiff_block(order, kind, value, count=1, code=None):
    """EXIF with one directory of one entry, the orientation, of a type of TIFF."""
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8)
    packed = struct.pack(order + code, *([value] * count))
    entry = struct.pack(order + "HHHI", 1, 0x112, kind, count)
    if len(packed) <= 4:
        return start + entry + packed.ljust(4, b"\0") + struct.pack(order + "I", 0)
    return start + entry + struct.pack(order + "I", 26) + struct.pack(order + "I", 0) + packed


def png_chunk(name, content):
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, depth, colour, rows, before=b"", interlace=0):
    """A PNG file from packed rows; `before`: chunks before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + before + png_chunk(b"IDAT", data) +
            png_chunk(b"IEND", b""))


def jpegs():
    add("jpeg grey", saved(pattern("L"), "JPEG"))
    for sampling in ("4:4:4", "4:2:2", "4:2:0"):
        add(f"jpeg {sampling}", saved(pattern("RGB", 35, 21), "JPEG", subsampling=sampling), 1)
    add("jpeg progressive", saved(pattern("RGB"), "JPEG", progressive=True, subsampling=0))
    add("jpeg rgb", saved(pattern("RGB"), "JPEG", keep_rgb=True))
    add("jpeg restarts", saved(pattern("RGB", 40, 24), "JPEG", restart_marker_blocks=1, subsampling=0))
    cmyk = saved(pattern("CMYK"), "JPEG")
    add("jpeg cmyk adobe", cmyk)
    add("jpeg cmyk without adobe", without_segment(cmyk, 0xEE))
    ycck = cmyk.replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\x02")
    assert ycck != cmyk
    add("jpeg ycck", ycck, 1)
    without = without_segment(saved(pattern("RGB"), "JPEG", subsampling=0), 0xE0)
    add("jpeg without jfif", without)


def orientations():
    plain = saved(pattern("RGB", 14, 10), "JPEG", subsampling=0)
    types = {"short": (3, "H"), "long": (4, "I"), "signed short": (8, "h"), "signed long": (9, "i"),
             "signed byte": (6, "b"), "byte": (1, "B")}
    for order in "<>":
        for kind, (number, code) in types.items():
            block = b"Exif\0\0" + tiff_block(order, number, 6, code=code)
            add(f"exif {kind} {order}", with_segment(plain, 0xE1, block))
        block = b"Exif\0\0" + tiff_block(order, 3, 8, count=3, code="HHH")
        add(f"exif three shorts {order}", with_segment(plain, 0xE1, block))
    for value in range(10):
        block = b"Exif\0\0" + tiff_block(">", 3, value, code="H")
        add(f"exif {value}", with_segment(plain, 0xE1, block))
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    add("xmp attribute", with_segment(plain, 0xE1, xmp))
    xmp = (b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><tiff:Orientation>3</tiff:Orientation>"
           b"</x:xmpmeta>")
    add("xmp element", with_segment(plain, 0xE1, xmp))
    block = b"Exif\0\0" + tiff_block("<", 3, 1, code="H")
    add("exif before xmp", with_segment(with_segment(plain, 0xE1, xmp), 0xE1, block))
    grey = numpy.asarray(pattern("L", 14, 10))
    rows = [bytes(row) for row in grey]
    add("png exif", png(14, 10, 8, 0, rows, png_chunk(b"eXIf", tiff_block(">", 4, 5, code="I"))))
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + b'<x:xmpmeta tiff:Orientation="7"/>'
    add("png xmp", png(14, 10, 8, 0, rows, png_chunk(b"iTXt", text)))
    block = b"Exif\0\0" + tiff_block("<", 3, 6, code="H")
    digits = block.hex()
    profile = f"\nexif\n{len(block):8}\n" + "\n".join(digits[i:i + 72] for i in range(0, len(digits), 72))
    text = b"Raw profile type exif\0\0" + zlib.compress(profile.encode() + b"\n")
    add("png raw profile", png(14, 10, 8, 0, rows, png_chunk(b"zTXt", text)))


def pngs():
    for mode in ("L", "LA", "RGB", "RGBA"):
        add(f"png {mode}", saved(pattern(mode), "PNG"))
    values = numpy.arange(16 * 5).reshape(5, 16)
    for depth in (1, 2, 4):
        bits = ((values[..., None] % (1 << depth)) >> numpy.arange(depth)[::-1]) & 1
        rows = [bytes(row) for row in numpy.packbits(bits.reshape(5, -1), axis=1)]
        add(f"png grey {depth} bits", png(16, 5, depth, 0, rows), mode="L")
        palette = bytes((i * 40 + c * 90) % 256 for i in range(1 << depth) for c in range(3))
        add(f"png palette {depth} bits", png(16, 5, depth, 3, rows, png_chunk(b"PLTE", palette)))
        clear = png_chunk(b"PLTE", palette) + png_chunk(b"tRNS", bytes([0, 128]))
        add(f"png clear palette {depth} bits", png(16, 5, depth, 3, rows, clear))
    deep = (numpy.arange(6 * 4 * 3).reshape(4, 18) * 907 % 65536).astype(">u2")
    add("png rgb 16 bits", png(6, 4, 16, 2, [row.tobytes() for row in deep]))
    # Of grey with 16 bits Pillow's convert("L") makes white; what counts are the upper 8 bits.
    grey = (numpy.arange(6 * 4).reshape(4, 6) * 2707 % 65536).astype(">u2")
    file = png(6, 4, 16, 0, [row.tobytes() for row in grey])
    assert (numpy.asarray(Image.open(io.BytesIO(file))) == grey).all()
    add("png grey 16 bits", file, pixels=numpy.asarray(Image.open(io.BytesIO(file))) // 256)
    rows = [bytes(row) for row in numpy.asarray(pattern("L"))]
    add("png grey with a clear value", png(13, 9, 8, 0, rows, png_chunk(b"tRNS", b"\0\x05")))
    gamma = png_chunk(b"gAMA", struct.pack(">I", 20000))
    add("png with gamma", png(13, 9, 8, 0, rows, gamma))
    one = [b"\x10", b""]
    add("png interlaced", png(1, 1, 8, 0, [b"\x10"], interlace=1))


def others():
    add("webp lossless", saved(pattern("RGB"), "WEBP", lossless=True))
    add("webp lossy", saved(pattern("RGB", 32, 24), "WEBP", quality=80), 2)
    add("webp alpha", saved(pattern("RGBA"), "WEBP", lossless=True, exact=True))
    block = b"Exif\0\0" + tiff_block("<", 3, 6, code="H")
    add("webp exif", saved(pattern("RGB"), "WEBP", lossless=True, exif=block))
    for mode in ("L", "RGB", "RGBA"):
        for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
            add(f"tiff {mode} {compression}", saved(pattern(mode), "TIFF", compression=compression))
    add("tiff bits", saved(pattern("L").point(lambda v: 255 * (v > 100)).convert("1"), "TIFF",
                           compression="group4"), mode="L")
    add("tiff orientation", saved(pattern("RGB"), "TIFF", tiffinfo={274: 6}))
    add("bmp rgb", saved(pattern("RGB"), "BMP"))
    add("bmp grey", saved(pattern("L"), "BMP"))
    add("bmp palette", saved(pattern("RGB").quantize(13), "BMP"))
    add("bmp bits", saved(pattern("L").convert("1"), "BMP"), mode="L")
    add("bmp 32 bits", saved(pattern("RGBA"), "BMP"))
    rows = saved(pattern("RGB", 4, 4), "BMP")
    add("bmp top down", rows[:22] + struct.pack("<i", -4) + rows[26:])


if __name__ == "__main__":
    for make in (jpegs, orientations, pngs, others):
        make()
    lines = ",\n".join(json.dumps(entry) for entry in ENTRIES)
    pathlib.Path(__file__).with_name("pictures.json").write_text(f"[\n{lines}\n]\n")
    print(len(ENTRIES), "pictures")
