"""Match the IPv6 hop-by-hop options header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.headeroptions import HeaderOptions, options_layout, options_match
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Match, Option
from iptkit.values.packet import HOP_BY_HOP

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class HopByHop(Match, name="hbh", families=(6,)):
    """Match packets with a hop-by-hop options header (RFC 8200, 4.3), by its length and options.

    The length is that of the whole header in bytes.  The options must come in
    this order, one after the other from the first on; a length left out, or
    255, is any.
    """

    hbh_len = Option("--hbh-len", type=UInt(), invert=True, doc="length of the header in bytes")
    hbh_opts = Option("--hbh-opts", type=HeaderOptions(), doc="its options by type and length, 16 at most")
    layout = options_layout("hbh_len", "hbh_opts")
    certain = True
    example = "-m hbh --hbh-opts 5:2 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        return options_match(packet, HOP_BY_HOP, self.hbh_len, self.is_inverted("hbh_len"), self.hbh_opts)


EXTENSIONS: tuple[Any, ...] = (HopByHop,)
