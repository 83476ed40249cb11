"""What lint says of rules no packet matches, held against each packet of a small world.

The world has every packet that the conditions used here can tell from another,
so that an answer about it is an answer about all packets.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iptkit import api
from iptkit.extensions.registry import MATCHES, TARGETS, find_target
from iptkit.lint import flow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from iptkit.values.context import Family

FAMILIES: tuple[Family, ...] = (4, 6)


class Packet(NamedTuple):
    source: int  # in 10.0.0.0/29; 6 is any other address
    interface: str
    protocol: str
    port: int
    state: str
    listed: bool
    mark: int


STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED")
INTERFACES = ("lo", "eth0", "eth1", "eth2", "wlan0")  # eth2 is what else eth+ stands for
PORTS = (21, 22, 79, 80, 81)  # 21 stands for 0 to 21, 79 for 23 to 79, 81 for all above
WORLDS: dict[str, dict[str, Sequence[Any]]] = {
    # What varies in a world; the rest is always the same.
    "addresses": {"source": range(7), "interface": INTERFACES, "protocol": ("tcp", "udp", "icmp")},
    "ports": {"protocol": ("tcp", "udp", "icmp"), "port": PORTS, "state": STATES},
    "marks": {"mark": range(8), "listed": (False, True), "interface": INTERFACES},
}
USUAL = Packet(6, "wlan0", "icmp", 21, "NEW", False, 0)


def packets(world: str) -> list[Packet]:
    varied = WORLDS[world]
    return [
        USUAL._replace(**dict(zip(varied, values, strict=True)))
        for values in itertools.product(*varied.values())
    ]


class Condition(NamedTuple):
    text: str
    meets: Callable[[Packet], bool]


class Line(NamedTuple):
    chain: str
    conditions: tuple[Condition, ...]
    target: str

    def text(self) -> str:
        words = [f"-A {self.chain}", *(condition.text for condition in self.conditions), self.target]
        return " ".join(filter(None, words))

    def matches(self, packet: Packet) -> bool:
        return all(condition.meets(packet) for condition in self.conditions)


def _source(draw: st.DrawFn) -> Condition:
    negated = draw(st.booleans())
    kind = draw(st.sampled_from(("net", "list", "range")))
    if kind == "net":
        bits = draw(st.integers(29, 32))
        size = 1 << 32 - bits
        base = draw(st.integers(0, 5)) // size * size
        held: Sequence[int] = range(base, base + size)
        word = f"-s 10.0.0.{base}/{bits}"
    elif kind == "list":
        two = draw(st.lists(st.integers(0, 5), min_size=2, max_size=2, unique=True))
        held, negated = two, False
        word = "-s " + ",".join(f"10.0.0.{each}" for each in two)
    else:
        low = draw(st.integers(0, 5))
        high = draw(st.integers(low, 5))
        held = range(low, high + 1)
        bang = "! " if negated else ""
        return Condition(
            f"-m iprange {bang}--src-range 10.0.0.{low}-10.0.0.{high}",
            lambda packet: (packet.source in held) != negated,
        )
    # 10.0.0.6 and 10.0.0.7 are in 10.0.0.0/29, and 10.0.0.6/31 cannot be drawn: 6 is outside all of them,
    # but for /29, which is drawn as if it ended before it.
    if kind == "net" and bits == 29:
        word, held = "-s 10.0.0.0/30", range(4)
    return Condition(("! " if negated else "") + word, lambda packet: (packet.source in held) != negated)


def _interface(draw: st.DrawFn) -> Condition:
    negated = draw(st.booleans())
    name = draw(st.sampled_from(("lo", "eth0", "eth1", "eth+", "+")))
    prefix = name.rstrip("+")

    def meets(packet: Packet) -> bool:
        found = packet.interface.startswith(prefix) if name.endswith("+") else packet.interface == name
        return found != negated

    return Condition(f"{'! ' if negated else ''}-i {name}", meets)


def _protocol(draw: st.DrawFn, ports: bool) -> list[Condition]:
    negated = draw(st.booleans())
    name = draw(st.sampled_from(("tcp", "udp")))
    out = [
        Condition(f"{'! ' if negated else ''}-p {name}", lambda packet: (packet.protocol == name) != negated)
    ]
    if ports and not negated and draw(st.booleans()):
        without = draw(st.booleans())
        bang = "! " if without else ""
        kind = draw(st.sampled_from(("one", "range", "list")))
        if kind == "one":
            held = {draw(st.sampled_from((22, 80)))}
            text = f"-m {name} {bang}--dport {min(held)}"
        elif kind == "range":
            first = draw(st.integers(0, 4))
            last = draw(st.integers(first, 4))
            low, high = (0, 22, 23, 80, 81)[first], (21, 22, 79, 80, 65535)[last]
            held = set(PORTS[first : last + 1])
            text = f"-m {name} {bang}--dport {low}:{high}"
        else:
            held = {22, 80}
            text = f"-m multiport {bang}--dports 80,22"
        out.append(Condition(text, lambda packet: (packet.port in held) != without))
    return out


def _state(draw: st.DrawFn) -> Condition:
    negated = draw(st.booleans())
    held = draw(st.lists(st.sampled_from(STATES), min_size=1, max_size=4, unique=True))
    flag = draw(st.sampled_from(("-m conntrack {}--ctstate {}", "-m state {}--state {}")))
    return Condition(
        flag.format("! " if negated else "", ",".join(held)), lambda packet: (packet.state in held) != negated
    )


def _set(draw: st.DrawFn) -> Condition:
    negated = draw(st.booleans())
    return Condition(
        f"-m set {'! ' if negated else ''}--match-set friends src", lambda packet: packet.listed != negated
    )


def _mark(draw: st.DrawFn) -> Condition:
    negated = draw(st.booleans())
    mask = draw(st.sampled_from((0x1, 0x2, 0x3, 0x5, 0x7)))
    value = draw(st.integers(0, 7)) & mask
    return Condition(
        f"-m mark {'! ' if negated else ''}--mark {value:#x}/{mask:#x}",
        lambda packet: (packet.mark & mask == value) != negated,
    )


@st.composite
def rulesets(draw: st.DrawFn) -> tuple[str, str, list[Line]]:
    """A world, a policy, and the rules of INPUT and of two chains that may be called."""
    world = draw(st.sampled_from(sorted(WORLDS)))
    lines = []
    for chain, callees in (("INPUT", ("A", "B")), ("A", ("B",)), ("B", ())):
        for _ in range(draw(st.integers(0, 6))):
            conditions: list[Condition] = []
            for kind in WORLDS[world]:
                if draw(st.integers(0, 2)):
                    continue
                if kind == "source":
                    conditions.append(_source(draw))
                elif kind == "interface":
                    conditions.append(_interface(draw))
                elif kind == "protocol":
                    conditions += _protocol(draw, world == "ports")
                elif kind == "state":
                    conditions.append(_state(draw))
                elif kind == "listed":
                    conditions.append(_set(draw))
                elif kind == "mark":
                    conditions.append(_mark(draw))
            target = draw(
                st.sampled_from(
                    ["-j ACCEPT", "-j DROP", "-j DROP", "-j REJECT", "-j RETURN", "-j LOG", ""]
                    + (["-j CONNMARK --restore-mark"] if world == "marks" and draw(st.booleans()) else [])
                    + [f"{how} {to}" for to in callees for how in ("-j", "-g")]
                )
            )
            lines.append(Line(chain, tuple(conditions), target))
    return world, draw(st.sampled_from(("ACCEPT", "DROP"))), lines


def run(
    lines: list[Line], packet: Packet, without: frozenset[int] = frozenset()
) -> tuple[list[int], int | None]:
    """The rules a packet matches, by index, and which of them decides it."""
    matched: list[int] = []

    def through(chain: str) -> int | None:
        nonlocal packet
        for at, line in enumerate(lines):
            if line.chain != chain or at in without or not line.matches(packet):
                continue
            matched.append(at)
            how, _, to = line.target.partition(" ")
            if to.startswith("CONNMARK"):
                packet = packet._replace(mark=RESTORED)
            if to in ("ACCEPT", "DROP", "REJECT"):
                return at
            if to == "RETURN":
                return None
            if to in ("A", "B"):
                decided = through(to)
                if decided is not None or how == "-g":
                    return decided
        return None

    return matched, through("INPUT")


def text_of(policy: str, lines: list[Line]) -> str:
    head = ["*filter", f":INPUT {policy} [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]"]
    return "\n".join([*head, ":A - [0:0]", ":B - [0:0]", *(line.text() for line in lines), "COMMIT", ""])


RESTORED = 5  # the mark of the connection, as far as these packets go
FIRST = 7  # the line of the first rule
DEAD = ("IPT201", "IPT202", "IPT204", "IPT205", "IPT214")
SHOWS = ("IPT202", "IPT203", "IPT214")


@given(rulesets())
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_said_of_rules_is_true(drawn: tuple[str, str, list[Line]]) -> None:
    world, policy, lines = drawn
    text = text_of(policy, lines)
    found = [each for each in api.lint(api.parse(text)) if each.code in (*DEAD, "IPT203")]
    said = {each.span.line - FIRST: each for each in found}
    assert len(said) == len(found), "a rule gets one of them"
    # A rule that logs, counts or calls a chain may be a duplicate that packets match.
    ends = ("-j ACCEPT", "-j DROP", "-j REJECT", "-j RETURN")
    twice = {at for at, each in said.items() if each.code == "IPT204" and lines[at].target not in ends}
    all_packets = packets(world)
    runs = [run(lines, packet) for packet in all_packets]
    live = {at for matched, _ in runs for at in matched}
    superfluous = set()
    # Another connection may have another mark than RESTORED: then some packets are not in this world.
    restores = any("CONNMARK" in line.target for line in lines)
    for at, each in said.items():
        if at in twice:
            continue
        earlier = bool(each.related) and each.related[0][0].line - FIRST < at
        if each.code != "IPT203" or (
            earlier and lines[each.related[0][0].line - FIRST].chain == lines[at].chain
        ):
            assert at not in live, (text, each)
        else:
            superfluous.add(at)
            assert at in live or restores, (text, each)
        if each.code in SHOWS and at not in superfluous:
            taker = lines[each.related[0][0].line - FIRST]
            taken = [taker.matches(packet) for packet in all_packets if lines[at].matches(packet)]
            assert all(taken), (text, each)
            assert taker.chain == lines[at].chain
            assert (taker.target == lines[at].target) == (each.code == "IPT203"), (text, each)
        if each.code == "IPT205":
            assert not any(lines[at].matches(packet) for packet in all_packets), (text, each)
    # Without what is superfluous, all of it at once, the same becomes of every packet.
    for packet, (matched, by) in zip(all_packets, runs, strict=True):
        now_matched, now_by = run(lines, packet, frozenset(said) - twice)
        assert (by is None) == (now_by is None), (text, packet)
        if by is not None and now_by is not None:
            assert lines[by].target == lines[now_by].target, (text, packet)
        logged = [at for at in matched if lines[at].target == "-j LOG"]
        assert logged == [at for at in now_matched if lines[at].target == "-j LOG"], (text, packet)
    if restores:
        return
    # And nothing was overlooked: of each rule that no packet matches something is said.
    entered = {"INPUT"}
    for matched, _ in runs:
        entered.update(lines[at].target[3:] for at in matched)
    for at, line in enumerate(lines):
        if at not in live and line.chain in entered:
            assert at in said, (text, at + FIRST)


@given(rulesets())
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_policies_that_packets_come_to(drawn: tuple[str, str, list[Line]]) -> None:
    world, _, lines = drawn
    found = api.lint(api.parse(text_of("ACCEPT", lines)), select=["IPT301"])
    comes = any(run(lines, packet)[1] is None for packet in packets(world))
    if comes or not any("CONNMARK" in line.target for line in lines):
        assert bool(found) == comes, text_of("ACCEPT", lines)


def test_what_targets_rewrite_is_all_there_is() -> None:
    """What is rewritten by a target that does not say what it rewrites."""
    declared: set[str] = set()
    for family in FAMILIES:
        for name in TARGETS:
            target = find_target(name, family)
            if target is not None and target.rewrites is not None:
                declared.update(target.rewrites)
    assert declared == {*flow._ANYTHING}
    matches = {name for name in declared if name not in ("state", "ct", "length", "hops", "src", "dst")}
    assert matches <= MATCHES.keys()
