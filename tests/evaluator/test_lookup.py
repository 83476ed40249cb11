"""Lookup by index gives what the plain walk over all rules gives."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from iptkit import api
from iptkit.conntrack.dump import proc_line
from iptkit.evaluator.lookup import Demands, Index, members
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

    found = members(Index(asked).admitted((interface, "", source, 0, protocol, port, 0)))
    assert found == tuple(number for number, demand in enumerate(asked) if meets(demand))


whole_rules = st.one_of(
    st.builds(
        "-A {} {} {} {}".format,
        st.sampled_from(("PREROUTING", "FORWARD", "POSTROUTING", "u0")),
        st.sampled_from(("", "-s 10.0.1.0/24", "-d 10.0.2.2/32", "-p tcp", "-p udp", "! -d 10.0.2.2/32")),
        st.one_of(
            others.filter(lambda words: not words.startswith(("-p", "!", "-f", "-m owner"))),
            st.sampled_from(
                (
                    "-m iprange --dst-range 10.0.2.2-10.0.2.9",
                    "-m addrtype --dst-type LOCAL",
                    "-m limit --limit 1/sec --limit-burst 2 -m iprange --src-range 10.0.1.2-10.0.1.2",
                    "-m statistic --mode nth --every 3 --packet 0",
                    "-m conntrack --ctstate DNAT",
                    "-m conntrack --ctstate NEW",
                )
            ),
        ),
        targets.filter(lambda words: not words.endswith(("u0", "u1")) and "REJECT" not in words),
    ),
    st.builds("-A {} {}".format, st.sampled_from(("PREROUTING", "FORWARD", "POSTROUTING", "u0")), changing),
    st.sampled_from(("-A PREROUTING -j u0", "-A FORWARD -p tcp -j u0", "-A POSTROUTING -g u0")),
)
nat_rules = st.sampled_from(
    (
        "-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.2.3:8080",
        "-A PREROUTING -d 10.0.2.2/32 -j DNAT --to-destination 10.0.2.9",
        "-A POSTROUTING -o out0 -j MASQUERADE",
        "-A POSTROUTING -s 10.0.1.2/32 -j SNAT --to-source 10.0.2.77",
        "-A PREROUTING -m mark --mark 0x1 -j ACCEPT",
    )
)
filter_rules = rules("FORWARD").filter(lambda words: "u0" not in words and "u1" not in words)


@st.composite
def whole_rulesets(draw: st.DrawFn) -> str:
    """Every table that a forwarded packet meets."""
    tables = {
        "raw": (
            [":PREROUTING ACCEPT [0:0]"],
            draw(st.lists(st.just("-A PREROUTING -d 10.0.2.3 -j NOTRACK"), max_size=1)),
        ),
        "mangle": (
            [":PREROUTING ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":POSTROUTING ACCEPT [0:0]", ":u0 - [0:0]"],
            [
                line
                for line in draw(st.lists(whole_rules, max_size=12))
                if not ("-A u0" in line and "u0" in line[5:])
            ],
        ),
        "nat": (
            [":PREROUTING ACCEPT [0:0]", ":POSTROUTING ACCEPT [0:0]"],
            draw(st.lists(nat_rules, max_size=3)),
        ),
        "filter": ([":FORWARD ACCEPT [0:0]"], draw(st.lists(filter_rules, max_size=8))),
    }
    return "".join(
        "\n".join((f"*{name}", *chains, *lines, "COMMIT", ""))
        for name, (chains, lines) in tables.items()
        if lines
    )


@settings(max_examples=80, deadline=None)
@given(
    whole_rulesets(),
    st.lists(
        st.tuples(
            st.sampled_from(CLIENTS),
            st.sampled_from(SERVERS),
            st.sampled_from(PORTS),
            st.sampled_from(("tcp", "udp")),
        ),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
def test_what_is_remembered_is_what_the_plain_walk_does(
    text: str, flows: list[tuple[str, str, int, str]], noting: bool
) -> None:
    machines = [Machine(api.load(text), indexed=indexed) for indexed in (True, False)]
    machines[0].noting = noting
    for sport in (4000, 4001, 4002):  # connections of one class share what was learnt
        for client, server, dport, proto in flows:
            _converse(
                machines, {"src": client, "dst": server, "sport": sport, "dport": dport, "proto": proto}
            )
    remembering, plain = machines
    assert remembering.snapshot_counters() == plain.snapshot_counters()
    now = plain.now
    assert [proc_line(entry, now) for entry in remembering.tracker.entries(now)] == [
        proc_line(entry, now) for entry in plain.tracker.entries(now)
    ]


def _converse(machines: list[Machine], there: dict[str, object]) -> None:
    """A client and a server take turns; each answers the packet that came to it."""
    turns = (("S", False), ("SA", True), ("A", False)) + (("PA", False), ("PA", True)) * 4
    ours = theirs = 1000
    ends = [
        there,
        {**there, "src": there["dst"], "dst": there["src"], "sport": there["dport"], "dport": there["sport"]},
    ]
    for flags, back in turns:
        if there["proto"] == "tcp":
            seq, ack = (theirs, ours) if back else (ours, theirs)
            ends[back] |= {"flags": flags, "seq": seq} | ({"ack": ack} if "A" in flags else {})
            moved = int("S" in flags)
            ours, theirs = (ours, theirs + moved) if back else (ours + moved, theirs)
        data = build(ends[back] | {"payload": ""}, 4)[0]
        left = []
        for machine in machines:
            machine.now += 0.25
            packet = Packet(data)
            machine.receive(packet, "out0" if back else "in0")
            left.append((bytes(packet.data), packet.mark, packet.out_interface))
        assert left[0] == left[1]
        if machines[0].noting:
            notes = [
                (
                    [(why, line.key if line else "") for _, why, line in machine.drops],
                    [bytes(seen.packet.data) for seen in machine.out],
                    [bytes(seen.packet.data) for seen in machine.egress],
                )
                for machine in machines
            ]
            assert notes[0] == notes[1]
        arrived = next((seen.packet for seen in machines[1].out if seen.packet is packet), None)
        for machine in machines:
            machine.forget_notes()
        if arrived is None:
            return
        ends[not back] |= {
            "src": str(ip_address(arrived.dst)),
            "dst": str(ip_address(arrived.src)),
            "sport": arrived.dport,
            "dport": arrived.sport,
        }


def test_what_is_delivered_is_not_forwarded_the_next_time() -> None:
    machine = Machine(api.load("*filter\nCOMMIT\n"))
    machine.tracing = False
    data = build({"src": "10.0.1.2", "dst": "10.0.1.1", "proto": 99, "payload": "x"}, 4)[0]
    for _ in range(5):
        machine.receive(Packet(data), "in0")
    assert len(machine.local) == 5
    assert not machine.out


def test_connections_of_which_some_packets_get_through() -> None:
    """An established connection that a later rule drops, and one whose hop limit runs out."""
    text = "*filter\n:FORWARD ACCEPT\n-A FORWARD -m length --length 100: -j DROP\nCOMMIT\n"
    machine = Machine(api.load(text, counters=False))
    fields = {"src": "10.0.1.2", "dst": "10.0.2.2", "proto": "udp", "sport": 4000, "dport": 53}
    back = {"src": "10.0.2.2", "dst": "10.0.1.2", "proto": "udp", "sport": 53, "dport": 4000}
    for payload, ttl in ((1, 64), (1, 64), (1, 64), (200, 64), (200, 64), (1, 1), (200, 64), (1, 64)):
        machine.receive(Packet(build(fields | {"payload": "q" * payload, "ttl": ttl}, 4)[0]), "in0")
        machine.receive(Packet(build(back, 4)[0]), "out0")
    forwarded = [seen for seen in machine.out if seen.packet.in_interface == "in0"]
    assert len(forwarded) == 4
    assert [why or (line.key if line else "") for _, why, line in machine.drops if why or line] == [
        "filter:FORWARD:1",
        "filter:FORWARD:1",
        "TTL exceeded",
        "filter:FORWARD:1",
    ]
