"""Where NAT moves connections, and how their packets are translated."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from iptkit.conntrack.entry import Entry
from iptkit.conntrack.nat import Nat, source_ports
from iptkit.conntrack.settings import Settings
from iptkit.conntrack.tracker import Tracker
from iptkit.extensions.world import ACCEPT, DROP, DST_NAT, SRC_NAT, SRC_NAT_DONE, NatRange
from iptkit.values.packet import Packet

from .packets import CLIENT, SERVER, icmp, tcp, udp

OUTSIDE = int(ip_address("198.51.100.200"))
ANY = NatRange()


def number(text: str) -> int:
    return int(ip_address(text))


class Machine:
    """A router with nat rules that are ranges: what of PREROUTING and of POSTROUTING."""

    def __init__(self, dnat: NatRange | None = None, snat: NatRange | None = None) -> None:
        self.tracker = Tracker(Settings({"nf_conntrack_acct": 1}))
        self.nat = Nat(self.tracker)
        self.ranges = {"DNAT": dnat, "SNAT": snat}
        self.now = 100.0
        self.walked: list[str] = []

    def _walk(self, kind: str, packet: Packet) -> str:
        self.walked.append(kind)
        range_ = self.ranges[kind]
        return ACCEPT if range_ is None else self.nat.target(packet, range_, kind, self.now)

    def forward(self, packet: Packet) -> str:
        """A packet goes through: PREROUTING, POSTROUTING, confirmation."""
        self.now += 0.001
        if self.tracker.track(packet, "PREROUTING", self.now) != ACCEPT:
            return DROP
        for kind, hook in (("DNAT", "PREROUTING"), ("SNAT", "POSTROUTING")):
            verdict = self.nat.inet(packet, kind, hook, self.now, partial(self._walk, kind))
            if verdict != ACCEPT:
                return verdict
        if self.nat.help(packet, self.now) != ACCEPT:
            return DROP
        return self.tracker.confirm(packet, self.now)


def ends(packet: Packet) -> tuple[int, int, int, int]:
    return packet.src, packet.sport, packet.dst, packet.dport


def entry_of(packet: Packet) -> Entry:
    entry: Entry = packet.connection
    return entry


def test_source_and_back() -> None:
    machine = Machine(snat=NatRange((OUTSIDE, OUTSIDE)))
    there, back = udp(), udp(dst="198.51.100.200")
    before = bytes(there.data)
    assert machine.forward(there) == ACCEPT
    assert ends(there) == (OUTSIDE, 1024, number(SERVER), 53)
    back = udp(53, 1024, b"answer", src=SERVER, dst="198.51.100.200")
    assert machine.forward(back) == ACCEPT
    assert ends(back) == (number(SERVER), 53, number(CLIENT), 1024)
    assert bytes(back.data) == bytes(udp(53, 1024, b"answer", src=SERVER, dst=CLIENT).data)
    assert before == bytes(udp().data)
    assert machine.walked == ["DNAT", "SNAT"]  # only the first packet walks the chains


def test_nothing_wanted_nothing_changed() -> None:
    machine = Machine()
    packet = udp()
    assert machine.forward(packet) == ACCEPT
    assert bytes(packet.data) == bytes(udp().data)
    assert not entry_of(packet).status & (SRC_NAT | DST_NAT)
    assert entry_of(packet).status & SRC_NAT_DONE


def test_a_clash_takes_another_port_of_the_class() -> None:
    for port in (100, 700, 5000):
        machine = Machine(snat=NatRange((OUTSIDE, OUTSIDE)))
        low, high = source_ports(port)
        assert machine.forward(udp(port)) == ACCEPT
        second = udp(port, src="10.0.1.3")
        assert machine.forward(second) == ACCEPT
        assert low <= second.sport <= high
        assert second.sport != port


def test_a_flow_without_rules_gives_way_too() -> None:
    machine = Machine(snat=NatRange((number(CLIENT) + 1, number(CLIENT) + 1)))
    assert machine.forward(udp()) == ACCEPT
    machine.ranges["SNAT"] = None
    second = udp(src="10.0.1.3")
    assert machine.forward(second) == ACCEPT
    assert second.src == number("10.0.1.3")
    assert second.sport != 1024


def test_a_single_port_is_exhausted() -> None:
    machine = Machine(snat=NatRange((OUTSIDE, OUTSIDE), (6000, 6000)))
    assert machine.forward(udp(1024)) == ACCEPT
    assert machine.forward(udp(1025)) == DROP
    assert machine.tracker.stats["insert_failed"] == 1
    assert machine.forward(udp(1025, 54)) == ACCEPT  # towards another port it is free


def test_destination_ports_are_taken_from_the_first() -> None:
    target = number(SERVER)
    machine = Machine(dnat=NatRange((target, target), (6000, 6001)))
    seen = []
    for last in (2, 3):
        packet = udp(dst=f"10.0.2.{last}")
        assert machine.forward(packet) == ACCEPT
        seen.append((packet.dst, packet.dport, packet.sport))
    assert seen == [(target, 6000, 1024), (target, 6001, 1024)]
    third = udp(dst="10.0.2.4")
    assert machine.forward(third) == ACCEPT
    assert third.dport == 6001
    assert third.sport != 1024  # the null binding at POSTROUTING finds room


def test_ports_are_shifted() -> None:
    target = number(SERVER)
    machine = Machine(dnat=NatRange((target, target), (3000, 3010), base_port=2000))
    for port in (2000, 2005, 2010):
        packet = udp(1024, port)
        assert machine.forward(packet) == ACCEPT
        assert packet.dport == port + 1000


@pytest.mark.parametrize(
    ("persistent", "chosen"),
    [(False, {2: 10, 3: 12, 4: 11, 5: 13, 6: 12}), (True, None)],
)
def test_addresses_of_a_range(persistent: bool, chosen: dict[int, int] | None) -> None:
    """Without --persistent as a 6.18 kernel chose for 10.0.2.2; with it whatever the destination."""
    range_ = NatRange((number("10.0.2.10"), number("10.0.2.13")), persistent=persistent)
    machine = Machine(snat=range_)
    for host in range(2, 7):
        taken = set()
        for last in (2, 3, 4) if persistent else (2,):
            packet = udp(2000 + host, src=f"10.0.1.{host}", dst=f"10.0.2.{last}")
            assert machine.forward(packet) == ACCEPT
            taken.add(packet.src & 0xFF)
        assert len(taken) == 1
        assert chosen is None or taken == {chosen[host]}


def test_the_same_source_is_moved_alike() -> None:
    machine = Machine(snat=NatRange((number("10.0.2.10"), number("10.0.2.13"))))
    seen = set()
    for last in range(2, 12):
        packet = udp(dst=f"10.0.2.{last}")
        assert machine.forward(packet) == ACCEPT
        seen.add((packet.src, packet.sport))
    assert len(seen) == 1


def test_chance_is_asked() -> None:
    machine = Machine(snat=NatRange((OUTSIDE, OUTSIDE), random=True))
    asked: list[Any] = []

    def choose(question: str, options: range | tuple[Any, ...]) -> Any:
        asked.append(set(options))
        return 31337

    machine.nat.choose = choose
    packet = udp(2000)
    assert machine.forward(packet) == ACCEPT
    assert packet.sport == 31337
    assert asked == [set(range(1024, 65536))]


def test_a_connection_that_ended_makes_room() -> None:
    """An entry in TIME_WAIT gives up its port to a SYN whose sequence number is higher."""
    machine = Machine(snat=NatRange((OUTSIDE, OUTSIDE), (6000, 6000)))

    def back(flags: str, seq: int, ack: int) -> Packet:
        segment = tcp(flags, seq, ack, back=True, dport=80)
        segment.set_destination(OUTSIDE)
        segment.set_destination_port(6000)
        return segment

    for packet in (
        tcp("S", 1000),
        back("SA", 5000, 1001),
        tcp("A", 1001, 5001),
        tcp("FA", 1001, 5001),
        back("FA", 5001, 1002),
        tcp("A", 1002, 5002),
    ):
        assert machine.forward(packet) == ACCEPT
    assert machine.forward(tcp("S", 900, sport=40001)) == DROP
    assert machine.forward(tcp("S", 2000, sport=40001)) == ACCEPT
    assert [entry.original.source for entry in machine.tracker.entries(machine.now)] == [40001]


def test_errors_are_translated_inside_and_outside() -> None:
    machine = Machine(snat=NatRange((OUTSIDE, OUTSIDE)))
    there = udp()
    assert machine.forward(there) == ACCEPT
    error = icmp(3, 3, bytes(4) + bytes(there.data[:28]), back=True)
    error.set_destination(OUTSIDE)
    assert machine.forward(error) == ACCEPT
    assert (error.src, error.dst) == (number(SERVER), number(CLIENT))
    quoted = Packet(error.data[error.l4 + 8 :] + bytes(5))
    assert ends(quoted) == (number(CLIENT), 1024, number(SERVER), 53)


def test_a_redirect_of_a_moved_flow_is_dropped() -> None:
    machine = Machine(snat=NatRange((OUTSIDE, OUTSIDE)))
    there = udp()
    assert machine.forward(there) == ACCEPT
    error = icmp(5, 1, bytes(4) + bytes(there.data[:28]), back=True)
    error.set_destination(OUTSIDE)
    assert machine.forward(error) == DROP


def test_masquerading_ends_where_the_interface_changes() -> None:
    machine = Machine(snat=NatRange((OUTSIDE, OUTSIDE), masquerade=True))
    first, second, third = udp(), udp(), udp()
    first.out_interface, second.out_interface, third.out_interface = "ppp0", "ppp0", "ppp1"
    assert machine.forward(first) == ACCEPT
    assert machine.forward(second) == ACCEPT
    assert machine.forward(third) == DROP
    assert machine.tracker.count_entries == 0


def test_untracked_packets_are_left_alone() -> None:
    machine = Machine(snat=NatRange((OUTSIDE, OUTSIDE)))
    packet = udp()
    assert machine.nat.inet(packet, "SNAT", "POSTROUTING", 1.0, lambda _: DROP) == ACCEPT
    assert bytes(packet.data) == bytes(udp().data)


@given(st.integers(0, 65535))
def test_port_classes(port: int) -> None:
    low, high = source_ports(port)
    assert (low, high) in {(1, 511), (600, 1023), (1024, 65535)}
    assert low <= port <= high or port == 0 or 512 <= port < 600


RANGES = st.builds(
    NatRange,
    st.one_of(st.none(), st.tuples(st.integers(OUTSIDE, OUTSIDE + 3), st.integers(OUTSIDE + 3, OUTSIDE + 9))),
    st.one_of(st.none(), st.tuples(st.integers(3000, 3003), st.integers(3003, 3010))),
)


@given(st.lists(st.tuples(st.integers(2, 4), st.integers(1024, 1026), RANGES), max_size=12))
def test_no_two_connections_share_an_answer(flows: list[tuple[int, int, NatRange]]) -> None:
    """Whatever is asked: what gets through is told apart, and answers find their way back."""
    machine = Machine()
    known: dict[tuple[int, int, int, int], tuple[int, int]] = {}
    for host, port, range_ in flows:
        machine.ranges["SNAT"] = range_
        packet = udp(port, src=f"10.0.1.{host}")
        came = packet.src, packet.sport
        if machine.forward(packet) != ACCEPT:
            continue
        assert known.setdefault(ends(packet), came) == came
        if range_.addresses is not None and entry_of(packet).packets[0] == 1:
            assert range_.addresses[0] <= packet.src <= range_.addresses[1]
    for (src, sport, dst, dport), came in known.items():
        answer = udp(dport, sport, src=str(ip_address(dst)), dst=str(ip_address(src)))
        assert machine.forward(answer) == ACCEPT
        assert (answer.dst, answer.dport) == came
