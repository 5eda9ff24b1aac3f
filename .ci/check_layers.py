"""Checks the arrows between folders on every #include, and that no folder holds too many sources.

Top folders: core <- {dist, data, models} <- launch. Inside each, the rooms are listed from the lowest
up, and a room includes itself and rooms below it. In models/ every folder that is not listed is a
family: it stands above the shared rooms and below the tables, and families include each other without
a circle. No .cu file includes LibTorch. tests/ may include everything, and nothing includes tests/.

Outside models/ and tests/ no file includes a family's folder, and no identifier or string holds a
family's name (its folder's, or its rows' in models/registry.cpp) as one of its words: launch/ asks for
capabilities. Comments may, and so may strings with a blank in them, which are help texts and messages.
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
    "models": ["kernels", "kernels/device", "operators", "capabilities.h", "layers", "transport",
               "measures", "interchange", "contrast", FAMILIES, ""],
    "launch": ["run", "trained", "generate", "evaluate", "train", "interchange", "report", "supervise",
               "bench", "doctor", "commands", ""],
}
# Strings that users and other programs know: keys of files, values of recipes, names of transformers.
SURFACE = {'"autoencoder_hash"', '"bert_adam"', '"BertTokenizer"', '"configs/mae_tiny_fashion.toml"'}
MAX_SOURCES = 15
SOURCES = {".cpp", ".cu"}
HEADERS = {".h", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.M)


COMMENT_STRING_OR_NAME = re.compile(
    r"//[^\n]*|/\*.*?\*/" r'|"(?:\\.|[^"\\\n])*"' r"|[A-Za-z_]\w*", re.S)
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def words_of(text):
    """kBertAdam: ["k", "bert", "adam"]."""
    return [word.lower() for word in WORDS.findall(text)]


def families(root):
    """Names of families: folders of models/ that are no shared room, and names in the table of models."""
    shared = {room.split("/")[0] for room in ROOMS["models"]}
    names = {path.name for path in (root / "models").iterdir() if path.is_dir()} - shared
    table = (root / "models/registry.cpp").read_text()
    return names | set(re.findall(r'\{\.name = "(\w+)"', table))


def family_names(root):
    names = families(root)
    parts = {tuple(words_of(name)) for name in names}
    for folder in ("core", "dist", "data", "launch"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SOURCES | HEADERS:
                continue
            text, name = path.read_text(), path.relative_to(root)
            for target in INCLUDE.findall(text):
                if target.startswith("models/") and target.split("/")[1] in names:
                    yield f"{name}: includes {target}, of a family"
            text = INCLUDE.sub("", text)
            for found in COMMENT_STRING_OR_NAME.finditer(text):
                token = found.group()
                is_help = token.startswith(('//', '/*')) or (token[0] == '"' and " " in token)
                if is_help or token in SURFACE:
                    continue
                words = words_of(token)
                for part in parts:
                    if any(tuple(words[i:i + len(part)]) == part for i in range(len(words))):
                        yield f"{name}: {token} names the family {'_'.join(part)}"


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
    found = list(violations(root)) + list(crowded(root)) + list(family_names(root))
    print("\n".join(found) if found else "layers: all arrows point down, no folder is crowded, no family is named outside models/")
    return 1 if found else 0


sys.exit(main())
