"""Print a ruleset to measure with: python -m benchmarks.generate KIND RULES [--seed N] [--edited]

The kinds are mixed, kube and shapes.  The same arguments give the same bytes.
--edited prints the file with about a hundredth of its rules changed, removed,
added or moved.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from benchmarks import kube, mixed, shapes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KINDS = {"mixed": mixed.lines, "kube": kube.lines, "shapes": shapes.lines}
EVERY = 400  # so many rules apart each kind of edit is done


def edited(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a file after somebody worked on it."""
    rule = 0
    held = ""  # a rule to be moved behind the next one of its chain
    for line in lines:
        chain = line.partition("-A ")[2].split(" ")[0] if "-A " in line[:40] else ""
        if held and chain != held.partition("-A ")[2].split(" ")[0]:
            yield held
            held = ""
        if not chain:
            yield line
            continue
        rule += 1
        step = rule % EVERY
        if step == 10:
            continue
        if step == 110:
            held = line
            continue
        yield line.replace("10.", "11.", 1) if step == 210 else line
        if step == 310:
            yield f"[0:0] -A {chain} -s 203.0.113.{rule % 200}/32 -j RETURN"
        if held:
            yield held
            held = ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=__doc__.split(":")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("rules", type=int, metavar="RULES")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--edited", action="store_true", help="as somebody changed it")
    given = parser.parse_args()
    lines = KINDS[given.kind](given.rules, given.seed)
    for line in edited(lines) if given.edited else lines:
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
