"""Match some packets out of many: at random, or each nth."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Match, Option, Problem, RuleFacts
from iptkit.values.cnumbers import strtod
from iptkit.values.faults import BadValue
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

CERTAIN = 0x80000000  # probability 1, in the kernel's units
_MODES = ("random", "nth")  # enum xt_statistic_mode
_INVERT = 1  # XT_STATISTIC_INVERT
# struct xt_statistic_info, linux/netfilter/xt_statistic.h: mode, flags, a union of
# {probability} and {every - 1, packet, count}, the kernel's pointer
_INFO = struct.Struct("=HHIII8x")


class Mode:
    metavar = "random|nth"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> str:
        if text not in _MODES:
            raise ValueError(f"must be random or nth, not {quote(text)}")
        return text

    def show(self, value: str) -> str:
        return value


class Probability:
    """From 0 to 1, kept in units of 2^-31 and printed with eleven digits: 0.1 comes back as 0.10000000009."""

    metavar = "probability"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        value, rest = strtod(text)
        if rest or not text or value < 0 or value > 1:
            raise ValueError(f"must be a number from 0 to 1, not {quote(text)}")
        # nan passes for the tool; its rounding of it is 0.
        return 0 if math.isnan(value) else math.floor(value * CERTAIN + 0.5)

    def show(self, value: int) -> str:
        return f"{value / CERTAIN:.11f}"


class Statistic(Match, name="statistic"):
    """Match some packets out of many.

    `--mode random` takes each packet with the `--probability` given, whatever
    became of the others.  `--mode nth` counts the packets that reach the rule
    and takes one in `--every`, that with number `--packet` counted from 0.
    Each rule has a counter of its own; replacing the table sets it back.
    To spread connections evenly over n rules in a row, the first takes 1 in n,
    the next 1 in n - 1, the last all.
    """

    stateful = True

    revision = 0
    mode = Option("--mode", type=Mode(), required=True, doc="random, or nth")
    probability = Option(
        "--probability",
        type=Probability(),
        invert=True,
        excludes=("every", "packet"),
        doc="with random: the probability of a match, 0 to 1",
    )
    every = Option(
        "--every",
        type=UInt(low=1),
        invert=True,
        needs=("packet",),
        excludes=("probability",),
        doc="with nth: one packet in so many matches",
    )
    packet = Option(
        "--packet",
        type=UInt(),
        needs=("every",),
        excludes=("probability",),
        doc="with nth: which of them, counted from 0",
    )
    changing = True
    example = "-m statistic --mode random --probability 0.50000000000 -j ACCEPT"

    def check(self, rule: RuleFacts) -> Iterator[Problem]:
        if self.mode == "random" and self.probability is None:
            yield Problem("--mode random needs --probability", "mode", "IPT133")
        elif self.mode == "nth" and self.every is None:
            yield Problem("--mode nth needs --every and --packet", "mode", "IPT133")
        elif self.every is not None and self.packet is not None and self.packet >= self.every:
            yield Problem(
                f"--packet counts from 0 to {self.every - 1} here, so not {self.packet}",
                "packet",
                hint="it must be below --every",
            )

    def encode(self, family: Family) -> bytes:
        # The counter starts where the chosen packet is `packet` away; iptables writes it with random too.
        if self.mode == "random":
            probability = self.probability or 0
            return _INFO.pack(0, self.is_inverted("probability"), probability, 0, probability)
        last, packet = (self.every or 1) - 1, self.packet or 0
        return _INFO.pack(1, self.is_inverted("every"), last, packet, last - packet)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"statistic: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        mode, flags, first, packet, _ = _INFO.unpack_from(payload)
        inverted = flags & _INVERT
        if mode == 0:
            return cls.of(mode="random", probability=first, inverted=("probability",) if inverted else ())
        if mode != 1:
            raise BadValue(f"statistic: mode {mode} from the kernel is unknown")
        return cls.of(mode="nth", every=first + 1, packet=packet, inverted=("every",) if inverted else ())

    def matches(self, packet: Packet, world: World) -> bool | None:
        # statistic_mt, net/netfilter/xt_statistic.c
        if self.mode == "random":
            share = self.probability or 0
            if share <= 0 or share >= CERTAIN:
                hit = share > 0
            else:
                hit = bool(world.choose("statistic", (False, True)))
            return hit is not self.is_inverted("probability")
        last = (self.every or 1) - 1
        count = world.memory(lambda: [last - (self.packet or 0)])
        count[0] = 0 if count[0] == last else count[0] + 1
        return (count[0] == 0) is not self.is_inverted("every")


EXTENSIONS: tuple[Any, ...] = (Statistic,)
