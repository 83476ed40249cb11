"""Compare rates that RATEEST measures."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.labels import Label
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Flag, Given, Match, Option, Problem, RuleFacts
from iptkit.values.cnumbers import strtod
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT32_MAX
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.estimators import Estimator
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# enum xt_rateest_match_flags and xt_rateest_match_mode, linux/netfilter/xt_rateest.h
_INVERT, _ABSOLUTE, _RELATIVE, _DELTA, _BPS, _PPS = 1, 2, 4, 8, 16, 32
_MODES = ("", "eq", "lt", "gt")
# struct xt_rateest_match_info: name1, name2, flags, mode, bps1, pps1, bps2, pps2, two pointers
_INFO = struct.Struct("=16s16sHH4I4x16x")

_POWERS = {"k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_SUFFIXES: dict[str, float] = {"": 1, "bit": 1, "bps": 8}
for _letter, _power in _POWERS.items():
    _binary = 1024 ** ("kmgt".index(_letter) + 1)
    _SUFFIXES |= {f"{_letter}bit": _power, f"{_letter}ibit": _binary}
    _SUFFIXES |= {f"{_letter}bps": 8 * _power, f"{_letter}ibps": 8 * _binary}


def low_word(number: float) -> int:
    """The 32 bits that C on x86-64 makes of a floating-point number: what does not fit 64 bits is 0."""
    if not math.isfinite(number) or abs(number) >= 2**63:
        return 0
    return int(number) & UINT32_MAX


class ByteRate:
    """`N[suffix]`, in bits a second or with `bps` in bytes, kept in whole bytes; may be left out, as 0."""

    metavar = "[N[k|m|g|t[i]]bit|bps]"
    words = 1
    optional = True
    code = "IPT128"

    def parse(self, text: str | tuple[()], context: Context) -> int:
        if isinstance(text, tuple):
            return 0
        number, suffix = strtod(text)
        factor = _SUFFIXES.get(suffix.lower())
        if factor is None or suffix == text:
            raise BadValue(f"must be a rate such as 512kbit or 64kbps, not {quote(text)}")
        return low_word(number * factor / 8)

    def show(self, value: int) -> str:
        bits = value * 8
        if bits >= 1e9:
            return f"{bits / 1e6:.0f}Mbit"
        return f"{bits / 1e3:.0f}Kbit" if bits >= 1e6 else f"{bits}bit"


class PacketRate(UInt):
    """Packets a second; may be left out, as 0."""

    metavar = "[packets]"
    optional = True
    code = "IPT128"

    def parse(self, text: str | tuple[()], context: Context) -> int:
        return 0 if isinstance(text, tuple) else super().parse(text, context)


class Rateest(Match, name="rateest"):
    """Compare the rate of an estimator with a number, or with that of another one.

    `-j RATEEST` makes the estimators and must have been loaded before.  With
    one, `--rateest NAME --rateest-gt --rateest-bps 1mbit` compares it with the
    number; with two, `--rateest1 A --rateest-lt --rateest-bps --rateest2 B`
    compares them.  `--rateest-delta` takes each rate as what is left of
    `--rateest-bps1` or `--rateest-pps1` (and `bps2`, `pps2`) when it is
    subtracted.  Of several comparisons the last counts.
    """

    stateful = True

    revision = 0
    delta = Flag("--rateest-delta", doc="compare what is left up to given rates")
    name1 = Option("--rateest1", "--rateest", type=Label(15), doc="the estimator")
    bps1 = Option("--rateest-bps1", type=ByteRate(), doc="with --rateest-delta: bytes a second taken from")
    pps1 = Option("--rateest-pps1", type=PacketRate(), doc="the same in packets a second")
    lt = Flag("--rateest-lt", invert=True, doc="its rate is below")
    gt = Flag("--rateest-gt", invert=True, doc="its rate is above")
    eq = Flag("--rateest-eq", invert=True, doc="its rate is equal")
    bps2 = Option("--rateest-bps2", "--rateest-bps", type=ByteRate(), doc="compare bytes a second, with this")
    pps2 = Option(
        "--rateest-pps2", "--rateest-pps", type=PacketRate(), doc="compare packets a second, with this"
    )
    name2 = Option("--rateest2", type=Label(15), doc="the estimator to compare with")
    changing = True
    counts = True
    example = "-m rateest --rateest eth0 --rateest-gt --rateest-bps 8000Kbit -j DROP"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = {field: each for field, each in given.items() if field not in ("lt", "gt", "eq")}
        comparisons = [field for field in given if field in ("lt", "gt", "eq")]
        if comparisons:
            out[comparisons[-1]] = Given(True, any(given[field].inverted for field in comparisons))
        out.setdefault("name1", Given("", False))
        for first, second in (("bps1", "bps2"), ("pps1", "pps2")):
            if first in out or second in out:
                for field in (first, second):
                    out.setdefault(field, Given(0, False))
                # What is not compared, save forgets.
                if "delta" not in out:
                    del out[first]
                    if "name2" in out:
                        out[second] = Given(0, False)
        return out

    def _mode(self) -> str:
        return next((field for field in ("lt", "gt", "eq") if getattr(self, field)), "")

    def save(self) -> Iterator[str]:
        mode = self._mode()
        compare = ["!"] * (bool(mode) and self.is_inverted(mode)) + [f"--rateest-{mode}"] * bool(mode)
        relative = self.name2 is not None
        if self.delta:
            yield "--rateest-delta"
        yield "--rateest1" if relative else "--rateest"
        yield self.name1 or ""
        for unit, type_ in (("bps", ByteRate()), ("pps", UInt())):
            first, second = getattr(self, f"{unit}1"), getattr(self, f"{unit}2")
            if second is None:
                continue
            if self.delta:
                yield f"--rateest-{unit}1"
                yield type_.show(first or 0)
            yield from compare
            yield f"--rateest-{unit}2" if self.delta else f"--rateest-{unit}"
            if self.delta or not relative:
                yield type_.show(second)
        if relative:
            yield "--rateest2"
            yield self.name2 or ""

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        if not self._mode():
            yield Problem("rateest needs --rateest-lt, --rateest-gt or --rateest-eq", "", "IPT133")
        if self.bps2 is None and self.pps2 is None:
            yield Problem("rateest needs --rateest-bps or --rateest-pps", "", "IPT133")

    def encode(self, family: Family) -> bytes:
        mode = self._mode()
        flags = _ABSOLUTE if self.name2 is None else _RELATIVE
        flags |= _INVERT * (bool(mode) and self.is_inverted(mode)) | _DELTA * bool(self.delta)
        flags |= _BPS * (self.bps2 is not None) | _PPS * (self.pps2 is not None)
        return _INFO.pack(
            (self.name1 or "").encode("latin-1"),
            (self.name2 or "").encode("latin-1"),
            flags,
            _MODES.index(mode),
            self.bps1 or 0,
            self.pps1 or 0,
            self.bps2 or 0,
            self.pps2 or 0,
        )

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"rateest: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        name1, name2, flags, number, bps1, pps1, bps2, pps2 = _INFO.unpack_from(payload)
        if number >= len(_MODES):
            raise BadValue(f"rateest: mode {number} from the kernel is unknown")
        out: dict[str, Any] = {"name1": _text(name1)}
        delta = bool(flags & _DELTA)
        relative = bool(flags & _RELATIVE)
        if delta:
            out["delta"] = True
        if relative:
            out["name2"] = _text(name2)
        for unit, bit, first, second in (("bps", _BPS, bps1, bps2), ("pps", _PPS, pps1, pps2)):
            if flags & bit:
                out[f"{unit}2"] = second if delta or not relative else 0
                if delta:
                    out[f"{unit}1"] = first
        mode = _MODES[number]
        if mode:
            out[mode] = True
        return cls.of(inverted=(mode,) if flags & _INVERT else (), **out)

    def matches(self, packet: Packet, world: World) -> bool | None:
        # xt_rateest_mt, net/netfilter/xt_rateest.c
        first = self._rates(self.name1 or "", self.bps1, self.pps1, world)
        second: tuple[int, int] | None = (self.bps2 or 0, self.pps2 or 0)
        if self.name2 is not None:
            second = self._rates(self.name2, self.bps2, self.pps2, world)
        if first is None or second is None:
            return None
        mode = self._mode()
        holds = True
        for place, asked in enumerate((self.bps2, self.pps2)):
            if asked is not None and mode:
                one, other = first[place], second[place]
                holds = holds and {"lt": one < other, "gt": one > other, "eq": one == other}[mode]
        return holds is not (bool(mode) and self.is_inverted(mode))

    def _rates(
        self, name: str, octets: int | None, packets: int | None, world: World
    ) -> tuple[int, int] | None:
        """What an estimator says, or with --rateest-delta what is left up to the rates given."""
        estimator: Estimator | None = world.named("rateest", name, lambda: None)
        if estimator is None:
            return None
        found = estimator.read(int(world.now * world.hz))
        if self.delta:
            return max((octets or 0) - found[0], 0), max((packets or 0) - found[1], 0)
        return found


def _text(name: bytes) -> str:
    return name.partition(b"\0")[0].decode("latin-1")


EXTENSIONS: tuple[Any, ...] = (Rateest,)
