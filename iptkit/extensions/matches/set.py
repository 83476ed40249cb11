"""Match packets whose addresses or ports are in a set."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, ClassVar

from iptkit.extensions.ipset import SetSlot, SetUse, SetValue
from iptkit.extensions.layout import Bits, Layout, Pad
from iptkit.extensions.numbers import UInt
from iptkit.extensions.sets import Asked
from iptkit.extensions.spec import Flag, Match, Option
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT64_MAX

if TYPE_CHECKING:
    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension, Given
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

_COUNT = UInt(UINT64_MAX)
_ONCE = ("update_counters", "update_subcounters")
# IPSET_COUNTER_*, linux/netfilter/ipset/ip_set.h; `!` before -eq makes it another comparison
_NONE, _EQUAL, _UNEQUAL, _LESS, _GREATER = range(5)


class _Counter:
    """struct ip_set_counter_match: a number of 64 bits and how it is compared."""

    __slots__ = ("fields", "name", "size")
    _struct = struct.Struct("=QB7x")

    def __init__(self, name: str) -> None:
        self.name = name
        self.fields = {_EQUAL: f"{name}_eq", _LESS: f"{name}_lt", _GREATER: f"{name}_gt"}
        self.size = self._struct.size

    def write(self, use: Extension, family: Family) -> bytes:
        for comparison, field in self.fields.items():
            value = getattr(use, field)
            if value is not None:
                return self._struct.pack(value, _UNEQUAL if use.is_inverted(field) else comparison)
        return self._struct.pack(0, _NONE)

    def read(self, piece: bytes, into: Reading) -> None:
        value, comparison = self._struct.unpack(piece)
        if comparison == _NONE:
            return
        if comparison == _UNEQUAL:
            comparison = _EQUAL
            into.inverted.add(self.fields[_EQUAL])
        if comparison not in self.fields:
            raise BadValue(f"the kernel's comparison {comparison} of {self.name} is not known")
        into.values[self.fields[comparison]] = value


class MatchSet(SetUse, Match, name="set"):
    """Match packets whose addresses, ports or interfaces are in a set (ipset).

    `src` and `dst` say which of the packet's ends to look at, once for each
    dimension of the set.  The set must exist when the rule is loaded, and be
    of the rule's family.

    A set with counters counts each match, unless `! --update-counters` stands
    (for a list of sets also `! --update-subcounters`), and its elements can be
    told apart by what they have counted.
    """

    revision = 4
    match_set = Option(
        "--match-set", "--set", type=SetValue(), invert=True, required=True, doc="the set, and src or dst"
    )
    return_nomatch = Flag("--return-nomatch", multi=True, doc="match elements that are marked nomatch, too")
    # Only with `!` do these say anything.
    update_counters = Flag(
        "--update-counters", invert=True, multi=True, doc="with !: do not count this match"
    )
    update_subcounters = Flag(
        "--update-subcounters", invert=True, multi=True, doc="with !: do not count it in the sets of a list"
    )
    packets_eq = Option(
        "--packets-eq",
        type=_COUNT,
        invert=True,
        excludes=("packets_lt", "packets_gt"),
        doc="packets counted are this many",
    )
    packets_lt = Option(
        "--packets-lt", type=_COUNT, excludes=("packets_eq", "packets_gt"), doc="packets counted are fewer"
    )
    packets_gt = Option(
        "--packets-gt", type=_COUNT, excludes=("packets_eq", "packets_lt"), doc="packets counted are more"
    )
    bytes_eq = Option(
        "--bytes-eq",
        type=_COUNT,
        invert=True,
        excludes=("bytes_lt", "bytes_gt"),
        doc="bytes counted are this many",
    )
    bytes_lt = Option(
        "--bytes-lt", type=_COUNT, excludes=("bytes_eq", "bytes_gt"), doc="bytes counted are fewer"
    )
    bytes_gt = Option(
        "--bytes-gt", type=_COUNT, excludes=("bytes_eq", "bytes_lt"), doc="bytes counted are more"
    )
    set_fields: ClassVar[dict[str, int]] = {"match_set": 0}
    # struct xt_set_info_match_v4, linux/netfilter/xt_set.h; IPSET_FLAG_*, ipset/ip_set.h
    layout = Layout(
        SetSlot("match_set"),
        Pad(4),
        _Counter("packets"),
        _Counter("bytes"),
        Bits(
            "I",
            given={0x08: "update_counters", 0x10: "update_subcounters", 0x80: "return_nomatch"},
            inverted={0x08: "update_counters", 0x10: "update_subcounters"},
        ),
        size=48,
    )
    certain = True
    rewritable = True
    example = "-m set --match-set blocked src -j DROP"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = dict(given)
        for field in _ONCE:
            if field in out:
                # One `!` among several is enough.
                times = (*out[field].earlier, out[field])
                out[field] = out[field]._replace(inverted=any(each.inverted for each in times))
                if not out[field].inverted:
                    del out[field]
        return out

    def matches(self, packet: Packet, world: World) -> bool | None:
        # set_match_v4, net/netfilter/xt_set.c
        ref = self.match_set
        found = None if ref is None else world.ipset(ref.name)
        if found is None or ref is None:
            return None
        asked = Asked(
            ref.sources,
            bool(self.return_nomatch),
            bool(self.update_counters),
            bool(self.update_subcounters),
            self._comparison("packets"),
            self._comparison("bytes"),
        )
        met: bool = found.test(packet, asked, world.now)[0]
        return met is not self.is_inverted("match_set")

    def _comparison(self, counter: str) -> tuple[str, int] | None:
        for operator in ("eq", "lt", "gt"):
            field = f"{counter}_{operator}"
            number = getattr(self, field)
            if number is not None:
                return "ne" if self.is_inverted(field) else operator, number
        return None


EXTENSIONS: tuple[Any, ...] = (MatchSet,)
