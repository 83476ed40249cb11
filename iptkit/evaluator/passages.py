"""The way of a connection's packets through the whole machine, remembered.

Most packets belong to a connection that is established, or to none: no rule of
the nat table is asked, no helper reads them, and what the chains before and
after routing do to one of them hangs on a few facts (iptkit.evaluator.courses).
A passage is known for each connection, direction and interface, and on it a
trip for each set of such facts; connections whose packets are led alike share
one.  It is learnt from packets that went the ordinary way, and left to that
way wherever anything is out of the ordinary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from iptkit.evaluator.courses import REMEMBERED, reader

if TYPE_CHECKING:
    from iptkit.evaluator.courses import Course, Node
    from iptkit.evaluator.topology import Route

KNOWN = 1 << 15  # keys whose passage is remembered


class Led(NamedTuple):
    """What led a packet through one leg: a node that decided all, and its course; None where all is idle."""

    leg: str
    node: Node
    course: Course | None


class Trip(NamedTuple):
    """A packet's way: through PREROUTING, along a route, through FORWARD and POSTROUTING.

    room  the bytes of the longest packet that the route takes whole
    """

    before: Node
    route: Route
    room: int
    after: Node


class Passage:
    """The trips of packets that are led alike.

    read   gives the facts that decide about a packet which has just been tracked; None: nothing does
    trips  by these facts
    """

    __slots__ = ("read", "trips")

    def __init__(self, before: Course | None, after: Course | None) -> None:
        names: set[str] = set()
        for course in (before, after):
            names |= course.asked if course is not None else set()
        self.read = reader(names)
        self.trips: dict[Any, Trip] = {}

    def learn(self, facts: Any, trip: Trip) -> None:
        """Packets with these facts take this trip."""
        if len(self.trips) >= REMEMBERED:
            self.trips.clear()
        self.trips[facts] = trip


class Passages:
    """The passages of a machine's packets.

    known  by connection, its ctinfo and the interface it comes in by; for packets without a connection
           by ctinfo and the indexed fields of their header
    """

    __slots__ = ("_shared", "known")

    def __init__(self) -> None:
        self.known: dict[tuple[Any, ...], Passage] = {}
        self._shared: dict[tuple[Course | None, Route, Course | None], Passage] = {}

    def add(self, key: tuple[Any, ...], before: Led, route: Route, after: Led) -> None:
        """A packet of this key has been led so."""
        if len(self.known) >= KNOWN:
            self.clear()
        way = before.course, route, after.course
        found = self._shared.get(way)
        if found is None:
            found = self._shared[way] = Passage(before.course, after.course)
        self.known[key] = found

    def clear(self) -> None:
        """Something changed: forget them."""
        self.known.clear()
        self._shared.clear()
