"""Match packets that an open socket on this machine waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout
from iptkit.extensions.spec import Flag, Match, Place

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Socket(Match, name="socket"):
    """Match TCP and UDP packets, and ICMP errors about them, for which a socket is found.

    In PREROUTING and INPUT only.  Used with policy routing and TPROXY.
    """

    revision = 3
    where = Place(hooks=("PREROUTING", "INPUT"))
    transparent = Flag("--transparent", doc="only sockets that may have any address (IP_TRANSPARENT)")
    nowildcard = Flag("--nowildcard", doc="listening sockets without an address of their own count too")
    restore_skmark = Flag("--restore-skmark", doc="give the packet the mark of the socket found")
    # struct xt_socket_mtinfo3, linux/netfilter/xt_socket.h
    layout = Layout(Bits("B", given={1: "transparent", 2: "nowildcard", 4: "restore_skmark"}))
    example = "-m socket --transparent -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # socket_match, net/netfilter/xt_socket.c
        found = world.socket(packet)
        if found is None:
            return None
        if found is False:
            return False
        if (not self.nowildcard and found.wildcard) or (self.transparent and not found.transparent):
            return False
        if self.restore_skmark:
            packet.mark = found.mark
        return True


EXTENSIONS: tuple[Any, ...] = (Socket,)
