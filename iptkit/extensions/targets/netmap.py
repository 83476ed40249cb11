"""Map one network onto another, address by address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.hosts import HostMask, prefix_mask
from iptkit.extensions.layout import Layout
from iptkit.extensions.nat import Range, RangeStruct
from iptkit.extensions.spec import Option, Place, Target
from iptkit.extensions.world import NatRange
from iptkit.values.addresses import show_address4, show_address6

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet


class Network:
    """`address[/mask]` as the range of addresses it is; host bits do not count."""

    metavar = "address[/mask]"
    words = 1
    code = "IPT125"

    def __init__(self, family: Family) -> None:
        self.family = family
        self.bits = 32 if family == 4 else 128

    def parse(self, text: str, context: Context) -> Range:
        _, address, length = HostMask().parse(text, context)
        mask = prefix_mask(length, self.bits)
        low = address & mask
        return Range((low, low | mask ^ prefix_mask(self.bits, self.bits)), None)

    def show(self, value: Range) -> str:
        low, high = value.addresses or (0, 0)
        host = show_address4(low) if self.family == 4 else show_address6(low)
        return f"{host}/{self.bits - (low ^ high).bit_length()}"


class _Netmap(Target):
    """Change the network part of an address and keep the rest.

    In PREROUTING and OUTPUT that is the destination's, in POSTROUTING and
    INPUT the source's.  Only a connection's first packet comes by here; the
    others follow it.
    """

    decides = True
    where = Place(tables=("nat",))
    revision = 0
    to: Option[Range]

    def act(self, packet: Packet, world: World) -> str | None:
        # netmap_tg4 and _tg6, net/netfilter/xt_NETMAP.c
        destination = world.hook in ("PREROUTING", "OUTPUT")
        low, high = self.to.addresses if self.to is not None and self.to.addresses is not None else (0, 0)
        hosts = low ^ high
        address = (packet.dst if destination else packet.src) & hosts | low & ~hosts
        return world.nat(packet, NatRange((address, address), netmap=True), "DNAT" if destination else "SNAT")


class Netmap4(_Netmap, name="NETMAP", families=(4,)):
    __doc__ = _Netmap.__doc__
    to = Option("--to", type=Network(4), required=True, doc="the network to map to")
    layout = Layout(RangeStruct("compat", "to", (), whole=True))
    example = "-d 192.0.2.0/24 -j NETMAP --to 10.0.5.0/24"


class Netmap6(_Netmap, name="NETMAP", families=(6,)):
    __doc__ = _Netmap.__doc__
    to = Option("--to", type=Network(6), required=True, doc="the network to map to")
    layout = Layout(RangeStruct("range", "to", (), whole=True))
    example = "-d 2001:db8:1::/64 -j NETMAP --to fd00:0:0:1::/64"


EXTENSIONS: tuple[Any, ...] = (Netmap4, Netmap6)
