"""Match the type of IPv6 mobility messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from iptkit.extensions.layout import Bits, Layout, Pair
from iptkit.extensions.ranges import Range, Ranged
from iptkit.extensions.spec import Option
from iptkit.extensions.world import HotDrop
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT8_MAX, parse_uint
from iptkit.values.packet import NO_NEXT
from iptkit.values.wording import choices, quote

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

# RFC 6275, 6.1, the short name after the long one
MH_TYPES = {
    "binding-refresh-request": 0,
    "brr": 0,
    "home-test-init": 1,
    "hoti": 1,
    "careof-test-init": 2,
    "coti": 2,
    "home-test": 3,
    "hot": 3,
    "careof-test": 4,
    "cot": 4,
    "binding-update": 5,
    "bu": 5,
    "binding-acknowledgement": 6,
    "ba": 6,
    "binding-error": 7,
    "be": 7,
}


class MhTypes:
    """`type[:type]`, by name, beginning of a name, or number; either end may be left out."""

    metavar = "type[:type]"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> Range:
        low_text, colon, high_text = text.partition(":")
        if not colon:
            only = self._type(text)
            return only, only
        low = self._type(low_text) if low_text else 0
        high = self._type(high_text) if high_text else UINT8_MAX
        if low > high:
            raise BadValue(f"range {quote(text)} is reversed: {low} is above {high}", "IPT127")
        return low, high

    def _type(self, text: str) -> int:
        lower = text.lower()
        if lower in MH_TYPES:
            return MH_TYPES[lower]
        for name, number in MH_TYPES.items():
            # The first of several counts; nothing at all begins the very first.
            if name.startswith(lower):
                return number
        try:
            return parse_uint(text, 0, UINT8_MAX)
        except ValueError:
            raise BadValue(
                f"no mobility message is called {quote(text)}", hint=f"{choices(text, MH_TYPES)}, or 0 to 255"
            ) from None

    def show(self, value: Range) -> str:
        low, high = value
        return str(low) if low == high else f"{low}:{high}"


class Mh(Ranged, name="mh", families=(6,)):
    """Match the type of a mobility header (RFC 6275): binding updates, tests, and so on.

    Needs `-p mobility-header` for the kernel; `-p mh` loads it by itself.
    """

    protocols = (135,)
    whole: ClassVar[dict[str, Range]] = {"mh_type": (0, UINT8_MAX)}
    mh_type = Option("--mh-type", type=MhTypes(), invert=True, doc="type, or a range of types")
    # struct ip6t_mh, linux/netfilter_ipv6/ip6t_mh.h
    layout = Layout(Pair("mh_type", "B", (0, UINT8_MAX)), Bits("B", inverted={1: "mh_type"}))
    certain = True
    example = "-p mh -m mh --mh-type binding-update -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # mh_mt6, net/ipv6/netfilter/ip6t_mh.c
        if packet.fragment_offset:
            return False
        data, at = packet.data, packet.l4
        if len(data) < at + 6 or data[at] != NO_NEXT:
            raise HotDrop
        low, high = self.mh_type or self.whole["mh_type"]
        return (low <= data[at + 2] <= high) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (Mh,)
