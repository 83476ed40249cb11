"""Change where packets go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout
from iptkit.extensions.nat import RangeStruct, RangeValue, Translation
from iptkit.extensions.spec import Flag, Option, Place

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet

_FLAGS = ("random", "persistent")


class _Dnat(Translation):
    where = Place(tables=("nat",), hooks=("PREROUTING", "OUTPUT"))
    range_field = "to_destination"
    revision = 2
    layout = Layout(RangeStruct("range2", "to_destination", _FLAGS, whole=True))

    def act(self, packet: Packet, world: World) -> str | None:
        return world.nat(packet, self.nat_range(), "DNAT")


class Dnat4(_Dnat, name="DNAT", families=(4,)):
    """Change the destination of a connection: address, port or both.

    Only its first packet comes by here; the others follow it.  Of a range of
    addresses each connection gets one.  Ports need a protocol that has them.
    A range LOW-HIGH/BASE maps port BASE to LOW, BASE+1 to LOW+1 and so on.
    """

    to_destination = Option(
        "--to-destination",
        type=RangeValue(4, "kept"),
        required=True,
        doc="the new destination: [address[-address]][:port[-port[/base]]]",
    )
    random = Flag("--random", doc="choose the port at random")
    persistent = Flag("--persistent", doc="give a client the same address for every connection")
    example = "-i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 192.0.2.10:8080"


class Dnat6(_Dnat, name="DNAT", families=(6,)):
    """Change the destination of a connection: address, port or both.

    Only its first packet comes by here; the others follow it.  Of a range of
    addresses each connection gets one.  Ports need a protocol that has them,
    and then the addresses stand in brackets.  A range LOW-HIGH/BASE maps port
    BASE to LOW, BASE+1 to LOW+1 and so on.
    """

    to_destination = Option(
        "--to-destination",
        type=RangeValue(6, "kept"),
        required=True,
        doc="the new destination: address[-address] or [[address[-address]]]:port[-port[/base]]",
    )
    random = Flag("--random", doc="choose the port at random")
    persistent = Flag("--persistent", doc="give a client the same address for every connection")
    example = "-i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination [2001:db8::10]:8080"


EXTENSIONS: tuple[Any, ...] = (Dnat4, Dnat6)
