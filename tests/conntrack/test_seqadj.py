"""Sequence numbers of a connection whose words changed their length."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from iptkit.conntrack import seqadj
from iptkit.conntrack.entry import Entry
from iptkit.extensions.world import SEQ_ADJUST
from iptkit.values.tuples import Tuple

from .packets import tcp

MASK = 0xFFFFFFFF


def entry() -> Entry:
    return Entry(Tuple(4, 1, 40000, 2, 80, 6), Tuple(4, 2, 80, 1, 40000, 6))


def numbers(data: bytearray, at: int) -> tuple[int, int]:
    return int.from_bytes(data[at + 4 : at + 8], "big"), int.from_bytes(data[at + 8 : at + 12], "big")


@given(st.integers(0, MASK), st.integers(-50, 50), st.integers(1, 1000))
def test_there_and_back(start: int, change: int, behind: int) -> None:
    """What is sent behind a change is shifted, and its acknowledgement is shifted back."""
    connection = entry()
    seqadj.shift(connection, 0, start, change)
    assert bool(connection.status & SEQ_ADJUST) == bool(change)
    if not change:
        return
    seq = (start + behind) & MASK
    sent = tcp("A", seq, 7)
    assert seqadj.adjust(sent, connection, 0)
    assert numbers(sent.data, sent.l4) == ((seq + change) & MASK, 7)
    answer = tcp("A", 7, (seq + change) & MASK, back=True)
    assert seqadj.adjust(answer, connection, 1)
    if behind > abs(change):  # an acknowledgement within what changed is between two numbers
        assert numbers(answer.data, answer.l4) == (7, seq)
    same = tcp("A", start, 7)
    assert seqadj.adjust(same, connection, 0)
    assert numbers(same.data, same.l4)[0] == start


def test_a_retransmission_counts_once() -> None:
    connection = entry()
    for _ in range(3):
        seqadj.shift(connection, 0, 1009, 6)
    found = seqadj.shifts(connection)
    assert found is not None
    assert (found.offset(0, 1009), found.offset(0, 1010), found.offset(1, 1010)) == (0, 6, 0)
    seqadj.shift(connection, 0, 1100, -2)
    assert (found.offset(0, 1100), found.offset(0, 1101)) == (6, 4)


def test_selective_acknowledgements() -> None:
    connection = entry()
    seqadj.shift(connection, 0, 1000, 6)
    options = bytes((1, 1, 5, 10)) + (1106).to_bytes(4, "big") + (1206).to_bytes(4, "big")
    answer = tcp("A", 7, 1050, back=True, options=options)
    assert seqadj.adjust(answer, connection, 1)
    assert answer.data[answer.l4 + 24 : answer.l4 + 32] == (1100).to_bytes(4, "big") + (1200).to_bytes(
        4, "big"
    )


def test_broken_options_are_refused() -> None:
    connection = entry()
    seqadj.shift(connection, 0, 1000, 6)
    assert not seqadj.adjust(tcp("A", 7, 1050, back=True, options=b"\x05\x63\0\0"), connection, 1)
