"""TCP's table and windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iptkit.conntrack import tcp as protocol
from iptkit.conntrack.settings import Settings
from iptkit.conntrack.tracker import Tracker
from tests.conntrack.packets import tcp

if TYPE_CHECKING:
    from iptkit.values.packet import Packet

NUMBERS = st.integers(0, 2**32 - 1)
NAMES = ("ESTABLISHED", "RELATED", "NEW")


def run(tracker: Tracker, packets: list[Packet], now: float = 100.0) -> list[str]:
    """Each packet's state, and the connection's own after it."""
    seen = []
    for packet in packets:
        tracker.track(packet, "PREROUTING", now)
        tracker.confirm(packet, now)
        entry = next(tracker.entries(now), None)
        name = "INVALID" if packet.connection is None else NAMES[packet.ctinfo % 3]
        state = "" if entry is None else protocol.STATES[entry.state[protocol.STATE]]
        left = "" if entry is None else str(entry.remaining(now))
        seen.append(f"{name} {state} {left}".strip())
    return seen


def handshake(client: int = 1000, server: int = 5000) -> list[Packet]:
    return [
        tcp("S", client),
        tcp("SA", server, client + 1, back=True),
        tcp("A", client + 1, server + 1),
    ]


def test_the_table_has_a_cell_for_every_packet_in_every_state() -> None:
    assert len(protocol.TABLE) == 2
    for rows in protocol.TABLE:
        assert len(rows) == len(protocol.FLAG_SETS)
        assert all(len(row) == len(protocol.STATES) for row in rows)
        assert all(cell <= protocol.IGNORE for row in rows for cell in row)


def test_a_whole_life() -> None:
    tracker = Tracker()
    assert run(
        tracker,
        [
            *handshake(),
            tcp("PA", 1001, 5001, payload=b"GET /"),
            tcp("A", 5001, 1006, back=True),
            tcp("FA", 1006, 5001),
            tcp("A", 5001, 1007, back=True),
            tcp("FA", 5001, 1007, back=True),
            tcp("A", 1007, 5002),
            tcp("S", 90000),
        ],
    ) == [
        "NEW SYN_SENT 120",
        "ESTABLISHED SYN_RECV 60",
        "ESTABLISHED ESTABLISHED 432000",
        "ESTABLISHED ESTABLISHED 300",
        "ESTABLISHED ESTABLISHED 432000",
        "ESTABLISHED FIN_WAIT 120",
        "ESTABLISHED CLOSE_WAIT 60",
        "ESTABLISHED LAST_ACK 30",
        "ESTABLISHED TIME_WAIT 120",
        "NEW SYN_SENT 120",
    ]


def test_a_simultaneous_open() -> None:
    assert run(
        Tracker(),
        [
            tcp("S", 1000),
            tcp("S", 5000, back=True),
            tcp("SA", 1000, 5001),
            tcp("SA", 5000, 1001, back=True),
            tcp("A", 1001, 5001),
        ],
    ) == [
        "NEW SYN_SENT 120",
        "ESTABLISHED SYN_SENT2 120",
        "ESTABLISHED SYN_RECV 60",
        "ESTABLISHED SYN_RECV 60",
        "ESTABLISHED ESTABLISHED 432000",
    ]


@pytest.mark.parametrize("flags", ["", "F", "FPU", "SF", "SR", "SRA", "P", "U", "FR", "FRA", "FSRPAU"])
def test_senseless_flags_are_invalid(flags: str) -> None:
    tracker = Tracker()
    assert run(tracker, [tcp(flags, 1)]) == ["INVALID"]
    assert tracker.notes == ["nf_ct_proto_6: invalid tcp flag combination"]


def test_a_connection_is_picked_up_in_the_middle_unless_loose_is_off() -> None:
    assert run(Tracker(), [tcp("A", 7, 9)]) == ["NEW ESTABLISHED 300"]
    assert run(Tracker(Settings({"nf_conntrack_tcp_loose": 0})), [tcp("A", 7, 9)]) == ["INVALID"]


def test_a_reset_as_the_only_answer_removes_the_entry() -> None:
    assert run(Tracker(), [tcp("S", 1000), tcp("RA", 0, 1001, back=True)]) == [
        "NEW SYN_SENT 120",
        "ESTABLISHED",
    ]


def test_an_old_reset_is_invalid_unless_it_is_to_be_ignored() -> None:
    flow = [*handshake(), tcp("A", 5001, 1001, back=True), tcp("R", 900)]
    assert run(Tracker(), flow)[-1] == "INVALID ESTABLISHED 432000"
    flow = [*handshake(), tcp("A", 5001, 1001, back=True), tcp("R", 900)]
    settings = Settings({"nf_conntrack_tcp_ignore_invalid_rst": 1})
    assert run(Tracker(settings), flow)[-1] == "ESTABLISHED ESTABLISHED 10"


def test_a_zero_window_and_repeated_acks_shorten_the_timeout() -> None:
    assert run(Tracker(), [*handshake(), tcp("A", 5001, 1001, back=True, window=0)])[-1].endswith(" 300")
    again = [tcp("A", 5001, 1001, back=True) for _ in range(4)]
    assert [line.split()[-1] for line in run(Tracker(), [*handshake(), *again])[3:]] == [
        "432000",
        "432000",
        "432000",
        "300",
    ]


def test_both_sides_must_offer_window_scaling() -> None:
    scale = b"\x03\x03\x07\x00"
    tracker = Tracker()
    run(tracker, [tcp("S", 1, options=scale), tcp("SA", 9, 2, back=True, options=scale)])
    entry = next(tracker.entries(100.0))
    assert [entry.state[side + protocol.SCALE] for side in protocol.SEEN] == [7, 7]
    tracker = Tracker()
    run(tracker, [tcp("S", 1, options=scale), tcp("SA", 9, 2, back=True)])
    entry = next(tracker.entries(100.0))
    assert [entry.state[side + protocol.SCALE] for side in protocol.SEEN] == [0, 0]


@given(NUMBERS, st.integers(1, 2**31 - 1))
def test_sequence_numbers_are_compared_modulo_2_to_the_32(first: int, distance: int) -> None:
    second = (first + distance) % 2**32
    assert protocol.before(first, second)
    assert not protocol.before(second, first)
    assert protocol.after(second, first)
    assert not protocol.before(first, first)
    assert not protocol.after(first, first)


SEGMENTS = st.lists(
    st.tuples(
        st.sampled_from(["S", "SA", "A", "PA", "FA", "R", "RA"]),
        st.integers(-70000, 70000),
        st.integers(-70000, 70000),
        st.booleans(),
        st.sampled_from([0, 1, 1000, 65535]),
        st.integers(0, 3),
    ),
    max_size=12,
)


@given(SEGMENTS, NUMBERS, NUMBERS)
def test_where_sequence_numbers_begin_makes_no_difference(
    segments: list[tuple[str, int, int, bool, int, int]], client: int, server: int
) -> None:
    def flow(client: int, server: int) -> list[str]:
        packets = [*handshake(client, server)]
        for flags, seq, ack, back, window, length in segments:
            own, other = (server, client) if back else (client, server)
            packets.append(
                tcp(
                    flags,
                    own + 1 + seq,
                    other + 1 + ack if "A" in flags else 0,
                    back=back,
                    window=window,
                    payload=bytes(length),
                )
            )
        seen = run(Tracker(), packets)
        # A connection that begins again in the midst is judged against a peer whose end is
        # still 0, and then numbers do matter: see the test after this one.
        return seen[: next((at for at in range(1, len(seen)) if seen[at].startswith("NEW")), None)]

    # 0 has a meaning of its own: RST with sequence number 0, ACK of 0.  Keep away from it.
    def away(start: int) -> int:
        return start if 200000 < start < 2**32 - 200000 else 2**31

    def crossing(start: int) -> int:
        return start if 200000 < start < 2**31 else 2**31 - 100  # where signed numbers wrap

    assert flow(away(client), away(server)) == flow(crossing(client), crossing(server))


@pytest.mark.parametrize(
    ("ack", "state"),
    [(1, "INVALID"), (2**31 - 100, "INVALID"), (2**31 + 1, "NEW"), (2**32 - 5, "NEW")],
)
def test_an_acknowledgement_of_a_silent_peer_is_measured_from_0(ack: int, state: str) -> None:
    """As Linux 6.18 does: td_end of a side that never spoke is 0, like any other number."""
    seen = run(Tracker(), [tcp("S", 1000), tcp("RA", 1001, ack)])
    assert seen[1].startswith(state)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1400), st.booleans()), max_size=30), NUMBERS, NUMBERS)
def test_a_well_behaved_connection_is_never_invalid(
    turns: list[tuple[bool, int, bool]], client: int, server: int
) -> None:
    packets = [*handshake(client, server)]
    sent = [client + 1, server + 1]
    for back, length, acknowledged in turns:
        packets.append(tcp("PA", sent[back], sent[not back], back=back, payload=bytes(length)))
        sent[back] += length
        if acknowledged:
            packets.append(tcp("A", sent[not back], sent[back], back=not back))
        else:
            packets.append(tcp("PA", sent[not back], sent[back], back=not back, payload=b"x"))
            sent[not back] += 1
    tracker = Tracker()
    assert all(line.startswith(("NEW", "ESTABLISHED")) for line in run(tracker, packets))
    assert tracker.notes == []
