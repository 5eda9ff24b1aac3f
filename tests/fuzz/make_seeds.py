"""Writes seeds for the fuzzing targets, made of the tests' files and the recipes: python3 make_seeds.py OUT"""

import gzip
import io
import json
import lzma
import pathlib
import struct
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = pathlib.Path(sys.argv[1])


def seed(target, name, content):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def idx(dims, values):
    return bytes([0, 0, 8, len(dims)]) + struct.pack(f">{len(dims)}I", *dims) + values


def idx_seeds():
    images = idx([2, 3, 4], bytes(range(24)))
    seed("idx", "images", images)
    seed("idx", "labels", idx([5], bytes(5)))
    seed("idx", "colour", idx([1, 2, 2, 3], bytes(12)))
    seed("idx", "empty", idx([20, 0, 0], b""))
    seed("idx", "huge", idx([1 << 31, 1 << 31, 4], b""))
    seed("idx", "gzip", gzip.compress(images, mtime=0))


def picture_seeds():
    for i, entry in enumerate(json.loads((ROOT / "tests/data/files/pictures.json").read_text())):
        seed("pictures", f"{i:03}", bytes.fromhex(entry["file"]))


def tar_seeds():
    for name, kind in (("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
            for member in ("a.jpg", "a.cls", "n" * 60 + "/" + "n" * 60 + ".jpg", "\u4e2d.png"):
                info = tarfile.TarInfo(member)
                info.size = 7
                archive.addfile(info, io.BytesIO(b"content"))
            for number, member in ((tarfile.LNKTYPE, "b.jpg"), (tarfile.SYMTYPE, "c.jpg"), (tarfile.DIRTYPE, "d")):
                info = tarfile.TarInfo(member)
                info.type, info.linkname = number, "a.jpg"
                archive.addfile(info)
        seed("tar", name, out.getvalue())


def text_seeds():
    lines = b'{"text": "the cat. a b"}\n{"text": "a\\n\\nthe \\u4e2d"}\n'
    words = "the a b.\n\nThe a. \u4e2d a\r\nab\n".encode()
    for how in (0, 1, 2, 3, 8, 9, 0x10, 0x11, 0x22, 0x33):
        content = lines if how & 3 == 0 else words
        seed("text", f"{how:02x}", bytes([how]) + content)
    for name, pack in (("gzip", gzip.compress), ("xz", lzma.compress)):
        seed("text", name, bytes([9]) + pack(words))
    for name, head in (("utf16", "the cat".encode("utf-16")), ("latin1", "caf\u00e9".encode("latin-1"))):
        seed("text", name, bytes([1]) + head)
    seed("vocabulary", "small", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n##s\n\u4e2d\n.\n")
    seed("vocabulary", "blank", "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\ncat \r\n")


def model_seeds():
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                         "b": {"dtype": "BF16", "shape": [], "data_offsets": [8, 10]},
                         "__metadata__": {"format": "pt"}}).encode()
    seed("safetensors", "two", struct.pack("<Q", len(header)) + header + bytes(10))
    seed("safetensors", "none", struct.pack("<Q", 2) + b"{}")
    kinds = {
        "vit_mae": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
                    "image_size": 8, "patch_size": 4, "num_channels": 3, "decoder_hidden_size": 16,
                    "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
                    "decoder_intermediate_size": 32, "mask_ratio": 0.75},
        "bert": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
                 "vocab_size": 40, "max_position_embeddings": 16, "type_vocab_size": 2, "hidden_act": "gelu"},
    }
    for kind, keys in kinds.items():
        seed("config", kind, json.dumps({"model_type": kind, **keys}))
    seed("config", "unet", json.dumps({
        "_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 1, "out_channels": 1,
        "block_out_channels": [32, 32], "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 8,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}))
    seed("config", "autoencoder", json.dumps({
        "_class_name": "AutoencoderKL", "sample_size": 8, "in_channels": 3, "out_channels": 3,
        "latent_channels": 4, "block_out_channels": [32, 32], "layers_per_block": 1, "norm_num_groups": 8,
        "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}))
    for path in sorted((ROOT / "configs").glob("*.toml")):
        seed("recipe", path.stem, b"run.seed=3\n" + path.read_bytes())


def other_seeds():
    seed("hostfile", "usual", "# two\na slots=8\nb.example.org slots = 2 max_slots=4\n::1\n")
    seed("hostfile", "list", "a:8,b:8,c")
    fields = {"image": {"dtype": "uint8", "encoding": "raw", "shape": [4, 3, 1]},
              "tokens": {"dtype": "uint16", "encoding": "raw", "ragged": True}}
    shard = {"file": "shard-00000.h5", "num_samples": 2, "bytes": 9, "rows": {"image": 2, "tokens": 2},
             "xxh3_128": {"image": "0", "tokens": "1"}, "file_xxh3_128": "2"}
    seed("manifest", "images", json.dumps({
        "format": 1, "kind": "image", "num_samples": 2, "fields": fields, "class_names": ["a", "b"],
        "normalisation": {"mean": [0.5], "std": [0.5]}, "attributes": {"channels": "1"}, "provenance": {},
        "shards": [shard]}))
    for i in range(8):
        seed("hdf5", str(i), bytes((j * 37 + i * 11) % 256 for j in range(200)))


for make in (idx_seeds, picture_seeds, tar_seeds, text_seeds, model_seeds, other_seeds):
    make()
