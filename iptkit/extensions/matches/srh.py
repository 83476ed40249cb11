"""Match the IPv6 segment routing header."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.headers6 import header_at
from iptkit.extensions.hosts import HostMask, pack_host, prefix_length, prefix_mask, unpack_host
from iptkit.extensions.layout import Bits, Layout, Number, Pad
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Match, Option
from iptkit.extensions.world import HotDrop
from iptkit.values.addresses import show_address6
from iptkit.values.numbers import UINT8_MAX, UINT16_MAX
from iptkit.values.packet import ROUTING

if TYPE_CHECKING:
    from iptkit.extensions.hosts import HostAndMask
    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension, Given
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

_BYTE = UInt(UINT8_MAX)


class SegmentId(HostMask):
    """`address[/mask]` of IPv6, its length always printed."""

    def show(self, value: HostAndMask) -> str:
        _, address, length = value
        return f"{show_address6(address)}/{length}"


_SEGMENT = SegmentId()
# Options that look at the same field of the header, and for which the struct has one place.
_LENGTHS = ("srh_hdr_len_eq", "srh_hdr_len_gt", "srh_hdr_len_lt")
_SEGMENTS = ("srh_segs_left_eq", "srh_segs_left_gt", "srh_segs_left_lt")
_LAST = ("srh_last_entry_eq", "srh_last_entry_gt", "srh_last_entry_lt")
# IP6T_SRH_*, linux/netfilter_ipv6/ip6t_srh.h
_FLAGS = {
    0x0001: "srh_next_hdr",
    0x0002: "srh_hdr_len_eq",
    0x0004: "srh_hdr_len_gt",
    0x0008: "srh_hdr_len_lt",
    0x0010: "srh_segs_left_eq",
    0x0020: "srh_segs_left_gt",
    0x0040: "srh_segs_left_lt",
    0x0080: "srh_last_entry_eq",
    0x0100: "srh_last_entry_gt",
    0x0200: "srh_last_entry_lt",
    0x0400: "srh_tag",
    0x0800: "srh_psid",
    0x1000: "srh_nsid",
    0x2000: "srh_lsid",
}


class _SharedByte:
    """One byte for several options, which all have the same value."""

    __slots__ = ("fields", "size")

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.fields = fields
        self.size = 1

    def write(self, use: Extension, family: Family) -> bytes:
        values = [getattr(use, field) for field in self.fields]
        return struct.pack("B", next((value for value in values if value is not None), 0))

    def read(self, piece: bytes, into: Reading) -> None:
        for field in self.fields:
            into.values[field] = piece[0]


class _Segments:
    """Addresses, then their masks, 16 bytes each; not given, they are 0."""

    __slots__ = ("fields", "size")

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.fields = fields
        self.size = 32 * len(fields)

    def write(self, use: Extension, family: Family) -> bytes:
        addresses = masks = b""
        for field in self.fields:
            value: HostAndMask | None = getattr(use, field)
            addresses += pack_host(value[1], 6) if value else bytes(16)
            masks += pack_host(prefix_mask(value[2], 128), 6) if value else bytes(16)
        return addresses + masks

    def read(self, piece: bytes, into: Reading) -> None:
        half = self.size // 2
        for index, field in enumerate(self.fields):
            at = 16 * index
            length = prefix_length(unpack_host(piece[half + at :], 6), 128)
            into.values[field] = (6, unpack_host(piece[at:], 6), length)


SEGMENT_ROUTING = 4  # the type of routing header, RFC 8754


class Srh(Match, name="srh", families=(6,)):
    """Match packets with a segment routing header (RFC 8754), by its fields.

    Of -eq, -gt and -lt of one field only the last value counts, for all of
    them: the kernel keeps one.  Segments keep their host bits; the kernel
    compares under the mask.
    """

    revision = 1
    srh_next_hdr = Option("--srh-next-hdr", type=_BYTE, invert=True, doc="protocol that follows")
    srh_hdr_len_eq = Option("--srh-hdr-len-eq", type=_BYTE, invert=True, doc="header length is this")
    srh_hdr_len_gt = Option("--srh-hdr-len-gt", type=_BYTE, invert=True, doc="header length is more")
    srh_hdr_len_lt = Option("--srh-hdr-len-lt", type=_BYTE, invert=True, doc="header length is less")
    srh_segs_left_eq = Option("--srh-segs-left-eq", type=_BYTE, invert=True, doc="so many segments are left")
    srh_segs_left_gt = Option("--srh-segs-left-gt", type=_BYTE, invert=True, doc="more segments are left")
    srh_segs_left_lt = Option("--srh-segs-left-lt", type=_BYTE, invert=True, doc="fewer segments are left")
    srh_last_entry_eq = Option("--srh-last-entry-eq", type=_BYTE, invert=True, doc="last entry is this")
    srh_last_entry_gt = Option("--srh-last-entry-gt", type=_BYTE, invert=True, doc="last entry is higher")
    srh_last_entry_lt = Option("--srh-last-entry-lt", type=_BYTE, invert=True, doc="last entry is lower")
    srh_tag = Option("--srh-tag", type=UInt(UINT16_MAX), invert=True, doc="the tag")
    srh_psid = Option("--srh-psid", type=_SEGMENT, invert=True, doc="the segment before the current one")
    srh_nsid = Option("--srh-nsid", type=_SEGMENT, invert=True, doc="the segment after the current one")
    srh_lsid = Option("--srh-lsid", type=_SEGMENT, invert=True, doc="the last segment")
    # struct ip6t_srh1
    layout = Layout(
        Number("srh_next_hdr", "B", always=True),
        _SharedByte(_LENGTHS),
        _SharedByte(_SEGMENTS),
        _SharedByte(_LAST),
        Number("srh_tag", "H", always=True),
        Pad(2),
        _Segments(("srh_psid", "srh_nsid", "srh_lsid")),
        Bits("H", given=_FLAGS),
        Bits("H", inverted=_FLAGS),
    )
    example = "-m srh --srh-segs-left-eq 0 -j ACCEPT"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = dict(given)
        for fields in (_LENGTHS, _SEGMENTS, _LAST):
            written = [field for field in given if field in fields]
            for field in written[:-1]:
                out[field] = given[field]._replace(value=given[written[-1]].value)
        return out

    def matches(self, packet: Packet, world: World) -> bool | None:
        # srh1_mt6, net/ipv6/netfilter/ip6t_srh.c
        try:
            at = header_at(packet, ROUTING)
        except HotDrop:
            return False
        data = packet.data
        if at < 0 or len(data) < at + 8:
            return False
        if (
            len(data) - at < (data[at + 1] + 1) * 8
            or data[at + 2] != SEGMENT_ROUTING
            or data[at + 3] > data[at + 4]
        ):
            return False
        left, last = data[at + 3], data[at + 4]
        # The kernel compares the tag with a number of the host's byte order.
        numbers = (
            (("srh_next_hdr",), data[at]),
            (_LENGTHS, data[at + 1]),
            (_SEGMENTS, left),
            (_LAST, last),
            (("srh_tag",), data[at + 6] | data[at + 7] << 8),
        )
        for fields, number in numbers:
            for field in fields:
                wanted = getattr(self, field)
                if wanted is not None:
                    if field.endswith("_gt"):
                        holds = number > wanted
                    else:
                        holds = number < wanted if field.endswith("_lt") else number == wanted
                    if holds is self.is_inverted(field):
                        return False
        for field, place in (
            ("srh_psid", left + 1 if left != last else -1),
            ("srh_nsid", left - 1),
            ("srh_lsid", 0),
        ):
            segment = getattr(self, field)
            if segment is not None:
                start = at + 8 + place * 16
                if place < 0 or len(data) < start + 16:
                    return False
                _, address, length = segment
                differs = (int.from_bytes(data[start : start + 16], "big") ^ address) & prefix_mask(
                    length, 128
                )
                if bool(differs) is not self.is_inverted(field):
                    return False
        return True


EXTENSIONS: tuple[Any, ...] = (Srh,)
