"""Packets that the machine makes itself: ICMP errors, TCP resets, answers of its own stack.

Facts: net/ipv4/icmp.c, net/ipv6/icmp.c, net/ipv4/netfilter/nf_reject_ipv4.c,
net/ipv6/netfilter/nf_reject_ipv6.c, Linux 6.18.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from iptkit.values.checksum import checksum, ones_sum, pseudo_sum
from iptkit.values.packet import (
    ACK,
    AH,
    ESP,
    FIN,
    GRE,
    ICMP,
    ICMPV6,
    RST,
    SCTP,
    SYN,
    TCP,
    UDP,
    UDPLITE,
    Packet,
)

if TYPE_CHECKING:
    from iptkit.values.context import Family

TTL = 64  # net.ipv4.ip_default_ttl, net.ipv6.conf.all.hop_limit
MOST_QUOTED4 = 576  # of an IPv4 error, all headers included (RFC 1812 section 4.3.2.3)
LONGEST6 = 1280  # of an IPv6 error (RFC 4443 section 2.4 (c))
DONT_FRAGMENT = 0x4000
INTERNETCONTROL = 0xC0  # precedence of IPv4 errors

# --reject-with -> ICMP code of a destination unreachable
REJECT4 = {
    "icmp-net-unreachable": 0,
    "icmp-host-unreachable": 1,
    "icmp-proto-unreachable": 2,
    "icmp-port-unreachable": 3,
    "icmp-net-prohibited": 9,
    "icmp-host-prohibited": 10,
    "icmp-admin-prohibited": 13,
}
REJECT6 = {
    "icmp6-no-route": 0,
    "icmp6-adm-prohibited": 1,
    "icmp6-addr-unreachable": 3,
    "icmp6-port-unreachable": 4,
    "icmp6-policy-fail": 5,
    "icmp6-reject-route": 6,
}
# About these no error is sent: errors, and types that nobody uses (icmp_pointers).
ERRORS4 = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12))
HIGHEST4 = 18  # NR_ICMP_TYPES
# Protocols whose checksum REJECT does not look at: other sums, or sums of a part only.
UNCHECKED = frozenset((GRE, AH, ESP, SCTP, UDPLITE))


def ip_packet(
    family: Family,
    src: int,
    dst: int,
    proto: int,
    upper: bytes,
    *,
    tos: int = 0,
    ttl: int = TTL,
    flags: int = 0,
    options: bytes = b"",
) -> Packet:
    """A packet of the machine's own; the identification is the kernel's choice, and 0 here."""
    if family == 4:
        header = struct.pack(
            "!BBHHHBBHII",
            0x45 + len(options) // 4,
            tos,
            20 + len(options) + len(upper),
            0,
            flags,
            ttl,
            proto,
            0,
            src,
            dst,
        )
        header += options
        header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    else:
        header = struct.pack("!IHBB", 6 << 28 | tos << 20, len(upper), proto, ttl)
        header += src.to_bytes(16, "big") + dst.to_bytes(16, "big")
    packet = Packet(header + upper)
    packet.generated = True
    packet.checked = True
    return packet


def with_sum(family: Family, src: int, dst: int, proto: int, upper: bytes, at: int) -> bytes:
    """An upper layer whose checksum field, at `at`, is filled in."""
    size = 4 if family == 4 else 16
    start = 0
    if proto != ICMP:
        start = pseudo_sum(src.to_bytes(size, "big"), dst.to_bytes(size, "big"), proto, len(upper))
    return upper[:at] + checksum(upper, start).to_bytes(2, "big") + upper[at + 2 :]


def icmp_message(
    family: Family,
    src: int,
    dst: int,
    kind: int,
    code: int,
    rest: bytes,
    body: bytes | bytearray,
    *,
    tos: int = 0,
    ttl: int = TTL,
    options: bytes = b"",
) -> Packet:
    """An ICMP or ICMPv6 message."""
    proto = ICMP if family == 4 else ICMPV6
    upper = with_sum(family, src, dst, proto, bytes((kind, code, 0, 0)) + rest + bytes(body), 2)
    return ip_packet(family, src, dst, proto, upper, tos=tos, ttl=ttl, options=options)


def error_tos(tos: int) -> int:
    """Type of service of an IPv4 error about a packet with this one."""
    return tos & 0x1E | INTERNETCONTROL


def is_icmp_error(packet: Packet) -> bool:
    """Is it an ICMP error, about which no error is sent?  Unknown types count (RFC 1122 section 3.2.2)."""
    data, at = packet.data, packet.l4
    if packet.proto == ICMP and packet.family == 4:
        return len(data) > at and (data[at] > HIGHEST4 or data[at] in ERRORS4)
    if packet.proto == ICMPV6 and packet.family == 6:
        return len(data) <= at or data[at] < 128
    return False


def reset(old: Packet, *, partial: bool = False, tos: int = 0, ttl: int = TTL) -> Packet | None:
    """The RST that answers a TCP segment; None for what is not answered.

    `partial`: its checksum is left to the hardware.
    """
    data, at = old.data, old.l4
    if old.fragment_offset or old.proto != TCP or len(data) < at + 20:
        return None
    flags = data[at + 13]
    if flags & RST:
        return None
    header = (data[at + 12] >> 4) * 4
    seq, ack = struct.unpack_from("!II", data, at + 4)
    size = old.length - at - header
    if flags & ACK:
        answer = ack, 0, RST
    else:
        count = size + bool(flags & SYN) + bool(flags & FIN)
        answer = 0, seq + count & 0xFFFFFFFF, RST | ACK
    upper = struct.pack("!HHIIBBHHH", old.dport, old.sport, answer[0], answer[1], 0x50, answer[2], 0, 0, 0)
    family = old.family
    upper = with_sum(family, old.dst, old.src, TCP, upper, 16)
    packet = ip_packet(family, old.dst, old.src, TCP, upper, tos=tos, ttl=ttl, flags=DONT_FRAGMENT)
    packet.partial = partial
    return packet


def leave_sum(packet: Packet) -> None:
    """Leave the pseudo header's share in a TCP checksum field, as where the hardware would do the rest."""
    data, at = packet.data, packet.l4
    first, second, end = (12, 16, 20) if packet.family == 4 else (8, 24, 40)
    start = pseudo_sum(bytes(data[first:second]), bytes(data[second:end]), packet.proto, len(data) - at)
    data[at + 16 : at + 18] = start.to_bytes(2, "big")


def sum_is_right(packet: Packet, *, any_protocol: bool) -> bool:
    """Is the sum over the upper layer right?

    IPv4 takes the pseudo header into account for TCP and UDP alone, IPv6
    always: so an answer to another protocol hangs on its sum by chance
    (nf_ip_checksum, nf_ip6_checksum in net/netfilter/utils.c).
    """
    data = packet.data
    upper = data[packet.l4 :]
    if packet.family == 4:
        if packet.proto not in (TCP, UDP):
            # The header is in the sum, and adds nothing, being right itself.
            return not any_protocol or ones_sum(data) == 0xFFFF
        start = pseudo_sum(bytes(data[12:16]), bytes(data[16:20]), packet.proto, len(upper))
    else:
        start = pseudo_sum(bytes(data[8:24]), bytes(data[24:40]), packet.proto, len(upper))
    return ones_sum(upper, start) == 0xFFFF


def has_no_sum(packet: Packet) -> bool:
    """Is it of a protocol whose checksum is not looked at (nf_reject_verify_csum)?"""
    if packet.proto == UDP:
        at = packet.l4 + 6
        return len(packet.data) >= at + 2 and not packet.data[at] and not packet.data[at + 1]
    return packet.proto in UNCHECKED


def covered_sum_is_right(packet: Packet, size: int) -> bool:
    """Is the sum over so many bytes of the upper layer, and over the pseudo header, right?"""
    data = packet.data
    upper = data[packet.l4 : packet.l4 + size]
    first, second, end = (12, 16, 20) if packet.family == 4 else (8, 24, 40)
    start = pseudo_sum(bytes(data[first:second]), bytes(data[second:end]), packet.proto, len(upper))
    return ones_sum(upper, start) == 0xFFFF
