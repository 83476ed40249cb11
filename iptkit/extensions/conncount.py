"""Counting connections by a key, as nf_conncount does (net/netfilter/nf_conncount.c).

A list per key holds the connections that were seen; those that have ended are
taken out only when a packet comes along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.world import ASSURED, CONFIRMED

if TYPE_CHECKING:
    from iptkit.extensions.world import Connection, World
    from iptkit.values.tuples import Tuple

_AT_ONCE = 8  # CONNCOUNT_GC_MAX_COLLECT


class _List:
    __slots__ = ("collected", "entries", "searched")

    def __init__(self, now: int) -> None:
        self.entries: list[tuple[Tuple, int]] = []
        self.searched = now
        self.collected = 0


class Counts:
    """How many connections each key has."""

    __slots__ = ("lists",)

    def __init__(self) -> None:
        self.lists: dict[tuple[int, int], _List] = {}

    def count(
        self, key: tuple[int, int], tuple_: Tuple, zone: int, connection: Connection | None, world: World
    ) -> int:
        """Count the packet's connection in, and give the number of the key's.

        0 where the packet's own connection was the last, and has ended: one that
        was assured is not counted in again.
        """
        now = int(world.now * world.hz)
        found = self.lists.get(key)
        if found is None:
            found = self.lists[key] = _List(now)
            found.entries.append((tuple_, zone))
            return 1
        confirmed = connection is not None and connection.status & CONFIRMED
        if confirmed and connection is not None and connection.status & ASSURED:
            if now != found.searched:
                self._collect(found, world, now, None)
            return len(found.entries)
        if (
            not confirmed and now == found.searched and len(found.entries) - found.collected < _AT_ONCE
        ) or not self._collect(found, world, now, (tuple_, zone)):
            found.entries.append((tuple_, zone))
        return len(found.entries)

    def _collect(self, found: _List, world: World, now: int, wanted: tuple[Tuple, int] | None) -> bool:
        """Take out connections that are gone, some at a time; True where `wanted` was met on the way."""
        gone = 0
        for entry in list(found.entries):
            if gone > _AT_ONCE:
                break
            connection = world.find_connection(entry[0], entry[1], -1)
            if connection is None:
                found.entries.remove(entry)
                gone += 1
            elif entry == wanted:
                return True
            elif connection.ended:
                found.entries.remove(entry)
                gone += 1
        found.searched = now
        found.collected = len(found.entries)
        return False


__all__ = ["Counts"]
