"""Match by how much a connection has transferred."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.choices import OneOf
from iptkit.extensions.ranges import NumberRange
from iptkit.extensions.spec import Given, Match, Option
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT64_MAX
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# struct xt_connbytes_info, linux/netfilter/xt_connbytes.h: from, to, what, direction; reversed ends are a `!`
_INFO = struct.Struct("=QQBB6x")
MODES = ("packets", "bytes", "avgpkt")
DIRECTIONS = ("original", "reply", "both")


class ByteRange(NumberRange):
    """`from[:to]`, 64 bits each; without an upper end there is none."""

    def __init__(self) -> None:
        super().__init__(UINT64_MAX, metavar="from[:to]")

    def parse(self, text: str, context: Context) -> tuple[int, int]:
        low, high = super().parse(text, context)
        if ":" not in text:
            return low, UINT64_MAX
        if low > high:
            raise BadValue(f"range {quote(text)} is reversed: {low} is above {high}", "IPT127")
        return low, high

    def show(self, value: tuple[int, int]) -> str:
        low, high = value
        # iptables-save prints 0:0, which matches exactly 0, as if it had no upper end.
        return str(low) if high in (0, UINT64_MAX) else f"{low}:{high}"


class Connbytes(Match, name="connbytes"):
    """Match connections that have transferred so many bytes or packets, or packets of such a mean size.

    Needs connection accounting (the sysctl net.netfilter.nf_conntrack_acct);
    connections older than it count from when it was turned on.
    """

    connbytes = Option(
        "--connbytes", type=ByteRange(), invert=True, required=True, doc="at least from, and at most to"
    )
    mode = Option("--connbytes-mode", type=OneOf(MODES), required=True, doc="what to count")
    direction = Option("--connbytes-dir", type=OneOf(DIRECTIONS), required=True, doc="which packets to count")
    certain = True
    changing = True
    example = (
        "-m connbytes --connbytes 10000:100000 --connbytes-mode bytes --connbytes-dir both"
        " -j CONNMARK --set-mark 4"
    )

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        # The ends change places for a `!`, which cannot be seen where they are the same.
        found = given.get("connbytes")
        if found is not None and found.inverted and found.value[0] == found.value[1]:
            return {**given, "connbytes": Given(found.value, False)}
        return given

    def encode(self, family: Family) -> bytes:
        low, high = self.connbytes or (0, 0)
        ends = (high, low) if self.inverted else (low, high)
        return _INFO.pack(
            *ends, MODES.index(self.mode or "packets"), DIRECTIONS.index(self.direction or "original")
        )

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"connbytes: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        low, high, mode, direction = _INFO.unpack_from(payload)
        if mode >= len(MODES) or direction >= len(DIRECTIONS):
            raise BadValue(f"connbytes: mode {mode}, direction {direction} from the kernel")
        reversed_ends = low > high
        return cls.of(
            connbytes=(high, low) if reversed_ends else (low, high),
            mode=MODES[mode],
            direction=DIRECTIONS[direction],
            inverted=("connbytes",) if reversed_ends else (),
        )

    def matches(self, packet: Packet, world: World) -> bool | None:
        # connbytes_mt, net/netfilter/xt_connbytes.c
        connection = packet.connection
        if connection is None or connection.template:
            return False
        packets, octets = connection.packets, connection.bytes
        if self.direction == "both":
            number, amount = sum(packets), sum(octets)
        else:
            side = DIRECTIONS.index(self.direction or "original")
            number, amount = packets[side], octets[side]
        if self.mode == "packets":
            found = number
        elif self.mode == "bytes":
            found = amount
        else:
            found = amount // number if number else 0
        low, high = self.connbytes or (0, 0)
        return (low <= found <= high) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (Connbytes,)
