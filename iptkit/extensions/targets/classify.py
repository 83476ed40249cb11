"""Set the priority of a packet, which puts it into a class of traffic control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout, Number
from iptkit.extensions.spec import Option, Place, Target
from iptkit.values.cnumbers import strtoul
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT16_MAX
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet


class ClassNumber:
    """`major:minor` in hexadecimal, read as by C's sscanf "%x:%x".

    Of each number 16 bits count, and what stands behind them is not seen.
    """

    metavar = "major:minor"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        major, rest = _scan_hex(text)
        if major is not None and rest[:1] == ":":
            minor, _ = _scan_hex(rest[1:])
            if minor is not None:
                return (major & UINT16_MAX) << 16 | minor & UINT16_MAX
        raise BadValue(f"must be MAJOR:MINOR, two hexadecimal numbers, not {quote(text)}")

    def show(self, value: int) -> str:
        return f"{value >> 16:04x}:{value & UINT16_MAX:04x}"


def _scan_hex(text: str) -> tuple[int | None, str]:
    """A number as sscanf reads %x, None where there is none, and the text after it."""
    value, rest = strtoul(text, 16)
    if rest == text:
        return None, text
    read = text[: len(text) - len(rest)].lstrip("+- \t\n\v\f\r")
    # To scanf a bare 0x is a number too.
    return value, rest[1:] if read == "0" and rest[:1] in ("x", "X") else rest


class Classify(Target, name="CLASSIFY"):
    """Set the packet's priority, a class of traffic control (tc(8)), as `major:minor` in hexadecimal.

    It counts where packets are queued to leave: valid in FORWARD, OUTPUT and
    POSTROUTING.
    """

    where = Place(hooks=("FORWARD", "OUTPUT", "POSTROUTING"))
    set_class = Option("--set-class", type=ClassNumber(), required=True, doc="class, hexadecimal")
    # struct xt_classify_target_info, linux/netfilter/xt_CLASSIFY.h
    layout = Layout(Number("set_class", "I", always=True))
    effect = "steady"
    aware = False
    rewrites = ()
    example = "-o eth0 -p tcp --dport 22 -j CLASSIFY --set-class 1:10"

    def act(self, packet: Packet, world: World) -> str | None:
        packet.priority = self.set_class or 0
        return None


EXTENSIONS: tuple[Any, ...] = (Classify,)
