"""Expectations: which packet fits, how many there may be, and how they are shown."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from iptkit.conntrack.entry import Entry
from iptkit.conntrack.expect import (
    ADDED,
    ALREADY,
    BUSY,
    FULL,
    INACTIVE,
    PERMANENT,
    Expectation,
    Expectations,
    Policy,
)
from iptkit.extensions.world import CONFIRMED, DYING
from iptkit.values.tuples import Tuple

CLIENT, SERVER = 0x0A000102, 0x0A000202
ONE = Policy(1, 300)
TUPLE = Tuple(4, SERVER, 0, CLIENT, 1025, 6)


def master(helper: str = "ftp") -> Entry:
    entry = Entry(Tuple(4, CLIENT, 40000, SERVER, 21, 6), Tuple(4, SERVER, 21, CLIENT, 40000, 6))
    entry.status = CONFIRMED
    entry.deadline = 1e9
    entry.helper = helper
    return entry


def test_once() -> None:
    known = Expectations()
    assert known.add(Expectation(master(), TUPLE, ONE), 0.0) == ADDED
    assert known.lines(0.5) == ["299 l3proto = 2 proto=6 src=10.0.2.2 dst=10.0.1.2 sport=0 dport=1025 ftp"]
    assert known.claim(TUPLE._replace(source=20, src=SERVER + 1), 0, 1.0) is None
    assert known.claim(TUPLE._replace(source=20), 0, 1.0) is not None
    assert known.claim(TUPLE._replace(source=20), 0, 1.0) is None
    assert known.stats == {"expect_create": 1, "expect_delete": 1}


def test_permanent_and_inactive() -> None:
    known = Expectations()
    kept = Expectation(master("sip"), TUPLE, Policy(1, 180, "signalling"), flags=PERMANENT | INACTIVE)
    known.add(kept, 0.0)
    assert known.claim(TUPLE, 0, 1.0) is None
    assert known.lines(0.0)[0].endswith("dport=1025 PERMANENT,INACTIVE sip/signalling")
    kept.flags = PERMANENT
    assert known.claim(TUPLE, 0, 1.0) is known.claim(TUPLE, 0, 1.0) is kept


def test_it_is_given_up() -> None:
    known = Expectations()
    known.add(Expectation(master(), TUPLE, ONE), 0.0)
    assert known.claim(TUPLE, 0, 300.0) is None
    assert known.count == 0


def test_the_oldest_makes_room() -> None:
    known, entry = Expectations(), master()
    for port in (1, 2, 3):
        assert known.add(Expectation(entry, TUPLE._replace(destination=port), Policy(2, 300)), 0.0) == ADDED
    assert sorted(each.tuple_.destination for each in known.of(entry)) == [2, 3]
    assert Expectations(maximum=0).add(Expectation(entry, TUPLE, ONE), 0.0) == FULL


def test_clashes() -> None:
    known, entry, other = Expectations(), master(), master()
    known.add(Expectation(entry, TUPLE, Policy(2, 300)), 0.0)
    anybody = Expectation(other, TUPLE, Policy(2, 300), source_mask=0)
    assert known.add(anybody, 0.0) == BUSY
    assert known.add(Expectation(other, TUPLE, Policy(2, 300)), 0.0) == BUSY
    assert known.add(Expectation(other, TUPLE, Policy(2, 300)), 0.0, any_master=True) == ALREADY
    assert known.add(Expectation(entry, TUPLE, Policy(2, 300)), 5.0) == ADDED  # renewed
    assert [each.deadline for each in known] == [305.0]


def test_zones_do_not_meet() -> None:
    known, entry = Expectations(), master()
    entry.zones = (3, 3)
    known.add(Expectation(entry, TUPLE, ONE), 0.0)
    assert known.claim(TUPLE, 0, 1.0) is None
    assert known.claim(TUPLE, 3, 1.0) is not None


def test_what_a_dropped_packet_announced() -> None:
    known, entry = Expectations(), master()
    entry.status = 0
    known.add(Expectation(entry, TUPLE, ONE), 0.0)
    assert known.claim(TUPLE, 0, 1.0) is None
    assert known.lines(1.0) == []
    gone = master()
    known.add(Expectation(gone, TUPLE, ONE), 1.0)
    gone.status |= DYING
    assert known.claim(TUPLE, 0, 2.0) is None


def test_other_protocols_are_shown_their_way() -> None:
    calls = Expectation(master("pptp"), Tuple(4, CLIENT, 0x11, SERVER, 0x22, 47), ONE)
    assert calls.line(0.0) == "0 l3proto = 2 proto=47 src=10.0.1.2 dst=10.0.2.2 srckey=0x11 dstkey=0x22 pptp"
    six = Expectation(master(), Tuple(6, 1, 0, 0xFD00 << 112 | 2, 5, 17), ONE)
    assert six.line(0.0) == (
        "0 l3proto = 10 proto=17 src=0000:0000:0000:0000:0000:0000:0000:0001 "
        "dst=fd00:0000:0000:0000:0000:0000:0000:0002 sport=0 dport=5 ftp"
    )


SMALL = st.builds(
    Tuple,
    st.just(4),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 1),
    st.integers(0, 1),
    st.just(6),
)


@given(SMALL, SMALL, st.integers(0, 3), st.integers(0, 3), st.sampled_from((0, 0xFFFF)))
def test_a_clash_is_a_packet_that_fits_both(
    one: Tuple, two: Tuple, mask: int, other: int, ports: int
) -> None:
    entry = master()
    first = Expectation(entry, one, ONE, source_mask=mask, source_port_mask=ports)
    second = Expectation(entry, two, ONE, source_mask=other)
    packets = [one._replace(src=src, source=port) for src in range(4) for port in range(4)]
    both = any(first.fits(each) and second.fits(each) for each in packets)
    assert first.clashes(second) == second.clashes(first) == both
