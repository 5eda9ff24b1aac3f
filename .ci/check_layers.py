"""Checks the arrows between folders on every #include, and that no folder holds too many sources.

Top folders: core <- {dist, data, models} <- launch. Inside each, the rooms are listed from the lowest
up, and a room includes itself and rooms below it. In models/ every folder that is not listed is a
family: it stands above the shared rooms and below the tables, and families include each other without
a circle. No .cu file includes LibTorch. tests/ may include everything, and nothing includes tests/.
Prints each violation; exit status 1 if any.
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
FAMILIES = "families"
# "" is the top folder itself, "name.h" a single file of it.
ROOMS = {
    "core": ["base", "recipe", "", "report", "checkpoint", "device", "optimizer", "schedule",
             "training"],
    "dist": ["", "mpi", "nccl"],
    "data": ["", "store", "tokenizer", "images", "views", "text", "latents", "kinds.h", "kinds.cpp",
             "importers", "maintenance"],
    "models": ["kernels", "kernels/device", "operators", "capabilities.h", "layers", "measures",
               "interchange", FAMILIES, ""],
    "launch": ["run", "trained", "generate", "evaluate", "train", "interchange", "report", "supervise",
               "bench", "doctor", "commands", ""],
}
MAX_SOURCES = 15
SOURCES = {".cpp", ".cu"}
HEADERS = {".h", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.M)


def room_of(path):
    """The folder of models/layers/conv.h: ("models", "layers")."""
    top, *inner, name = path.split("/")
    if not inner and name in ROOMS.get(top, []):
        return top, name
    return top, "/".join(inner)


def level(top, room):
    order = ROOMS[top]
    if room in order:
        return order.index(room)
    return order.index(FAMILIES) if FAMILIES in order else None


def circles(arrows):
    """One circle of the arrows {a: {b, ...}}, as a list of rooms; nothing where there is none."""
    done = set()

    def walk(room, path):
        if room in path:
            return path[path.index(room):] + [room]
        if room in done:
            return None
        for following in sorted(arrows.get(room, ())):
            found = walk(following, path + [room])
            if found:
                return found
        done.add(room)
        return None

    for room in sorted(arrows):
        found = walk(room, [])
        if found:
            return found
    return None


def violations(root):
    arrows = {}
    for folder, allowed in MAY_INCLUDE.items():
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SOURCES | HEADERS:
                continue
            name = str(path.relative_to(root))
            for target in INCLUDE.findall(path.read_text()):
                top = target.split("/")[0]
                if "/" in target and top in MAY_INCLUDE and top not in allowed:
                    yield f"{name}: {folder}/ must not include {target}"
                if path.suffix in {".cu", ".cuh"} and re.match(r"(torch|ATen|c10)/", target):
                    yield f"{name}: no .cu file includes LibTorch ({target})"
                if top != folder or folder not in ROOMS or "/" not in target:
                    continue
                (_, own), (_, other) = room_of(name), room_of(target)
                if own == other:
                    continue
                arrows.setdefault(f"{folder}/{own}", set()).add(f"{folder}/{other}")
                if None in (level(folder, own), level(folder, other)):
                    yield f"{name}: a room of {folder}/ that .ci/check_layers.py does not list"
                elif level(folder, own) < level(folder, other):
                    yield f"{name}: {folder}/{own} stands below {target}"
    found = circles(arrows)
    if found:
        yield "a circle of folders: " + " -> ".join(found)


def crowded(root):
    for folder in MAY_INCLUDE:
        for path in [root / folder, *(root / folder).rglob("*")]:
            if not path.is_dir():
                continue
            number = sum(child.suffix in SOURCES for child in path.iterdir())
            if number > MAX_SOURCES:
                yield f"{path.relative_to(root)}: {number} sources, at most {MAX_SOURCES}"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    found = list(violations(root)) + list(crowded(root))
    print("\n".join(found) if found else "layers: all arrows point down, no folder is crowded")
    return 1 if found else 0


sys.exit(main())
