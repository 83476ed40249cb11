"""Match UDP datagrams by port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from iptkit.extensions.layout import Bits, Layout, Pad, Pair
from iptkit.extensions.ports import UdpPorts, asked_of_one
from iptkit.extensions.ranges import Ranged
from iptkit.extensions.spec import Option
from iptkit.extensions.world import HotDrop

if TYPE_CHECKING:
    from iptkit.extensions.spec import PortsAsked
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Udp(Ranged, name="udp"):
    """Match UDP datagrams by source and destination port.

    Needs `-p udp`, which loads it by itself when one of its options is met.
    Ports are decimal numbers or service names. Beware: a number over 65535
    counts modulo 65536, a range whose first port is the higher one matches
    nothing, and neither is refused.
    """

    protocols = (17,)
    revision = 0
    whole: ClassVar = {"sport": (0, 0xFFFF), "dport": (0, 0xFFFF)}
    plain = True  # settle refuses nothing
    sport = Option("--sport", "--source-port", type=UdpPorts(), invert=True, doc="source port or range")
    dport = Option(
        "--dport", "--destination-port", type=UdpPorts(), invert=True, doc="destination port or range"
    )
    # struct xt_udp, linux/netfilter/xt_tcpudp.h
    layout = Layout(
        Pair("sport", "H", (0, 0xFFFF)),
        Pair("dport", "H", (0, 0xFFFF)),
        Bits("B", inverted={1: "sport", 2: "dport"}),
        Pad(1),
    )
    facts = ("header",)
    certain = True
    example = "-p udp -m udp --dport 53 -j ACCEPT"

    def asked_ports(self) -> dict[str, PortsAsked] | None:
        return asked_of_one(self)

    def matches(self, packet: Packet, world: World) -> bool | None:
        # udp_mt, net/netfilter/xt_tcpudp.c
        if packet.fragment_offset:
            return False
        if len(packet.data) < packet.l4 + 8:
            raise HotDrop
        sport, dport = self.values
        inverted = self.inverted
        if sport is not None and (sport[0] <= packet.sport <= sport[1]) == inverted & 1:
            return False
        return dport is None or (dport[0] <= packet.dport <= dport[1]) != inverted >> 1 & 1


EXTENSIONS: tuple[Any, ...] = (Udp,)
