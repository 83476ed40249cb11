"""Match until a number of bytes has passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Number, Pad
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Match, Option
from iptkit.values.numbers import UINT64_MAX

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Quota(Match, name="quota"):
    """Match until packets of so many bytes have gone by, then no more; with `!`, only from then on.

    What is left is not shown and starts anew whenever the table is replaced,
    also by an unrelated change with iptables.
    """

    stateful = True

    revision = 0
    quota = Option("--quota", type=UInt(UINT64_MAX), invert=True, required=True, doc="the bytes")
    # struct xt_quota_info, linux/netfilter/xt_quota.h
    layout = Layout(Bits("I", inverted={1: "quota"}), Pad(4), Number("quota", "Q", always=True), Pad(8))
    certain = True
    changing = True
    counts = True
    example = "-p tcp -m tcp --dport 80 -m quota --quota 1000000000 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # quota_mt, net/netfilter/xt_quota.c
        left = world.memory(lambda: [self.quota or 0])
        fits = left[0] >= packet.length
        left[0] = left[0] - packet.length if fits else 0
        return fits is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (Quota,)
