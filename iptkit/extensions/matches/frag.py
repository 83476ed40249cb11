"""Match the IPv6 fragment header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from iptkit.extensions.headers6 import header_at
from iptkit.extensions.layout import Bits, Layout, Number, Pair
from iptkit.extensions.numbers import UInt
from iptkit.extensions.ranges import NumberRange, Range, Ranged
from iptkit.extensions.spec import Flag, Option
from iptkit.extensions.world import HotDrop
from iptkit.values.numbers import UINT32_MAX
from iptkit.values.packet import FRAGMENT

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Frag(Ranged, name="frag", families=(6,)):
    """Match packets with a fragment header (RFC 8200, 4.5), by its fields.

    Where connection tracking is on, fragments are put together before the
    rules see them, and this matches only what is left in one piece.  A range
    of ids that is reversed is taken and matches no packet.
    """

    whole: ClassVar[dict[str, Range]] = {"fragid": (0, UINT32_MAX)}
    fragid = Option("--fragid", type=NumberRange(), invert=True, doc="identification, or a range of them")
    fraglen = Option("--fraglen", type=UInt(), invert=True, doc="length of the header in bytes, always 8")
    fragres = Flag("--fragres", doc="the reserved fields are zero")
    fragfirst = Flag("--fragfirst", doc="first fragment")
    fragmore = Flag("--fragmore", excludes=("fraglast",), doc="more fragments follow")
    fraglast = Flag("--fraglast", excludes=("fragmore",), doc="last fragment")
    # struct ip6t_frag, linux/netfilter_ipv6/ip6t_frag.h
    layout = Layout(
        Pair("fragid", "I", (0, UINT32_MAX)),
        Number("fraglen", "I", always=True),
        Bits(
            "B",
            given={2: "fraglen", 4: "fragres", 8: "fragfirst", 16: "fragmore", 32: "fraglast"},
            echoed={1: "fragid"},
        ),
        Bits("B", inverted={1: "fragid", 2: "fraglen"}),
        size=16,
    )
    certain = True
    example = "-m frag --fragfirst -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # frag_mt6, net/ipv6/netfilter/ip6t_frag.c, which does not look at the length.
        at = header_at(packet, FRAGMENT)
        if at < 0:
            return False
        data = packet.data
        if len(data) < at + 8:
            raise HotDrop
        low, high = self.fragid or self.whole["fragid"]
        number = int.from_bytes(data[at + 4 : at + 8], "big")
        if (low <= number <= high) is self.is_inverted("fragid"):
            return False
        word = data[at + 2] << 8 | data[at + 3]
        return not (
            (self.fragres and (data[at + 1] or word & 0x6))
            or (self.fragfirst and word & ~0x7)
            or (self.fragmore and not word & 1)
            or (self.fraglast and word & 1)
        )


EXTENSIONS: tuple[Any, ...] = (Frag,)
