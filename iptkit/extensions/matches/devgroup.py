"""Match the groups of a packet's interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout
from iptkit.extensions.namedmask import NamedMaskField, NamedMaskValue
from iptkit.extensions.spec import Match, Option, Place

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet

_GROUP = NamedMaskValue("device_groups", "device group")


class DevGroup(Match, name="devgroup"):
    """Match the group of the interface a packet came in by or leaves by.

    Groups are numbers given to interfaces (`ip link set eth0 group 2`), 0 at
    first; /etc/iproute2/group may name some.  With a mask only its bits
    count.  --src-group works in PREROUTING, INPUT and FORWARD, --dst-group in
    FORWARD, OUTPUT and POSTROUTING.
    """

    at_least_one = ("src_group", "dst_group")
    src_group = Option("--src-group", type=_GROUP, invert=True, doc="group of the incoming interface")
    dst_group = Option("--dst-group", type=_GROUP, invert=True, doc="group of the outgoing interface")
    # struct xt_devgroup_info, linux/netfilter/xt_devgroup.h
    layout = Layout(
        Bits("I", given={1: "src_group", 4: "dst_group"}, inverted={2: "src_group", 8: "dst_group"}),
        NamedMaskField("src_group", "device_groups"),
        NamedMaskField("dst_group", "device_groups"),
    )
    example = "-m devgroup --src-group 0x2 -j ACCEPT"

    def place(self) -> Place:
        hooks = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
        if self.src_group is not None:
            hooks -= {"OUTPUT", "POSTROUTING"}
        if self.dst_group is not None:
            hooks -= {"PREROUTING", "INPUT"}
        return Place(hooks=tuple(hook for hook in self.where.hooks if hook in hooks), nft_user_chains=False)

    def matches(self, packet: Packet, world: World) -> bool | None:
        for wanted, interface, field in (
            (self.src_group, packet.in_interface, "src_group"),
            (self.dst_group, packet.out_interface, "dst_group"),
        ):
            if wanted is not None:
                group = world.device_group(interface)
                if group is None:
                    return None
                if bool((group ^ wanted.number) & wanted.mask) is not self.is_inverted(field):
                    return False
        return True


EXTENSIONS: tuple[Any, ...] = (DevGroup,)
