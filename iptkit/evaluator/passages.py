"""The way of a connection's packets through the whole machine, remembered.

Most packets belong to a connection that is established, or to none: no rule of
the nat table is asked, no helper reads them, and they take the same route as
the packet before.  A passage says what leads such packets before and after
routing (iptkit.evaluator.courses), for each connection, direction and
interface.  It is learnt from a packet that went the ordinary way, and left to
that way wherever anything is out of the ordinary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from iptkit.evaluator.courses import Course, Idle
    from iptkit.evaluator.lookup import Key
    from iptkit.evaluator.topology import Route

KNOWN = 1 << 15  # keys whose passage is remembered


class Led(NamedTuple):
    """What led a packet through one leg."""

    leg: str
    course: Course | Idle


class Passage(NamedTuple):
    """A way: through PREROUTING, along a route, through FORWARD and POSTROUTING.

    room  the bytes of the longest packet that the route takes whole
    """

    before: Course | Idle
    route: Route
    room: int
    after: Course | Idle


class Passages:
    """The passages of a machine's packets.

    raw    what leads packets through the raw table, by the indexed fields of their header
    known  by connection, its ctinfo and the interface it comes in by; for packets without a connection
           by ctinfo and these fields
    """

    __slots__ = ("known", "raw")

    def __init__(self) -> None:
        self.raw: dict[Key, Course | Idle] = {}
        self.known: dict[tuple[Any, ...], Passage] = {}

    def add(self, key: tuple[Any, ...], passage: Passage) -> None:
        """Packets of this key go so."""
        if len(self.known) >= KNOWN:
            self.known.clear()
        self.known[key] = passage

    def add_raw(self, key: Key, course: Course | Idle) -> None:
        """This leads packets with this header through the raw table."""
        if len(self.raw) >= KNOWN:
            self.raw.clear()
        self.raw[key] = course

    def clear(self) -> None:
        """Something changed: forget them."""
        self.raw.clear()
        self.known.clear()
