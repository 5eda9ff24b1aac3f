#!/usr/bin/env python3
"""Checks that a link such as [`Trainer::run`](../core/training/trainer.cpp#L44) in docs/ leads to the line where
that function begins, and that linked files exist.  --fix rewrites the line numbers."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[`?([^`\]]+)`?\]\(([^)#\s]+)(?:#L(\d+))?(#[\w-]+)?\)")


def definition_line(source: pathlib.Path, symbol: str) -> int:
    """Number of the line that begins the definition of `symbol`, 0 if there is none."""
    pattern = re.compile(r"^\S.*\b" + re.escape(symbol) + r"\(")
    for number, line in enumerate(source.read_text().splitlines(), 1):
        if pattern.search(line) and not line.startswith("//") and not line.rstrip().endswith(";"):
            return number
    return 0


def main() -> int:
    fix = "--fix" in sys.argv
    problems = []
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]):
        text = page.read_text()

        def check(match: re.Match) -> str:
            symbol, target, line = match[1], match[2], match[3]
            if "://" in target:
                return match[0]
            path = (page.parent / target).resolve()
            if not path.exists():
                problems.append(f"{page.relative_to(ROOT)}: {target} does not exist")
            elif line is not None:
                found = definition_line(path, symbol)
                if not found:
                    problems.append(f"{page.relative_to(ROOT)}: no definition of {symbol} in {target}")
                elif fix:
                    return match[0].replace(f"#L{line}", f"#L{found}")
                elif found != int(line):
                    problems.append(f"{page.relative_to(ROOT)}: {symbol} is at {target}#L{found}, not #L{line}"
                                    " (python3 .ci/check_links.py --fix)")
            return match[0]

        changed = LINK.sub(check, text)
        if fix and changed != text:
            page.write_text(changed)
    print("\n".join(problems) if problems else "links: all lead where they say")
    return 1 if problems else 0


sys.exit(main())
