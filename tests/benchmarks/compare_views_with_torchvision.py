"""Kiln's views beside torchvision's transforms v2, on one thread each, in turn.

    python tests/benchmarks/compare_views_with_torchvision.py DATASET PHOTOS [--kiln build/bin/kiln] [--rounds 5]

DATASET is what `kiln data import images PHOTOS` made of the folder PHOTOS of JPEG files. For each recipe of
tests/data/views/recipes that is named (--recipes simclr moco_v3 dino) a round runs `kiln bench loader` with one
reader thread, then torchvision on PIL pictures, then on uint8 tensors, each from the bytes of the files in memory
to uint8 views. Prints images a second of processor time: median, least and most of the rounds, and the ratio to
torchvision's faster way. Needs torch, torchvision and Pillow.
"""

import argparse
import io
import json
import pathlib
import random
import statistics
import subprocess
import time
import tomllib

import torch
from PIL import Image, ImageFilter
from torchvision.transforms import v2

RECIPES = pathlib.Path(__file__).parent.parent / "data" / "views" / "recipes"


class PillowBlur:
    """The published blur of PIL pictures; v2 has none."""

    def __init__(self, sigma):
        self.sigma = sigma

    def __call__(self, picture):
        return picture.filter(ImageFilter.GaussianBlur(random.uniform(*self.sigma)))


def transform(view, on_tensors):
    """A [[data.views]] as a composition of transforms v2."""
    size, sigma = view["size"], view.get("blur_sigma", [0.1, 2.0])
    taps = 2 * max(size // 20, 1) + 1
    is_pillow = view.get("blur_kind", "pillow") == "pillow" and not on_tensors
    blur = PillowBlur(sigma) if is_pillow else v2.GaussianBlur(taps, tuple(sigma))
    interpolation = v2.InterpolationMode(view.get("interpolation", "bicubic"))
    return v2.Compose([
        v2.RandomResizedCrop(size, scale=view.get("scale", (0.08, 1.0)), interpolation=interpolation,
                             antialias=True),
        v2.RandomHorizontalFlip(view.get("flip", 0.0)),
        v2.RandomApply([v2.ColorJitter(*view["jitter"])], p=view.get("jitter_p", 1.0)),
        v2.RandomGrayscale(view.get("grey", 0.0)),
        v2.RandomApply([blur], p=view.get("blur", 0.0)),
        v2.RandomSolarize(view.get("solarise_threshold", 128), p=view.get("solarise", 0.0)),
    ])


def torchvision_rate(views, files, on_tensors, num):
    transforms = [transform(view, on_tensors) for view in views for _ in range(view.get("count", 1))]

    def make(file):
        picture = Image.open(io.BytesIO(file)).convert("RGB")
        if on_tensors:
            picture = v2.functional.pil_to_tensor(picture)
            return [change(picture) for change in transforms]
        return [v2.functional.pil_to_tensor(change(picture)) for change in transforms]

    make(files[0])
    begin = time.process_time()
    for i in range(num):
        make(files[i % len(files)])
    return num / (time.process_time() - begin)


def kiln_rate(kiln, recipe, dataset, batch, repeats):
    command = [kiln, "bench", "loader", str(recipe), f"data.path={dataset}", "data.workers=1",
               f"train.global_batch={batch}", "train.micro_batch=8", "--repeats", str(repeats), "--json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])["samples_per_cpu_s"]


def spread(values):
    return f"{statistics.median(values):7.1f} ({min(values):.1f} to {max(values):.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("photos", type=pathlib.Path)
    parser.add_argument("--kiln", default="build/bin/kiln")
    parser.add_argument("--recipes", nargs="+", default=["simclr", "moco_v3", "dino"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64, help="that torchvision makes in a round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    files = [path.read_bytes() for path in sorted(args.photos.rglob("*"))
             if path.suffix.lower() in {".jpg", ".jpeg"}]
    random.Random(0).shuffle(files)
    for name in args.recipes:
        recipe = RECIPES / f"{name}.toml"
        views = tomllib.loads(recipe.read_text())["data"]["views"]
        ours, pictures, tensors = [], [], []
        for _ in range(args.rounds):
            ours.append(kiln_rate(args.kiln, recipe, args.dataset, 64, 8))
            pictures.append(torchvision_rate(views, files, False, args.images))
            tensors.append(torchvision_rate(views, files, True, args.images))
        best = max(statistics.median(pictures), statistics.median(tensors))
        print(f"{name:8} kiln {spread(ours)}  torchvision on PIL {spread(pictures)}  on tensors "
              f"{spread(tensors)}  ratio {statistics.median(ours) / best:.1f}")


if __name__ == "__main__":
    main()
