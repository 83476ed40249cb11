"""Send packets to this machine itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout
from iptkit.extensions.nat import PortsValue, RangeStruct, Translation
from iptkit.extensions.spec import Flag, Option, Place
from iptkit.extensions.world import DROP

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


LOOPBACK4, LOOPBACK6 = 0x7F000001, 1  # 127.0.0.1, ::1


class _Redirect(Translation):
    """Change the destination of a connection to this machine.

    That is the first address of the interface the packet came in by; for
    connections of the machine's own it is loopback.  Ports need a protocol
    that has them.
    """

    where = Place(tables=("nat",), hooks=("PREROUTING", "OUTPUT"))
    range_field = "to_ports"
    revision = 0
    to_ports = Option("--to-ports", type=PortsValue("refused"), doc="go to these ports: port[-port]")
    random = Flag("--random", doc="choose the port at random")
    example = "-p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128"

    def act(self, packet: Packet, world: World) -> str | None:
        # nf_nat_redirect_ipv4 and _ipv6, net/netfilter/nf_nat_redirect.c
        if world.hook == "OUTPUT":
            address: int | None = LOOPBACK4 if packet.family == 4 else LOOPBACK6
        else:
            address = world.interface_address(packet)
        if not address:
            return DROP
        return world.nat(packet, self.nat_range()._replace(addresses=(address, address)), "DNAT")


class Redirect4(_Redirect, name="REDIRECT", families=(4,)):
    __doc__ = _Redirect.__doc__
    layout = Layout(RangeStruct("compat", "to_ports", ("random",)))


class Redirect6(_Redirect, name="REDIRECT", families=(6,)):
    __doc__ = _Redirect.__doc__
    layout = Layout(RangeStruct("range", "to_ports", ("random",)))


EXTENSIONS: tuple[Any, ...] = (Redirect4, Redirect6)
