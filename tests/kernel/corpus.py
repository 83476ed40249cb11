"""Rulesets from the wild, where they are at hand; tests that want them are skipped where they are not.

script/corpus loads them all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from iptkit.values.context import Family

    from .conftest import Netns

ROOT = Path(__file__).resolve().parents[2]
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


def everything() -> list[File]:
    """All files that load."""
    return [_file(row) for row in _rows()]


def sample(count: int) -> list[File]:
    """Some of the files that load, spread over the kinds, none of them large; always the same ones."""
    rows = [row for row in _rows() if row["rules"] <= _LARGE]
    with_sets = [row for row in rows if row["ipsets"]]
    rows = [row for row in rows if not row["ipsets"]]
    step = max(1, len(rows) // (count - 3))
    return [_file(row) for row in (*with_sets[::6][:3], *rows[::step][: count - 3])]


def _rows() -> list[dict[str, Any]]:
    manifest = CORPUS / "manifest.jsonl"
    if not manifest.exists():
        pytest.skip("needs the corpus of rulesets beside the project")
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["loads"]]


def _file(row: dict[str, Any]) -> File:
    name = str(row["file"])
    return File(
        name,
        6 if row["family"] == "ipv6" else 4,
        (CORPUS / name).read_bytes(),
        row["load_flags"] == "-c",
        tuple((each.rsplit(" ", 1)[0], each.rsplit(" ", 1)[1]) for each in row["ipsets"]),
        by_table((CORPUS / str(row["canonical"])).read_bytes().decode("latin-1")),
    )


def by_table(saved: str) -> dict[str, list[str]]:
    """The lines of each table of a save, comments aside; the order of the tables is the kernel's affair."""
    tables: dict[str, list[str]] = {}
    for line in saved.split("\n"):
        if line.startswith("*"):
            tables[line] = []
        elif line and tables:
            tables[[*tables][-1]].append(line)
    return tables


def loaded_by_command(file: File, backend: str, netns: Netns) -> str:
    """Load a file with `iptkit restore --noflush` into an empty namespace; returns what is wrong then.

    legacy: what iptables-legacy-save prints then is the canonical text of the
    file.  nft: it is what the real iptables-nft-restore makes of the file, which
    the namespace has to be emptied of before; where that refuses it, so must
    iptkit, and leave nothing behind.
    """
    prefix = "ip6tables" if file.family == 6 else "iptables"
    save = f"{prefix}-{backend}-save"
    options = ["--noflush", *(["--counters"] if file.counters else [])]
    taken, wanted = True, file.canonical
    if backend == "nft":
        real = netns.run(f"{prefix}-nft-restore", *options, text=file.data, check=False)
        taken = real.returncode == 0
        wanted = by_table(netns.save(save, "-c")) if taken else {}
        netns.run("nft", "flush", "ruleset")
    command = [sys.executable, "-m", "iptkit", "restore", f"-{file.family}", "--backend", backend, *options]
    done = netns.run("env", f"PYTHONPATH={ROOT}", *command, text=file.data, check=False)
    said = done.stderr.decode("utf-8", "replace").strip()
    if (done.returncode == 0) != taken:
        return f"exit status {done.returncode}: {said}"
    found = by_table(netns.save(save, "-c"))
    for table in {**wanted, **found}:
        if wanted.get(table) != found.get(table):
            pairs = zip([*wanted.get(table, ()), ""], [*found.get(table, ()), ""], strict=False)
            want, got = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
            return f"{table}: {got!r}, not {want!r}"
    return ""
