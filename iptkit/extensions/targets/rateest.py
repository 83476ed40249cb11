"""Measure the rate of packets."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.estimators import Estimator
from iptkit.extensions.labels import Label
from iptkit.extensions.matches.rateest import low_word
from iptkit.extensions.spec import Given, Option, Target
from iptkit.values.cnumbers import strtod
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT32_MAX
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

_SECOND = 1_000_000  # microseconds
_SUFFIXES = {
    "": 1,
    **dict.fromkeys(("us", "usec", "usecs"), 1),
    **dict.fromkeys(("ms", "msec", "msecs"), 1000),
    **dict.fromkeys(("s", "sec", "secs"), _SECOND),
}
# struct xt_rateest_target_info, linux/netfilter/xt_RATEEST.h: name, interval, ewma_log, the kernel's pointer
_INFO = struct.Struct("=16sbB6x8x")


class Duration:
    """`N[s|ms|us]`, microseconds without a suffix; kept in microseconds."""

    metavar = "N[s|ms|us]"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        number, suffix = strtod(text)
        factor = _SUFFIXES.get(suffix.lower())
        if factor is None or suffix == text:
            raise BadValue(f"must be a time such as 250ms or 0.5s, not {quote(text)}")
        return low_word(number * factor)

    def show(self, value: int) -> str:
        if value >= _SECOND:
            return f"{value / _SECOND:.1f}s"
        return f"{value / 1000:.1f}ms" if value >= 1000 else f"{value}us"


class Rateest(Target, name="RATEEST"):
    """Measure the rate of the packets that come by, under a name for `-m rateest`; the packet goes on.

    `--rateest-interval` is how often, one of 250 ms, 500 ms, 1, 2, 4 and 8 s
    (the next above what is given), `--rateest-ewmalog` the time over which the
    rate is averaged, a power of two of these.  Rules with the same name must
    agree on both.
    """

    stateful = True

    revision = 0
    name_ = Option("--rateest-name", type=Label(15), required=True, doc="name of the estimator")
    interval = Option("--rateest-interval", type=Duration(), doc="time between measurements, up to 8s")
    ewma = Option("--rateest-ewmalog", type=Duration(), doc="time to average over, above 1.5 intervals")
    harmless = True
    example = "-j RATEEST --rateest-name eth0 --rateest-interval 250.0ms --rateest-ewmalog 500.0ms"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        interval = given["interval"].value if "interval" in given else 0
        average = given["ewma"].value if "ewma" in given else 0
        # The kernel takes the interval as a power of two of a second, and the weight of a measurement as
        # one in two to the power of the other.
        power = next((n for n in range(-2, 4) if interval <= _SECOND * 2**n), None)
        if power is None:
            raise BadValue("--rateest-interval is at most 8s")
        weight = next((n - 1 for n in range(1, 32) if _time_constant(interval, n) > average), 31)
        if not 0 < weight < 31:
            raise BadValue(
                "--rateest-ewmalog does not go with --rateest-interval",
                hint="it must be above 1.5 intervals",
            )
        out = dict(given)
        out["interval"] = Given(power, False)
        out["ewma"] = Given(weight, False)
        return out

    def save(self) -> Iterator[str]:
        interval = int(_SECOND * 2.0 ** (self.interval or 0))
        show = Duration().show
        yield from ("--rateest-name", self.name_ or "")
        yield from ("--rateest-interval", show(interval))
        yield from ("--rateest-ewmalog", show(interval << (self.ewma or 0) & UINT32_MAX))

    def encode(self, family: Family) -> bytes:
        return _INFO.pack((self.name_ or "").encode("latin-1"), self.interval or 0, self.ewma or 0)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"RATEEST: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        name, interval, weight = _INFO.unpack_from(payload)
        return cls.of(name_=name.partition(b"\0")[0].decode("latin-1"), interval=interval, ewma=weight)

    def loaded(self, world: World) -> None:
        self._estimator(world)

    def act(self, packet: Packet, world: World) -> str | None:
        self._estimator(world).count(packet.length, int(world.now * world.hz))
        return None

    def _estimator(self, world: World) -> Estimator:
        now = int(world.now * world.hz)
        found: Estimator = world.named(
            "rateest", self.name_ or "", lambda: Estimator(self.interval or 0, self.ewma or 0, world.hz, now)
        )
        return found


def _time_constant(interval: int, power: int) -> float:
    """The time over which a new measurement counts for 1 in 2^power averages, as libxt_RATEEST.c has it."""
    # 1 << 31 is negative in C.
    count = 1 << power if power < 31 else -(1 << 31)
    return interval / -math.log(1.0 - 1.0 / count)


EXTENSIONS: tuple[Any, ...] = (Rateest,)
