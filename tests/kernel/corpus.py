"""Rulesets from the wild, where they are at hand; tests that want them are skipped where they are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from iptkit.values.context import Family

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
_LARGE = 700  # rules


class File(NamedTuple):
    """A ruleset that loads; `canonical` is what a save prints then, by table."""

    name: str
    family: Family
    data: bytes
    counters: bool
    ipsets: tuple[tuple[str, str], ...]
    canonical: dict[str, list[str]]


def sample(count: int) -> list[File]:
    """Some of the files that load, spread over the kinds, none of them large; always the same ones."""
    manifest = CORPUS / "manifest.jsonl"
    if not manifest.exists():
        pytest.skip("needs the corpus of rulesets beside the project")
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["loads"] and row["rules"] <= _LARGE]
    with_sets = [row for row in rows if row["ipsets"]]
    rows = [row for row in rows if not row["ipsets"]]
    step = max(1, len(rows) // (count - 3))
    return [_file(row) for row in (*with_sets[::6][:3], *rows[::step][: count - 3])]


def _file(row: dict[str, object]) -> File:
    name = str(row["file"])
    tables: dict[str, list[str]] = {}
    for line in (CORPUS / str(row["canonical"])).read_bytes().decode("latin-1").split("\n"):
        if line.startswith("*"):
            tables[line] = []
        elif line:
            tables[[*tables][-1]].append(line)
    sets = row["ipsets"]
    assert isinstance(sets, list)
    return File(
        name,
        6 if row["family"] == "ipv6" else 4,
        (CORPUS / name).read_bytes(),
        row["load_flags"] == "-c",
        tuple((each.rsplit(" ", 1)[0], each.rsplit(" ", 1)[1]) for each in sets),
        tables,
    )
