"""Finding IPv6 extension headers, as ipv6_find_hdr() does (net/ipv6/exthdrs_core.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.world import HotDrop
from iptkit.values.packet import EXTENSIONS6, NO_NEXT

if TYPE_CHECKING:
    from iptkit.values.packet import Packet


def header_at(packet: Packet, kind: int) -> int:
    """Where the first header of this kind begins, -1 where there is none.

    Raises HotDrop where the headers are cut off before it could be found.
    """
    for header in packet.headers:
        if header.type == kind:
            return header.at
    unread = packet.proto in EXTENSIONS6 and packet.proto != NO_NEXT and not packet.fragment_offset
    if unread:
        raise HotDrop
    return -1


def transport_at(packet: Packet) -> int:
    """Where the kernel takes the upper layer to begin (par->thoff).

    For later fragments of IPv6 that is the beginning of the packet: ip6_packet_match() sets it only
    where ipv6_find_hdr() does.
    """
    return 0 if packet.family == 6 and packet.fragment_offset else packet.l4


__all__ = ["header_at", "transport_at"]
