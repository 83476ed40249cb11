"""Match the packet's netfilter mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Pair
from iptkit.extensions.numbers import MarkMask
from iptkit.extensions.spec import Match, Option

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Mark(Match, name="mark"):
    """Match packets whose mark, ANDed with the mask, is the value.

    The mark is a number that rules (`-j MARK`), routing and sockets put on a
    packet; it never leaves the machine.  Bits of the value outside of the mask
    make a rule that matches nothing.
    """

    revision = 1
    mark = Option("--mark", type=MarkMask(), invert=True, required=True, doc="value, and mask to AND first")
    # struct xt_mark_mtinfo1, linux/netfilter/xt_mark.h
    layout = Layout(Pair("mark", "I", (0, 0), always=True), Bits("B", inverted={1: "mark"}), size=12)
    rewritable = True
    facts = ("mark",)
    certain = True
    example = "-m mark --mark 0x1/0xff -j ACCEPT"

    def says_nothing(self) -> bool:
        return self.mark == (0, 0) and not self.inverted

    def matches(self, packet: Packet, world: World) -> bool | None:
        mark, mask = self.values[0]
        return (packet.mark & mask == mark) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (Mark,)
