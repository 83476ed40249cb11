"""A file looked at in two shares: what is found is what is found of it as a whole, whoever looks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iptkit.lint import engine, flow, judged, shares
from iptkit.lint.facts import Facts
from iptkit.lint.looks import looks
from iptkit.lint.registry import MODULES, PACKETS, asks_packets, checks
from iptkit.lint.select import Selection
from iptkit.lint.suppress import Suppressions
from iptkit.lint.told import Told
from iptkit.ruleset.binding import Binder
from iptkit.ruleset.interpret import interpret, interpret_part
from iptkit.syntax.parser import Parser, parse
from iptkit.text import aside
from iptkit.text.diagnostic import Diagnostic, Edit, Severity, Span, packed, unpacked
from iptkit.text.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

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
NAMES = ("INPUT", "FORWARD", "OUTPUT", "A", "B", "C", "D", "E")
BOTH = ("legacy", "nft")
ALL = Selection()


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    """Share small files, too, and leave no question for want of time: that would hang on the share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aside, "LARGE", 0)
        patch.setattr(flow, "LARGE", 0)
        patch.setattr(shares, "LARGE", 0)
        for module in (flow, judged):
            patch.setattr(module, "FOR_QUESTIONS", 10**9)
        yield


def finished(found: list[Diagnostic], text: str) -> list[Diagnostic]:
    return engine._finished(found, Suppressions(text), BOTH, ALL)


def shared(text: str) -> list[Diagnostic] | None:
    found = shares.Shares(Source("test", text), Binder(4), BOTH, list(checks())).look(packed)
    return None if found is None else finished(unpacked(found[0] + found[1]), text)


def whole(text: str) -> list[Diagnostic]:
    return finished(engine._as_a_whole(parse(Source("test", text)), Binder(4), False, BOTH, ALL), text)


CONDITIONS = st.sampled_from(
    [
        "", "-s 10.0.0.1/32", "-s 10.0.0.0/8", "! -s 10.0.0.1/32", "-d 10.0.0.2/32", "-i eth0", "-o eth0",
        "-i lo", "-s 10.0.0.0/24 -i eth0", "-p tcp", "-p tcp -m tcp --dport 22",
        "-p tcp -m tcp --dport 20:3000",
        "-p tcp -m tcp --sport 53", "-p udp -m udp --sport 53", "-p icmp -m icmp --icmp-type 5", "-p icmp",
        "-m conntrack --ctstate NEW", "-m conntrack --ctstate RELATED", "-m state --state INVALID",
        "-p tcp -m state --state NEW", "-m mark --mark 0x1", "-m comment --comment why",
        "-m limit --limit 5/min", "-s 0.0.0.0/0", "-m owner --uid-owner 0",
        "-m hashlimit --hashlimit-above 5/min --hashlimit-name h", "-m set --match-set bad src",
        '-m comment --comment "two words"',
    ]
)  # fmt: skip
TARGETS = st.sampled_from(
    ["-j ACCEPT", "-j DROP", "-j RETURN", "-j LOG", "-j REJECT", "-j MARK --set-xmark 0x1/0xff", "-j QUEUE",
     "", *[f"-{letter} {name}" for letter in "jg" for name in NAMES[3:]]]
)  # fmt: skip


@st.composite
def rulesets(draw: st.DrawFn) -> str:
    """A filter table with rules chain by chain, mostly such as a share may have."""
    lines = ["*filter"]
    lines += [f":{name} {draw(st.sampled_from(['ACCEPT', 'DROP']))} [0:0]" for name in NAMES[:3]]
    lines += [f":{name} - [0:0]" for name in NAMES[3:]]
    for name in NAMES:
        for _ in range(draw(st.integers(0, 5))):
            words = ["-A", name, *draw(CONDITIONS).split(" "), *draw(TARGETS).split(" ")]
            lines.append(" ".join(word for word in words if word))
    return "\n".join([*lines, "COMMIT", ""])


@given(rulesets(), st.floats(0.05, 0.95))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shares_find_what_is_found_of_all(text: str, part: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shares, "_FIRST", part)
        found = shared(text)
    if found is not None:
        assert found == whole(text)


@pytest.mark.parametrize("text", TEXTS, ids=[*[path.stem for path in FILES], "all cases"])
@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_rulesets(text: str, part: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_FIRST", part)
    found = shared(text)
    if found is not None:
        assert found == whole(text)


def test_rulesets_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_FIRST", 0.4)
    assert sum(shared(text) is not None for text in TEXTS) >= 3


def spread(rules: list[str]) -> str:
    """A table with rules spread over ten chains that INPUT leads to."""
    names = [f"C{number}" for number in range(10)]
    lines = ["*filter", *[f":{name} DROP [0:0]" for name in NAMES[:3]], ":WEB - [0:0]"]
    lines += [f":{name} - [0:0]" for name in names]
    lines += [f"-A INPUT -s 10.{number}.0.0/16 -j {name}" for number, name in enumerate(names)]
    for number, name in enumerate(names):
        lines += [f"-A {name} {rule.removeprefix('-A INPUT ')}" for rule in rules[number::10]]
    return "\n".join([*lines, "COMMIT", ""])


def test_all_cases_that_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check has something to look at, in the one share or in the other."""
    good = [
        rule
        for rule in RULES
        if rule.isascii()
        and not any(each.severity is Severity.ERROR for each in whole(spread([rule])))
        and shared(spread([rule, *["-A INPUT -i lo -j ACCEPT"] * 9])) is not None
    ]
    assert len(good) > 100
    text = spread(good)
    expected = whole(text)
    assert len({each.code for each in expected}) > 20
    for part in (0.1, 0.3, 0.5, 0.7, 0.9):
        monkeypatch.setattr(shares, "_FIRST", part)
        assert shared(text) == expected


def large(chains: int = 3000) -> str:
    """A table whose shares have more to tell each other than a pipe holds."""
    names = [f"chain-with-a-long-name-{number:05}" for number in range(chains)]
    lines = ["*filter", ":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]"]
    lines += [f":{name} - [0:0]" for name in names]
    lines += [
        f"-A INPUT -s 10.{number // 250}.{number % 250}.0/24 -j {name}" for number, name in enumerate(names)
    ]
    for name, after in zip(names, [*names[1:], "DROP"], strict=True):
        lines += [f"-A {name} -p tcp -m state --state NEW -j ACCEPT", f"-A {name} -g {after}"]
    lines[-1] = lines[-1].replace("-g", "-j")
    return "\n".join([*lines, "COMMIT", ""])


def test_two_processes_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = large()
    alone = shared(text)
    assert alone
    monkeypatch.setattr(aside, "_allowed", True)
    sent: list[bytes | None] = []
    result = aside.Aside.result
    monkeypatch.setattr(aside.Aside, "result", lambda child: sent.append(result(child)) or sent[-1])  # type: ignore[func-returns-value]  # None, then what was sent
    assert shared(text) == alone
    assert len(sent) == 1
    assert sent[0] is not None


@pytest.mark.parametrize("where", ["_first_words", "_last_words", "looks"])
def test_a_share_that_fails(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever process fails, and whenever: the file is looked at as a whole."""
    text = large(50)
    monkeypatch.setattr(aside, "_allowed", True)
    original = getattr(shares, where)
    assert shared(text) is not None
    for failing in (True, False):
        parent = os.getpid()

        def fail(*given: object, child: bool = failing, parent: int = parent) -> object:
            if (os.getpid() != parent) == child:
                raise aside.Together
            return original(*given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shares, where, fail)
            assert shared(text) is None


GOOD = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:A - [0:0]
:B - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -j A
-A INPUT -p udp -j B
-A A -p tcp -m tcp --dport 22 -j ACCEPT
-A A -p tcp -m tcp --dport 80 -j ACCEPT
-A B -p udp -m udp --dport 53 -j ACCEPT
-A B -j DROP
COMMIT
"""


@pytest.mark.parametrize("part", [0.2, 0.5])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-A B -j DROP", "-A INPUT -j DROP"),  # its rules are in both shares
        ("-A B -j DROP", "-D A 1"),
        ("-A B -j DROP", "-I B -j DROP"),
        ("-A B -j DROP", "-A B  -j DROP"),
        ("-A B -j DROP", "-A B -j DROPS"),
        ("-A B -j DROP", "-A C -j DROP"),
        ("-A B -j DROP", "-A B -s 10.0.0.1,10.0.0.2 -j DROP"),
        ("-A B -j DROP", "-A B -s 10.0.0.256/32 -j DROP"),
        ("-A B -j DROP", "-A B -j DROP --nothing"),
        ("-A B -j DROP", "-A B -j QUEUE"),
        ("-A B -j DROP", "-A B -m owner --uid-owner 0 -j DROP"),
        ("-A B -j DROP", "what"),
        ("-A B -j DROP", "-A B -m comment --comment \xe9 -j DROP"),
        ("-A B -j DROP", "-A B -j DROP\r"),
        ("-A B -j DROP", "-A B \\\n-j DROP"),
        ("-A INPUT -i lo -j ACCEPT", "-A INPUT -i lo -j ACCEPTS"),
        (":B - [0:0]", ":B - [0:0]\n:B - [0:0]"),
        (":INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n", ""),
        ("COMMIT\n", ""),
        ("COMMIT\n", "COMMIT"),
    ],
)
def test_what_is_not_shared(old: str, new: str, part: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_FIRST", part)
    assert shared(GOOD) == whole(GOOD)
    assert shared(GOOD.replace(old, new)) is None


@pytest.mark.parametrize("new", ["# why\n-A B -j DROP", "\n-A B -j DROP", "[1:2] -A B -j DROP", "-A B"])
def test_what_is_shared_all_the_same(new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_FIRST", 0.2)
    text = GOOD.replace("-A B -j DROP", new)
    assert shared(text) == whole(text)


@pytest.mark.parametrize("forks", [False, True])
def test_all_chains_in_both_shares(forks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_FIRST", 0.5)
    monkeypatch.setattr(aside, "_allowed", forks)
    rules = "-A PREROUTING -i lo -j ACCEPT\n-A OUTPUT -o lo -j ACCEPT\n"
    text = f"*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{rules * 3}COMMIT\n"
    assert shares.cut(text)
    assert shared(text) is None


def texts(text: str) -> list[str]:
    return engine.told(
        Source("test", text),
        Binder(4),
        lambda source, found: [f"{source.name} {each.code} {each.span.line}" for each in found],
        noflush=False,
        backends=BOTH,
        selection=ALL,
    )


@pytest.mark.parametrize("forks", [False, True])
@pytest.mark.parametrize("part", [0.2, 0.5])
@pytest.mark.parametrize("comment", ["", "# iptkit: ignore-file[IPT220]\n", "# iptkit: ignore\n"])
@pytest.mark.parametrize(
    "more",
    [
        "",
        "-A A -p tcp -m state --state NEW -j ACCEPT\n",
        "-A B -p tcp -m state --state NEW -j ACCEPT\n",
        (
            "-A A -s 10.0.0.0/8 -p tcp -m state --state NEW -j ACCEPT\n"
            "-A B -p tcp -m state --state NEW -j ACCEPT\n"
        ),
        "-A A\n-A B\n",
    ],
)
def test_what_is_told(
    more: str, comment: str, part: float, forks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, in the same order, by whom ever; of a check that reports the first alone that one."""
    monkeypatch.setattr(shares, "_FIRST", part)
    monkeypatch.setattr(aside, "_allowed", forks)
    text = comment + GOOD.replace("-A INPUT -p tcp -j A\n", "-A INPUT -j A\n-A INPUT -j B\n")
    for line in more.split("\n"):
        if line:
            before = f"-A {line[3]} "
            text = text.replace(before, f"{line}\n{before}", 1)
    assert shared(text) is not None
    told = texts(text)
    assert told == [f"test {each.code} {each.span.line}" for each in whole(text)]
    assert told


def test_a_fault_of_the_table_in_another_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_FIRST", 0.2)
    text = GOOD.replace("-A B -j DROP", "-A B -j A").replace("-A A -p", "-A A -j B\n-A A -p", 1)
    assert shared(text) is None
    assert any(line.startswith("test IPT102") for line in texts(text))


def test_a_small_table_behind_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As kube-proxy's, in the other share as a whole."""
    small = (
        "*mangle\n:INPUT ACCEPT [0:0]\n:M - [0:0]\n-A INPUT -j M\n-A M -j TOS --set-tos 0x10/0x3f\nCOMMIT\n"
    )
    for module in (flow, shares):
        monkeypatch.setattr(module, "LARGE", 3)
    monkeypatch.setattr(shares, "_FIRST", 0.55)
    for text in (GOOD + small, small + GOOD):
        found = shared(text)
        assert found is not None
        assert found == whole(text)


def test_ignore_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_FIRST", 0.2)
    text = GOOD.replace(
        "-A B -j DROP", "# iptkit: ignore[IPT220]\n-A B\n# iptkit: ignore[IPT220]\n-A B -j DROP"
    )
    found = shared(text)
    assert found == whole(text)
    assert found is not None
    assert [each.code for each in found if each.code in ("IPT220", "IPT000")] == ["IPT000"]


def test_large_tables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of small ones each rule is looked at with all others, however many chains they have."""
    monkeypatch.setattr(shares, "_FIRST", 0.5)
    for module in (flow, shares):
        monkeypatch.setattr(module, "LARGE", 9)
    more = GOOD.replace(":B", "".join(f":C{number} - [0:0]\n" for number in range(20)) + ":B")
    commented = more.replace("-A A", "# why\n" * 20 + "-A A")
    for text in (GOOD, more, commented):
        assert shared(text) is None
    monkeypatch.setattr(aside, "LARGE", 10_000)
    for given_text in (Source("test", GOOD), parse(Source("test", GOOD))):
        found = engine.run(given_text, Binder(4), noflush=False, backends=BOTH, selection=ALL)
        assert found == whole(GOOD)


@pytest.mark.parametrize("text", TEXTS, ids=[*[path.stem for path in FILES], "all cases"])
def test_the_others_ask_nothing_about_packets(text: str) -> None:
    """They look before the shares have told each other anything, or after that."""
    document, binder = parse(Source("test", text)), Binder(4)
    found = Facts(document, interpret(document, binder), binder)
    for _ in looks(found, [check for check in checks() if not asks_packets(check)]):
        pass
    assert found.sections
    for section in found.sections:
        assert not {"flow", "judged", "dead", "alike"} & vars(section).keys()


def test_nobody_asks_what_is_not_told_yet() -> None:
    told = Told()
    with pytest.raises(AttributeError):
        told.calls  # noqa: B018  # asking is what is tried
    told.hear({"calls": {"A": ["B"]}})
    assert told.calls == {"A": ["B"]}
    assert all(not getattr(Told.nothing(), name) for name in Told.__slots__)


@pytest.mark.parametrize("text", [large(20), GOOD], ids=["large", "good"])
def test_rules_are_gathered_alike(text: str) -> None:
    """While they are interpreted, as by going through them afterwards."""
    document, binder = Parser().parse_part(Source("test", text), 1, 0, len(text)), Binder(4)
    assert document is not None
    outcome = interpret_part(document, binder, gather=True)
    assert outcome is not None
    for section in Facts(document, outcome, binder).sections:
        gathered = section.section.gathered
        assert gathered is not None
        for ours, plain in zip(gathered, section._gathered(), strict=True):
            assert ours.keys() == plain.keys()
            for bound, each in ours.items():
                assert each.rules == plain[bound].rules
                assert each.chains == plain[bound].chains
                assert each.values == plain[bound].values


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
