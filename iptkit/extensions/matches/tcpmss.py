"""Match the MSS option of TCP headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.headers6 import transport_at
from iptkit.extensions.layout import Bits, Layout, Pad, Pair
from iptkit.extensions.ranges import NumberRange
from iptkit.extensions.spec import Match, Option
from iptkit.extensions.world import HotDrop
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT16_MAX

if TYPE_CHECKING:
    from iptkit.extensions.ranges import Range
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet


class MssRange(NumberRange):
    """`mss[:mss]`; here a reversed range is refused."""

    def parse(self, text: str, context: Context) -> Range:
        low, high = super().parse(text, context)
        if low > high:
            raise BadValue(f"the range {low}:{high} is reversed", "IPT127", f"write {high}:{low}")
        return low, high


MSS_OPTION, MSS_LENGTH = 2, 4  # TCP's option, RFC 9293


class Tcpmss(Match, name="tcpmss"):
    """Match the maximum segment size that a TCP segment announces, in bytes.

    Only SYN and SYN/ACK segments carry the option. A segment without it does
    not match; with `!` it does. Needs `-p tcp`.
    """

    protocols = (6,)
    revision = 0
    mss = Option(
        "--mss",
        type=MssRange(UINT16_MAX, metavar="mss[:mss]"),
        invert=True,
        required=True,
        doc="a segment size in bytes, or a range",
    )
    # struct xt_tcpmss_match_info, linux/netfilter/xt_tcpmss.h
    layout = Layout(Pair("mss", "H", (0, UINT16_MAX), always=True), Bits("B", inverted={1: "mss"}), Pad(1))
    certain = True
    rewritable = True
    example = "-p tcp -m tcp --tcp-flags SYN,RST SYN -m tcpmss --mss 1:500 -j DROP"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # tcpmss_mt, net/netfilter/xt_tcpmss.c
        data, at = packet.data, transport_at(packet)
        end = at + (data[at + 12] >> 4) * 4 if len(data) >= at + 20 else 0
        at += 20
        if end < at or len(data) < end:
            raise HotDrop
        inverted = bool(self.inverted)
        while at < end:
            if data[at] == MSS_OPTION and end - at >= MSS_LENGTH and data[at + 1] == MSS_LENGTH:
                low, high = self.values[0]
                return (low <= (data[at + 2] << 8 | data[at + 3]) <= high) is not inverted
            if data[at] < 2:
                at += 1
            else:
                at += (data[at + 1] if at + 1 < len(data) else 0) or 1
        return inverted


EXTENSIONS: tuple[Any, ...] = (Tcpmss,)
