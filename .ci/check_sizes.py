"""Checks the limits on size: files at most 400 lines, functions 80 (Trainer::run 120).

A function is measured from its opening brace in column 0's statement to the "}" in column 0 or, in
classes and namespaces, by matching braces outside strings and comments. Prints each violation; exit
status 1 if any.
"""

import pathlib
import re
import sys

FOLDERS = ("core", "dist", "data", "models", "launch", "tests")
MAX_FILE = 400
MAX_FUNCTION = 80
# The loop, and a table that has a row for every model.
LONGER = {"core/training/trainer.cpp": 120, "models/registry.cpp": 200}
NOT_FUNCTIONS = re.compile(r"\b(namespace|class|struct|enum|union|extern)\b[^()]*$")
NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)


def without_noise(text):
    return NOISE.sub(lambda match: "\n" * match.group(0).count("\n"), text)


def functions(text):
    """(first line, number of lines) of each outermost braces block that is no type or namespace."""
    stack, line, statement, inside, start = [], 1, "", 0, 0
    for character in without_noise(text):
        if character == "{":
            is_scope = inside == 0 and (NOT_FUNCTIONS.search(statement) or "(" not in statement)
            stack.append(is_scope)
            if not is_scope:
                inside += 1
                if inside == 1:
                    start = line
            statement = ""
        elif character == "}" and stack:
            if not stack.pop():
                inside -= 1
                if inside == 0:
                    yield start, line - start + 1
            statement = ""
        elif character == ";":
            statement = ""
        else:
            statement += character
        line += character == "\n"


def violations(root):
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in {".h", ".cpp", ".cu", ".py", ".sh"}:
                continue
            name = str(path.relative_to(root))
            text = path.read_text()
            lines = text.count("\n")
            if lines > MAX_FILE:
                yield f"{name}: {lines} lines, at most {MAX_FILE}"
            if path.suffix in {".py", ".sh"}:
                continue
            limit = LONGER.get(name, MAX_FUNCTION)
            for start, length in functions(text):
                if length > limit:
                    yield f"{name}:{start}: a function of {length} lines, at most {limit}"


def main():
    found = list(violations(pathlib.Path(__file__).resolve().parent.parent))
    print("\n".join(found) if found else "sizes: files and functions within their limits")
    return 1 if found else 0


sys.exit(main())
