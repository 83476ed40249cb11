"""ICMP and ICMPv6: queries are connections, errors belong to another's connection.

Facts: net/netfilter/nf_conntrack_proto_icmp.c and nf_conntrack_proto_icmpv6.c,
Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.packet import CT_RELATED, CT_RELATED_REPLY, CT_UNTRACKED, ICMP, ICMPV6

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.tracker import Tracker
    from iptkit.extensions.world import Template
    from iptkit.values.packet import Packet

# The answer's type to each query's, and back.
INVERSE = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
INVERSE6 = {128: 129, 129: 128, 139: 140, 140: 139}
QUERIES = frozenset((8, 13, 15, 17))  # what may begin a connection
QUERIES6 = frozenset((128, 139))
HIGHEST_TYPE = 18  # NR_ICMP_TYPES: types above are INVALID
ERRORS = frozenset((3, 4, 5, 11, 12))  # unreachable, source quench, redirect, time exceeded, parameter
# MLD and neighbour discovery: never tracked
UNTRACKED6 = frozenset((130, 131, 132, 133, 134, 135, 136, 143))
REDIRECT6 = 137
REDIRECTED_HEADER = 4  # the option of a redirect that quotes the packet
LINK_LOCAL = 0xFE80 >> 6  # the first ten bits of fe80::/10
FIRST_QUERY6 = 128  # types below are errors


_QUERIES = {ICMP: (4, QUERIES, "icmp_timeouts"), ICMPV6: (6, QUERIES6, "icmpv6_timeouts")}


def packet(tracker: Tracker, entry: Entry, packet: Packet, direction: int, now: float) -> int:
    """A query or its answer; whatever the direction, the first packet was a query."""
    family, queries, timeouts = _QUERIES[packet.proto]
    if packet.family != family or entry.original.destination >> 8 not in queries:
        return -1
    tracker.refresh(entry, packet, direction, tracker.timeouts(entry, timeouts)[0], now)
    return 1


def error(tracker: Tracker, packet: Packet, template: Template | None, now: float) -> int:
    """Look at an ICMP packet before any connection is looked up.

    1: go on; or the packet belongs to the connection its inner packet names.
    -1: INVALID.
    """
    if packet.proto == ICMP and packet.family == 4:
        return _error4(tracker, packet, template, now)
    if packet.proto == ICMPV6 and packet.family == 6:
        return _error6(tracker, packet, template, now)
    return 1


def _error4(tracker: Tracker, packet: Packet, template: Template | None, now: float) -> int:
    data, at = packet.data, packet.l4
    if packet.length - at < 8:
        return tracker.invalid(packet, "short packet")
    if tracker.checking and not tracker.checksum_ok(packet):
        return tracker.invalid(packet, "bad hw icmp checksum")
    kind = data[at]
    if kind > HIGHEST_TYPE:
        return tracker.invalid(packet, "invalid icmp type")
    if kind not in ERRORS:
        return 1
    return _inner(tracker, packet, at + 8, template, now)


def _error6(tracker: Tracker, packet: Packet, template: Template | None, now: float) -> int:
    data, at = packet.data, packet.l4
    if packet.length - at < 8:
        return tracker.invalid(packet, "short packet")
    if tracker.checking and not tracker.checksum_ok(packet):
        return tracker.invalid(packet, "ICMPv6 checksum failed")
    kind = data[at]
    if kind in UNTRACKED6:
        packet.connection = None
        packet.ctinfo = CT_UNTRACKED
        return 1
    if kind == REDIRECT6:
        return _redirect6(tracker, packet, template, now)
    if kind >= FIRST_QUERY6:
        return 1
    return _inner(tracker, packet, at + 8, template, now)


def _redirect6(tracker: Tracker, packet: Packet, template: Template | None, now: float) -> int:
    """A redirect quotes the packet in its first option (RFC 4861, nf_conntrack_icmpv6_redirect)."""
    data, at = packet.data, packet.l4
    if packet.length - at < 40:
        return tracker.invalid(packet, "short redirect")
    if data[at + 1]:
        return 1
    if packet.ttl != 255 or packet.src >> 118 != LINK_LOCAL:
        return tracker.invalid(packet, "invalid saddr or hoplimit for redirect")
    at += 40
    if packet.length - at < 2 or not data[at + 1]:
        return tracker.invalid(packet, "redirect without options")
    if data[at] != REDIRECTED_HEADER:
        return 1
    return _inner(tracker, packet, at + 8, template, now)


def full_address6(address: int) -> str:
    """An IPv6 address as %pI6 prints it: eight groups of four digits."""
    text = f"{address:032x}"
    return ":".join(text[at : at + 4] for at in range(0, 32, 4))


def _inner(tracker: Tracker, packet: Packet, at: int, template: Template | None, now: float) -> int:
    """Find the connection of the quoted packet (nf_conntrack_inet_error)."""
    from iptkit.conntrack.tracker import inner_tuple, invert  # which imports this module
    from iptkit.values.addresses import show_address4

    quoted = inner_tuple(tracker, packet, at)
    if quoted is None:
        return -1
    answer = invert(quoted)
    if answer is None:
        return -1
    zones = tracker.zones_of(packet, template)
    entry, direction = tracker.lookup(answer, zones, now)
    if entry is None:
        return -1
    expected = entry.tuple(direction).dst
    if packet.dst != expected:
        show = show_address4 if packet.family == 4 else full_address6
        return tracker.invalid(packet, f"outer daddr {show(packet.dst)} != inner {show(expected)}")
    packet.connection = entry
    packet.ctinfo = CT_RELATED_REPLY if direction else CT_RELATED
    return 1
