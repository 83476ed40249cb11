"""Match by the processor that handles the packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Number
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Match, Option

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class Cpu(Match, name="cpu"):
    """Match packets handled by one processor, to spread them over several sockets or queues.

    Processors are numbered from 0; one that does not exist never matches.
    """

    revision = 0
    cpu = Option("--cpu", type=UInt(), invert=True, required=True, doc="number of the processor")
    # struct xt_cpu_info, linux/netfilter/xt_cpu.h
    layout = Layout(Number("cpu", "I", always=True), Bits("I", inverted={1: "cpu"}))
    example = "-p tcp -m tcp --dport 80 -m cpu --cpu 1 -j REDIRECT --to-ports 8081"

    def matches(self, packet: Packet, world: World) -> bool | None:
        return None  # which processor handles a packet nobody says


EXTENSIONS: tuple[Any, ...] = (Cpu,)
