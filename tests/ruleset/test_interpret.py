"""What restore files do to a state."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iptkit import api
from iptkit.ruleset.binding import Binder
from iptkit.ruleset.canonical import save
from iptkit.ruleset.interpret import Outcome, _Interpreter, _NotPlain, interpret
from iptkit.syntax.parser import parse
from iptkit.text.source import Source

BINDER = Binder(4)

LINES = st.sampled_from(
    [
        "*filter",
        "*nat",
        "COMMIT",
        ":INPUT DROP [1:2]",
        ":INPUT ACCEPT",
        ":web - [0:0]",
        ":LOG - [0:0]",
        ":web DROP [0:0]",
        "-A INPUT -s 10.0.0.1 -j ACCEPT",
        "-A INPUT -s 10.0.0.1,10.0.0.2 -j ACCEPT",
        "-A INPUT -s nowhere -j ACCEPT",
        "-A web -p tcp --dport 22 -j DROP",
        "-A web -p tcp --dport 99999 -j DROP",
        "-A INPUT -j web",
        "-A INPUT -j nosuch",
        "-A INPUT -p tcp -m multiport --dports 80,443",
        "-A INPUT -p tcp -m multiport --dports 80,nosuch -j ACCEPT",
        "[3:4] -A INPUT -i lo",
        "-A INPUT -o lo",
        "-A INPUT -c 5 6 -j ACCEPT",
        "-I INPUT -p udp -j ACCEPT",
        "-D INPUT 1",
        "-D INPUT -s 10.0.0.1/32 -j ACCEPT",
        "-F web",
        "-X web",
        "-E web www",
        "-A www -j ACCEPT",
        "-Z",
        "-P INPUT DROP",
        "-A INPUT -j LOG --log-prefix x",
        "-A INPUT -j LOG",
        "-A INPUT -g web",
        "-A INPUT -g ACCEPT",
        "-N web",
        "# note",
        "",
        '-A INPUT -m comment --comment "it\'s" -j RETURN',
        "-A POSTROUTING -j MASQUERADE",
        "-A INPUT -j INPUT",
        "-h",
        "-A INPUT -m limit --limit 99999/s",
        "-A PREROUTING -j DROP",
        '-A "web" -j "ACCEPT"',
        "-R INPUT 1 -j DROP",
    ]
)


def told(outcome: Outcome) -> tuple[object, ...]:
    return (
        outcome.diagnostics,
        outcome.status,
        outcome.line,
        outcome.ended,
        outcome.tables,
        list(save(outcome.ruleset, counters=True)),
        list(save(outcome.partial, counters=True)),
        [tuple(repr(step) for step in section.steps) for section in outcome.sections],
        [sorted(section.chain_lines) for section in outcome.sections],
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=12), st.booleans(), st.booleans())
def test_a_trusting_run_is_a_careful_run(lines: list[str], noflush: bool, counters: bool) -> None:
    document = parse(Source.of("*filter\n" + "".join(line + "\n" for line in lines) + "COMMIT\n"))
    base = api.load(
        "*filter\n:INPUT DROP [7:7]\n:web - [0:0]\n[9:9] -A INPUT -j web\n-A web -j RETURN\nCOMMIT\n"
    )
    careful = _Interpreter(document, BINDER, base, noflush, counters, None).run()
    try:
        trusting = _Interpreter(document, BINDER, base, noflush, counters, None, trusting=True).run()
    except _NotPlain:
        trusting = interpret(document, BINDER, base=base, noflush=noflush, counters=counters)
    assert told(trusting) == told(careful)


def saved(text: str, **options: bool) -> str:
    outcome = api.interpret(api.parse(text), **options)  # type: ignore[arg-type]
    assert not outcome.status, outcome.diagnostics
    return api.save(outcome.ruleset, counters=True)


def test_lists_of_addresses_become_rules() -> None:
    text = saved(
        "*filter\n-A INPUT -s 1.1.1.1,2.2.2.2 -d 3.3.3.3,4.4.4.4\n-I INPUT -s 5.5.5.5,6.6.6.6\nCOMMIT\n"
    )
    assert [line.split("INPUT ")[1] for line in text.split("\n") if "-A INPUT" in line] == [
        "-s 6.6.6.6/32",
        "-s 5.5.5.5/32",
        "-s 1.1.1.1/32 -d 3.3.3.3/32",
        "-s 1.1.1.1/32 -d 4.4.4.4/32",
        "-s 2.2.2.2/32 -d 3.3.3.3/32",
        "-s 2.2.2.2/32 -d 4.4.4.4/32",
    ]


def test_a_chain_hides_a_target_of_its_name() -> None:
    assert "-A INPUT -j LOG\n" in saved("*filter\n:LOG - [0:0]\n-A INPUT -j LOG\nCOMMIT\n")
    outcome = api.interpret(api.parse("*filter\n:LOG - [0:0]\n-A INPUT -j LOG --log-prefix x\nCOMMIT\n"))
    assert outcome.status == 2


def test_several_faults_are_told_in_one_run() -> None:
    outcome = api.interpret(
        api.parse("*filter\n-A INPUT -s 10.0.0.256\n-A INPUT -j nosuch\n-A INPUT -p tcp --dport 0x\nCOMMIT\n")
    )
    assert [(d.code, d.span.line) for d in outcome.diagnostics] == [
        ("IPT125", 2),
        ("IPT101", 3),
        ("IPT126", 4),
    ]
    assert (outcome.status, outcome.line) == (2, 2)


def test_a_fault_does_not_cascade() -> None:
    outcome = api.interpret(
        api.parse("*filter\n:web - [0:0]\n-A web -p tcp --dprot 22 -j DROP\n-A INPUT -j web\nCOMMIT\n")
    )
    assert [d.code for d in outcome.diagnostics] == ["IPT130"]


@pytest.mark.parametrize(
    ("line", "code", "underlined"),
    [
        ("-A INPUT -p tcp --dport 80000 -j DROP", "IPT126", "80000"),
        ("-A INPUT --dport 80 -p tcp", "IPT134", "--dport"),
        ("-A INPUT --dport 80", "IPT120", "--dport"),
        ("-A INPUT -s ! 10.0.0.1", "IPT137", "!"),
        ("-A INPUT -jACCEPT", "IPT140", "-jACCEPT"),
        ("-A INPUT -m nosuch", "IPT131", "nosuch"),
        ("-A INPUT -j nosuch", "IPT101", "nosuch"),
        ("-A INPUT -g ACCEPT", "IPT104", "ACCEPT"),
        ("-A INPUT -s 10.0.0.1 -s 10.0.0.2", "IPT135", "-s"),
        ("-A INPUT ! -s 10.0.0.1,10.0.0.2", "IPT138", "-s"),
        ("-A INPUT -m mark -j DROP", "IPT133", "mark"),
        ("-A INPUT -j", "IPT132", "-j"),
        ("-A INPUT -o eth0", "IPT113", "-o"),
    ],
)
def test_the_word_at_fault_is_named(line: str, code: str, underlined: str) -> None:
    outcome = api.interpret(api.parse(f"*filter\n{line}\nCOMMIT\n"))
    assert [d.code for d in outcome.diagnostics] == [code]
    span = outcome.diagnostics[0].span
    assert (span.line, line[span.start : span.end]) == (2, underlined)


def test_counters_are_clamped_however_long() -> None:
    long = "1" * 5000
    text = f"*filter\n:INPUT DROP [{long}:2]\n[3:{long}] -A INPUT -j DROP\nCOMMIT\n"
    saved_text = api.save(api.load(text), counters=True)
    assert f":INPUT DROP [{2**64 - 1}:2]" in saved_text
    assert f"[3:{2**64 - 1}] -A INPUT -j DROP" in saved_text


@pytest.mark.parametrize("blanks", [" ", "  ", "\t", " \t "])
def test_any_blanks_between_words(blanks: str) -> None:
    """What decides how a line reads does so behind any blanks: -m and -p, and -j with options."""
    rule = (
        "-A PREROUTING ! -i eth0 -p tcp -m tcp --dport 22 -m comment --comment x -j MARK --set-xmark 0x1/0xff"
    )
    text = f"*mangle\n{rule}\n{rule.replace(' ', blanks)}\nCOMMIT\n"
    outcome = interpret(parse(Source.of(text)), Binder(4))
    assert outcome.diagnostics == []
    first, second = outcome.ruleset.tables["mangle"].chains["PREROUTING"].rules
    assert first.identity() == second.identity()


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ("-m quota --quota 1 --help", 0),
        ("-m quota --quota 1M --help", 2),
        ("-m quota --quota 1M -V", 2),
        ("--help -m quota --quota 1M", 0),
        ("-s 300.1.1.1 -h", 0),
        ("-i abcdefghijklmnopqrst -h", 2),
        ("-j NOSUCH -h", 0),
        ("-j MARK -h", 0),
        ("-j abcdefghijklmnopqrstuvwxyzabcdefg -h", 2),
        ("-g nosuch -h", 0),
    ],
)
def test_values_before_help_are_read(rule: str, status: int) -> None:
    """As the real tool does, which reads options one by one; addresses and what a target needs come last."""
    outcome = interpret(parse(Source.of(f"*filter\n-A FORWARD {rule}\nCOMMIT\n")), Binder(4))
    assert outcome.status == status
    assert bool(outcome.ended) == (status == 0)


@pytest.mark.parametrize(("position", "status"), [("1", 0), ("x", 2)])
def test_a_position_before_help_is_read(position: str, status: int) -> None:
    outcome = interpret(parse(Source.of(f"*filter\n-I FORWARD {position} --help\nCOMMIT\n")), Binder(4))
    assert outcome.status == status
