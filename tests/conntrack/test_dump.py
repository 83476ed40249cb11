"""Dumps: what is printed is read back as it was."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iptkit.conntrack import dump, sctp, tcp
from iptkit.conntrack.entry import Entry
from iptkit.conntrack.tracker import NO_ACCOUNT, invert
from iptkit.extensions.world import ASSURED, CONFIRMED, SEEN_REPLY
from iptkit.values.packet import GRE, ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE
from iptkit.values.tuples import Tuple

SHORT = st.integers(0, 65535)
COUNT = st.integers(0, 2**64 - 1)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    family = draw(st.sampled_from([4, 6]))
    address = st.integers(0, 2 ** (32 if family == 4 else 128) - 1)
    proto = draw(st.sampled_from([TCP, UDP, UDPLITE, SCTP, GRE, 99, 0, ICMP if family == 4 else ICMPV6]))
    if proto in (ICMP, ICMPV6):
        kind = draw(st.sampled_from([8, 13, 17] if proto == ICMP else [128, 139]))
        ports = draw(SHORT), kind << 8 | draw(st.integers(0, 255))
    elif proto in (99, 0):
        ports = 0, 0
    else:
        ports = draw(SHORT), draw(SHORT)
    original = Tuple(family, draw(address), ports[0], draw(address), ports[1], proto)
    reply = invert(original)
    assert reply is not None
    if draw(st.booleans()):
        reply = reply._replace(src=draw(address))
    zone = draw(st.sampled_from([0, 7]))
    entry = Entry(original, reply, draw(st.sampled_from([(zone, zone), (5, 0), (0, 5)])))
    entry.status = CONFIRMED | draw(st.sampled_from([0, SEEN_REPLY, SEEN_REPLY | ASSURED]))
    entry.deadline = 1000.5 + draw(st.integers(0, 432000))
    entry.mark = draw(st.integers(0, 2**32 - 1))
    if draw(st.booleans()):
        entry.packets, entry.bytes = [draw(COUNT), draw(COUNT)], [draw(COUNT), draw(COUNT)]
    else:
        entry.packets = entry.bytes = NO_ACCOUNT
    if proto == TCP:
        entry.state = tcp.new_state()
        entry.state[tcp.STATE] = draw(st.integers(0, 9))
    elif proto == SCTP:
        entry.state = sctp.Association()
        entry.state.state = draw(st.integers(0, 8))
    elif proto == GRE:
        entry.state = (draw(SHORT), draw(SHORT))
    return entry


@given(entries())
def test_proc_lines_are_read_back(entry: Entry) -> None:
    line = dump.proc_line(entry, 1000.0)
    again = dump.parse(line, 1000.0)
    assert (again.original, again.reply, again.zones) == (entry.original, entry.reply, entry.zones)
    assert dump.proc_line(again, 1000.0) == line


@given(entries(), st.booleans())
def test_conntrack_lines_are_read_back(entry: Entry, extended: bool) -> None:
    line = dump.conntrack_line(entry, 1000.0, extended=extended)
    again = dump.parse(line, 1000.0)
    assert (again.original, again.reply, again.zones) == (entry.original, entry.reply, entry.zones)
    assert dump.conntrack_line(again, 1000.0, extended=extended) == line


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80))
def test_other_text_is_refused_and_nothing_worse(text: str) -> None:
    with suppress(dump.BadLine):
        dump.parse(text, 0.0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("tcp 6 10 src=1.2.3.4", "a connection has two tuples"),
        ("tcp six 10", "the protocol must be a number, not 'six'"),
        ("udp 17 10 src=1.2.3.4 dst=1.2.3 sport=1 dport=2 src=1.1.1.1 dst=2.2.2.2", "'1.2.3' is no address"),
        (
            "udp 17 10 src=1.2.3.4 dst=1.2.3.4 sport=70000 dport=2",
            "sport must be at most 65535, not 70000",
        ),
        (
            "tcp 6 10 OPEN src=1.2.3.4 dst=1.2.3.5 sport=1 dport=2 src=1.2.3.5 dst=1.2.3.4 sport=2 dport=1",
            "'OPEN' is no TCP state",
        ),
        (
            "udp 17 10 src=1.2.3.4 dst=fd00::1 sport=1 dport=2 src=1.2.3.5 dst=1.2.3.4 sport=2 dport=1",
            "famil",
        ),
        ("udp 17 10 src=1.2.3.4 dst=1.2.3.5 src=1.2.3.5 dst=1.2.3.4", "sport= is missing"),
        ("udp 17 10 src=1.2.3.4 dst=1.2.3.5 [LOST]", "'[LOST]' is no flag of a connection"),
        ("udp 17 10 colour=red", "'colour=red' is no part of a connection"),
    ],
)
def test_a_bad_line_says_what_is_wrong(line: str, reason: str) -> None:
    with pytest.raises(dump.BadLine) as caught:
        list(dump.read(["", line], 0.0))
    assert str(caught.value).startswith("line 2: ")
    assert reason in str(caught.value)


def test_lines_of_conntrack_with_ids_and_helpers() -> None:
    line = (
        "udp      17 29 src=127.0.0.1 dst=127.0.0.2 sport=46402 dport=69 [UNREPLIED] src=127.0.0.2 "
        "dst=127.0.0.1 sport=69 dport=46402 mark=0 zone=4 delta-time=0 helper=tftp use=1 id=12345678"
    )
    entry = dump.parse(line, 50.0)
    assert (entry.helper, entry.zones) == ("tftp", (4, 4))
    assert dump.conntrack_line(entry, 50.0, timestamp=True) == line.removesuffix(" id=12345678")
