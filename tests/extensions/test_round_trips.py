"""Each extension, printed and read again, encoded and decoded again, is what it was."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from iptkit import api
from iptkit.extensions.matches.sctp import Sctp
from iptkit.extensions.ranges import Ranged
from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target
from iptkit.extensions.spec import Extension
from iptkit.ruleset.binding import Binder
from tests.strategies import any_rules, good_rules

from .cases import Case
from .test_cases import check_codec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.ruleset.interpret import Outcome
    from iptkit.ruleset.model import Rule
    from iptkit.values.context import Family
    from tests.fuzzing.rules import Made

BINDERS = {4: Binder(4), 6: Binder(6)}
FAMILIES: tuple[Family, ...] = (4, 6)
# What iptables-save prints so that it cannot be read again, or is read as something else.
LOSSY = {
    "CLUSTERIP": r"--total-nodes|--new",  # only the first rule of an address says all of it
    "CT": r"--timeout",  # four bytes of it are printed
    "LED": r"--led-delay -",  # from 2**31 as a negative number
    "MASQUERADE": r"/0\b",  # the base of ports is lost
    "DNPT": r"^(?!.*-pfx.*-pfx)",  # a prefix of nothing is left out, and is required
    "NFQUEUE": r"--queue-num 0",  # of --queue-balance 0:65535 the number of queues is 0
    "RATEEST": r"-j RATEEST",  # times are rounded to what the kernel keeps
    "SNAT": r"/0\b",
    "SNPT": r"^(?!.*-pfx.*-pfx)",
    "ULOG": r"--ulog-cprange",  # of 64 bits 32 are printed
    "cluster": r"--cluster-local-nodemask",  # a single node is printed as a mask beyond what is read
    "connbytes": r"--connbytes 0 ",  # 0:0 is printed as 0, which is open to the top
    "dccp": r"--dccp-types ( |$)",
    "hashlimit": r" 0b/s",
    "rateest": r"-m rateest",  # of two estimators, or without rates, other options are printed
    "recent": r"--(seconds|hitcount) -",  # from 2**31 as a negative number
    "time": r"-m time( |$)",  # the ends of time are left out
}
ANY_TYPE = 255
extensions = pytest.mark.parametrize(
    ("family", "name"),
    [
        (family, name)
        for family in FAMILIES
        for find, names in ((find_match, MATCHES), (find_target, TARGETS))
        for name in names
        if find(name, family) is not None
    ],
)
# The same examples each time; a rule that fails is short enough as it is.
EXAMPLES = int(os.environ.get("IPTKIT_EXAMPLES", "8"))
quick = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 8,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@extensions
@quick
@given(data=st.data())
def test_an_extension_comes_back(family: Family, name: str, data: st.DataObject) -> None:
    made = data.draw(good_rules(family, name))
    outcome = run(made.text(), family)
    if outcome.status or outcome.ended:
        return
    for rule in rules_of(outcome, made):
        for use in uses_of(rule):
            assert not check_codec(use, Case("", family, made.table, made.chain, made.rule, "", "ok"))
        if loses(rule):
            continue
        again = run(printed(rule, made), family)
        assert not again.status, f"its own print is refused: {again.diagnostics[0].message}: {rule.text()}"
        (found,) = rules_of(again, made)
        assert found.identity() == rule.identity(), f"{rule.text()} comes back as {found.text()}"
        assert found.text() == rule.text()


@pytest.mark.parametrize("family", FAMILIES)
@settings(quick, max_examples=EXAMPLES * 8)
@given(data=st.data())
def test_the_canonical_form_is_its_own(family: Family, data: st.DataObject) -> None:
    """Several rules, good and bad, in one file: fmt of fmt is fmt, and what is wrong is told, not raised."""
    made = data.draw(st.lists(any_rules(family), min_size=1, max_size=4))
    chains = ":web - [0:0]\n:dropper - [0:0]\n"
    text = "".join(f"*{each.table}\n{chains}{each.line}\nCOMMIT\n" for each in made)
    outcome = run(text, family)
    assert bool(outcome.status) == bool(outcome.diagnostics) or not outcome.status
    rules = [
        rule for table in outcome.ruleset.tables.values() for c in table.chains.values() for rule in c.rules
    ]
    if outcome.status or outcome.ended or any(map(loses, rules)):
        return
    once = api.canonical(api.parse(text), outcome, counters=True)
    again = run(once, family, counters=True)
    assert not again.status, f"{once}\n{again.diagnostics[0].message}"
    assert api.canonical(api.parse(once), again, counters=True) == once


def run(text: str, family: Family, *, counters: bool = False) -> Outcome:
    return api.interpret(api.parse(text.encode("latin-1")), family, binder=BINDERS[family], counters=counters)


def rules_of(outcome: Outcome, made: Made) -> list[Rule]:
    return outcome.ruleset.tables[made.table].chains[made.chain].rules


def uses_of(rule: Rule) -> Iterator[Extension]:
    for use in (*rule.matches, rule.target):
        if isinstance(use, Extension):
            yield use


def printed(rule: Rule, made: Made) -> str:
    """A file with the rule as it is saved."""
    return made.text().replace(made.line, f"-A {made.chain}{rule.text()}")


def loses(rule: Rule) -> bool:
    """Does iptables-save print the rule so that it cannot be read again, or is read as something else?"""
    conditions = rule.conditions
    if conditions.in_inverted and conditions.in_interface == "+":
        return True
    if conditions.out_inverted and conditions.out_interface == "+":
        return True
    return any(lossy(use) for use in uses_of(rule))


def lossy(use: Extension) -> bool:
    """The same for a match or target."""
    given = [(option.field, value) for option, value in zip(use.options, use.values, strict=True) if value]
    if isinstance(use, Ranged) and any(use.left_out(field, value) for field, value in given):
        return True  # a whole range is left out, and its ! with it
    texts = [each for each in flat(use.values) if isinstance(each, str)]
    if any(re.search(r"^$|[\s\"'\\]", text) for text in texts):
        return True  # printed without quotes, or with nothing in them
    if use.name == "tcp" and dict(given).get("tcp_flags", (1, 0))[0] == 0:
        return True  # flags of which none is looked at are not printed
    if isinstance(use, Sctp) and use.chunk_types and use.chunk_types.flags:
        return True  # nor are flags of chunks that have them not
    if use.name in ("icmp", "icmp6") and use.values[0] is not None:
        kind, low, high = use.values[0]
        if kind == ANY_TYPE or (low != high and (low, high) != (0, 255)):
            return True  # of several codes the first is printed
    flag = "-m" if use.kind == "match" else "-j"
    return bool(re.search(LOSSY.get(use.name, "$^"), f"{flag} {use.text()}"))


def flat(value: object) -> Iterator[object]:
    """What a value is made of."""
    if isinstance(value, tuple):
        for each in value:
            yield from flat(each)
    else:
        yield value
