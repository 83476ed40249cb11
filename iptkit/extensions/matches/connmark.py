"""Match the mark of a packet's connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Pair
from iptkit.extensions.numbers import MarkMask
from iptkit.extensions.spec import Match, Option

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Connmark(Match, name="connmark"):
    """Match packets whose connection has a mark that, ANDed with the mask, is the value.

    Connection marks are set by `-j CONNMARK` and by conntrack(8).  A packet
    without a connection matches neither the value nor, inverted, its opposite.
    """

    revision = 1
    mark = Option("--mark", type=MarkMask(), invert=True, required=True, doc="value, and mask to AND first")
    # struct xt_connmark_mtinfo1, linux/netfilter/xt_connmark.h
    layout = Layout(Pair("mark", "I", (0, 0), always=True), Bits("B", inverted={1: "mark"}), size=12)
    rewritable = True
    facts = ("connmark",)
    certain = True
    example = "-m connmark --mark 0x1/0xff -j ACCEPT"

    def says_nothing(self) -> bool:
        return self.mark == (0, 0) and not self.inverted

    def matches(self, packet: Packet, world: World) -> bool | None:
        connection = packet.connection
        if connection is None:
            return False
        mark, mask = self.values[0]
        return bool((connection.mark & mask == mark) is not bool(self.inverted))


EXTENSIONS: tuple[Any, ...] = (Connmark,)
