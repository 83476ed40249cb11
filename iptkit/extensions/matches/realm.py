"""Match the routing realm of a packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout
from iptkit.extensions.namedmask import NamedMaskField, NamedMaskValue
from iptkit.extensions.spec import Match, Option, Place

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Realm(Match, name="realm", families=(4,)):
    """Match the routing realm (IPv4): a number that the route of a packet carries.

    Realms may have names (/etc/iproute2/rt_realms).  There is none before
    routing, so that the match cannot stand in PREROUTING.
    """

    where = Place(hooks=("INPUT", "FORWARD", "OUTPUT", "POSTROUTING"))
    realm = Option(
        "--realm",
        type=NamedMaskValue("realms", "realm"),
        invert=True,
        required=True,
        doc="number and mask, or a name",
    )
    # struct xt_realm_info, linux/netfilter/xt_realm.h
    layout = Layout(NamedMaskField("realm", "realms"), Bits("B", inverted={1: "realm"}), size=12)
    example = "-m realm --realm 0x4 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # A route has realm 0 unless it says otherwise.
        wanted = self.realm
        if wanted is None:
            return None
        found = getattr(packet.route, "realm", 0)
        return (found & wanted.mask == wanted.number) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (Realm,)
