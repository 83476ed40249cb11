"""The table: templates, limits, expiry, clashes, errors, other protocols."""

from __future__ import annotations

import pytest

from iptkit.conntrack import dump, sctp
from iptkit.conntrack.entry import Entry
from iptkit.conntrack.settings import SYSCTLS, Settings
from iptkit.conntrack.tracker import Tracker, invert
from iptkit.extensions.world import ASSURED, SEEN_REPLY, Template
from iptkit.values.packet import CT_NEW, CT_RELATED, CT_RELATED_REPLY, CT_UNTRACKED, ICMP, UDP, Packet
from iptkit.values.tuples import Tuple
from tests.conntrack import packets
from tests.conntrack.packets import chunk, icmp, ip, udp


def send(tracker: Tracker, packet: Packet, now: float = 0.0, template: Template | None = None) -> Packet:
    packet.connection = template
    assert tracker.track(packet, "PREROUTING", now) == "ACCEPT"
    assert tracker.confirm(packet, now) == "ACCEPT"
    return packet


def left(tracker: Tracker, now: float) -> list[int]:
    return [entry.remaining(now) for entry in tracker.entries(now)]


def test_udp_becomes_a_stream_two_seconds_on() -> None:
    tracker = Tracker()
    send(tracker, udp())
    send(tracker, udp(back=True), 1.0)
    send(tracker, udp(), 1.9)
    assert left(tracker, 1.9) == [30]
    packet = send(tracker, udp(), 2.5)
    assert left(tracker, 2.5) == [120]
    assert packet.connection.status & ASSURED


def test_sysctls_have_the_kernels_names_and_are_found_by_any_spelling() -> None:
    settings = Settings()
    assert dict(settings) == {row.name: row.default for row in SYSCTLS}
    settings.set("net.netfilter.nf_conntrack_udp_timeout", 7)
    settings.set("/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream", 70)
    assert settings.udp_timeouts == [7, 70]
    assert settings.get("nf_conntrack_udp_timeout") == 7
    with pytest.raises(KeyError):
        settings.set("net.netfilter.nf_conntrack_colour", 1)


def test_a_timeout_policy_holds_for_its_protocol_alone() -> None:
    settings = Settings()
    settings.add_policy("slow", "udp", {"unreplied": 7})
    tracker = Tracker(settings)
    send(tracker, udp(), template=Template(timeout="slow"))
    send(tracker, icmp(8), template=Template(timeout="slow"))
    assert sorted(left(tracker, 0.0)) == [7, 30]


def test_zones_keep_flows_apart() -> None:
    tracker = Tracker()
    one = send(tracker, udp())
    other = send(tracker, udp(), template=Template(zone=5))
    assert one.connection is not other.connection
    assert send(tracker, udp(), template=Template(zone=5)).connection is other.connection
    tuple_ = other.connection.original
    assert tracker.find(tuple_, 5) is other.connection
    assert tracker.find(tuple_, 6) is None
    marked = udp()
    marked.mark = 5
    assert send(tracker, marked, template=Template(zone_from_mark=True)).connection is other.connection


def test_a_zone_of_one_direction() -> None:
    tracker = Tracker()
    entry = send(tracker, udp(), template=Template(zone=5, zone_dir=1)).connection
    assert entry.zones == (5, 0)
    assert send(tracker, udp(back=True)).connection is entry


def test_one_tuple_in_two_directions_of_two_zones() -> None:
    tracker = Tracker()
    asked = send(tracker, udp(), template=Template(zone=3)).connection
    answered = send(tracker, udp(back=True), template=Template(zone=3, zone_dir=1)).connection
    assert asked is not answered
    assert {entry.zones for entry in tracker.entries(0.0)} == {(3, 3), (3, 0)}
    assert send(tracker, udp(), template=Template(zone=3)).connection is asked
    assert tracker.stats == {}


def test_untracked_packets_are_left_alone() -> None:
    tracker = Tracker()
    packet = udp()
    packet.ctinfo = CT_UNTRACKED
    assert tracker.track(packet, "PREROUTING", 0.0) == "ACCEPT"
    assert packet.connection is None
    assert not list(tracker.entries(0.0))


def test_a_helper_is_taken_from_the_template() -> None:
    packet = send(Tracker(), udp(), template=Template(helper="tftp"))
    assert packet.connection.helper == "tftp"


def test_a_full_table_drops_what_is_new() -> None:
    tracker = Tracker(Settings({"nf_conntrack_max": 2}))
    for port in (1, 2):
        send(tracker, udp(port))
    refused = udp(3)
    assert tracker.track(refused, "PREROUTING", 0.0) == "DROP"
    assert tracker.stats == {"drop": 1}
    send(tracker, udp(1))  # what is known goes on
    assert tracker.delete(lambda entry: entry.original.source == 1, 0.0) == 1
    send(tracker, udp(3))


def test_early_drop_takes_what_is_not_assured() -> None:
    tracker = Tracker(Settings({"nf_conntrack_max": 2, "nf_conntrack_buckets": 2}))
    sure = send(tracker, udp(1)).connection
    sure.status |= ASSURED | SEEN_REPLY
    gone = send(tracker, udp(2)).connection
    send(tracker, udp(3))
    assert {entry.original.source for entry in tracker.entries(0.0)} == {1, 3}
    assert tracker.stats == {"early_drop": 1}
    assert tracker.find(gone.original) is None


def test_chance_is_asked_where_early_drop_may_find_something() -> None:
    tracker = Tracker(Settings({"nf_conntrack_max": 2, "nf_conntrack_buckets": 32}))
    asked: list[tuple[str, tuple[bool, ...]]] = []

    def choose(question: str, outcomes: tuple[bool, ...]) -> bool:
        asked.append((question, outcomes))
        return outcomes[-1]

    tracker.choose = choose
    for port in (1, 2):
        send(tracker, udp(port))
    assert tracker.track(udp(3), "PREROUTING", 0.0) == "DROP"
    assert asked == [("does early drop find an entry that is not ASSURED?", (True, False))]


def test_entries_end_by_themselves() -> None:
    tracker = Tracker()
    ended: list[Entry] = []
    tracker.on_destroy.append(lambda entry, now: ended.append(entry))
    entry = send(tracker, udp()).connection
    assert left(tracker, 29.9) == [0]
    assert left(tracker, 30.0) == []
    tracker.expire(30.0)
    assert ended == [entry]
    assert tracker.count_entries == 0
    assert not tracker.kill(entry, 31.0)


def test_what_is_dropped_leaves_nothing() -> None:
    tracker = Tracker()
    tracker.track(udp(), "PREROUTING", 0.0)
    assert not list(tracker.entries(0.0))
    assert tracker.count_entries == 0


def test_two_packets_that_begin_the_same_flow() -> None:
    tracker = Tracker(Settings({"nf_conntrack_acct": 1}))
    one, two = udp(), udp()
    for packet in (one, two):
        tracker.track(packet, "PREROUTING", 0.0)
    for packet in (one, two):
        assert tracker.confirm(packet, 0.0) == "ACCEPT"
    assert one.connection is two.connection
    assert one.connection.packets == [2, 0]
    assert tracker.stats == {"clash_resolve": 1}


def test_a_taken_place_drops_tcp() -> None:
    tracker = Tracker()
    one, two = packets.tcp("S", 1), packets.tcp("S", 1)
    for packet in (one, two):
        tracker.track(packet, "PREROUTING", 0.0)
    assert tracker.confirm(one, 0.0) == "ACCEPT"
    assert tracker.confirm(two, 0.0) == "DROP"
    assert tracker.stats == {"drop": 1, "insert_failed": 1}


def test_a_packet_to_itself_is_answered_by_itself() -> None:
    tracker = Tracker()
    send(tracker, udp(5, 5, src="127.0.0.1", dst="127.0.0.1"))
    again = send(tracker, udp(5, 5, src="127.0.0.1", dst="127.0.0.1"))
    assert again.connection.status & SEEN_REPLY


def quoted(packet: Packet, kind: int = 3, code: int = 3, *, back: bool = True) -> Packet:
    return icmp(kind, code, bytes(4) + bytes(packet.data[:28]), back=back)


def test_errors_are_related_to_what_they_quote() -> None:
    tracker = Tracker()
    entry = send(tracker, udp()).connection
    error = send(tracker, quoted(udp()))
    assert (error.connection, error.ctinfo) == (entry, CT_RELATED_REPLY)
    assert entry.packets == []
    answer = send(tracker, udp(back=True))
    error = send(tracker, quoted(answer, back=False))
    assert (error.connection, error.ctinfo) == (entry, CT_RELATED)


def test_errors_about_nothing_known_are_invalid() -> None:
    tracker = Tracker()
    assert send(tracker, quoted(udp())).connection is None
    assert tracker.stats == {"icmp_error": 1}
    send(tracker, udp())
    elsewhere = quoted(udp())
    elsewhere.set_destination(0x0A000109)
    assert send(tracker, elsewhere).connection is None
    assert tracker.notes == ["nf_ct_proto_1: outer daddr 10.0.1.9 != inner 10.0.1.2"]


@pytest.mark.parametrize("kind", [9, 10, 19, 40])
def test_other_icmp_types_are_invalid(kind: int) -> None:
    assert send(Tracker(), icmp(kind)).connection is None


def test_neighbour_discovery_is_untracked() -> None:
    packet = ip(58, b"\x87\0\0\0" + bytes(20), "fd00::1", "fd00::2")
    tracker = Tracker(Settings({"nf_conntrack_checksum": 0}))
    assert send(tracker, packet).ctinfo == CT_UNTRACKED


def test_a_wrong_checksum_is_invalid_at_prerouting_alone() -> None:
    wrong = udp()
    wrong.data[-1] ^= 1
    local = wrong.copy()
    tracker = Tracker()
    assert send(tracker, wrong).connection is None
    assert tracker.notes == ["nf_ct_proto_17: bad checksum"]
    tracker.track(local, "OUTPUT", 0.0)
    assert local.ctinfo == CT_NEW


def test_sctp_from_init_to_shutdown() -> None:
    tracker = Tracker()
    init = (0x1111).to_bytes(4, "big") + bytes(12)
    init_ack = (0x2222).to_bytes(4, "big") + bytes(12)
    states = []
    for tag, kind, body, back in (
        (0, sctp.INIT, init, False),
        (0x1111, sctp.INIT_ACK, init_ack, True),
        (0x2222, sctp.COOKIE_ECHO, b"cookie", False),
        (0x1111, sctp.COOKIE_ACK, b"", True),
        (0x2222, sctp.SHUTDOWN, bytes(4), False),
        (0x1111, sctp.SHUTDOWN_ACK, b"", True),
        (0x2222, sctp.SHUTDOWN_COMPLETE, b"", False),
    ):
        packet = send(tracker, packets.sctp(tag, chunk(kind, body), back=back))
        states.append(dump.state_name(packet.connection))
    assert states == [
        "CLOSED",
        "COOKIE_WAIT",
        "COOKIE_ECHOED",
        "ESTABLISHED",
        "SHUTDOWN_SENT",
        "SHUTDOWN_ACK_SENT",
        "CLOSED",
    ]


def test_the_sctp_table_is_whole() -> None:
    for rows in sctp.TABLE:
        assert len(rows) == len(sctp.CHUNKS)
        assert all(len(row) == len(sctp.STATES) for row in rows)


def test_tuples_are_inverted_twice_to_themselves() -> None:
    for tuple_ in (Tuple(4, 1, 2, 3, 4, UDP), Tuple(4, 1, 7, 3, 8 << 8, ICMP)):
        back = invert(tuple_)
        assert back is not None
        assert invert(back) == tuple_
    assert invert(Tuple(4, 1, 7, 3, 3 << 8, ICMP)) is None


def test_entries_of_a_dump_go_on() -> None:
    tracker = Tracker()
    line = (
        "tcp 6 431999 ESTABLISHED src=10.0.1.2 dst=10.0.2.2 sport=40000 dport=80 "
        "src=10.0.2.2 dst=10.0.1.2 sport=80 dport=40000 [ASSURED] mark=3 use=1"
    )
    entry = dump.parse(line, 100.0)
    assert tracker.insert(entry)
    assert not tracker.insert(dump.parse(line, 100.0))
    packet = send(tracker, packets.tcp("A", 77, 99, back=True), 200.0)
    assert packet.connection is entry
    assert entry.remaining(200.0) == 432000
    tracker.flush(200.0)
    assert not list(tracker.entries(200.0))
