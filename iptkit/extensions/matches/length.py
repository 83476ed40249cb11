"""Match packets by length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Pad, Pair
from iptkit.extensions.ranges import NumberRange
from iptkit.extensions.spec import Match, Option
from iptkit.values.numbers import UINT16_MAX

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Length(Match, name="length"):
    """Match packets by their length in bytes.

    IPv4: the whole packet, header included. IPv6: the same, the 40 bytes of
    the first header included. A range whose first length is the higher one
    is taken and matches nothing.
    """

    revision = 0
    length = Option(
        "--length",
        type=NumberRange(UINT16_MAX, metavar="length[:length]"),
        invert=True,
        required=True,
        doc="a length in bytes, or a range",
    )
    # struct xt_length_info, linux/netfilter/xt_length.h
    layout = Layout(
        Pair("length", "H", (0, UINT16_MAX), always=True), Bits("B", inverted={1: "length"}), Pad(1)
    )
    rewritable = True
    facts = ("length",)
    certain = True
    example = "-p icmp -m length --length 86:65535 -j DROP"

    def says_nothing(self) -> bool:
        return self.length == (0, UINT16_MAX) and not self.inverted

    def matches(self, packet: Packet, world: World) -> bool | None:
        low, high = self.values[0]
        return (low <= packet.length <= high) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (Length,)
