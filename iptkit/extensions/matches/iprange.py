"""Match ranges of addresses that are no network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.hosts import pack_host, unpack_host
from iptkit.extensions.layout import Bits, Layout
from iptkit.extensions.spec import Match, Option
from iptkit.text.pattern import Pattern
from iptkit.values.addresses import parse_address4_lax, parse_address6, show_address4, show_address6

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

AddressRange = tuple[int, int]


# Two addresses that differ in their last octet.
_OCTET = "(?:[1-9]?[0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"
_USUAL = Pattern(rf"({_OCTET}\.{_OCTET}\.{_OCTET}\.)({_OCTET})-\1({_OCTET})")


def _is_usual(text: str) -> bool:
    found = _USUAL.fullmatch(text)
    return found is not None and int(found[2]) <= int(found[3])


class AddressRange4:
    """`address[-address]` of IPv4; `10.1` is 10.1.0.0, a reversed range is taken."""

    metavar = "address[-address]"
    words = 1
    code = "IPT125"

    def parse(self, text: str, context: Context) -> AddressRange:
        low, dash, high = text.partition("-")
        first = parse_address4_lax(low)
        return first, parse_address4_lax(high) if dash else first

    def usual(self, context: Context) -> Callable[[str], object]:
        """As spec.ValueType.usual."""
        return _is_usual

    def show(self, value: AddressRange) -> str:
        return f"{show_address4(value[0])}-{show_address4(value[1])}"


class AddressRange6:
    """`address[-address]` of IPv6; a reversed range is taken."""

    metavar = "address[-address]"
    words = 1
    code = "IPT125"

    def parse(self, text: str, context: Context) -> AddressRange:
        low, dash, high = text.partition("-")
        first = parse_address6(low)
        return first, parse_address6(high) if dash else first

    def show(self, value: AddressRange) -> str:
        return f"{show_address6(value[0])}-{show_address6(value[1])}"


class _RangeField:
    """The two ends of a range, 16 bytes each; not given, they are 0."""

    __slots__ = ("field", "size")

    def __init__(self, field: str) -> None:
        self.field = field
        self.size = 32

    def write(self, use: Extension, family: Family) -> bytes:
        low, high = getattr(use, self.field) or (0, 0)
        return pack_host(low, family) + pack_host(high, family)

    def read(self, piece: bytes, into: Reading) -> None:
        family = into.context.family
        into.values[self.field] = (unpack_host(piece, family), unpack_host(piece[16:], family))


# struct xt_iprange_mtinfo, linux/netfilter/xt_iprange.h
_LAYOUT = Layout(
    _RangeField("src_range"),
    _RangeField("dst_range"),
    Bits("B", given={1: "src_range", 2: "dst_range"}, inverted={16: "src_range", 32: "dst_range"}),
    size=68,
)


def _in_ranges(values: tuple[AddressRange | None, ...], inverted: int, packet: Packet) -> bool:
    source, destination = values
    if source is not None and (source[0] <= packet.src <= source[1]) == inverted & 1:
        return False
    return destination is None or (destination[0] <= packet.dst <= destination[1]) != inverted >> 1 & 1


class IPRange4(Match, name="iprange", families=(4,)):
    """Match source or destination addresses from one to another, both included.

    Addresses are numbers only, and missing bytes at the end are 0: `10.1` is
    10.1.0.0.  An address alone is a range of one; a range whose first address
    is above its last is taken and matches no packet.
    """

    revision = 1
    at_least_one = ("src_range", "dst_range")
    src_range = Option("--src-range", type=AddressRange4(), invert=True, doc="source addresses")
    dst_range = Option("--dst-range", type=AddressRange4(), invert=True, doc="destination addresses")
    layout = _LAYOUT
    facts = ("header",)
    certain = True
    example = "-m iprange --src-range 192.0.2.10-192.0.2.20 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        return _in_ranges(self.values, self.inverted, packet)


class IPRange6(Match, name="iprange", families=(6,)):
    """Match source or destination addresses from one to another, both included.

    An address alone is a range of one; a range whose first address is above
    its last is taken and matches no packet.
    """

    revision = 1
    at_least_one = ("src_range", "dst_range")
    src_range = Option("--src-range", type=AddressRange6(), invert=True, doc="source addresses")
    dst_range = Option("--dst-range", type=AddressRange6(), invert=True, doc="destination addresses")
    layout = _LAYOUT
    facts = ("header",)
    certain = True
    example = "-m iprange --src-range 2001:db8::10-2001:db8::20 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        return _in_ranges(self.values, self.inverted, packet)


EXTENSIONS: tuple[Any, ...] = (IPRange4, IPRange6)
