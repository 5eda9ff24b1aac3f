"""Checks the arrows between folders: core <- {dist, data, models} <- launch, on every #include.

models/kernels may be included by models alone, and no .cu file includes LibTorch. tests/ may
include everything, and nothing includes tests/. Prints each violation; exit status 1 if any.
"""

import pathlib
import re
import sys

MAY_INCLUDE = {
    "core": {"core"},
    "dist": {"core", "dist"},
    "data": {"core", "data"},
    "models": {"core", "models"},
    "launch": {"core", "dist", "data", "models", "launch"},
    "tests": {"core", "dist", "data", "models", "launch", "tests"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.M)


def violations(root):
    for folder, allowed in MAY_INCLUDE.items():
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in {".h", ".cpp", ".cu", ".cuh"}:
                continue
            for target in INCLUDE.findall(path.read_text()):
                top = target.split("/")[0]
                if "/" in target and top in MAY_INCLUDE and top not in allowed:
                    yield f"{path.relative_to(root)}: {folder}/ must not include {target}"
                if path.suffix in {".cu", ".cuh"} and re.match(r"(torch|ATen|c10)/", target):
                    yield f"{path.relative_to(root)}: no .cu file includes LibTorch ({target})"


def main():
    found = list(violations(pathlib.Path(__file__).resolve().parent.parent))
    print("\n".join(found) if found else "layers: core <- {dist, data, models} <- launch holds")
    return 1 if found else 0


sys.exit(main())
