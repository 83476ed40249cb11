"""Copy security marks between packets and their connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import GivenAs, Layout
from iptkit.extensions.spec import Flag, Place, Target

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Connsecmark(Target, name="CONNSECMARK"):
    """Copy the security mark (SELinux) of the packet to its connection, or back.

    Neither overwrites a mark that is there already.  Valid in mangle and
    security only.
    """

    where = Place(tables=("mangle", "security"))
    save_mark = Flag("--save", excludes=("restore_mark",), doc="from the packet to the connection")
    restore_mark = Flag("--restore", excludes=("save_mark",), doc="from the connection to the packet")
    at_least_one = ("save_mark", "restore_mark")
    # struct xt_connsecmark_target_info, linux/netfilter/xt_CONNSECMARK.h
    layout = Layout(GivenAs("B", {1: "save_mark", 2: "restore_mark"}))
    rewrites = ()
    example = "-j CONNSECMARK --save"

    def act(self, packet: Packet, world: World) -> str | None:
        connection = packet.connection
        if connection is None or connection.template:
            return None
        if self.save_mark:
            if packet.secmark and not connection.secmark:
                connection.secmark = packet.secmark
        elif not packet.secmark:
            packet.secmark = connection.secmark
        return None


EXTENSIONS: tuple[Any, ...] = (Connsecmark,)
