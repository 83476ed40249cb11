"""Change the hop limit of a packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import GivenAs, Layout, Shared
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import BYTES, Option, Place, Target
from iptkit.values.numbers import UINT8_MAX

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Hl(Target, name="HL", families=(6,)):
    """Set, raise or lower the hop limit (IPv6), held within 0 and 255.

    A router that raises it can let packets go round for ever.  Valid in
    mangle only; for IPv4 there is TTL.
    """

    where = Place(tables=("mangle",))
    hl_set = Option(
        "--hl-set", type=UInt(UINT8_MAX), excludes=("hl_inc", "hl_dec"), doc="set to so many hops"
    )
    hl_dec = Option(
        "--hl-dec", type=UInt(UINT8_MAX, 1), excludes=("hl_inc", "hl_set"), doc="lower by so many hops"
    )
    hl_inc = Option(
        "--hl-inc", type=UInt(UINT8_MAX, 1), excludes=("hl_dec", "hl_set"), doc="raise by so many hops"
    )
    at_least_one = ("hl_set", "hl_inc", "hl_dec")
    # struct ip6t_HL_info, linux/netfilter_ipv6/ip6t_HL.h
    layout = Layout(GivenAs("B", {0: "hl_set", 1: "hl_inc", 2: "hl_dec"}), Shared("B", at_least_one))
    effect = "steady"
    aware = False
    rewrites = ("hops", *BYTES)
    example = "-j HL --hl-set 64"

    def act(self, packet: Packet, world: World) -> str | None:
        if self.hl_set is not None:
            hops = self.hl_set
        else:
            hops = min(max(packet.ttl + (self.hl_inc or 0) - (self.hl_dec or 0), 0), UINT8_MAX)
        if hops != packet.ttl:
            packet.set_ttl(hops)
        return None


EXTENSIONS: tuple[Any, ...] = (Hl,)
