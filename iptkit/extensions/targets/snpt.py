"""Swap the prefix of sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.npt import PARAMETER_PROBLEM6, PrefixTranslation
from iptkit.extensions.spec import BYTES, Place
from iptkit.extensions.world import DROP

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Snpt(PrefixTranslation, name="SNPT", families=(6,)):
    """Swap the prefix of the source address, without keeping state (RFC 6296).

    The way back needs DNPT with the prefixes the other way round, and packets
    of both directions are best kept from connection tracking.  Prefixes have
    up to 64 bits.
    """

    where = Place(tables=("mangle",), hooks=("INPUT", "POSTROUTING"))
    rewrites = ("src", *BYTES)
    example = "-o eth0 -j SNPT --src-pfx fd00:0:0:1::/64 --dst-pfx 2001:db8:1::/64"

    def act(self, packet: Packet, world: World) -> str | None:
        # The sum over the address stays as it was, and with it the checksum of the upper layer.
        address, kept = self.mapped(packet.src)
        packet.replace_source(address)
        if not kept:
            world.icmp_error(packet, PARAMETER_PROBLEM6, 0, 8)
            return DROP
        self.map_quoted(packet, 24)
        return None


EXTENSIONS: tuple[Any, ...] = (Snpt,)
