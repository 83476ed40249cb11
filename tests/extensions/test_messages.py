"""What is said of a refusal: what is at fault is underlined, message or hint say what to write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from iptkit import api
from iptkit.ruleset.binding import Binder

from .test_conformance import RECORDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.text.diagnostic import Diagnostic
    from iptkit.values.context import Family

BINDERS = {4: Binder(4), 6: Binder(6)}

# rule, what is underlined, what message or hint say
MEANT = [
    # options
    ("-p tcp --dprot 80 -j ACCEPT", "--dprot", "did you mean --dport?"),
    ("-p 17 --dprt 53", "--dprt", "did you mean --dport?"),
    ("-p tcp -m tcp --dprot 80", "--dprot", "did you mean --dport?"),
    ("--dport 80 -j ACCEPT", "--dport", "put -p tcp (or udp, sctp, dccp) before it"),
    ("--dprot 80", "--dprot", "did you mean --dport? it comes with -p tcp"),
    ("-p icmp --dport 80", "--dport", "-p icmp has no --dport"),
    ("-p udp --syn", "--syn", "-p udp has no --syn; -p tcp has"),
    ("--sport 80 -p tcp", "--sport", "put -p tcp first"),
    ("--ctstate NEW", "--ctstate", "put -m conntrack before it"),
    ("--ctstat NEW", "--ctstat", "did you mean --ctstate? it comes with -m conntrack"),
    ("-p tcp --syn --ctsate NEW", "--ctsate", "did you mean --ctstate? it comes with -m conntrack"),
    ("--icmp-type 8", "--icmp-type", "put -p icmp before it"),
    ("--to-destnation 192.0.2.1", "--to-destnation", "did you mean --to-destination? it comes with -j DNAT"),
    ("-j DNAT --to-destinaton 192.0.2.1", "--to-destinaton", "did you mean --to-destination?"),
    ("--reject-with tcp-reset", "--reject-with", "put -j REJECT before it"),
    ("-m limit --limt 5/s", "--limt", "did you mean --limit?"),
    ("--jmp ACCEPT", "--jmp", "did you mean --jump?"),
    ("-m multiport --multiprots 1 -p tcp", "--multiprots", "no option is called"),
    ("-m conntrack --cts NEW", "--cts", "--cts may be --ctstate or --ctstatus"),
    ("-p tcp --s 80", "--s", "--s may be --source, --src, --set-counters, --sport, --source-port or --syn"),
    ("--set-mark 1", "--set-mark", "put -j MARK before it"),
    ("-J ACCEPT", "-J", "did you mean -j?"),
    # extensions and chains
    ("-m contrack", "contrack", "did you mean conntrack?"),
    ("-m Multiport", "Multiport", "did you mean multiport?"),
    ("-j REJCT", "REJCT", "did you mean REJECT?"),
    ("-j accept", "accept", "did you mean ACCEPT?"),
    ("-j Web", "Web", "did you mean web?"),
    ("-g webb", "webb", "did you mean web?"),
    # values
    ("-p tpc", "tpc", 'did you mean "tcp"?'),
    ("-m conntrack --ctstate NEW,ESTABLISED", "NEW,ESTABLISED", 'did you mean "ESTABLISHED"?'),
    ("-m conntrack --ctstate FOO", "FOO", "INVALID, NEW, RELATED, ESTABLISHED, UNTRACKED, SNAT, DNAT"),
    ("-m state --state Relatedd", "Relatedd", 'did you mean "RELATED"?'),
    ("-p tcp --tcp-flags SYN,ACKK SYN", "SYN,ACKK", 'did you mean "ACK"?'),
    ("-m addrtype --src-type LOCL", "LOCL", 'did you mean "LOCAL"?'),
    ("-m pkttype --pkt-type brodcast", "brodcast", 'did you mean "broadcast"?'),
    ("-p icmp --icmp-type ecko-request", "ecko-request", 'did you mean "echo-request"?'),
    ("-j REJECT --reject-with icmp-prot-unreachable", "icmp-prot-unreachable", "icmp-port-unreachable"),
    ("-p tcp --dport htpp", "htpp", 'did you mean "http"?'),
    ("-p tcp --dport 65536", "65536", "from 0 to 65535"),
    ("-s 10.0.0.1/33", "10.0.0.1/33", "a number of bits from 0 to 32"),
    ("-m limit --limit 5/week", "5/week", "second, minute, hour and day"),
    ("-j LOG --log-level wraning", "wraning", 'did you mean "warning"?'),
    ("-p tcp --tcp-flags SYN FOO", "FOO", "FIN, SYN, RST, PSH, ACK, URG, ALL, NONE"),
    ("-m set --match-set a in", "in", "must be src or dst"),
    ("-m conntrack --ctstate=FOO -j ACCEPT", "--ctstate=FOO", "INVALID, NEW"),
    ("-m policy --dir in --pol none --strict", "none", "exclude each other"),
    ("-m statistic --mode nth --every 5 --packet 5", "5", "it must be below --every"),
    ("-j RATEEST --rateest-name x --rateest-interval 1s --rateest-ewmalog 1s", "1s", "above 1.5 intervals"),
    ("-c x 1", "x", "not a number"),
    ("-c 1 x", "x", "not a number"),
]


@pytest.mark.parametrize(("rule", "underlined", "said"), MEANT, ids=[rule for rule, _, _ in MEANT])
def test_what_was_meant(rule: str, underlined: str, said: str) -> None:
    text = f"*filter\n:web - [0:0]\n-A INPUT {rule}\nCOMMIT\n"
    found = api.interpret(api.parse(text), 4, binder=BINDERS[4]).diagnostics[0]
    assert under(text, found) == underlined
    assert said in f"{found.message}; {found.hint}"


def test_names_of_a_later_iptables_are_known_as_such() -> None:
    text = "*filter\n-A INPUT -p icmpv6 --icmpv6-type mld-listener-report\nCOMMIT\n"
    found = api.interpret(api.parse(text), 6, binder=BINDERS[6]).diagnostics[0]
    assert found.hint == "write 131: iptables has that name from 1.8.10 on"


def under(text: str, found: Diagnostic) -> str:
    """The words that a diagnostic underlines."""
    return text.split("\n")[found.span.line - 1][found.span.start : found.span.end]


# Where nothing less than the line is at fault.
WHOLE = ("no command such as -A", "has no such rule", "has no policy", "needs a name", "is still jumped to")


def test_no_refusal_underlines_the_whole_line() -> None:
    """Over all that the real tool was seen to refuse: the option at fault is underlined, or its value."""
    told = 0
    wrong = []
    for where, text, counters, family in refused():
        found = api.interpret(api.parse(text), family, binder=BINDERS[family], counters=counters).diagnostics
        if not found:
            continue
        told += 1
        line = text.split("\n")[found[0].span.line - 1]
        if under(text, found[0]) != line or " " not in line.strip():
            continue
        if not any(words in found[0].message for words in WHOLE):
            wrong.append(f"{where}: {found[0].message}\n    {line}")
    if not told:
        pytest.skip("no recorded answers of the real tool here (shared/conformance)")
    assert not wrong, "\n".join(wrong)


def refused() -> Iterator[tuple[str, str, bool, Family]]:
    """Name, file, whether counters were asked for, and family of what iptables refuses."""
    path = RECORDED / "rules.jsonl"
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        if case["rejected_by"] == "parser":
            lines = [f"*{case['table']}", *case["pre"], case["line"].removesuffix("\n"), "COMMIT", ""]
            text = "\n".join(lines).encode(case.get("encoding", "utf-8")).decode("latin-1")
            yield case["id"], text, "-c" in case["args"], 4 if case["family"] == "ipv4" else 6
