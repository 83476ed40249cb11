"""The tables of `-m hashlimit`: a token bucket, or a rate, for each address or port.

Facts: net/netfilter/xt_hashlimit.c, revision 3.  Time is in ticks of the kernel's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.hosts import prefix_mask
from iptkit.extensions.world import HotDrop
from iptkit.text.record import NamedTuple
from iptkit.values.numbers import UINT32_MAX
from iptkit.values.packet import AH, DCCP, ESP, SCTP, TCP, UDP, UDPLITE

if TYPE_CHECKING:
    from iptkit.values.packet import Packet

# cfg.mode, linux/netfilter/xt_hashlimit.h
DST, DST_PORT, SRC, SRC_PORT = 1, 2, 4, 8
ABOVE, BYTES, RATE_MATCH = 16, 32, 64
SCALE = 1_000_000
_UINT64 = (1 << 64) - 1
_DEFAULT_SIZE = 8192  # of the hash table, on a machine with more than 1 GB
# Where the ports stand, or what counts as them (proto_ports_offset, net/ipv6/ip6_input.c): the SPI
_PORTS_AT = {TCP: 0, UDP: 0, DCCP: 0, ESP: 0, SCTP: 0, UDPLITE: 0, AH: 4}


class Config(NamedTuple):
    """struct hashlimit_cfg3."""

    average: int
    burst: int
    mode: int
    size: int
    max: int
    gc_interval: int  # milliseconds, as is
    expire: int
    interval: int  # seconds
    source_mask: int
    destination_mask: int


class Bucket:
    """struct dsthash_ent: credit and what a packet costs, or the rate of an interval."""

    __slots__ = ("before", "burst", "cap", "cost", "credit", "current", "expires", "over", "rate")

    def __init__(self) -> None:
        self.before = self.expires = 0
        self.credit = self.cap = self.cost = 0
        self.current = self.burst = self.rate = 0
        self.over = False


class Buckets:
    """One table, with the settings of the rule that made it."""

    def __init__(self, config: Config, bits: int, hz: int, now: int) -> None:
        self.config = config
        self.buckets: dict[tuple[int, int, int, int], Bucket] = {}
        self.hz = hz
        self.made = now
        size = config.size or _DEFAULT_SIZE
        self.limit = max(config.max, size) if config.max else 8 * size
        self.source_mask = prefix_mask(config.source_mask, bits)
        self.destination_mask = prefix_mask(config.destination_mask, bits)
        # CREDITS_PER_JIFFY and CREDITS_PER_JIFFY_BYTES: powers of two that do not overflow
        self.per_tick = 1 << (_UINT64 // (hz * 86400)).bit_length() - 1
        self.per_tick_bytes = 1 << (UINT32_MAX // hz).bit_length() - 1

    def _ticks(self, milliseconds: int) -> int:
        return -(-milliseconds * self.hz // 1000)

    def within(self, packet: Packet, mode: int, now: int) -> bool:
        """Count the packet: is it within the limit?  `mode` is the asking rule's.

        Raises HotDrop where the table is full, or the packet's ports are cut off.
        """
        self._collect(now)
        key = self._key(packet)
        bucket = self.buckets.get(key)
        if bucket is None:
            if len(self.buckets) >= self.limit:
                raise HotDrop
            bucket = self.buckets[key] = self._new(now)
        else:
            self._refill(bucket, now)
        bucket.expires = now + self._ticks(self.config.expire)
        if mode & RATE_MATCH:
            bucket.current += packet.length if mode & BYTES else 1
            return not bucket.over and bucket.current <= bucket.burst
        cost = self._byte_cost(bucket, packet.length) if mode & BYTES else bucket.cost
        if bucket.credit < cost:
            return False
        bucket.credit -= cost
        return True

    def _collect(self, now: int) -> None:
        """Forget the idle buckets, as of the last time the table was searched for them."""
        every = self._ticks(self.config.gc_interval) or 1
        searched = now - (now - self.made) % every
        if searched <= self.made:
            return
        for key in [key for key, bucket in self.buckets.items() if bucket.expires <= searched]:
            del self.buckets[key]

    def _key(self, packet: Packet) -> tuple[int, int, int, int]:
        mode = self.config.mode
        source = packet.src & self.source_mask if mode & SRC else 0
        destination = packet.dst & self.destination_mask if mode & DST else 0
        if not mode & (SRC_PORT | DST_PORT):
            return source, destination, 0, 0
        offset = _PORTS_AT.get(packet.proto)
        if offset is None:
            return source, destination, 0, 0
        at = packet.l4 + offset
        if len(packet.data) < at + 4:
            raise HotDrop
        first, second = packet.data[at : at + 2], packet.data[at + 2 : at + 4]
        return (
            source,
            destination,
            int.from_bytes(first, "big") if mode & SRC_PORT else 0,
            int.from_bytes(second, "big") if mode & DST_PORT else 0,
        )

    def _credits(self, user: int) -> int:
        """user2credits"""
        whole = self.hz * self.per_tick
        if whole <= SCALE:
            return user // (SCALE // whole)
        return user * (whole // SCALE) & _UINT64

    def _new(self, now: int) -> Bucket:
        config = self.config
        bucket = Bucket()
        bucket.before = now
        if config.mode & RATE_MATCH:
            if config.mode & BYTES:
                average = config.average & UINT32_MAX
                bucket.rate = ((UINT32_MAX // average if average else UINT32_MAX) - 1) << 4
                bucket.burst = config.burst * bucket.rate if config.burst else bucket.rate
            else:
                bucket.rate = SCALE // config.average if config.average else 0
                bucket.burst = config.burst + bucket.rate
        elif config.mode & BYTES:
            bucket.credit = self.per_tick_bytes * self.hz
            bucket.cost = (config.average & UINT32_MAX) * self.per_tick_bytes * self.hz >> 32
            bucket.cap = config.burst
        else:
            bucket.credit = bucket.cap = self._credits(config.average * config.burst & _UINT64)
            bucket.cost = self._credits(config.average)
        return bucket

    def _refill(self, bucket: Bucket, now: int) -> None:
        """rateinfo_recalc"""
        delta = now - bucket.before
        mode = self.config.mode
        if delta <= 0:
            return
        if mode & RATE_MATCH:
            interval = self.config.interval * self.hz
            if delta < interval:
                return
            bucket.before = now
            bucket.over = bucket.current * interval > delta * bucket.rate
            bucket.current = 0
            return
        bucket.before = now
        if mode & BYTES:
            bucket.credit = min(bucket.credit + self.per_tick_bytes * delta, self.per_tick_bytes * self.hz)
        else:
            bucket.credit = min(bucket.credit + self.per_tick * delta, bucket.cap)

    def _byte_cost(self, bucket: Bucket, length: int) -> int:
        """What a packet costs in bytes; an empty bucket is filled anew as often as the burst says."""
        whole = self.per_tick_bytes * self.hz
        cost = min(((length >> 4) + 1) * bucket.cost, whole)
        if bucket.credit < cost and bucket.cap:
            bucket.cap -= 1
            bucket.credit = whole
        return cost


__all__ = ["Buckets", "Config"]
