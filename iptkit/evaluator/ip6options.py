"""Options in IPv6's hop-by-hop and destination headers, as the stack reads them.

Facts: ip6_parse_tlv and its kin, net/ipv6/exthdrs.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.packet import AH, DESTINATION, HOP_BY_HOP, ROUTING

if TYPE_CHECKING:
    from iptkit.values.packet import Header, Packet

PAD1, PADN, ROUTER_ALERT, JUMBO = 0, 1, 5, 0xC2
MOST_OPTIONS = 8  # net.ipv6.max_hbh_opts_number, max_dst_opts_number
MOST_PADDING = 7  # bytes in a row: more aligns nothing (RFC 2460 section 4.2)
FIELD, UNKNOWN_HEADER, UNKNOWN_OPTION = 0, 1, 2  # codes of a parameter problem (RFC 4443)
SEGMENT_ROUTING = 4


class Problem(Exception):  # control flow
    """The packet ends here; where `code` is not -1, with a parameter problem that points at `at`."""

    def __init__(self, code: int = -1, at: int = 0) -> None:
        super().__init__(code, at)
        self.code = code
        self.at = at


def check_hop_by_hop(packet: Packet) -> None:
    """What a host looks at before any hook, if the packet begins with such a header.  Raises Problem."""
    if packet.headers and packet.headers[0].type == HOP_BY_HOP and packet.headers[0].at == 40:
        _check_options(packet, packet.headers[0])


def check_delivered(packet: Packet) -> None:
    """What the stack looks at in a packet delivered to it.  Raises Problem."""
    named_at = 6  # where the number of the header stands
    for header in packet.headers:
        if header.type == AH:
            raise Problem(UNKNOWN_HEADER, named_at)  # nobody has set up IPsec
        if header.type == DESTINATION:
            _check_options(packet, header)
        elif header.type == ROUTING:
            kind, left = packet.data[header.at + 2], packet.data[header.at + 3]
            if kind == SEGMENT_ROUTING:
                if left:
                    raise Problem  # seg6_enabled is off
            elif left:
                raise Problem(FIELD, header.at + 2)
        named_at = header.at


def _check_options(packet: Packet, header: Header) -> None:
    data = packet.data
    end = header.at + (data[header.at + 1] + 1) * 8
    if len(data) < end:
        raise Problem
    at = header.at + 2
    padding = options = 0
    while at < end:
        kind = data[at]
        if kind == PAD1:
            size = 1
            padding += 1
        else:
            size = data[at + 1] + 2 if end - at >= 2 else end
            if at + size > end:
                raise Problem
            if kind == PADN:
                padding += size
                if any(data[at + 2 : at + size]):
                    raise Problem
            else:
                options += 1
                if options > MOST_OPTIONS:
                    raise Problem
                _check_option(packet, at, hop_by_hop=header.type == HOP_BY_HOP)
                padding = 0
        if padding > MOST_PADDING:
            raise Problem
        at += size


def _check_option(packet: Packet, at: int, *, hop_by_hop: bool) -> None:
    data = packet.data
    kind = data[at]
    if hop_by_hop and kind == ROUTER_ALERT:
        if data[at + 1] != 2:
            raise Problem
    elif hop_by_hop and kind == JUMBO:
        if data[at + 1] != 4 or at & 3 != 2:
            raise Problem
        # Whatever length it says: it fits the payload length, or it should have been left out.
        raise Problem(FIELD, at + 2 if not any(data[at + 2 : at + 4]) else at)
    elif kind >> 6 == 1 or (kind >> 6 == 3 and packet.dst >> 120 == 0xFF):
        raise Problem
    elif kind >> 6:
        raise Problem(UNKNOWN_OPTION, at)
