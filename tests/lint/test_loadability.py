"""Does lint know which files load?  Thousands of rulesets the real tools and a kernel were given."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import pytest

from iptkit import api
from iptkit.ruleset.binding import Binder
from iptkit.text.diagnostic import BOTH, Severity

DATA = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "loadability.jsonl"
FIRST = {
    "filter": "INPUT",
    "nat": "PREROUTING",
    "mangle": "PREROUTING",
    "raw": "PREROUTING",
    "security": "INPUT",
}

pytestmark = pytest.mark.skipif(
    not DATA.is_file(), reason="the shared loadability data is not on this machine"
)


def text_of(case: dict[str, Any]) -> str:
    """The file of a case, as LOADABILITY.md beside the data says it is made."""
    if case["kind"] == "file":
        file: str = case["file"]
        return file
    chain = case["chain"] or FIRST[case["table"]]
    lines = [f"*{case['table']}", f":{chain} ACCEPT [0:0]"]
    if case["via"] == "builtin":
        lines.append(f"-A {chain} {case['rule']}")
    else:
        lines.append(":USER - [0:0]")
        if case["via"] == "user":
            lines.append(f"-A {chain} -j USER")
        lines.append(f"-A USER {case['rule']}")
    return "\n".join([*lines, "COMMIT", ""])


def test_refusals_are_known_and_nothing_is_cried_at() -> None:
    binders = {"ipv4": Binder(4), "ipv6": Binder(6)}
    refused: collections.Counter[str] = collections.Counter()
    missed: dict[str, list[str]] = {backend: [] for backend in BOTH}
    false: dict[str, list[str]] = {backend: [] for backend in BOTH}
    for line in DATA.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        found = api.lint(api.parse(text_of(case)), binders[case["family"]])
        errors = [d for d in found if d.severity is Severity.ERROR]
        for backend in BOTH:
            truth = case[backend]
            said = any(not d.backends or backend in d.backends for d in errors)
            if truth["load"] and truth.get("cause") != "machine":
                refused[backend] += 1
                if not said:
                    missed[backend].append(case["id"])
            elif not truth["load"] and said:
                false[backend].append(case["id"])
    for backend in BOTH:
        assert not false[backend]
        assert len(missed[backend]) <= refused[backend] * 0.005, missed[backend]
