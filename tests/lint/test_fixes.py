"""Fixes cure findings, bring no new ones, and the safe ones leave what a file does as it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iptkit import api
from iptkit.lint.fixes import REWRITING
from iptkit.ruleset.canonical import save
from iptkit.text.codes import CODES
from iptkit.text.diagnostic import Severity
from iptkit.text.source import Source

from .cases import Case, files, read

if TYPE_CHECKING:
    from iptkit.syntax.document import Document
    from iptkit.values.context import Family

LARGE = 2_000  # bytes: that much is text repeated


def loaded(document: Document, family: Family) -> list[str] | None:
    outcome = api.interpret(document, family)
    return None if outcome.status else list(save(outcome.ruleset))


@pytest.mark.parametrize("stem", files())
def test_fixes_of_all_cases(stem: str) -> None:
    unsafe = CODES[stem.partition("-")[0]][2] == "unsafe"
    for case in read(stem):
        if len(case.text) < LARGE and case.lines:
            look_at(case, unsafe)


def look_at(case: Case, unsafe: bool) -> None:
    family: Family = 6 if case.family == 6 else 4
    document = api.parse(case.text)
    before = api.lint(document, family=family, noflush=case.noflush)
    fixed = api.fix(document, family, unsafe=unsafe, noflush=case.noflush)
    after = api.parse_source(Source("fixed", fixed.text))
    left = api.lint(after, family=family, noflush=case.noflush)
    assert [(d.code, d.span) for d in left] == [(d.code, d.span) for d in fixed.left], case.where
    errors, still = (Counter(d.code for d in each if d.severity is Severity.ERROR) for each in (before, left))
    assert not still - errors, case.where
    if not unsafe and not any(d.code in REWRITING for d in fixed.cured):
        effect = loaded(document, family)
        assert effect is None or loaded(after, family) == effect, case.where
    again = api.fix(after, family, unsafe=unsafe, noflush=case.noflush)
    assert again.text == fixed.text, case.where
    assert not again.cured, case.where


RULE = "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"
ESTABLISHED = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
THREE = "".join(f"-A INPUT -p tcp -m tcp --dport {port} -j ACCEPT\n" for port in (25, 80, "100:200"))
MANY = "\n".join(f"-A INPUT -p udp --sport {port} -m mark --mark 0x1 -j DROP" for port in range(1, 18))
MERGED = "\n".join(
    f"-A INPUT -p udp -m multiport --sports {ports} -m mark --mark 0x1 -j DROP"
    for ports in (",".join(map(str, range(1, 16))), "16,17")
)
TEN = "".join(f"-A INPUT -s 10.0.0.{n}/32 -p tcp -m tcp --dport 22 -j ACCEPT\n" for n in range(10))


@pytest.mark.parametrize(
    ("code", "before", "after"),
    [
        ("IPT016", f"iptables {RULE}", RULE),
        ("IPT016", f"sudo /sbin/iptables -t filter {RULE}", RULE),
        ("IPT018", f"-t filter {RULE}", RULE),
        ("IPT018", f"{RULE} --table=filter", RULE),
        ("IPT018", f"-t nat {RULE}", None),
        ("IPT019", f"-N A\n-A INPUT -j A\n{RULE.replace('INPUT', 'A')}",
         f":A - [0:0]\n-A INPUT -j A\n{RULE.replace('INPUT', 'A')}"),
        ("IPT019", f"-I {RULE[3:]}", RULE),
        ("IPT019", f"-A INPUT -i eth0 -j DROP\n-I INPUT 1 {RULE[9:]}\n-I INPUT -i lo -j ACCEPT",
         f"-A INPUT -i lo -j ACCEPT\n{RULE}\n-A INPUT -i eth0 -j DROP"),
        ("IPT019", "-A INPUT -i lo -j ACCEPT\n-I INPUT 2 -i eth0 -j DROP", None),
        ("IPT022", RULE.replace("tcp --dport", "tcp\x07 --dport"), RULE),
        ("IPT024", f":A - [0:0]\n:A - [0:0]\n-A INPUT -j A\n-A A -i lo -j ACCEPT\n{RULE}",
         f":A - [0:0]\n-A INPUT -j A\n-A A -i lo -j ACCEPT\n{RULE}"),
        ("IPT120", "-A INPUT -m tcp --tcp-flags SYN,ACK SYN -j DROP",
         "-A INPUT -p tcp -m tcp --tcp-flags SYN,ACK SYN -j DROP"),
        ("IPT206", f":A - [0:0]\n{RULE}\n-A A -j DROP", RULE),
        ("IPT207", f":A - [0:0]\n-A INPUT -j A\n{RULE}", f":A - [0:0]\n{RULE}"),
        ("IPT309", "-A INPUT -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT",
         "-A INPUT -p tcp -m tcp --syn --dport 80 -m conntrack --ctstate NEW -j ACCEPT"),
        ("IPT401", f"{TEN}{ESTABLISHED}", f"{ESTABLISHED}\n{TEN.rstrip()}"),
        ("IPT403", THREE + RULE, "-A INPUT -p tcp -m multiport --dports 25,80,100:200,22 -j ACCEPT"),
        ("IPT403", MANY, MERGED),
        ("IPT502", '-A INPUT -p icmp -j ULOG --ulog-prefix "a b"',
         '-A INPUT -p icmp -j NFLOG --nflog-group 1 --nflog-prefix "a b"'),
        ("IPT502", "-A INPUT -p icmp -j ULOG --ulog-nlgroup 3 --ulog-cprange 64",
         "-A INPUT -p icmp -j NFLOG --nflog-group 3 --nflog-size 64"),
    ],
)  # fmt: skip
def test_unsafe_fix(code: str, before: str, after: str | None) -> None:
    text = f"*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n{before}\nCOMMIT\n"
    # What else there may be to cure is not what this is about.
    fixed = api.fix(api.parse(text), unsafe=True, select=(code,))
    assert fixed.text == text.replace(before, before if after is None else after)


CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared rulesets are not on this machine")
def test_safe_fixes_of_rulesets_leave_their_effect() -> None:
    paths = [path for path in sorted(CORPUS.glob("*/*.save")) if path.stat().st_size < 6_000]
    for path in paths[::20]:
        family: Family = 6 if ".v6." in path.name else 4
        document = api.parse(path.read_bytes())
        fixed = api.fix(document, family)
        before = api.lint(document, family=family)
        assert len(fixed.left) <= len(before), path
        effect = loaded(document, family)
        if effect is not None and not any(d.code in REWRITING for d in fixed.cured):
            assert loaded(api.parse_source(Source("fixed", fixed.text)), family) == effect, path
