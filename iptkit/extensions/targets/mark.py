"""Set the packet's netfilter mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout, Pair
from iptkit.extensions.marks import SETTERS, others, settle_marks
from iptkit.extensions.numbers import MarkAndMask, UInt
from iptkit.extensions.spec import Option, Target

if TYPE_CHECKING:
    from iptkit.extensions.spec import Given
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet


class Mark(Target, name="MARK"):
    """Change the packet's mark: its bits in `mask` are cleared, then `value` is XORed in.

    The mark never leaves the machine; routing (`ip rule ... fwmark`), traffic
    control and later rules (`-m mark`) look at it.  Without a mask all 32 bits
    are set.
    """

    revision = 2
    at_least_one = SETTERS
    set_xmark = Option(
        "--set-xmark", type=MarkAndMask(), excludes=others("set_xmark"), doc="clear mask, XOR value"
    )
    set_mark = Option(
        "--set-mark", type=MarkAndMask(), excludes=others("set_mark"), doc="clear mask and value, OR value"
    )
    and_mark = Option("--and-mark", type=UInt(), excludes=others("and_mark"), doc="AND with these bits")
    or_mark = Option("--or-mark", type=UInt(), excludes=others("or_mark"), doc="OR with these bits")
    xor_mark = Option("--xor-mark", type=UInt(), excludes=others("xor_mark"), doc="XOR with these bits")
    # struct xt_mark_tginfo2, linux/netfilter/xt_mark.h
    layout = Layout(Pair("set_xmark", "I", (0, 0), always=True))
    effect = "steady"
    aware = False
    rewrites = ("mark",)
    example = "-i eth1 -j MARK --set-xmark 0x1/0xff"

    plain = True  # settle refuses nothing

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return settle_marks(given)

    def act(self, packet: Packet, world: World) -> str | None:
        value, mask = self.set_xmark or (0, 0)
        packet.mark = packet.mark & ~mask ^ value
        return None


EXTENSIONS: tuple[Any, ...] = (Mark,)
