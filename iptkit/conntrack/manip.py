"""Rewriting a packet so that it has another tuple: addresses, ports, ids, and the checksums over them.

Checksums are updated incrementally, so a wrong one stays wrong; SCTP's, which
covers the ports, is made anew.

Facts: net/netfilter/nf_nat_proto.c and nf_nat_helper.c, Linux 6.18.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from iptkit.values.checksum import checksum, crc32c, mend, ones_sum, pseudo_sum
from iptkit.values.packet import (
    EXTENSIONS6,
    FRAGMENT,
    GRE,
    ICMP,
    ICMPV6,
    NO_NEXT,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
)

if TYPE_CHECKING:
    from iptkit.values.packet import Packet
    from iptkit.values.tuples import Tuple

# ICMP messages that carry an id.
_QUERIES = frozenset((8, 0, 13, 14, 15, 16, 17, 18))
_WORD = struct.Struct("!H")
_AH = 51


def rewrite_source(packet: Packet, address: int, port: int) -> bool:
    """Give a TCP or UDP packet another source, fast.  False: it is too short, drop it."""
    if not _ends(packet, packet.l4, 12 if packet.family == 4 else 8, packet.src, address, port):
        return False
    packet.src, packet.sport = address, port
    return True


def rewrite_destination(packet: Packet, address: int, port: int) -> bool:
    """Give a TCP or UDP packet another destination, fast.  False: it is too short, drop it."""
    if not _ends(packet, packet.l4 + 2, 16 if packet.family == 4 else 24, packet.dst, address, port):
        return False
    packet.dst, packet.dport = address, port
    return True


def _ends(packet: Packet, port_at: int, address_at: int, was: int, address: int, port: int) -> bool:
    data, at = packet.data, packet.l4
    size = len(data)
    if packet.family == 4:
        data[address_at : address_at + 4] = address.to_bytes(4, "big")
        total = (~(data[10] << 8 | data[11]) & 0xFFFF) + 0xFFFF - was % 0xFFFF + address % 0xFFFF
        total = (total & 0xFFFF) + (total >> 16)
        total = ~((total & 0xFFFF) + (total >> 16))
        data[10], data[11] = total >> 8 & 0xFF, total & 0xFF
    else:
        data[address_at : address_at + 16] = address.to_bytes(16, "big")
        if packet.fragment_offset:
            return True
    if size < at + 8:
        return False
    was += data[port_at] << 8 | data[port_at + 1]
    data[port_at], data[port_at + 1] = port >> 8, port & 0xFF
    if packet.proto == UDP:
        field = at + 6
        if not data[field] and not data[field + 1]:
            return True
    elif size >= at + 20:
        field = at + 16
    else:
        return True
    total = (
        (~(data[field] << 8 | data[field + 1]) & 0xFFFF) + 0xFFFF - was % 0xFFFF + (address + port) % 0xFFFF
    )
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    if not total and packet.proto == UDP:
        total = 0xFFFF
    data[field], data[field + 1] = total >> 8, total & 0xFF
    return True


def rewrite(packet: Packet, target: Tuple, *, source: bool) -> bool:
    """Give the packet the source (or the destination) of a tuple.  False: it cannot be done, drop it."""
    data = packet.data
    if not (packet.family == 6 and packet.fragment_offset) and not _upper(
        data, packet.l4, target, packet.src if source else packet.dst, source=source
    ):
        return False
    if source:
        _address(data, 0, packet.family, target.src, source=True)
        packet.src = target.src
        if packet.sport >= 0 and target.proto in (TCP, UDP, UDPLITE, SCTP):
            packet.sport = target.source
    else:
        _address(data, 0, packet.family, target.dst, source=False)
        packet.dst = target.dst
        if packet.sport >= 0 and target.proto in (TCP, UDP, UDPLITE, SCTP):
            packet.dport = target.destination
    return True


def _address(data: bytearray, at: int, family: int, address: int, *, source: bool) -> None:
    """Write an address into the IP header at `at`, and that header's checksum."""
    if family == 6:
        place = at + (8 if source else 24)
        data[place : place + 16] = address.to_bytes(16, "big")
        return
    place = at + (12 if source else 16)
    was = int.from_bytes(data[place : place + 4], "big")
    data[place : place + 4] = address.to_bytes(4, "big")
    mend(data, at + 10, was, address)


def _upper(data: bytearray, at: int, target: Tuple, address: int, *, source: bool) -> bool:
    """Rewrite ports, ids and checksum of what is at `at`; `address` is the one that is going to change."""
    proto = target.proto
    now = target.src if source else target.dst
    size = len(data)
    if proto == TCP:
        if size < at + 8:
            return False
        port = target.source if source else target.destination
        place = at if source else at + 2
        was = data[place] << 8 | data[place + 1]
        _WORD.pack_into(data, place, port)
        if size >= at + 20:
            mend(data, at + 16, address + was, now + port)
        return True
    if proto in (UDP, UDPLITE):
        if size < at + 8:
            return False
        port = target.source if source else target.destination
        place = at if source else at + 2
        was = data[place] << 8 | data[place + 1]
        _WORD.pack_into(data, place, port)
        if proto == UDPLITE or data[at + 6] or data[at + 7]:
            mend(data, at + 6, address + was, now + port)
            if not data[at + 6] and not data[at + 7]:
                data[at + 6] = data[at + 7] = 0xFF
        return True
    if proto == ICMP:
        if size < at + 8:
            return False
        if data[at] in _QUERIES:
            was = data[at + 4] << 8 | data[at + 5]
            _WORD.pack_into(data, at + 4, target.source)
            mend(data, at + 2, was, target.source)
        return True
    if proto == ICMPV6:
        if size < at + 8:
            return False
        was = sent = 0
        if data[at] in (128, 129):
            was, sent = data[at + 4] << 8 | data[at + 5], target.source
            _WORD.pack_into(data, at + 4, sent)
        mend(data, at + 2, address + was, now + sent)
        return True
    if proto == SCTP:
        if size < at + 8:
            return False
        _WORD.pack_into(data, at if source else at + 2, target.source if source else target.destination)
        if size >= at + 12:
            data[at + 8 : at + 12] = bytes(4)
            data[at + 8 : at + 12] = crc32c(data[at:]).to_bytes(4, "little")
        return True
    if proto == GRE:
        if size < at + 8:
            return False
        if source:  # the key of the other side is not in the packet
            return True
        version = data[at + 1] & 7
        if version == 1:
            _WORD.pack_into(data, at + 6, target.destination)
        return version <= 1
    return True


def error_intact(packet: Packet) -> bool:
    """Is an ICMP error long enough to hold an inner IP header, and its checksum right?"""
    upper = packet.data[packet.l4 :]
    if len(upper) < 8 + (20 if packet.family == 4 else 40):
        return False
    return ones_sum(upper, _pseudo(packet, len(upper))) == 0xFFFF


def _pseudo(packet: Packet, length: int) -> int:
    if packet.family == 4:
        return 0
    return pseudo_sum(bytes(packet.data[8:24]), bytes(packet.data[24:40]), ICMPV6, length)


def rewrite_quoted(packet: Packet, target: Tuple, *, source: bool) -> bool:
    """Rewrite the packet that an ICMP error quotes, and the error's checksum.  False: drop it."""
    data = packet.data
    at = packet.l4 + 8
    place = at + ((12 if source else 16) if packet.family == 4 else (8 if source else 24))
    size = 4 if packet.family == 4 else 16
    address = int.from_bytes(data[place : place + size], "big")
    upper = at + (data[at] & 15) * 4 if packet.family == 4 else _upper_of(data, at)
    if upper >= 0 and not _upper(data, upper, target, address, source=source):
        return False
    _address(data, at, packet.family, target.src if source else target.dst, source=source)
    _WORD.pack_into(data, packet.l4 + 2, 0)
    message = data[packet.l4 :]
    _WORD.pack_into(data, packet.l4 + 2, checksum(message, _pseudo(packet, len(message))))
    return True


def _upper_of(data: bytearray, at: int) -> int:
    """Where the upper layer of an IPv6 packet begins; -1 where there is none to rewrite."""
    proto = data[at + 6]
    at += 40
    while proto in EXTENSIONS6:
        if proto == NO_NEXT or len(data) < at + 8:
            return -1
        if proto == FRAGMENT:
            if (data[at + 2] << 8 | data[at + 3]) & 0xFFF8:
                return -1
            size = 8
        else:
            size = (data[at + 1] + 2) * 4 if proto == _AH else (data[at + 1] + 1) * 8
        proto, at = data[at], at + size
    return at


def set_address(packet: Packet, address: int, *, source: bool) -> None:
    """Rewrite only an address of the IP header: the outer one of an ICMP error."""
    if packet.proto == ICMPV6:  # whose checksum covers the addresses
        was = packet.src if source else packet.dst
        mend(packet.data, packet.l4 + 2, was, address)
    _address(packet.data, 0, packet.family, address, source=source)
    if source:
        packet.src = address
    else:
        packet.dst = address


def replace_payload(packet: Packet, start: int, length: int, new: bytes) -> bool:
    """Put other bytes in place of `length` bytes of the payload at `start`, as helpers do.

    Lengths are set and the checksum made anew (nf_nat_mangle_tcp_packet,
    nf_nat_mangle_udp_packet).  False: it would be longer than a packet can be.
    """
    data, l4 = packet.data, packet.l4
    header = (data[l4 + 12] >> 4) * 4 if packet.proto == TCP else 8
    at = l4 + header + start
    if packet.length + len(new) - length > 65535:
        return False
    data[at : at + length] = new
    packet.length = len(data)
    if packet.family == 4:
        _WORD.pack_into(data, 2, packet.length)
        _WORD.pack_into(data, 10, 0)
        _WORD.pack_into(data, 10, checksum(data[: (data[0] & 15) * 4]))
        addresses = bytes(data[12:16]), bytes(data[16:20])
    else:
        _WORD.pack_into(data, 4, packet.length - 40)
        addresses = bytes(data[8:24]), bytes(data[24:40])
    size = packet.length - l4
    if packet.proto == UDP:
        _WORD.pack_into(data, l4 + 4, size)
        if not data[l4 + 6] and not data[l4 + 7]:
            return True
    field = l4 + (16 if packet.proto == TCP else 6)
    _WORD.pack_into(data, field, 0)
    value = checksum(data[l4:], pseudo_sum(*addresses, packet.proto, size))
    if packet.proto == UDP and not value:
        value = 0xFFFF
    _WORD.pack_into(data, field, value)
    return True
