"""Match the ports of a bridge that a packet came in by or leaves by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout
from iptkit.extensions.spec import Flag, Match, Option, Place
from iptkit.values.interfaces import interface_mask, parse_interface

if TYPE_CHECKING:
    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet


# XT_PHYSDEV_OP_*, linux/netfilter/xt_physdev.h
_OPERATIONS = {
    0x01: "physdev_in",
    0x02: "physdev_out",
    0x04: "physdev_is_bridged",
    0x08: "physdev_is_in",
    0x10: "physdev_is_out",
}


class PortName:
    """The name of an interface, a final `+` standing for any ending; unlike with -i it may be empty."""

    metavar = "name[+]"
    words = 1
    code = "IPT139"

    def parse(self, text: str, context: Context) -> str:
        return parse_interface(text, allow_empty=True)

    def show(self, value: str) -> str:
        return value


class _InterfaceField:
    """A name and the bytes of it that are compared, 16 each."""

    __slots__ = ("field", "size")

    def __init__(self, field: str) -> None:
        self.field = field
        self.size = 32

    def write(self, use: Extension, family: Family) -> bytes:
        return b"".join(interface_mask(getattr(use, self.field) or ""))

    def read(self, piece: bytes, into: Reading) -> None:
        into.values[self.field] = piece[:16].partition(b"\0")[0].decode("latin-1")


class PhysDev(Match, name="physdev"):
    """Match the bridge port a packet came in by, or will leave by, when it crosses a bridge.

    Only where bridged packets are shown to iptables (the br_netfilter module,
    net.bridge.bridge-nf-call-iptables).  The port out is known for bridged
    packets alone: for routed ones --physdev-out and --physdev-is-out never
    match, and without --physdev-is-bridged the kernel refuses them in OUTPUT.
    """

    at_least_one = (
        "physdev_is_in",
        "physdev_in",
        "physdev_is_out",
        "physdev_out",
        "physdev_is_bridged",
    )
    physdev_is_in = Flag("--physdev-is-in", invert=True, doc="came in by a bridge port")
    physdev_in = Option("--physdev-in", type=PortName(), invert=True, doc="bridge port it came in by")
    physdev_is_out = Flag("--physdev-is-out", invert=True, doc="will leave by a bridge port")
    physdev_out = Option("--physdev-out", type=PortName(), invert=True, doc="bridge port it will leave by")
    physdev_is_bridged = Flag("--physdev-is-bridged", invert=True, doc="is bridged, not routed")
    # struct xt_physdev_info
    layout = Layout(
        _InterfaceField("physdev_in"),
        _InterfaceField("physdev_out"),
        Bits("B", inverted=_OPERATIONS),
        Bits("B", given=_OPERATIONS),
    )
    example = "-m physdev --physdev-in eth1 --physdev-is-bridged -j ACCEPT"

    def place(self) -> Place:
        bridged = self.physdev_is_bridged and not self.is_inverted("physdev_is_bridged")
        if bridged or (self.physdev_out is None and self.physdev_is_out is None):
            return self.where
        return Place(hooks=("PREROUTING", "INPUT", "FORWARD", "POSTROUTING"), nft_user_chains=False)

    def matches(self, packet: Packet, world: World) -> bool | None:
        # physdev_mt, net/netfilter/xt_physdev.c: no packet crosses a bridge here; then all must be inverted.
        return all(self.inverted >> index & 1 for index, value in enumerate(self.values) if value is not None)


EXTENSIONS: tuple[Any, ...] = (PhysDev,)
