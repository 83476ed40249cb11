"""Follow a packet through all rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout
from iptkit.extensions.spec import TABLES, Place, Target

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Trace(Target, name="TRACE"):
    """Have the kernel report every rule that the packet matches from here on.

    Reports go to the kernel log, or with iptables-nft to `xtables-monitor
    --trace`.  Valid in raw only; with iptables-nft in any table.
    """

    logs = True
    effect = "traces"
    where = Place(tables=("raw",), nft_tables=TABLES)
    layout = Layout()
    example = "-p icmp -j TRACE"

    def act(self, packet: Packet, world: World) -> str | None:
        packet.traced = True
        return None


EXTENSIONS: tuple[Any, ...] = (Trace,)
