from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iptkit.evaluator.packetline import BadLine, PacketLine, parse_packet, shown, words_of
from iptkit.evaluator.wire import FLAG_LETTERS, build, describe
from iptkit.values.context import Family

SOURCES = {"client": "in0", "server": "out0", "firewall": ""}


def read(text: str, family: Family = 4) -> PacketLine:
    return parse_packet(words_of(text), family, SOURCES)


def test_reads_packets() -> None:
    line = read('client tcp 10.0.1.2:1024 > 10.0.2.2:80 SA seq=5 ttl=0x10 payload="a \\"b\\"\\n" mark=3')
    assert line.source == "in0"
    assert line.beside == {"mark": 3}
    assert line.packet == {
        "proto": "tcp",
        "src": "10.0.1.2",
        "sport": 1024,
        "dst": "10.0.2.2",
        "dport": 80,
        "flags": "SA",
        "seq": 5,
        "ttl": 16,
        "payload": 'a "b"\n',
    }


@pytest.mark.parametrize(
    ("text", "family", "field", "value"),
    [
        ("client icmp 10.0.1.2 > 10.0.2.2 echo-request", 4, "type", "echo-request"),
        ("client icmp 10.0.1.2 > 10.0.2.2 3/1", 4, "code", 1),
        ("client udp [fd00:1::2]:5 > [fd00:2::2]:53", 6, "dport", 53),
        ("client 99 fd00:1::2 > fd00:2::2", 6, "proto", 99),
        ("client udp 10.0.1.2 > 10.0.2.2 payload=100", 4, "payload", {"len": 100}),
        ("client udp 10.0.1.2 > 10.0.2.2 payload=hex:00ff", 4, "payload", {"hex": "00ff"}),
        ("client tcp 10.0.1.2 > 10.0.2.2 flags=none", 4, "flags", ""),
        ("client tcp 10.0.1.2 > 10.0.2.2 df options=mss:1460,sackok", 4, "df", True),
        ("client udp 10.0.1.2 > 10.0.2.2 payload=99 frag=64,8", 4, "frag", {"sizes": [64, 8]}),
        (
            'client icmp 10.0.1.2 > 10.0.2.2 3/3 inner="udp 10.0.2.2:1 > 10.0.1.2:2"',
            4,
            "inner",
            {"proto": "udp", "src": "10.0.2.2", "sport": 1, "dst": "10.0.1.2", "dport": 2},
        ),
    ],
)
def test_reads_fields(text: str, family: Family, field: str, value: object) -> None:
    line = read(text, family)
    assert line.packet[field] == value
    assert build(line.packet, family)


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("clint tcp 10.0.1.2 > 10.0.2.2", "clint", "did you mean 'client'"),
        ("client tpc 10.0.1.2 > 10.0.2.2", "tpc", "did you mean 'tcp'"),
        ("client tcp 10.0.1 > 10.0.2.2", "10.0.1", "no IPv4 address"),
        ("client tcp 10.0.1.2:x > 10.0.2.2", "10.0.1.2:x", "no port"),
        ("client icmp 10.0.1.2:5 > 10.0.2.2", "10.0.1.2:5", "has no ports"),
        ("client tcp 10.0.1.2 10.0.2.2", "10.0.2.2", "'>' must stand"),
        ("client tcp 10.0.1.2 >", None, "ends before the destination"),
        ("client tcp 10.0.1.2 > 10.0.2.2 SX", "SX", "says nothing"),
        ("client tcp 10.0.1.2 > 10.0.2.2 tll=3", "tll", "did you mean 'ttl'"),
        ("client tcp 10.0.1.2 > 10.0.2.2 ttl=x", "x", "no number"),
        ('client tcp 10.0.1.2 > 10.0.2.2 payload="x', '"x', "not closed"),
        ("client tcp 10.0.1.2 > 10.0.2.2 mac=1", "1", "no MAC address"),
        ("client tcp 10.0.1.2 > 10.0.2.2 options=mss", "mss", "no TCP option"),
        ("client 300 10.0.1.2 > 10.0.2.2", "300", "at most 255"),
        ("client udp [10.0.1.2:5 > 10.0.2.2", "[10.0.1.2:5", r"\[ADDRESS\]:PORT"),
    ],
)
def test_points_at_what_is_wrong(text: str, at: str | None, message: str) -> None:
    with pytest.raises(BadLine, match=message) as caught:
        read(text)
    assert at is None or text[caught.value.start : caught.value.end] == at


@given(
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
    st.integers(0, 255),
    st.sets(st.sampled_from(FLAG_LETTERS)),
)
def test_what_is_shown_can_be_read(sport: int, dport: int, seq: int, ttl: int, flags: set[str]) -> None:
    packet = {
        "proto": "tcp",
        "src": "10.0.1.2",
        "dst": "10.0.2.2",
        "sport": sport,
        "dport": dport,
        "seq": seq,
        "ttl": ttl or 1,
        "flags": "".join(sorted(flags)),
    }
    data = build(packet, 4)[0]
    again = read(f"client {shown(describe(data))}").packet
    assert build({"seq": 0, **again}, 4)[0] == data


@given(st.text(max_size=60))
def test_refuses_or_reads_anything(text: str) -> None:
    try:
        read("client " + text)
    except BadLine as bad:
        assert 0 <= bad.start <= bad.end  # noqa: PT017  # both ways are good
