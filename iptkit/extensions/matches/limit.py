"""Match at a limited rate, by a token bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout, Number, Pad
from iptkit.extensions.numbers import UInt
from iptkit.extensions.rates import Rate
from iptkit.extensions.spec import Given, Match, Option, Problem, RuleFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

SCALE = 10_000  # XT_LIMIT_SCALE: the period counts 1/10,000 seconds
DEFAULT_PERIOD = 3600 * SCALE // 3
DEFAULT_BURST = 5

# What the kernel counts a packet's cost in, per second: HZ * CREDITS_PER_JIFFY (net/netfilter/xt_limit.c),
# the same for kernels of 250 and of 1000 ticks a second.
_CREDITS_PER_SECOND = 32_000
_UINT32 = 0xFFFFFFFF


def credits_of(period: int) -> int:
    """The kernel's user2credits, with the 32-bit overflow that makes it refuse a rule."""
    if period > _UINT32 // _CREDITS_PER_SECOND:
        return period // SCALE * _CREDITS_PER_SECOND & _UINT32
    return period * _CREDITS_PER_SECOND // SCALE


class _Bucket:
    """What a rule's limit has left: struct xt_limit_priv, and what it costs."""

    __slots__ = ("before", "cost", "have", "most", "per_tick")

    def __init__(self, limit: Limit, world: World) -> None:
        period = limit.limit or DEFAULT_PERIOD
        burst = DEFAULT_BURST if limit.burst is None else limit.burst
        self.before = int(world.now * world.hz)
        self.cost = credits_of(period)
        self.have = self.most = credits_of(period * burst & _UINT32)
        # CREDITS_PER_JIFFY: the power of two below what makes a day overflow
        self.per_tick = 1 << (_UINT32 // (world.hz * 86400)).bit_length() - 1


class Limit(Match, name="limit"):
    """Match a limited number of packets: `--limit` on average, after a burst of `--limit-burst`.

    A bucket holds the burst, gives one away for each packet and gains one
    each 1/rate; when it is empty the packet does not match.  Each rule has a
    bucket of its own, for all packets together, and it starts full.  Rates are
    kept in 1/10,000 seconds between packets, so 300/s becomes 303/s, and
    10000/s is the highest.  Very low rates with a large burst (1/day from a
    burst of 4 on) overflow in the kernel, which then refuses the rule.
    """

    stateful = True

    revision = 0
    limit = Option("--limit", type=Rate(SCALE), doc="packets on average; 3/hour if not given")
    burst = Option("--limit-burst", type=UInt(10_000), doc="packets matched at once; 5 if not given")
    # struct xt_rateinfo, linux/netfilter/xt_limit.h; what follows the burst is the kernel's
    layout = Layout(Number("limit", "I", always=True), Number("burst", "I", DEFAULT_BURST), Pad(32))
    certain = True
    changing = True
    counts = True
    example = '-m limit --limit 5/min --limit-burst 10 -j LOG --log-prefix "denied "'

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = dict(given)
        out.setdefault("limit", Given(DEFAULT_PERIOD, False))
        if "burst" in out and out["burst"].value == DEFAULT_BURST:
            del out["burst"]
        return out

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        burst = DEFAULT_BURST if self.burst is None else self.burst
        period = self.limit or 0
        if burst == 0:
            yield Problem("a burst of 0 never matches", "burst", "IPT128", backends=("legacy",))
        elif credits_of(period * burst & _UINT32) < credits_of(period):
            yield Problem(
                "so low a rate with this burst overflows in the kernel",
                "limit",
                "IPT128",
                "a higher rate or another burst",
                ("legacy",),
            )

    def matches(self, packet: Packet, world: World) -> bool | None:
        # limit_mt, net/netfilter/xt_limit.c
        bucket: _Bucket = world.memory(lambda: _Bucket(self, world))
        now = int(world.now * world.hz)
        gained = (now - bucket.before) * bucket.per_tick
        bucket.before = now
        have = min(bucket.have + gained & _UINT32, bucket.most)
        if have < bucket.cost:
            bucket.have = have
            return False
        bucket.have = have - bucket.cost
        return True


EXTENSIONS: tuple[Any, ...] = (Limit,)
