"""Set the DSCP of a packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout, Number
from iptkit.extensions.numbers import Hex
from iptkit.extensions.service_types import DSCP_MOST, DscpClass, settle_class
from iptkit.extensions.spec import BYTES, Option, Place, Target

if TYPE_CHECKING:
    from iptkit.extensions.spec import Given
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet


class Dscp(Target, name="DSCP"):
    """Set the differentiated services code point, the upper six bits of the TOS byte (RFC 2474).

    Valid in mangle only.
    """

    where = Place(tables=("mangle",))
    set_dscp = Option(
        "--set-dscp", type=Hex(DSCP_MOST, digits=2), excludes=("set_dscp_class",), doc="code point, 0 to 63"
    )
    set_dscp_class = Option(
        "--set-dscp-class", type=DscpClass(), excludes=("set_dscp",), doc="EF, BE, CSx or AFxy"
    )
    at_least_one = ("set_dscp", "set_dscp_class")
    # struct xt_DSCP_info, linux/netfilter/xt_DSCP.h
    layout = Layout(Number("set_dscp", "B", always=True))
    effect = "steady"
    aware = False
    rewrites = ("tos", "dscp", *BYTES)
    example = "-p udp --dport 5060 -j DSCP --set-dscp-class EF"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return settle_class(given, "set_dscp", "set_dscp_class")

    def act(self, packet: Packet, world: World) -> str | None:
        code = self.set_dscp or 0
        if packet.tos >> 2 != code:
            packet.set_tos(packet.tos & 3 | code << 2)
        return None


EXTENSIONS: tuple[Any, ...] = (Dscp,)
