"""Entries made fast are those made plainly, rule by rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.mixed import lines
from iptkit.kernel.entries import Encoder
from iptkit.ruleset.binding import Binder
from iptkit.ruleset.interpret import interpret
from iptkit.syntax.parser import Parser
from iptkit.text.source import Source
from iptkit.values.context import Family

FAMILIES: tuple[Family, ...] = (4, 6)
RULESETS = sorted((Path(__file__).parents[2] / "fixtures" / "rulesets").glob("*.save"))
OCTET = st.sampled_from(["0", "1", "9", "10", "127", "255"])
ADDRESS = st.tuples(OCTET, OCTET, OCTET, OCTET).map(".".join)
NETWORK = st.tuples(
    ADDRESS, st.sampled_from(["/32", "/24", "/16", "/8", "/0", "", "/25", "/255.255.0.0"])
).map("".join)
PORT = st.integers(0, 65535).map(str)
PORTS = st.one_of(
    PORT, st.lists(st.integers(0, 65535), min_size=2, max_size=2).map(lambda p: f"{min(p)}:{max(p)}")
)
MARK = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)).map(lambda p: f"{p[0]:#x}/{p[1]:#x}")
RULES = st.one_of(
    NETWORK.map("-s {}".format),
    st.lists(NETWORK, min_size=1, max_size=2).map(",".join).map("-s {}".format),
    NETWORK.map("-d 1.2.3.4/32 ! -s {}".format),
    NETWORK.map('-i eth0 -d "{}"'.format),
    PORTS.map("-p tcp -m tcp --dport {}".format),
    PORTS.map("-p tcp -m tcp ! --sport {}".format),
    PORTS.map("-p udp -m udp --sport {}".format),
    st.lists(PORTS, min_size=1, max_size=4).map(",".join).map("-p udp -m multiport --dports {}".format),
    st.lists(PORT, min_size=1, max_size=15).map(",".join).map("-p tcp -m multiport ! --ports {}".format),
    MARK.map("-m mark --mark {}".format),
    MARK.map("-m connmark ! --mark {}".format),
    MARK.map("-j MARK --set-xmark {}".format),
    MARK.map("-j CONNMARK --set-xmark {}".format),
    st.tuples(ADDRESS, ADDRESS).map("-".join).map("-m iprange --src-range {}".format),
    st.tuples(ADDRESS, OCTET).map(
        lambda p: f"-m iprange ! --dst-range {p[0]}-{p[0].rpartition('.')[0]}.{p[1]}"
    ),
    PORTS.map("-m length --length {}".format),
    st.tuples(ADDRESS, PORT).map(":".join).map("-p tcp -j DNAT --to-destination {}".format),
    ADDRESS.map("-j DNAT --random --to-destination {}".format),
)


def check(text: bytes, family: Family) -> int:
    outcome = interpret(Parser().parse(Source.of(text)), Binder(family), counters=True)
    rules = [r for t in outcome.ruleset.tables.values() for c in t.chains.values() for r in c.rules]
    encoder, gap = Encoder(family), b"counters"
    fast = [(b"".join(front), *rest) for _, front, *rest in Encoder(family).pieces(iter(rules), gap)]
    plain = [(b"".join(front), *rest) for _, front, *rest in (encoder._piece(rule, gap) for rule in rules)]
    assert fast == plain
    return len(rules)


@settings(max_examples=200, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=8))
def test_any_rules(rules: list[str]) -> None:
    table = "nat\n-N FORWARD" if "DNAT" in "".join(rules) else "mangle"
    text = f"*{table}\n" + "".join(f"-A FORWARD {rule}\n" for rule in rules) + "COMMIT\n"
    check(text.encode(), 4)


@pytest.mark.parametrize("path", RULESETS, ids=lambda path: path.stem)
def test_rulesets(path: Path) -> None:
    for family in FAMILIES:
        check(path.read_bytes(), family)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_mixed_ruleset(seed: int) -> None:
    text = "".join(line + "\n" for line in lines(1500, seed))
    assert check(text.encode(), 4) > 1000
