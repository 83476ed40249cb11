"""Match the IPv6 destination options header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.headeroptions import HeaderOptions, options_layout, options_match
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Match, Option
from iptkit.values.packet import DESTINATION

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Dst(Match, name="dst", families=(6,)):
    """Match packets with a destination options header (RFC 8200, 4.6), by its length and options.

    The length is that of the whole header in bytes.  The options must come in
    this order, one after the other from the first on; a length left out, or
    255, is any.
    """

    dst_len = Option("--dst-len", type=UInt(), invert=True, doc="length of the header in bytes")
    dst_opts = Option("--dst-opts", type=HeaderOptions(), doc="its options by type and length, 16 at most")
    layout = options_layout("dst_len", "dst_opts")
    certain = True
    example = "-m dst --dst-len 8 --dst-opts 1:4 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        return options_match(packet, DESTINATION, self.dst_len, self.is_inverted("dst_len"), self.dst_opts)


EXTENSIONS: tuple[Any, ...] = (Dst,)
