"""Match IPv6 addresses made from the sender's Ethernet address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout, Pad
from iptkit.extensions.spec import Match, Place

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Eui64(Match, name="eui64", families=(6,)):
    """Match packets whose source address ends in the sender's Ethernet address, as a modified EUI-64.

    That is how stateless autoconfiguration (RFC 4862) once made addresses.
    Not in OUTPUT and POSTROUTING, where there is no sender's frame.
    """

    where = Place(hooks=("PREROUTING", "INPUT", "FORWARD"))
    # No option, but the kernel wants an int.
    layout = Layout(Pad(4))
    example = "-i eth0 -m eui64 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # eui64_mt6, net/ipv6/netfilter/ip6t_eui64.c
        mac = packet.source_mac
        if mac is None:
            return None
        made = bytes((mac[0] ^ 2, mac[1], mac[2], 0xFF, 0xFE, mac[3], mac[4], mac[5]))
        return packet.src & (1 << 64) - 1 == int.from_bytes(made, "big")


EXTENSIONS: tuple[Any, ...] = (Eui64,)
