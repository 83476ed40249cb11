"""The way of a connection's packets through the whole machine, remembered.

Most packets belong to a connection that is established: no rule of the nat
table is asked, no helper reads them, and what the chains before and after
routing do to one of them hangs on a few facts (iptkit.evaluator.courses).
A passage is kept for each connection, direction and interface, and on it a
trip for each set of such facts.  It is learnt from packets that went the
ordinary way, and left to that way wherever anything is out of the ordinary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from iptkit.evaluator.courses import REMEMBERED, reader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iptkit.evaluator.courses import Node
    from iptkit.evaluator.topology import Route
    from iptkit.values.packet import Packet


class Led(NamedTuple):
    """What led a packet through one leg: a node that decided all, and the facts it hangs on."""

    node: Node
    facts: Iterable[str]


class Trip(NamedTuple):
    """A packet's way: through PREROUTING, along a route, through FORWARD and POSTROUTING.

    room  the bytes of the longest packet that the route takes whole
    """

    before: Node
    route: Route
    room: int
    after: Node


class Passage:
    """The trips of one connection's packets in one direction, by their facts."""

    __slots__ = ("_read", "_trips")

    def __init__(self, trail: Iterable[Led]) -> None:
        names: set[str] = set()
        for led in trail:
            names.update(led.facts)
        self._read = reader(names)
        self._trips: dict[Any, Trip] = {}

    def facts(self, packet: Packet) -> Any:
        """The facts that decide about a packet; it has just been tracked."""
        return None if self._read is None else self._read(packet)

    def trip(self, facts: Any) -> Trip | None:
        """The trip of packets with these facts."""
        return self._trips.get(facts)

    def learn(self, facts: Any, trip: Trip) -> None:
        """Packets with these facts take this trip."""
        if len(self._trips) >= REMEMBERED:
            self._trips.clear()
        self._trips[facts] = trip
