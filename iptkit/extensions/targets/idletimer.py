"""Tell when there has been no traffic for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.labels import Label, file_name_problem
from iptkit.extensions.layout import Bits, Layout, Number, Pad, String
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Flag, Option, Problem, RuleFacts, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet

_LIMIT = 2147483  # INT_MAX / 1000, net/netfilter/xt_IDLETIMER.c
_RESERVED = ("power", "subsystem", "uevent")  # files that its directory in /sys has already


class Idletimer(Target, name="IDLETIMER"):
    """Start a timer anew with each packet, and notify when it runs out; the packet goes on.

    The timer is the file /sys/class/xt_idletimer/timers/LABEL, which shows the
    seconds left and can be polled.  Rules with the same label share it.  With
    `--alarm` it also runs while the machine sleeps, and wakes it.
    """

    revision = 1
    timeout = Option("--timeout", type=UInt(), required=True, doc="seconds, from 1 to 2147482")
    label = Option("--label", type=Label(27), required=True, doc="name of the timer, up to 27 bytes")
    alarm = Flag("--alarm", doc="count time asleep too")
    # struct idletimer_tg_info_v1, linux/netfilter/xt_IDLETIMER.h
    layout = Layout(
        Number("timeout", "I", always=True),
        String("label", 28, always=True),
        Pad(1),
        Bits("B", given={1: "alarm"}),
        Pad(14),
    )
    harmless = True
    example = "-o ppp0 -j IDLETIMER --timeout 600 --label ppp0"

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        if not 0 < (self.timeout or 0) < _LIMIT:
            yield Problem(f"from 1 to {_LIMIT - 1} seconds", "timeout")
        problem = file_name_problem(self.label or "", "label", "/sys")
        if problem:
            yield problem
        elif self.label in _RESERVED:
            yield Problem(f"{self.label} is the name of another file there", "label")

    def act(self, packet: Packet, world: World) -> str | None:
        return None  # The timer is nothing a packet sees.


EXTENSIONS: tuple[Any, ...] = (Idletimer,)
