"""Fill in missing checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout
from iptkit.extensions.spec import BYTES, Flag, Place, Target

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Checksum(Target, name="CHECKSUM"):
    """Compute and fill in the checksum of packets that were left without for the hardware to do.

    For programs that read such packets off a virtual network and mind, above
    all old DHCP clients.  Valid in mangle only.
    """

    where = Place(tables=("mangle",))
    checksum_fill = Flag("--checksum-fill", required=True, doc="fill in the checksum")
    # struct xt_CHECKSUM_info, linux/netfilter/xt_CHECKSUM.h
    layout = Layout(Bits("B", given={1: "checksum_fill"}))
    rewrites = BYTES
    example = "-o virbr0 -p udp --dport 68 -j CHECKSUM --checksum-fill"

    def act(self, packet: Packet, world: World) -> str | None:
        return None  # What is injected has its checksums: only those left to the hardware are filled in.


EXTENSIONS: tuple[Any, ...] = (Checksum,)
