"""Match ESP headers by SPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from iptkit.extensions.layout import Bits, Layout, Pad, Pair
from iptkit.extensions.ranges import NumberRange, Ranged
from iptkit.extensions.spec import Option
from iptkit.extensions.world import HotDrop
from iptkit.values.numbers import UINT32_MAX

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Esp(Ranged, name="esp"):
    """Match IPsec ESP packets by their Security Parameters Index.

    Needs `-p esp`, which loads it by itself when its option is met. A range
    whose first SPI is the higher one is taken and matches nothing.
    """

    protocols = (50,)
    revision = 0
    whole: ClassVar = {"espspi": (0, UINT32_MAX)}
    plain = True  # settle refuses nothing
    espspi = Option("--espspi", type=NumberRange(metavar="spi[:spi]"), invert=True, doc="an SPI or a range")
    # struct xt_esp, linux/netfilter/xt_esp.h
    layout = Layout(Pair("espspi", "I", (0, UINT32_MAX)), Bits("B", inverted={1: "espspi"}), Pad(3))
    certain = True
    example = "-p esp -m esp --espspi 500:600 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        if packet.fragment_offset:
            return False
        if len(packet.data) < packet.l4 + 8:
            raise HotDrop
        low, high = self.espspi or self.whole["espspi"]
        spi = int.from_bytes(packet.data[packet.l4 : packet.l4 + 4], "big")
        return (low <= spi <= high) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (Esp,)
