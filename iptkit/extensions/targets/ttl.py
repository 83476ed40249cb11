"""Change the time to live of a packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import GivenAs, Layout, Shared
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import BYTES, Option, Place, Target
from iptkit.values.numbers import UINT8_MAX

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Ttl(Target, name="TTL", families=(4,)):
    """Set, raise or lower the time to live (IPv4), held within 0 and 255.

    A router that raises it can let packets go round for ever.  Valid in
    mangle only; for IPv6 there is HL.
    """

    where = Place(tables=("mangle",))
    ttl_set = Option(
        "--ttl-set", type=UInt(UINT8_MAX), excludes=("ttl_inc", "ttl_dec"), doc="set to so many hops"
    )
    ttl_dec = Option(
        "--ttl-dec", type=UInt(UINT8_MAX, 1), excludes=("ttl_inc", "ttl_set"), doc="lower by so many hops"
    )
    ttl_inc = Option(
        "--ttl-inc", type=UInt(UINT8_MAX, 1), excludes=("ttl_dec", "ttl_set"), doc="raise by so many hops"
    )
    at_least_one = ("ttl_set", "ttl_inc", "ttl_dec")
    # struct ipt_TTL_info, linux/netfilter_ipv4/ipt_TTL.h
    layout = Layout(GivenAs("B", {0: "ttl_set", 1: "ttl_inc", 2: "ttl_dec"}), Shared("B", at_least_one))
    effect = "steady"
    aware = False
    rewrites = ("hops", *BYTES)
    example = "-j TTL --ttl-set 64"

    def act(self, packet: Packet, world: World) -> str | None:
        if self.ttl_set is not None:
            hops = self.ttl_set
        else:
            hops = min(max(packet.ttl + (self.ttl_inc or 0) - (self.ttl_dec or 0), 0), UINT8_MAX)
        if hops != packet.ttl:
            packet.set_ttl(hops)
        return None


EXTENSIONS: tuple[Any, ...] = (Ttl,)
