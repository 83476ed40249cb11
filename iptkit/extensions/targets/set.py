"""Add packets' addresses to sets, take them out, or take marks from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from iptkit.extensions.ipset import SetSlot, SetUse, SetValue
from iptkit.extensions.layout import Bits, Layout, Number
from iptkit.extensions.numbers import UInt
from iptkit.extensions.sets import Asked
from iptkit.extensions.spec import HOOKS, Flag, Given, Option, Place, Problem, Target
from iptkit.extensions.world import Unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

_MAPPED = ("map_mark", "map_prio", "map_queue")
_NO_TIMEOUT = 0xFFFFFFFF


class Set(SetUse, Target, name="SET"):
    """Add the packet's addresses or ports to a set (ipset), or delete them from one.

    `src` and `dst` say of which end, once for each dimension of the set.  With
    --map-set the packet takes its mark, priority or queue from the set's
    element that it fits; that is for the mangle table.  The sets must exist
    when the rule is loaded.
    """

    revision = 3
    at_least_one = ("add_set", "del_set", "map_set")
    # A `!` before any of these is taken and means nothing.
    add_set = Option("--add-set", type=SetValue(), invert=True, doc="add to this set")
    exist = Flag(
        "--exist",
        invert=True,
        multi=True,
        needs=("add_set",),
        doc="an element that is there already starts its timeout anew",
    )
    timeout = Option(
        "--timeout",
        type=UInt(0xFFFFFFFE),
        invert=True,
        multi=True,
        needs=("add_set",),
        doc="seconds the element stays, in place of the set's default; 0 for ever",
    )
    del_set = Option("--del-set", type=SetValue(), invert=True, doc="delete from this set")
    map_set = Option("--map-set", type=SetValue(), invert=True, doc="look up in this set (of skbinfo kind)")
    map_mark = Flag("--map-mark", invert=True, multi=True, needs=("map_set",), doc="take the mark from there")
    map_prio = Flag(
        "--map-prio", invert=True, multi=True, needs=("map_set",), doc="take the tc priority from there"
    )
    map_queue = Flag(
        "--map-queue", invert=True, multi=True, needs=("map_set",), doc="take the device queue from there"
    )
    set_fields: ClassVar[dict[str, int]] = {"add_set": 0, "del_set": 4, "map_set": 8}
    # struct xt_set_info_target_v3, linux/netfilter/xt_set.h; IPSET_FLAG_*, ipset/ip_set.h
    layout = Layout(
        SetSlot("add_set"),
        SetSlot("del_set"),
        SetSlot("map_set"),
        Bits("I", given={0x001: "exist", 0x100: "map_mark", 0x200: "map_prio", 0x400: "map_queue"}),
        Number("timeout", "I", _NO_TIMEOUT),
    )
    rewrites = ("set",)
    example = "-p tcp -m tcp --dport 23 -j SET --add-set scanners src --exist --timeout 3600"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return {field: Given(found.value, False) for field, found in given.items()}

    @classmethod
    def missing(cls, present: frozenset[str], protocol: int) -> Iterator[Problem]:
        if "map_set" in present and not present.intersection(_MAPPED):
            yield Problem(
                "SET: --map-set needs one of --map-mark, --map-prio, --map-queue", "map_set", "IPT133"
            )

    def place(self) -> Place:
        if self.map_set is None:
            return self.where
        if self.map_prio or self.map_queue:
            return Place(("mangle",), ("FORWARD", "OUTPUT", "POSTROUTING"), nft_user_chains=False)
        return Place(("mangle",), HOOKS)

    def act(self, packet: Packet, world: World) -> str | None:
        # set_target_v3, net/netfilter/xt_set.c
        for ref in (self.add_set, self.del_set, self.map_set):
            if ref is not None and world.ipset(ref.name) is None:
                raise Unknown(f"what is in the set {ref.name}")
        if self.add_set is not None:
            name, sources = self.add_set
            world.ipset(name).add(packet, sources, world.now, exist=bool(self.exist), timeout=self.timeout)
        if self.del_set is not None:
            name, sources = self.del_set
            world.ipset(name).delete(packet, sources, world.now)
        if self.map_set is not None:
            name, sources = self.map_set
            met, element = world.ipset(name).test(packet, Asked(sources), world.now)
            if met and element is not None:
                mark, mask = element.mark or (0, 0)
                if self.map_mark:
                    packet.mark = packet.mark & ~mask ^ mark
                if self.map_prio:
                    packet.priority = element.priority or 0
        return None


EXTENSIONS: tuple[Any, ...] = (Set,)
