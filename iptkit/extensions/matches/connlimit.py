"""Match by the number of connections of an address or network."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.conncount import Counts
from iptkit.extensions.hosts import PrefixLength, pack_host, prefix_length, prefix_mask, unpack_host
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Flag, Given, Match, Option
from iptkit.extensions.world import HotDrop
from iptkit.values.faults import BadValue

if TYPE_CHECKING:
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# struct xt_connlimit_info, linux/netfilter/xt_connlimit.h: mask, limit, flags, and a pointer of the kernel's
_INFO = struct.Struct("=16sII8x")
_UPTO, _DADDR = 1, 2


class Connlimit(Match, name="connlimit"):
    """Match while an address, or a network of that mask, has more (or at most) so many connections open.

    Connections are counted per source, or with --connlimit-daddr per
    destination; without a mask each address counts for itself.  The packet's
    own connection is among those counted.
    """

    stateful = True

    revision = 1
    upto = Option(
        "--connlimit-upto", type=UInt(), invert=True, excludes=("above",), doc="at most so many connections"
    )
    above = Option(
        "--connlimit-above", type=UInt(), invert=True, excludes=("upto",), doc="more than so many connections"
    )
    mask = Option("--connlimit-mask", type=PrefixLength(), doc="prefix length of the networks counted")
    saddr = Flag("--connlimit-saddr", excludes=("daddr",), doc="count by source address (default)")
    daddr = Flag("--connlimit-daddr", excludes=("saddr",), doc="count by destination address")
    at_least_one = ("upto", "above")
    certain = True
    changing = True
    counts = True
    example = "-p tcp --syn --dport 22 -m connlimit --connlimit-above 10 -j REJECT"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = dict(given)
        for field, opposite in (("upto", "above"), ("above", "upto")):
            if field in given and given[field].inverted:
                del out[field]
                out[opposite] = Given(given[field].value, False)
        out.setdefault("mask", Given(32 if context.family == 4 else 128, False))
        if "daddr" not in out:
            out["saddr"] = Given(True, False)
        return out

    def encode(self, family: Family) -> bytes:
        bits = 32 if family == 4 else 128
        mask = pack_host(prefix_mask(bits if self.mask is None else self.mask, bits), family)
        limit = self.above if self.upto is None else self.upto
        flags = (0 if self.upto is None else _UPTO) | (_DADDR if self.daddr else 0)
        return _INFO.pack(mask, limit or 0, flags)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"connlimit: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        mask, limit, flags = _INFO.unpack_from(payload)
        length = prefix_length(unpack_host(mask, context.family), 32 if context.family == 4 else 128)
        given: dict[str, Any] = {
            "upto" if flags & _UPTO else "above": limit,
            "mask": length,
            "daddr" if flags & _DADDR else "saddr": True,
        }
        return cls.of(**given)

    def matches(self, packet: Packet, world: World) -> bool | None:
        # connlimit_mt, net/netfilter/xt_connlimit.c
        counts: Counts = world.memory(Counts)
        bits = 32 if packet.family == 4 else 128
        address = (packet.dst if self.daddr else packet.src) & prefix_mask(
            bits if self.mask is None else self.mask, bits
        )
        connection = packet.connection
        zone = 0 if connection is None else connection.zone
        if connection is None or connection.template:
            tuple_ = world.tuple_of(packet)
            if tuple_ is None:
                raise HotDrop
            connection = world.find_connection(tuple_, zone, -1)
        else:
            tuple_ = connection.original
        number = counts.count((address, zone), tuple_, zone, connection, world)
        if not number:
            # The kernel takes it for a lack of memory; but the connection has ended, and was the last.
            raise HotDrop
        if self.upto is not None:
            return number <= self.upto
        return number > (self.above or 0)


EXTENSIONS: tuple[Any, ...] = (Connlimit,)
