"""Match ICMP messages by type and code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.icmp_types import IcmpType, TypeAndCodes, named_types
from iptkit.extensions.layout import Bits, Layout
from iptkit.extensions.spec import Match, Option
from iptkit.extensions.world import HotDrop

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet

ANY_TYPE = 255  # the kernel takes it for every type: icmp_type_code_match, net/netfilter/xt_tcpudp.c

# The numbers are IANA's (RFC 792, 950, 1122, 1191, 1256, 1812), the names iptables'.
_TYPES = """
any=255 echo-reply=0 pong=0
destination-unreachable=3 network-unreachable=3/0 host-unreachable=3/1 protocol-unreachable=3/2
port-unreachable=3/3 fragmentation-needed=3/4 source-route-failed=3/5 network-unknown=3/6 host-unknown=3/7
network-prohibited=3/9 host-prohibited=3/10 TOS-network-unreachable=3/11 TOS-host-unreachable=3/12
communication-prohibited=3/13 host-precedence-violation=3/14 precedence-cutoff=3/15
source-quench=4
redirect=5 network-redirect=5/0 host-redirect=5/1 TOS-network-redirect=5/2 TOS-host-redirect=5/3
echo-request=8 ping=8 router-advertisement=9 router-solicitation=10
time-exceeded=11 ttl-exceeded=11 ttl-zero-during-transit=11/0 ttl-zero-during-reassembly=11/1
parameter-problem=12 ip-header-bad=12/0 required-option-missing=12/1
timestamp-request=13 timestamp-reply=14 address-mask-request=17 address-mask-reply=18
"""


class Icmp(Match, name="icmp", families=(4,)):
    """Match ICMP messages by type and code.

    Needs `-p icmp`, which loads it by itself when its option is met. A type
    is a number from 0 to 255 or a name; with `/` and a number only that code
    of the type matches. `any`, and type 255 with any code, is every message.
    """

    protocols = (1,)
    revision = 0
    icmp_type = Option(
        "--icmp-type",
        type=IcmpType(named_types(_TYPES), ANY_TYPE),
        invert=True,
        required=True,
        doc="type and code",
    )
    # struct ipt_icmp, linux/netfilter_ipv4/ip_tables.h
    layout = Layout(TypeAndCodes("icmp_type"), Bits("B", inverted={1: "icmp_type"}))
    facts = ("icmp",)
    certain = True
    example = "-p icmp -m icmp --icmp-type 8 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # icmp_match, net/netfilter/xt_tcpudp.c
        if packet.fragment_offset:
            return False
        data, at = packet.data, packet.l4
        if len(data) < at + 8:
            raise HotDrop
        kind, low, high = self.values[0]
        found = kind == ANY_TYPE or (data[at] == kind and low <= data[at + 1] <= high)
        return found is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (Icmp,)
