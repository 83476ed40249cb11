"""Match UDP datagrams by port."""

from __future__ import annotations

from typing import Any, ClassVar

from iptkit.extensions.layout import Bits, Layout, Pad, Pair
from iptkit.extensions.ports import UdpPorts
from iptkit.extensions.ranges import Ranged
from iptkit.extensions.spec import Option


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
    example = "-p udp -m udp --dport 53 -j ACCEPT"


EXTENSIONS: tuple[Any, ...] = (Udp,)
