"""Match whom a frame was sent to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.choices import OneOf
from iptkit.extensions.layout import Bits, Choice, Layout
from iptkit.extensions.spec import Match, Option
from iptkit.values.interfaces import LOOPBACK

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet

# PACKET_HOST and on, linux/if_packet.h
_TYPES = {"unicast": 0, "broadcast": 1, "multicast": 2, "otherhost": 3}
_ALIASES = {"host": "unicast", "bcast": "broadcast", "mcast": "multicast"}


class PktType(Match, name="pkttype"):
    """Match packets by whom their frame was sent to: this machine, everyone, a group, or another machine.

    It is the link layer's kind of frame; what the machine sends itself counts
    as unicast.
    """

    pkt_type = Option(
        "--pkt-type",
        type=OneOf(_TYPES, aliases=_ALIASES, any_case=True),
        invert=True,
        required=True,
        doc="unicast (host), broadcast (bcast), multicast (mcast), otherhost",
    )
    # struct xt_pkttype_info, linux/netfilter/xt_pkttype.h
    layout = Layout(Choice("pkt_type", "i", _TYPES), Bits("i", inverted={1: "pkt_type"}))
    facts = ("link_type",)
    example = "-m pkttype --pkt-type broadcast -j DROP"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # pkttype_mt, net/netfilter/xt_pkttype.c
        found = packet.link_type
        if found is None:
            if packet.in_interface and packet.in_interface != LOOPBACK:
                return None
            found = "unicast"
        elif found == "loopback":
            group = packet.family == 6 or packet.dst >> 28 == 0xE
            found = "multicast" if group else "broadcast"
        return (found == self.pkt_type) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (PktType,)
