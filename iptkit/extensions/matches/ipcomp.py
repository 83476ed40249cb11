"""Match IPComp headers by CPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from iptkit.extensions.layout import Bits, Layout, Pad, Pair
from iptkit.extensions.ranges import NumberRange, Ranged
from iptkit.extensions.spec import Flag, Given, Option
from iptkit.extensions.world import HotDrop
from iptkit.values.numbers import UINT32_MAX

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet


class Ipcomp(Ranged, name="ipcomp"):
    """Match IPComp packets by their Compression Parameter Index, which iptables calls an SPI.

    Needs `-p ipcomp`, which loads it by itself when one of its options is
    met. Without `--ipcompspi` it matches index 0 alone. Beware: the range of
    all numbers, `0:4294967295`, is saved as no option at all, and so comes
    back as index 0.
    """

    protocols = (108,)
    revision = 0
    whole: ClassVar = {"ipcompspi": (0, UINT32_MAX)}
    plain = True  # settle refuses nothing
    ipcompspi = Option(
        "--ipcompspi", type=NumberRange(metavar="spi[:spi]"), invert=True, doc="an index or a range"
    )
    compres = Flag("--compres", doc="the reserved field is zero")
    # struct xt_ipcomp, linux/netfilter/xt_ipcomp.h
    layout = Layout(
        Pair("ipcompspi", "I", (0, 0), always=True),
        Bits("B", inverted={1: "ipcompspi"}),
        Bits("B", given={1: "compres"}),
        Pad(2),
    )
    example = "-p ipcomp -m ipcomp --ipcompspi 18 -j ACCEPT"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return given if "ipcompspi" in given else {**given, "ipcompspi": Given((0, 0), False)}

    def matches(self, packet: Packet, world: World) -> bool | None:
        # comp_mt, net/netfilter/xt_ipcomp.c, does not look at the reserved field.
        if packet.fragment_offset:
            return False
        if len(packet.data) < packet.l4 + 4:
            raise HotDrop
        low, high = self.ipcompspi or (0, 0)
        index = packet.data[packet.l4 + 2] << 8 | packet.data[packet.l4 + 3]
        return (low <= index <= high) is not self.is_inverted("ipcompspi")


EXTENSIONS: tuple[Any, ...] = (Ipcomp,)
