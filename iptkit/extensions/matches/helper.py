"""Match by the conntrack helper of a packet's connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.labels import Label
from iptkit.extensions.layout import Bits, Layout, String
from iptkit.extensions.spec import Match, Option
from iptkit.values.text import quoted

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class HelperName(Label):
    """The name of a conntrack helper, cut off after 29 bytes; an empty one stands for any helper."""

    metavar = "name"

    def __init__(self) -> None:
        super().__init__(29)

    def show(self, value: str) -> str:
        return quoted(value)


class Helper(Match, name="helper"):
    """Match packets of connections that a conntrack helper started: `ftp` matches FTP's data connections.

    `ftp-2121` stands for the helper on another port than its usual one.
    """

    helper = Option("--helper", type=HelperName(), invert=True, required=True, doc="name of the helper")
    # struct xt_helper_info, linux/netfilter/xt_helper.h
    layout = Layout(Bits("i", inverted={1: "helper"}), String("helper", 30, always=True), size=36)
    certain = True
    example = "-m helper --helper ftp -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # helper_mt, net/netfilter/xt_helper.c
        connection = packet.connection
        inverted = bool(self.inverted)
        if connection is None or connection.master is None or not connection.master.helper:
            return inverted
        fits = not self.helper or self.helper.startswith(connection.master.helper)
        return fits is not inverted


EXTENSIONS: tuple[Any, ...] = (Helper,)
