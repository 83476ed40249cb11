"""Lookup by index gives what the plain walk over all rules gives."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from iptkit import api
from iptkit.evaluator.lookup import Demands, Index
from iptkit.evaluator.machine import Machine
from iptkit.evaluator.wire import build
from iptkit.values.packet import Packet

CLIENTS = ("10.0.1.2", "10.0.1.3", "10.0.1.77")
SERVERS = ("10.0.2.2", "10.0.2.3", "10.0.1.1", "203.0.113.5")
PORTS = (21, 53, 80, 1024, 2000, 5000)

negation = st.sampled_from(("", "", "! "))
addresses = st.sampled_from(
    ("10.0.1.0/24", "10.0.2.0/24", "10.0.1.2/32", "10.0.2.2/32", "0.0.0.0/0", "10.0.0.2/255.0.0.255")
)
conditions = st.one_of(
    st.builds("{}-s {}".format, negation, addresses),
    st.builds("{}-d {}".format, negation, addresses),
    st.builds("{}-i {}".format, negation, st.sampled_from(("in0", "out0", "in+", "+"))),
)
port_ranges = st.sampled_from(("21", "80", "53:80", "1024:", ":1023", "0:65535"))
port_lists = st.lists(st.sampled_from(("21", "53", "80:2000", "5000")), min_size=1, max_size=3).map(",".join)
protocols = st.sampled_from(("tcp", "udp", "tcp", "udp", "sctp"))


@st.composite
def ports(draw: st.DrawFn) -> str:
    proto = draw(protocols)
    words = [f"-p {proto}"]
    sides, lists = st.sampled_from(("sport", "dport")), st.sampled_from(("sports", "dports", "ports"))
    match = st.one_of(
        st.builds(f"-m {proto} {{}}--{{}} {{}}".format, negation, sides, port_ranges),
        st.builds("-m multiport {}--{} {}".format, negation, lists, port_lists),
        st.just("-m comment --comment x"),
        st.just("-m statistic --mode nth --every 2 --packet 0"),
        st.just("-m conntrack --ctstate NEW"),
    )
    words += [draw(match) for _ in range(draw(st.integers(0, 2)))]
    if proto == "tcp" and draw(st.booleans()):
        words.append("-m tcp --tcp-flags SYN SYN")
    return " ".join(words)


others = st.sampled_from(
    (
        "",
        "-p icmp",
        "! -p tcp",
        "-f",
        "! -f",
        "-p icmp -m icmp --icmp-type 8",
        "-m mark --mark 0x1",
        "-m limit --limit 1/hour",
        "-m connmark --mark 0x1",
        "-m ttl --ttl-gt 63",
        "-m tos --tos 0x10/0xff",
        "-m length --length 0:40",
        "-m conntrack --ctstate ESTABLISHED",
        "-m conntrack --ctdir REPLY",
        "-m owner --uid-owner 0",
    )
)
targets = st.sampled_from(
    (
        "-j ACCEPT",
        "-j DROP",
        "-j RETURN",
        "-j u0",
        "-g u1",
        "-j u1",
        "",
        "-j LOG",
        "-j MARK --set-xmark 0x1/0xffffffff",
        "-j CONNMARK --save-mark",
        "-j CONNMARK --restore-mark",
        "-j CONNMARK --set-mark 0x1",
        "-j REJECT",
    )
)
changing = st.sampled_from(
    (
        "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000",
        "-j TOS --set-tos 0x10/0xff",
        "-j TTL --ttl-inc 1",
        "-p tcp -j ECN --ecn-tcp-remove",
    )
)


@st.composite
def rules(draw: st.DrawFn, chain: str) -> str:
    core = sorted(set(draw(st.lists(conditions, max_size=2))), key=lambda words: words.lstrip("! ")[:2])
    kinds = [words.lstrip("! ")[:2] for words in core]
    if len(set(kinds)) < len(kinds):
        core = core[:1]
    asked = draw(st.one_of(ports(), others))
    target = draw(targets)
    if chain == "u1" or (chain == "u0" and "u0" in target):
        target = target.replace("-j u0", "").replace("-g u1", "").replace("-j u1", "")
    return " ".join(word for word in (f"-A {chain}", *core, asked, target) if word)


@st.composite
def rulesets(draw: st.DrawFn) -> str:
    table = draw(st.sampled_from(("filter", "mangle")))
    lines = [f"*{table}", ":FORWARD ACCEPT [0:0]", ":u0 - [0:0]", ":u1 - [0:0]"]
    for chain in ("FORWARD", "FORWARD", "u0", "u1"):
        lines += draw(st.lists(rules(chain), min_size=2, max_size=9))
        if table == "mangle":
            lines = [line.replace("-j REJECT", "-j DROP") for line in lines]
            lines += [f"-A {chain} {words}" for words in draw(st.lists(changing, max_size=3))]
            lines += draw(
                st.lists(rules(chain), max_size=3).map(lambda more: [m for m in more if "REJECT" not in m])
            )
    return "\n".join((*lines, "COMMIT", ""))


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    proto = draw(st.sampled_from(("tcp", "udp", "icmp", "sctp", 99)))
    given = {
        "src": draw(st.sampled_from(CLIENTS)),
        "dst": draw(st.sampled_from(SERVERS)),
        "proto": proto,
        "payload": "x" * 16,
    }
    if proto in ("tcp", "udp", "sctp"):
        given |= {"sport": draw(st.sampled_from(PORTS)), "dport": draw(st.sampled_from(PORTS))}
    odd = draw(st.integers(0, 9))
    if odd == 0:
        given |= {"truncate": draw(st.integers(0, 19))}
    elif odd == 1:
        given |= {"frag_off": 64}
    elif odd == 2 and proto == "tcp":
        given |= {"flags": "A"}
    return build(given, 4)[0]


def _through(text: str, traffic: list[bytes], *, indexed: bool) -> list[object]:
    machine = Machine(api.load(text), indexed=indexed)
    for number, data in enumerate(traffic * 4):
        machine.now = float(number)
        machine.receive(Packet(data), "in0")
    ends = [(why, line.key if line else "") for _, why, line in machine.drops]
    return [machine.snapshot_counters(), ends, [bytes(seen.packet.data) for seen in machine.out]]


@settings(max_examples=60, deadline=None)
@given(rulesets(), st.lists(packets(), min_size=1, max_size=6))
def test_indexed_chains_do_what_plain_ones_do(text: str, traffic: list[bytes]) -> None:
    assert _through(text, traffic, indexed=True) == _through(text, traffic, indexed=False)


spans = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda pair: (min(pair), max(pair)))


@given(
    st.lists(
        st.builds(
            Demands,
            st.none() | st.tuples(st.sampled_from(("a", "ab", "a+", "b+")), st.booleans()),
            st.none(),
            st.none()
            | st.builds(
                lambda a, m, i: (a & m, m, i),
                st.integers(0, 15),
                st.sampled_from((15, 12, 8, 5)),
                st.booleans(),
            ),
            st.none(),
            st.none() | st.tuples(st.integers(1, 3), st.booleans()),
            st.none() | st.tuples(st.lists(spans, min_size=1, max_size=3).map(tuple), st.booleans()),
            st.none(),
        ),
        max_size=12,
    ),
    st.sampled_from(("a", "ab", "b", "c")),
    st.integers(0, 15),
    st.integers(1, 3),
    st.integers(0, 9),
)
def test_candidates_are_the_rules_whose_demands_are_met(
    asked: list[Demands], interface: str, source: int, protocol: int, port: int
) -> None:
    def meets(demand: Demands) -> bool:
        tests: list[bool] = []
        if demand.in_interface is not None:
            name, inverted = demand.in_interface
            tests.append(
                (interface.startswith(name[:-1]) if name[-1] == "+" else interface == name) != inverted
            )
        if demand.source is not None:
            address, mask, inverted = demand.source
            tests.append((source & mask == address) != inverted)
        if demand.protocol is not None:
            tests.append((demand.protocol[0] == protocol) != demand.protocol[1])
        if demand.sports is not None:
            tests.append(any(low <= port <= high for low, high in demand.sports[0]) != demand.sports[1])
        return all(tests)

    found = Index(asked).candidates((interface, "", source, 0, protocol, port, 0))
    assert found == tuple(number for number, demand in enumerate(asked) if meets(demand))
