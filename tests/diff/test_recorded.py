"""Rules as people write them against what iptables-save made of them.

The recorded answers lie beside the repository, where they are at all.

A file and its own save must compare as the same, and a script from nothing to
the file must make just what the file says.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from iptkit import api
from iptkit.ruleset.binding import Binder
from iptkit.ruleset.model import Ruleset

if TYPE_CHECKING:
    from iptkit.values.context import Family

SHARED = Path(__file__).parents[3] / "shared"
RECORDED = SHARED / "conformance" / "rules.jsonl"
CORPUS = SHARED / "corpus"

# What iptables-save does not print, though the kernel has it: the ! of a range
# of everything, a range of all CPIs (left out it means 0), a code beside any
# type, digits of a rate.
LOST = re.compile(
    r"! (--\S+|-i) (:|0:65535|0:4294967295|\+)(?= |$)|--ipcompspi (:|0:4294967295)$|255/255|1Mibit"
)


def recorded(family: str) -> list[dict[str, Any]]:
    """Plain -A lines that the real tool took."""
    if not RECORDED.exists():
        pytest.skip("no recorded answers of the real tool here (shared/conformance)")
    cases = (json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines())
    return [
        c for c in cases if c["family"] == family and c["chain"] and c["legacy"]["ok"] and c["legacy"]["save"]
    ]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_rule_and_its_saved_form_are_the_same(family: str) -> None:
    number: Family = 6 if family == "ipv6" else 4
    binder = Binder(number)
    different = []
    unfaithful = []
    compared = 0
    for case in recorded(family):
        before = [line for line in case["pre"] if line[:1] == ":" or line.startswith("-N")]
        texts = (
            [f"*{case['table']}", *case["pre"], case["line"], "COMMIT", ""],
            [f"*{case['table']}", *before, case["legacy"]["save"], "COMMIT", ""],
        )
        outcomes = [
            api.interpret(
                api.parse("\n".join(lines).encode(case.get("encoding", "utf-8"))), number, binder=binder
            )
            for lines in texts
        ]
        # What needs a set, or cannot be read back by anybody, is for other tests.
        if any(outcome.status or outcome.ended for outcome in outcomes):
            continue
        compared += 1
        written, saved = (outcome.ruleset for outcome in outcomes)
        found = api.diff(written, saved)
        if not found.same and not LOST.search(case["line"]):
            different.append((case["line"], found.text()))
        empty = Ruleset(number)
        script = api.diff(empty, written).script().encode("latin-1")
        made = api.interpret(
            api.parse(script), number, base=empty, noflush=True, counters=True, binder=binder
        )
        if made.status or not api.diff(made.ruleset, written).same:
            unfaithful.append((case["line"], script))
    assert different == []
    assert unfaithful == []
    assert compared > 1000


def test_real_files_and_what_the_kernel_made_of_them_are_the_same() -> None:
    if not CORPUS.is_dir():
        pytest.skip("no collection of real files here (shared/corpus)")
    binders: dict[str, Binder] = {"ipv4": Binder(4), "ipv6": Binder(6)}
    different = []
    compared = 0
    for line in (CORPUS / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if not entry.get("loads") or not entry.get("canonical") or entry["lines"] > 1000:
            continue
        binder = binders[entry["family"]]
        sides = []
        for key in ("file", "canonical"):
            document = api.parse((CORPUS / entry[key]).read_bytes())
            counters = api.has_counters(document)
            outcome = api.interpret(document, binder.family, binder=binder, counters=counters)
            if not outcome.status:
                sides.append(outcome.ruleset)
        if len(sides) == 2:
            compared += 1
            found = api.diff(sides[0], sides[1], counters="-c" in (entry.get("load_flags") or ""))
            if not found.same:
                different.append((entry["file"], found.text()))
    assert different == []
    assert compared > 100
