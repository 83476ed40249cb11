"""Two processes find what one finds, in the same order."""

from __future__ import annotations

from pathlib import Path

import pytest

from iptkit import api
from iptkit.lint import engine
from iptkit.lint.facts import Facts
from iptkit.lint.registry import MODULES, PACKETS, asks_packets, checks
from iptkit.ruleset.binding import Binder
from iptkit.ruleset.interpret import interpret
from iptkit.text import aside
from iptkit.text.diagnostic import Diagnostic, Edit, Severity, Span, packed, unpacked

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "fixtures" / "rulesets").glob("*.save"))
# Everything that fixtures show as a file of its own, good or bad.
CASES = [path.read_text(encoding="latin-1") for path in sorted((ROOT / "fixtures" / "lint").glob("*.txt"))]
# All their rules together, so that every check has something to look at.
RULES = sorted({line for text in CASES for line in text.split("\n") if line.startswith("-A INPUT ")})
TEXTS = [
    *[path.read_text(encoding="latin-1") for path in FILES],
    "*filter\n:INPUT ACCEPT [0:0]\n:WEB - [0:0]\n" + "\n".join(RULES) + "\nCOMMIT\n",
]


@pytest.mark.parametrize("text", TEXTS, ids=[*[path.stem for path in FILES], "all cases"])
def test_two_processes_find_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = api.lint(api.parse(text))
    monkeypatch.setattr(aside, "_allowed", True)
    monkeypatch.setattr(aside, "LARGE", 0)
    sent: list[bytes | None] = []
    result = aside.Aside.result
    monkeypatch.setattr(aside.Aside, "result", lambda child: sent.append(result(child)) or sent[-1])  # type: ignore[func-returns-value]  # None, then what was sent
    assert api.lint(api.parse(text)) == alone
    assert len(sent) == 1
    assert sent[0] is not None
    # A child that fails is not missed.
    monkeypatch.setattr(aside.Aside, "result", lambda child: result(child) and None)
    assert api.lint(api.parse(text)) == alone


@pytest.mark.parametrize("text", TEXTS, ids=[*[path.stem for path in FILES], "all cases"])
def test_the_others_ask_nothing_about_packets(text: str) -> None:
    """What may be spent on that is spent by one process, or it would hang on how many there are."""
    document, binder = api.parse(text), Binder(4)
    facts = Facts(document, interpret(document, binder), binder)
    engine._looks(facts, [check for check in checks() if not asks_packets(check)])
    assert facts.sections
    for section in facts.sections:
        assert not {"flow", "judged", "dead", "alike"} & vars(section).keys()


def test_the_modules_are_there() -> None:
    assert MODULES.keys() >= PACKETS


def test_findings_as_bytes() -> None:
    plain = Diagnostic("IPT201", "unreachable-rule", Severity.WARNING, "a\xff", Span(1, 2, 3))
    full = plain._replace(
        severity=Severity.ERROR,
        hint="h",
        related=((Span(4, 0, 1), "here"),),
        backends=("nft",),
        fix=(Edit(Span(1, 0, 5), "", True), Edit(Span(2, 0, 0), "x\n", False)),
    )
    again = unpacked(packed([plain, full]))
    assert again == [plain, full]
    assert [type(each) for each in (again[1], again[1].span, again[1].severity, again[1].fix[0].span)] == [
        Diagnostic, Span, Severity, Span
    ]  # fmt: skip
