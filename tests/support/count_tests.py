"""Counts the single test cases in ctest's logs: count_tests.py LastTest.log...

A program that ends without GoogleTest's closing lines (a crash, a time-out, a script) counts as one
test. Prints the failed ones and the skipped, and a closing line "N passed, M failed"; exit status 1
when something failed or nothing ran.
"""

import re
import sys


def count_program(block):
    """(passed, failed, skipped) of one test program's section of the log."""
    ok = re.search(r"^Test Passed\.$", block, re.M) is not None
    if re.search(r"^Test (Skipped|Not Run)", block, re.M):
        return 0, 0, 1
    ran = re.search(r"^\[==========\] \d+ tests? from .* ran\.", block, re.M)
    if not ran:
        return (1, 0, 0) if ok else (0, 1, 0)

    def number(tag):
        found = re.search(rf"^\[  {tag} +\] (\d+) tests?[.,]", block, re.M)
        return int(found.group(1)) if found else 0

    passed, failed, skipped = number("PASSED"), number("FAILED"), number("SKIPPED")
    # Failed on another rank than the one that prints, or after the last test.
    return passed, failed if ok or failed else 1, skipped


def main():
    totals = [0, 0, 0]
    for path in sys.argv[1:]:
        with open(path, errors="replace") as log:
            plain = re.sub(r"\x1b\[[0-9;]*m", "", log.read())  # mpirun's ranks see a terminal
            blocks = re.split(r"^\d+/\d+ Testing: ", plain, flags=re.M)[1:]
        for block in blocks:
            counts = count_program(block)
            totals = [a + b for a, b in zip(totals, counts)]
            name = block.split("\n", 1)[0]
            if counts[1]:
                print(f"failed: {name}")
            elif counts[2]:
                why = re.search(r"^skipped: (.*)$", block, re.M)
                print(f"skipped: {counts[2]} in {name}" + (f": {why.group(1)}" if why else ""))
    print(f"{totals[0]} passed, {totals[1]} failed")
    return 1 if totals[1] or not totals[0] else 0


sys.exit(main())
