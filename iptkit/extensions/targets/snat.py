"""Change where packets seem to come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout
from iptkit.extensions.nat import RangeStruct, RangeValue, Translation
from iptkit.extensions.spec import Flag, Option, Place

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet

_FLAGS = ("random", "random_fully", "persistent")


class _Snat(Translation):
    where = Place(tables=("nat",), hooks=("INPUT", "POSTROUTING"))
    range_field = "to_source"

    def act(self, packet: Packet, world: World) -> str | None:
        return world.nat(packet, self.nat_range(), "SNAT")


class Snat4(_Snat, name="SNAT", families=(4,)):
    """Change the source of a connection: address, port or both.

    Only its first packet comes by here; the others follow it.  Of a range of
    addresses each connection gets one.  Ports need a protocol that has them;
    without them the port is kept where it is free.
    """

    revision = 0
    to_source = Option(
        "--to-source",
        type=RangeValue(4, "lost"),
        required=True,
        doc="the new source: [address[-address]][:port[-port]]",
    )
    random = Flag("--random", doc="choose the port at random, by a hash of the connection")
    random_fully = Flag("--random-fully", doc="choose the port at random, unpredictably")
    persistent = Flag("--persistent", doc="give a client the same address for every connection")
    layout = Layout(RangeStruct("compat", "to_source", _FLAGS, whole=True))
    example = "-s 10.0.0.0/8 -o eth0 -j SNAT --to-source 192.0.2.1-192.0.2.4 --persistent"


class Snat6(_Snat, name="SNAT", families=(6,)):
    """Change the source of a connection: address, port or both.

    Only its first packet comes by here; the others follow it.  Of a range of
    addresses each connection gets one.  Ports need a protocol that has them,
    and then the addresses stand in brackets; without ports the port is kept
    where it is free.
    """

    revision = 1
    to_source = Option(
        "--to-source",
        type=RangeValue(6, "lost"),
        required=True,
        doc="the new source: address[-address] or [[address[-address]]]:port[-port]",
    )
    random = Flag("--random", doc="choose the port at random, by a hash of the connection")
    random_fully = Flag("--random-fully", doc="choose the port at random, unpredictably")
    persistent = Flag("--persistent", doc="give a client the same address for every connection")
    layout = Layout(RangeStruct("range", "to_source", _FLAGS, whole=True))
    example = "-s fd00::/8 -o eth0 -j SNAT --to-source 2001:db8::1"


EXTENSIONS: tuple[Any, ...] = (Snat4, Snat6)
