"""Match IPsec Authentication Headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from iptkit.extensions.headers6 import header_at
from iptkit.extensions.layout import Bits, Layout, Number, Pad, Pair
from iptkit.extensions.numbers import UInt
from iptkit.extensions.ranges import NumberRange, Ranged
from iptkit.extensions.spec import Flag, Option
from iptkit.extensions.world import HotDrop
from iptkit.values.numbers import UINT32_MAX
from iptkit.values.packet import AH

if TYPE_CHECKING:
    from iptkit.extensions.spec import Given
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

_SPI = NumberRange(metavar="spi[:spi]")


class Ah4(Ranged, name="ah", families=(4,)):
    """Match IPsec AH packets by their Security Parameters Index.

    Needs `-p ah`, which loads it by itself when its option is met. A range
    whose first SPI is the higher one is taken and matches nothing.
    """

    protocols = (51,)
    revision = 0
    whole: ClassVar = {"ahspi": (0, UINT32_MAX)}
    plain = True  # settle refuses nothing
    ahspi = Option("--ahspi", type=_SPI, invert=True, doc="an SPI or a range")
    # struct ipt_ah, linux/netfilter_ipv4/ipt_ah.h
    layout = Layout(Pair("ahspi", "I", (0, UINT32_MAX)), Bits("B", inverted={1: "ahspi"}), Pad(3))
    certain = True
    example = "-p ah -m ah --ahspi 500 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        if packet.fragment_offset:
            return False
        if len(packet.data) < packet.l4 + 12:
            raise HotDrop
        low, high = self.ahspi or self.whole["ahspi"]
        spi = int.from_bytes(packet.data[packet.l4 + 4 : packet.l4 + 8], "big")
        return (low <= spi <= high) is not bool(self.inverted)


class Ah6(Ranged, name="ah", families=(6,)):
    """Match the IPv6 Authentication Header, wherever it stands among the headers.

    By its Security Parameters Index, its length in bytes, and whether its
    reserved field is zero. Needs no `-p`, which IPv6 compares with the last
    header. A range whose first SPI is the higher one is taken and matches
    nothing; a length of 0 is any length, even inverted.
    """

    revision = 0
    whole: ClassVar = {"ahspi": (0, UINT32_MAX)}
    plain = True  # settle refuses nothing
    ahspi = Option("--ahspi", type=_SPI, invert=True, doc="an SPI or a range")
    ahlen = Option("--ahlen", type=UInt(), invert=True, doc="length of the header, in bytes")
    ahres = Flag("--ahres", doc="the reserved field is zero")
    # struct ip6t_ah, linux/netfilter_ipv6/ip6t_ah.h
    layout = Layout(
        Pair("ahspi", "I", (0, UINT32_MAX)),
        Number("ahlen", "I"),
        Bits("B", given={1: "ahres"}),
        Bits("B", inverted={1: "ahspi", 2: "ahlen"}),
        Pad(2),
    )
    certain = True
    example = "-m ah --ahspi 500 --ahres -j ACCEPT"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = super().settle(given, context)
        if "ahlen" in out and not out["ahlen"].value and not out["ahlen"].inverted:
            del out["ahlen"]
        return out

    def matches(self, packet: Packet, world: World) -> bool | None:
        # ah_mt6, net/ipv6/netfilter/ip6t_ah.c
        at = header_at(packet, AH)
        if at < 0:
            return False
        data = packet.data
        if len(data) < at + 12:
            raise HotDrop
        length = (data[at + 1] + 2) * 4
        if len(data) - at < length:
            raise HotDrop
        low, high = self.ahspi or self.whole["ahspi"]
        spi = int.from_bytes(data[at + 4 : at + 8], "big")
        if (low <= spi <= high) is self.is_inverted("ahspi"):
            return False
        if self.ahlen and (length == self.ahlen) is self.is_inverted("ahlen"):
            return False
        return not (self.ahres and (data[at + 2] or data[at + 3]))


EXTENSIONS: tuple[Any, ...] = (Ah4, Ah6)
