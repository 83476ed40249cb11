"""Rewriting packets: checksums stay right, wrong ones stay wrong, and what is undone is as it was."""

from __future__ import annotations

from ipaddress import ip_address

import hypothesis.strategies as st
from hypothesis import given

from iptkit.conntrack import manip
from iptkit.conntrack.tracker import Tracker, tuple_at
from iptkit.values.checksum import crc32c, ones_sum, pseudo_sum
from iptkit.values.packet import GRE, ICMP, SCTP, TCP, UDP, Packet
from iptkit.values.tuples import Tuple

from .packets import CLIENT, SERVER, icmp, ip, sctp, tcp, udp

ADDRESSES4 = st.integers(0, 0xFFFFFFFF)
ADDRESSES6 = st.integers(0, (1 << 128) - 1)
PORTS = st.integers(0, 65535)
PACKETS = st.one_of(
    st.builds(lambda data: udp(payload=data), st.binary(max_size=33)),
    st.builds(lambda data: tcp("PA", 1, 2, payload=data), st.binary(max_size=33)),
    st.builds(lambda data: icmp(8, rest=b"\0\x07\0\x01" + data), st.binary(max_size=9)),
    st.builds(lambda data: sctp(0, data), st.binary(max_size=20)),
    st.builds(lambda data: udp(payload=data, src="fd00:1::2", dst="fd00:2::2"), st.binary(max_size=33)),
    st.builds(lambda data: ip(99, data), st.binary(max_size=9)),
)


def tuple_of(packet: Packet) -> Tuple:
    found = tuple_at(Tracker(), packet.family, packet.src, packet.dst, packet.proto, packet.data, packet.l4)
    assert found is not None
    return found


def right(packet: Packet) -> bool:
    """Are all checksums right?"""
    data, upper = packet.data, packet.data[packet.l4 :]
    if packet.family == 4 and ones_sum(data[: packet.l4]) != 0xFFFF:
        return False
    if packet.proto == ICMP:
        return ones_sum(upper) == 0xFFFF
    if packet.proto == SCTP:
        said = int.from_bytes(upper[8:12], "little")
        upper[8:12] = bytes(4)
        return crc32c(upper) == said
    if packet.proto in (TCP, UDP):
        size = 4 if packet.family == 4 else 16
        source = packet.src.to_bytes(size, "big")
        start = pseudo_sum(source, packet.dst.to_bytes(size, "big"), packet.proto, len(upper))
        return ones_sum(upper, start) == 0xFFFF
    return True


@given(PACKETS, ADDRESSES4, ADDRESSES6, PORTS, st.booleans())
def test_there_and_back(packet: Packet, four: int, six: int, port: int, source: bool) -> None:
    assert right(packet)
    before, data = tuple_of(packet), bytes(packet.data)
    address = four if packet.family == 4 else six
    if packet.proto in (ICMP, 99):
        port = port if packet.proto == ICMP else 0
        target = before._replace(source=port)
    else:
        target = before._replace(**{"source" if source else "destination": port})
    target = target._replace(**{"src" if source else "dst": address})
    assert manip.rewrite(packet, target, source=source)
    assert right(packet)
    assert tuple_of(packet) == target
    reread = Packet(packet.data)
    assert (reread.src, reread.dst, reread.sport, reread.dport) == (
        packet.src,
        packet.dst,
        packet.sport,
        packet.dport,
    )
    assert manip.rewrite(packet, before, source=source)
    assert bytes(packet.data) == data


@given(PACKETS, st.integers(1, 0xFFFE), ADDRESSES4, PORTS)
def test_a_wrong_checksum_stays_wrong(packet: Packet, error: int, address: int, port: int) -> None:
    at = packet.checksum_at
    if at < 0 or packet.family == 6:
        return
    value = packet.data[at] << 8 | packet.data[at + 1]
    wrong = (value + error) % 0xFFFF
    if wrong % 0xFFFF == value % 0xFFFF or not wrong:
        return
    packet.data[at : at + 2] = wrong.to_bytes(2, "big")
    assert manip.rewrite(packet, tuple_of(packet)._replace(src=address, source=port), source=True)
    assert not right(packet)


@given(PACKETS, ADDRESSES4, ADDRESSES6, PORTS, st.booleans())
def test_the_fast_way_is_the_same(packet: Packet, four: int, six: int, port: int, source: bool) -> None:
    if packet.proto not in (TCP, UDP):
        return
    address, slow = four if packet.family == 4 else six, packet.copy()
    target = tuple_of(packet)._replace(
        **{"src" if source else "dst": address, "source" if source else "destination": port}
    )
    assert manip.rewrite(slow, target, source=source)
    assert (manip.rewrite_source if source else manip.rewrite_destination)(packet, address, port)
    assert all(getattr(packet, name) == getattr(slow, name) for name in Packet.__slots__)


def test_no_udp_checksum_is_left_alone() -> None:
    packet = udp()
    packet.data[packet.l4 + 6 : packet.l4 + 8] = bytes(2)
    assert manip.rewrite(packet, tuple_of(packet)._replace(src=1, source=2), source=True)
    assert packet.data[packet.l4 + 6 : packet.l4 + 8] == bytes(2)


def test_gre_keys() -> None:
    """Only the destination's key is in a packet of version 1; other versions are refused."""
    call = ip(GRE, bytes.fromhex("3001880b00030022 00000000") + b"ppp")
    target = Tuple(4, call.src, 0x11, call.dst, 0x77, GRE)
    assert manip.rewrite(call, target, source=False)
    assert call.data[call.l4 + 6 : call.l4 + 8] == b"\0\x77"
    assert manip.rewrite(call, target, source=True)
    odd = ip(GRE, bytes.fromhex("3002880b00030022"))
    assert not manip.rewrite(odd, target, source=False)


@given(
    st.booleans(),
    st.binary(min_size=1, max_size=60),
    st.integers(0, 59),
    st.integers(0, 20),
    st.binary(max_size=40),
)
def test_other_words(segment: bool, said: bytes, start: int, length: int, new: bytes) -> None:
    start = min(start, len(said))
    length = min(length, len(said) - start)
    packet = tcp("PA", 1, 2, payload=said) if segment else udp(payload=said)
    assert manip.replace_payload(packet, start, length, new)
    assert right(packet)
    assert packet.length == len(packet.data) == Packet(packet.data).length
    assert bytes(packet.data[packet.l4 + (20 if segment else 8) :]) == (
        said[:start] + new + said[start + length :]
    )
    if not segment:
        assert int.from_bytes(packet.data[packet.l4 + 4 : packet.l4 + 6], "big") == packet.length - packet.l4


@given(ADDRESSES4, PORTS)
def test_quoted_packets(address: int, port: int) -> None:
    """An error about a packet of the server's: what it quotes is rewritten, and so is its own checksum."""
    quoted = bytes(udp(53, 1024, src=SERVER, dst=CLIENT).data[:28])
    error = icmp(3, 3, b"\0\0\0\0" + quoted)
    target = Tuple(4, int(ip_address(SERVER)), 53, address, port, UDP)
    assert manip.rewrite_quoted(error, target, source=False)
    assert right(error)
    inner = Packet(error.data[error.l4 + 8 :] + bytes(5))
    assert (inner.dst, inner.dport) == (address, port)
    assert ones_sum(inner.data[:20]) == 0xFFFF


def test_a_cut_quote_is_refused() -> None:
    quoted = bytes(udp(53, 1024, src=SERVER, dst=CLIENT).data[:24])
    assert not manip.rewrite_quoted(
        icmp(3, 3, b"\0\0\0\0" + quoted), Tuple(4, 1, 53, 2, 3, UDP), source=False
    )
