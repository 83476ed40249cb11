"""Match at a limited rate, with a token bucket for each address or port."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.buckets import Buckets, Config
from iptkit.extensions.hosts import prefix_mask
from iptkit.extensions.labels import Label, file_name_problem
from iptkit.extensions.numbers import UInt
from iptkit.extensions.rates import parse_period, show_period
from iptkit.extensions.spec import Flag, Given, Match, Option, Problem, RuleFacts
from iptkit.text.record import NamedTuple
from iptkit.values.addresses import parse_host4, parse_host6
from iptkit.values.cnumbers import atoi, leading_int
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT32_MAX, UINT64_MAX, parse_uint, parse_uint_prefix
from iptkit.values.wording import did_you_mean, quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

SCALE = 1_000_000  # XT_HASHLIMIT_SCALE_v2: periods count microseconds
DEFAULT_BURST = 5
BURST_MAX = 1_000_000
TABLE_MAX = 1 << 20  # HASHLIMIT_MAX_SIZE, net/netfilter/xt_hashlimit.c: the kernel cuts what is more
DEFAULT_GC_INTERVAL = 1000  # ms
# How long an idle entry lives when nothing is said (ms): for a rate in packets, its unit.
_EXPIRE_BYTES = 15_000
_EXPIRE_BYTES_BURST = 60_000
_UNIT_SECONDS = {"day": 86400, "hour": 3600, "min": 60, "sec": 1}

# cfg.mode, linux/netfilter/xt_hashlimit.h
_MODES = {"srcip": 4, "srcport": 8, "dstip": 1, "dstport": 2}
_ABOVE = 16
_BYTES = 32
_RATE_MATCH = 64
# struct xt_hashlimit_mtinfo3: name[NAME_MAX], then hashlimit_cfg3 (avg, burst, mode, size, max, gc_interval,
# expire, interval, srcmask, dstmask), then the kernel's pointer
_INFO = struct.Struct("=255sx2Q6I2B6x8x")
# net/netfilter/xt_hashlimit.c, HZ * CREDITS_PER_JIFFY / scale, for 250 and 1000 ticks a second alike
_CREDITS = (1 << 37) * 1000 // SCALE


class HashRate(NamedTuple):
    """A rate as the kernel keeps it: the period in microseconds, or for bytes the cost of 16 of them."""

    amount: int
    in_bytes: bool
    # Seconds in the unit it was written with, which the defaults of other options follow; 0 when settled.
    unit: int = 0


def bytes_to_cost(octets: int) -> int:
    """The price of 16 bytes at a rate of so many bytes a second, of 2^32 - 1 a second to be spent.

    Raises ZeroDivisionError for the one rate at which iptables itself crashes.
    """
    return UINT32_MAX // ((octets >> 4) + 1 & UINT32_MAX)


def cost_to_bytes(cost: int) -> int:
    """The rate in bytes a second back from the price: the next multiple of 16 at or above what was asked."""
    return ((UINT32_MAX // cost if cost else UINT32_MAX) - 1) << 4


def _factor(letter: str) -> int:
    return {"k": 1 << 10, "m": 1 << 20}.get(letter, 1)


class Rate:
    """`N/unit` in packets, or `N[k|m]b/s` in bytes."""

    metavar = "rate"
    words = 1
    code = "IPT128"

    def parse(self, text: str, context: Context) -> HashRate:
        at = text.find("b/s")
        octets = leading_int(text)[0] if at > 0 else 0
        if octets:
            try:
                cost = bytes_to_cost(octets * _factor(text[at - 1]) & UINT64_MAX)
            except ZeroDivisionError:
                raise BadValue(f"{quote(text)} is more than can be counted") from None
            return HashRate(cost, True, 1)
        period = parse_period(text, SCALE)
        unit = text.partition("/")[2].lower()[:1]
        return HashRate(period, False, {"d": 86400, "h": 3600, "m": 60}.get(unit, 1))

    def show(self, value: HashRate) -> str:
        if not value.in_bytes:
            return show_period(value.amount, SCALE)
        octets = cost_to_bytes(value.amount)
        for letter in ("m", "k"):
            size = _factor(letter)
            # The tool compares in 32 bits, so what is larger is printed in bytes.
            if octets >= size and bytes_to_cost(octets & -size & UINT32_MAX) == value.amount:
                return f"{octets // size}{letter}b/s"
        return f"{octets}b/s"


class Burst:
    """`N[k|m][b]`: packets, or bytes with a rate in bytes."""

    metavar = "number[kb|mb|b]"
    words = 1
    code = "IPT128"

    def parse(self, text: str, context: Context) -> int:
        try:
            value, rest = parse_uint_prefix(text, 1, UINT64_MAX)
        except ValueError:
            value, rest = 0, ""
        if not value or (not rest and value > BURST_MAX):
            raise BadValue(f"must be a number from 1 to {BURST_MAX}, not {quote(text)}")
        return value * _factor(rest[:1]) & UINT64_MAX

    def show(self, value: int) -> str:
        return str(value)


class Mode:
    """A comma list of what has a bucket of its own; no word of it: one bucket for all."""

    metavar = "srcip,srcport,dstip,dstport"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        bits = 0
        for word in filter(None, text.split(",")):
            if word not in _MODES:
                raise BadValue(
                    f"{quote(word)} is none of {', '.join(_MODES)}", hint=did_you_mean(word, _MODES)
                )
            bits |= _MODES[word]
        return bits

    def show(self, value: int) -> str:
        return ",".join(word for word, bit in _MODES.items() if value & bit)


class PrefixLength:
    """A number of bits, or a mask as an address; one with holes is kept as 255 and refused by the kernel."""

    metavar = "bits"
    words = 1
    code = "IPT125"

    def parse(self, text: str, context: Context) -> int:
        bits = 32 if context.family == 4 else 128
        try:
            return parse_uint(text, 0, bits)
        except ValueError:
            pass
        try:
            mask = parse_host4(text) if bits == 32 else parse_host6(text)
        except ValueError:
            raise BadValue(
                f"must be a number of bits from 0 to {bits} or a mask, not {quote(text)}"
            ) from None
        length = mask.bit_count()
        return length if mask == prefix_mask(length, bits) else 255

    def show(self, value: int) -> str:
        return str(value)


class Seconds:
    metavar = "seconds"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        value = atoi(text)
        if value <= 0:
            raise BadValue(f"must be a number of seconds from 1 to 2147483647, not {quote(text)}")
        return value

    def show(self, value: int) -> str:
        return str(value)


class Hashlimit(Match, name="hashlimit"):
    """Match packets up to, or above, a rate, counted apart for each source, destination or port.

    `--hashlimit-mode` says what is counted apart; without it there is one
    bucket.  Rates are in packets per second, minute, hour or day, at most
    1,000,000/s, or in bytes a second (`512kb/s`), which are kept in steps of
    16 bytes and coarser the higher they are.  A burst with a rate in bytes is
    in bytes too, not below the rate, and kept as a multiple of it.  The hash
    table has at most 1,048,576 buckets and as many entries; more is cut.
    `--hashlimit-rate-match` compares the rate of the last interval instead of
    emptying a bucket.  The buckets are in /proc/net/ipt_hashlimit/NAME (or
    ip6t_hashlimit); rules with the same name share them, and the settings of
    the first count.
    """

    stateful = True

    revision = 3
    at_least_one = ("upto", "above")
    upto = Option(
        "--hashlimit-upto",
        "--hashlimit",
        type=Rate(),
        invert=True,
        excludes=("above",),
        doc="match while the rate is at most this",
    )
    above = Option(
        "--hashlimit-above", type=Rate(), invert=True, excludes=("upto",), doc="match while it is above this"
    )
    burst = Option(
        "--hashlimit-burst",
        type=Burst(),
        doc="packets, or bytes, let through at once; 5 packets if not given",
    )
    mode = Option("--hashlimit-mode", type=Mode(), doc="what is counted apart")
    name_ = Option("--hashlimit-name", type=Label(254, 1), required=True, doc="name of the table in /proc")
    size = Option("--hashlimit-htable-size", type=UInt(), doc="buckets of the hash table")
    max = Option("--hashlimit-htable-max", type=UInt(), doc="entries at most")
    gc_interval = Option(
        "--hashlimit-htable-gcinterval",
        type=UInt(),
        doc="milliseconds between searches for idle entries; 1000",
    )
    expire = Option("--hashlimit-htable-expire", type=UInt(), doc="milliseconds an idle entry lives")
    srcmask = Option("--hashlimit-srcmask", type=PrefixLength(), doc="prefix length sources are grouped by")
    dstmask = Option("--hashlimit-dstmask", type=PrefixLength(), doc="the same for destinations")
    rate_match = Flag("--hashlimit-rate-match", doc="compare the flow's rate, take nothing from a bucket")
    interval = Option(
        "--hashlimit-rate-interval", type=Seconds(), doc="seconds over which the rate is measured"
    )
    certain = True
    changing = True
    counts = True
    example = (
        "-p tcp -m tcp --dport 22 -m hashlimit --hashlimit-above 10/min --hashlimit-burst 5"
        " --hashlimit-mode srcip --hashlimit-name ssh -j DROP"
    )

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = {field: each.value for field, each in given.items()}
        found = given.get("upto") or given.get("above")
        if found is None:
            return given
        above = ("above" in given) != found.inverted
        out.pop("upto", None)
        out.pop("above", None)
        amount, in_bytes, unit = found.value
        # What is measured over an interval is the number in that interval.
        if out.get("rate_match"):
            interval = out.get("interval") or unit
            out["interval"] = interval
            if not in_bytes:
                amount //= unit
        rate = HashRate(amount, in_bytes)
        expire = unit * 1000
        if in_bytes:
            expire = _EXPIRE_BYTES_BURST if "burst" in out else _EXPIRE_BYTES
            out["burst"] = _multiples(out.get("burst"), cost_to_bytes(amount))
        else:
            out["burst"] = out.get("burst", DEFAULT_BURST)
            if out["burst"] > BURST_MAX:
                raise BadValue(f"a burst of more than {BURST_MAX} packets", "IPT128")
        for field in ("size", "max"):
            if field in out:
                out[field] = min(out[field], TABLE_MAX)
        out.setdefault("expire", expire)
        out["above" if above else "upto"] = rate
        bits = 32 if context.family == 4 else 128
        cls._drop_defaults(out, rate, bits)
        return {field: Given(value, False) for field, value in out.items()}

    @staticmethod
    def _drop_defaults(out: dict[str, Any], rate: HashRate, bits: int) -> None:
        """Take out what save does not print."""
        defaults = {
            "mode": 0,
            "size": 0,
            "max": 0,
            "gc_interval": DEFAULT_GC_INTERVAL,
            "expire": _saved_expire(rate, out["burst"]),
            "srcmask": bits,
            "dstmask": bits,
            "interval": 1,
        }
        if rate.in_bytes:
            defaults["burst"] = 0
        if not out.get("rate_match"):
            out.pop("interval", None)
        for field, default in defaults.items():
            if out.get(field) == default:
                del out[field]

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        field, rate = ("above", self.above) if self.above is not None else ("upto", self.upto)
        bits = 32 if rule.family == 4 else 128
        problem = file_name_problem(self.name_ or "", "name_")
        if problem:
            yield problem
        if self.gc_interval == 0:
            yield Problem("the interval of the search for idle entries must not be 0", "gc_interval")
        if self.expire == 0:
            yield Problem("idle entries must live for more than 0 ms", "expire")
        for side in ("srcmask", "dstmask"):
            if (getattr(self, side) or 0) > bits:
                yield Problem(f"a prefix has from 0 to {bits} bits, and no holes", side, "IPT125")
        if rate is None:
            return
        burst = self.burst or 0
        credits_of_one = rate.amount * _CREDITS & UINT64_MAX
        if self.rate_match:
            if not 0 < rate.amount <= UINT32_MAX:
                yield Problem("this rate cannot be measured", field, "IPT128")
        elif rate.in_bytes:
            if rate.amount < 2:  # a cost of 1 is nothing in the kernel's credits
                yield Problem("so high a rate overflows in the kernel", field, "IPT128")
        elif (rate.amount * burst & UINT64_MAX) * _CREDITS & UINT64_MAX < credits_of_one:
            yield Problem(
                "so low a rate with this burst overflows in the kernel",
                field,
                "IPT128",
                "a higher rate or another burst",
            )

    def save(self) -> Iterator[str]:
        rate = self.upto if self.upto is not None else self.above
        for option, value in zip(self.options, self.values, strict=True):
            if value is None or value is False:
                continue
            yield option.flag
            if option.field == "burst" and rate is not None and rate.in_bytes:
                yield _show_bytes(value * cost_to_bytes(rate.amount) & UINT64_MAX)
            elif option.type is not None:
                yield option.type.show(value)

    def encode(self, family: Family) -> bytes:
        above = self.above is not None
        rate = self.above if self.above is not None else self.upto
        if rate is None:
            raise BadValue("hashlimit needs a rate")
        burst = self.burst or 0
        bits = 32 if family == 4 else 128
        mode = self.mode or 0
        mode |= _ABOVE * above | _BYTES * rate.in_bytes | _RATE_MATCH * bool(self.rate_match)
        return _INFO.pack(
            (self.name_ or "").encode("latin-1"),
            rate.amount,
            burst,
            mode,
            self.size or 0,
            self.max or 0,
            DEFAULT_GC_INTERVAL if self.gc_interval is None else self.gc_interval,
            _saved_expire(rate, burst) if self.expire is None else self.expire,
            (self.interval or 1) if self.rate_match else 0,
            bits if self.srcmask is None else self.srcmask,
            bits if self.dstmask is None else self.dstmask,
        )

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"hashlimit: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        name, amount, burst, mode, size, most, gc, expire, interval, source, destination = _INFO.unpack_from(
            payload
        )
        rate = HashRate(amount, bool(mode & _BYTES))
        out = {
            "above" if mode & _ABOVE else "upto": rate,
            "name_": name.partition(b"\0")[0].decode("latin-1"),
            "burst": burst,
            "mode": mode & 15,
            "size": size,
            "max": most,
            "gc_interval": gc,
            "expire": expire,
            "interval": interval,
            "srcmask": source,
            "dstmask": destination,
            "rate_match": True if mode & _RATE_MATCH else None,
        }
        cls._drop_defaults(out, rate, 32 if context.family == 4 else 128)
        return cls.of(**out)

    def loaded(self, world: World) -> None:
        self._table(world)

    def matches(self, packet: Packet, world: World) -> bool | None:
        # hashlimit_mt_common, net/netfilter/xt_hashlimit.c
        table = self._table(world)
        within = table.within(packet, self._kernel_mode(), int(world.now * world.hz))
        return within is not (self.above is not None)

    def _table(self, world: World) -> Buckets:
        found: Buckets = world.named(
            f"hashlimit{world.family}", self.name_ or "", lambda: self._new_table(world)
        )
        return found

    def _kernel_mode(self) -> int:
        rate = self.upto or self.above
        mode = self.mode or 0
        if self.above is not None:
            mode |= _ABOVE
        if rate is not None and rate.in_bytes:
            mode |= _BYTES
        return mode | _RATE_MATCH if self.rate_match else mode

    def _new_table(self, world: World) -> Buckets:
        bits = 32 if world.family == 4 else 128
        rate = self.upto or self.above or HashRate(0, False)
        burst = self.burst if self.burst is not None else 0 if rate.in_bytes else DEFAULT_BURST
        config = Config(
            rate.amount,
            burst,
            self._kernel_mode(),
            self.size or 0,
            self.max or 0,
            DEFAULT_GC_INTERVAL if self.gc_interval is None else self.gc_interval,
            _saved_expire(rate, burst) if self.expire is None else self.expire,
            1 if self.interval is None else self.interval,
            bits if self.srcmask is None else self.srcmask,
            bits if self.dstmask is None else self.dstmask,
        )
        return Buckets(config, bits, world.hz, int(world.now * world.hz))


def _multiples(burst: int | None, rate: int) -> int:
    """A burst in bytes as a multiple of the rate, rounded up; iptables reckons with its low 32 bits."""
    if burst is None:
        return 0
    if rate == 0 or burst < rate:
        raise BadValue(f"a burst in bytes must not be below the rate, here {rate} bytes", "IPT128")
    return (burst & UINT32_MAX) // rate + (burst % rate != 0)


def _saved_expire(rate: HashRate, burst: int) -> int:
    """The time an idle entry lives (ms) that save does not print."""
    if rate.in_bytes:
        return _EXPIRE_BYTES_BURST if burst else _EXPIRE_BYTES
    return _UNIT_SECONDS.get(show_period(rate.amount, SCALE).partition("/")[2], 1) * 1000


def _show_bytes(octets: int) -> str:
    for letter in ("m", "k"):
        if octets >= _factor(letter):
            return f"{octets // _factor(letter)}{letter}b"
    return f"{octets}b"


EXTENSIONS: tuple[Any, ...] = (Hashlimit,)
