"""Make packets seem to come from the interface they leave by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout
from iptkit.extensions.nat import PortsValue, RangeStruct, Translation
from iptkit.extensions.spec import Flag, Option, Place
from iptkit.extensions.world import ACCEPT, DROP

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet

_FLAGS = ("random", "random_fully")


class _Masquerade(Translation):
    """Change the source of a connection to the address of the interface it leaves by.

    For addresses that come and go, as with PPP or DHCP: when the interface
    goes down its connections are forgotten.  For fixed addresses there is
    SNAT.  Ports need a protocol that has them.
    """

    where = Place(tables=("nat",), hooks=("POSTROUTING",))
    range_field = "to_ports"
    revision = 0
    to_ports = Option("--to-ports", type=PortsValue("lost"), doc="use these source ports: port[-port]")
    random = Flag("--random", doc="choose the port at random, by a hash of the connection")
    random_fully = Flag("--random-fully", doc="choose the port at random, unpredictably")
    example = "-s 10.0.0.0/8 -o ppp0 -j MASQUERADE"

    def act(self, packet: Packet, world: World) -> str | None:
        # nf_nat_masquerade_ipv4 and _ipv6, net/netfilter/nf_nat_masquerade.c
        connection = packet.connection
        if packet.family == 4 and connection is not None and not connection.original.src:
            return ACCEPT
        address = world.source_address(packet)
        if not address:
            return DROP
        return world.nat(
            packet, self.nat_range()._replace(addresses=(address, address), masquerade=True), "SNAT"
        )


class Masquerade4(_Masquerade, name="MASQUERADE", families=(4,)):
    __doc__ = _Masquerade.__doc__
    layout = Layout(RangeStruct("compat", "to_ports", _FLAGS))


class Masquerade6(_Masquerade, name="MASQUERADE", families=(6,)):
    __doc__ = _Masquerade.__doc__
    layout = Layout(RangeStruct("range", "to_ports", _FLAGS))
    example = "-s fd00::/8 -o ppp0 -j MASQUERADE"


EXTENSIONS: tuple[Any, ...] = (Masquerade4, Masquerade6)
