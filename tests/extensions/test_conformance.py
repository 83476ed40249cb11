"""Extensions against the recorded answers of iptables 1.8.9, where the repository has them beside it."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from iptkit import api
from iptkit.ruleset.binding import Binder
from iptkit.values.context import Names

if TYPE_CHECKING:
    from iptkit.values.context import Family

RECORDED = Path(__file__).parents[3] / "shared" / "conformance"
SHOWN = 20  # differences that one failure tells


# What the recording machine had in /etc/hosts and /etc/networks.
HOSTS = {"localhost": 0x7F000001, "default": 0, "loopback": 0x7F000000, "link-local": 0xA9FE0000}


def host(name: str, family: Family) -> tuple[int, ...] | None:
    if family == 4 and name in HOSTS:
        return (HOSTS[name],)
    return (1,) if name == "localhost" else None


BINDERS = {family: Binder(family, Names(host=host)) for family in (4, 6)}


@functools.cache
def recorded() -> dict[str, list[dict[str, Any]]]:
    """The cases by extension; none where there is no recording."""
    path = RECORDED / "rules.jsonl"
    found: dict[str, list[dict[str, Any]]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            if asks_one_rule(case):
                found.setdefault(case["ext"], []).append(case)
    return found


def asks_one_rule(case: dict[str, Any]) -> bool:
    """Is it about reading a rule?  Not: lines that print help, or want an object that the machine lacked."""
    real = case["legacy"]
    if real.get("stdout") or real.get("stage") == "environment":
        return False
    if "protocol family of set" in real["stderr"]:  # what family a set has, the machine says
        return False
    return case["rejected_by"] != "kernel" or real.get("would_save") is not None


@pytest.mark.parametrize("extension", sorted(recorded()) or [""])
def test_as_iptables_does(extension: str) -> None:
    if not extension:
        pytest.skip("no recorded answers of the real tool here (shared/conformance)")
    cases = recorded()[extension]
    wrong = [f"{case['id']}: {problem}\n    {case['line']}" for case in cases if (problem := differs(case))]
    told = "\n".join(wrong[:SHOWN])
    assert not wrong, f"{len(wrong)} of {len(cases)} differ:\n{told}"


def differs(case: dict[str, Any]) -> str:
    """What iptkit does other than the real tool, in words; empty where it does the same."""
    encoding = case.get("encoding", "utf-8")
    lines = [f"*{case['table']}", *case["pre"], case["line"].removesuffix("\n"), "COMMIT", ""]
    counters = "-c" in case["args"]
    outcome = api.interpret(
        api.parse("\n".join(lines).encode(encoding)),
        4 if case["family"] == "ipv4" else 6,
        binder=BINDERS[4 if case["family"] == "ipv4" else 6],
        counters=counters,
    )
    real = case["legacy"]
    if case["rejected_by"] == "parser":
        return "" if outcome.status else "taken, should be refused"
    if outcome.status:
        return f"refused: {outcome.diagnostics[0].message}"
    # Counters are saved only where some are not 0, and then for every rule.
    with_counters = "save_c" in real
    want = real["save_c"] if with_counters else real["save"] if real["ok"] else real["would_save"]
    saved = api.save(outcome.ruleset, counters=with_counters, tables=(case["table"],))
    # Not by splitlines(): a comment may hold what that takes for the end of a line.
    got = "\n".join(line for line in saved.split("\n") if line not in ("", "COMMIT") and line[0] not in "*:")
    if got != want.encode(encoding).decode("latin-1"):
        return f"printed {got!r}, should be {want!r}"
    return ""
