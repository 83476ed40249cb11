"""Match the MSS option of TCP headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Pad, Pair
from iptkit.extensions.ranges import NumberRange
from iptkit.extensions.spec import Match, Option
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT16_MAX

if TYPE_CHECKING:
    from iptkit.extensions.ranges import Range
    from iptkit.values.context import Context


class MssRange(NumberRange):
    """`mss[:mss]`; here a reversed range is refused."""

    def parse(self, text: str, context: Context) -> Range:
        low, high = super().parse(text, context)
        if low > high:
            raise BadValue(f"the range {low}:{high} is reversed", "IPT127", f"write {high}:{low}")
        return low, high


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
    example = "-p tcp -m tcp --tcp-flags SYN,RST SYN -m tcpmss --mss 1:500 -j DROP"


EXTENSIONS: tuple[Any, ...] = (Tcpmss,)
