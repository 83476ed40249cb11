"""Match ICMPv6 messages by type and code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.icmp_types import IcmpType, TypeAndCodes, named_types
from iptkit.extensions.layout import Bits, Layout
from iptkit.extensions.spec import Match, Option
from iptkit.extensions.world import HotDrop

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet

# The numbers are IANA's (RFC 4443, 4861), the names iptables'.
_TYPES = """
destination-unreachable=1 no-route=1/0 communication-prohibited=1/1 beyond-scope=1/2
address-unreachable=1/3 port-unreachable=1/4 failed-policy=1/5 reject-route=1/6
packet-too-big=2
time-exceeded=3 ttl-exceeded=3 ttl-zero-during-transit=3/0 ttl-zero-during-reassembly=3/1
parameter-problem=4 bad-header=4/0 unknown-header-type=4/1 unknown-option=4/2
echo-request=128 ping=128 echo-reply=129 pong=129
router-solicitation=133 router-advertisement=134
neighbour-solicitation=135 neighbor-solicitation=135
neighbour-advertisement=136 neighbor-advertisement=136
redirect=137
"""
# Names of iptables 1.8.10
_NEWER = """
mld-listener-query=130 mld-listener-report=131 mld-listener-done=132 mld-listener-reduction=132
"""


class Icmp6(Match, name="icmp6", families=(6,), aliases=("icmpv6", "ipv6-icmp")):
    """Match ICMPv6 messages by type and code.

    Needs `-p ipv6-icmp` (or `icmpv6`), which loads it by itself when its
    option is met. A type is a number from 0 to 255 or a name; with `/` and a
    number only that code of the type matches. There is no `any`, and type 255
    is that type.
    """

    protocols = (58,)
    revision = 0
    icmpv6_type = Option(
        "--icmpv6-type",
        type=IcmpType(named_types(_TYPES), newer=named_types(_NEWER)),
        invert=True,
        required=True,
        doc="type and code",
    )
    # struct ip6t_icmp, linux/netfilter_ipv6/ip6_tables.h
    layout = Layout(TypeAndCodes("icmpv6_type"), Bits("B", inverted={1: "icmpv6_type"}))
    facts = ("icmp",)
    certain = True
    example = "-p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # icmp6_match, net/netfilter/xt_tcpudp.c
        if packet.fragment_offset:
            return False
        data, at = packet.data, packet.l4
        if len(data) < at + 8:
            raise HotDrop
        kind, low, high = self.values[0]
        return (data[at] == kind and low <= data[at + 1] <= high) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (Icmp6,)
