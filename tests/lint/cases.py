"""The lint cases of fixtures/lint: one file a check, named CODE-NAME.txt.

    --- fires 3,5 error legacy: why
    *filter
    ...
    --- silent: why
    ...

After `fires` stand the lines of the findings, their severity, and for errors
the backends when it is not both; `-6` and `-n` say what family the text is and
that it is meant for --noflush.  What cannot be seen is spelt `<CR>`, `<TAB>`;
`<END>` ends the text without a line feed; `<TIMES n x>` is x, n times over;
`<LINES a b text>` the text for each number n from a to b, with {n} for it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "lint"
_SPELT = {
    "CR": "\r",
    "TAB": "\t",
    "SP": "",
    "NUL": "\0",
    "BEL": "\a",
    "FF": "\f",
    "BOM": "\ufeff",
}
_HEAD = re.compile(r"--- (fires|silent)([^:]*)(?:: (.*))?")


class Case(NamedTuple):
    code: str
    where: str
    text: bytes
    family: int
    noflush: bool
    lines: tuple[int, ...]
    severity: str
    backends: tuple[str, ...]


def files() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read(stem: str) -> list[Case]:
    """The cases of one file."""
    cases: list[Case] = []
    text = (FOLDER / f"{stem}.txt").read_text(encoding="utf-8")
    number = 0
    for block in filter(None, re.split(r"(?m)^(?=--- )", text)):
        head, _, body = block.partition("\n")
        found = _HEAD.fullmatch(head)
        assert found, f"{stem}.txt:{number + 1}: {head!r} begins no case"
        words = found[2].split()
        at = [word for word in words if word[0].isdigit()]
        backends = tuple(word for word in words if word in ("legacy", "nft"))
        cases.append(
            Case(
                stem.partition("-")[0],
                f"{stem}.txt:{number + 1}",
                spelt(body).encode(),
                6 if "-6" in words else 4,
                "-n" in words,
                tuple(int(line) for word in at for line in word.split(",")),
                next((word for word in words if word in ("error", "warning", "info")), ""),
                backends,
            )
        )
        number += block.count("\n")
    return cases


def spelt(text: str) -> str:
    """The text that is meant."""
    text = re.sub(r"<LINES (\d+) (\d+) ([^\n]*)>\n", _repeated_lines, text)
    text = re.sub(r"<TIMES (\d+) ([^>]*)>", lambda hit: hit[2] * int(hit[1]), text)
    text = re.sub(r"<(CR|TAB|SP|NUL|BEL|FF|BOM)>", lambda hit: _SPELT[hit[1]], text)
    return text.partition("<END>")[0]


def _repeated_lines(hit: re.Match[str]) -> str:
    numbers = range(int(hit[1]), int(hit[2]) + 1)
    return "".join(hit[3].replace("{n}", str(n)).replace("{n+1}", str(n + 1)) + "\n" for n in numbers)
