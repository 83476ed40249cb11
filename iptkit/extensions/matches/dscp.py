"""Match the DSCP of a packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Number
from iptkit.extensions.numbers import Hex
from iptkit.extensions.service_types import DSCP_MOST, DscpClass, settle_class
from iptkit.extensions.spec import Match, Option

if TYPE_CHECKING:
    from iptkit.extensions.spec import Given
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet


class Dscp(Match, name="dscp"):
    """Match the differentiated services code point: the upper six bits of the TOS byte (RFC 2474)."""

    dscp = Option(
        "--dscp",
        type=Hex(DSCP_MOST, digits=2),
        invert=True,
        excludes=("dscp_class",),
        doc="code point, 0 to 63",
    )
    dscp_class = Option(
        "--dscp-class", type=DscpClass(), invert=True, excludes=("dscp",), doc="EF, BE, CSx or AFxy"
    )
    at_least_one = ("dscp", "dscp_class")
    # struct xt_dscp_info, linux/netfilter/xt_dscp.h
    layout = Layout(Number("dscp", "B", always=True), Bits("B", inverted={1: "dscp"}))
    rewritable = True
    facts = ("tos",)
    certain = True
    example = "-m dscp --dscp-class EF -j ACCEPT"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return settle_class(given, "dscp", "dscp_class")

    def matches(self, packet: Packet, world: World) -> bool | None:
        return (packet.tos >> 2 == self.dscp) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (Dscp,)
