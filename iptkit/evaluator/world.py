"""What extensions may ask and do, answered by one machine (iptkit.extensions.world.World)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from iptkit.conntrack.tracker import tuple_at
from iptkit.evaluator.courses import Uncounted
from iptkit.evaluator.routing import scope6
from iptkit.evaluator.topology import LOOPBACK
from iptkit.extensions.world import ACCEPT, Unknown
from iptkit.text.record import NamedTuple
from iptkit.values.packet import CT_UNTRACKED, TCP, UDP

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat
    from iptkit.conntrack.tracker import Tracker
    from iptkit.evaluator.chains import Classes, Line
    from iptkit.evaluator.courses import Course
    from iptkit.evaluator.routing import Routing
    from iptkit.evaluator.topology import Route, Topology
    from iptkit.extensions.world import NatRange, Record, Template, Truth
    from iptkit.values.context import Family
    from iptkit.values.packet import Packet
    from iptkit.values.tuples import Tuple

T = TypeVar("T")

ADDRESS_TYPES = {
    "unicast": "UNICAST",
    "local": "LOCAL",
    "broadcast": "BROADCAST",
    "anycast": "ANYCAST",
    "multicast": "MULTICAST",
    "unreachable": "UNREACHABLE",
    "prohibit": "PROHIBIT",
    "blackhole": "BLACKHOLE",
    "throw": "THROW",
}


class Doubt(NamedTuple):
    """Something nobody knows that decided what became of a packet.

    question  what it is, in words
    answer    what was taken for it this time
    options   what else could be
    """

    question: str
    answer: Any
    options: tuple[Any, ...]


class Traced(NamedTuple):
    """One step of a packet's way through the rules."""

    packet: Packet
    key: str
    mark: int
    line: Line


REMEMBERED = 1 << 14  # MTUs
_NO_PATH = None, None


class Logged(NamedTuple):
    """What a LOG, NFLOG or ULOG rule wrote."""

    packet: Packet
    record: Record
    hook: str
    in_interface: str
    out_interface: str
    mark: int


class Surroundings:
    """The world around the packets of one machine.

    now         time of the packet at hand, seconds since the epoch
    hook, table where the packet is
    line, place the rule at hand, and which of its matches (-1: its target)
    last        the line that decided on the last walk
    led         the course that led the packet on that walk, if one did
    tracing     are all packets traced?
    noting      is what happens written down, and what rules log?
    trace, logs what was noted; the caller empties them
    why_not     where it is a list: after how many traced lines, which rule, and what of it did not match
    doubts      what was not known, and what was taken for it
    answers     for the doubts to come, the answers to take
    sets        ipsets by name
    classes     of packets, by the rules that may match them
    uncounted   what the lines' counters are to be told yet
    sockets     are the local sockets known (there are none), or is nothing known about them?
    """

    hz = 250
    minutes_west = 0

    def __init__(self, family: Family, topology: Topology, routing: Routing) -> None:
        self.family: Family = family
        self.topology = topology
        self.routing = routing
        self.tracker: Tracker
        self.translator: Nat
        self.now = 0.0
        self.hook = self.table = ""
        self.line: Any = None
        self.place = 0
        self.last: Line | None = None
        self.led: Course | None = None
        self.tracing = False
        self.noting = True
        self.trace: list[Traced] = []
        self.logs: list[Logged] = []
        self.why_not: list[tuple[int, str, str]] | None = None
        self.doubts: list[Doubt] = []
        self.answers: list[Any] = []
        self.sets: dict[str, Any] = {}
        self.sockets = False
        self._named: dict[tuple[str, str], Any] = {}
        self.classes: Classes
        self.uncounted = Uncounted()
        self._path_mtus: dict[tuple[int, str], tuple[Route | None, int | None]] = {}  # and the way out

    # -- what is not known

    def decide(self, line: Line, match: Any, packet: Packet) -> bool:
        """A match that cannot tell: take an answer, and note that it was taken."""
        words = match.text() if hasattr(match, "text") else str(match)
        return bool(self._take(f"-m {words} ({line.key})", (True, False)))

    def choose(self, question: str, options: range | tuple[Any, ...]) -> Any:
        """One of the outcomes of what the kernel leaves to chance."""
        return self._take(question, options) if len(options) > 1 else options[0]

    def _take(self, question: str, options: range | tuple[Any, ...]) -> Any:
        place = len(self.doubts)
        answer = self.answers[place] if place < len(self.answers) else options[0]
        # Of a wide range only the ends are told: what lies between differs in the number alone.
        shown = tuple(options) if len(options) <= 16 else (options[0], options[-1])
        self.doubts.append(Doubt(question, answer, shown))
        return answer

    # -- notes

    def traced(self, packet: Packet, line: Line) -> None:
        self.trace.append(Traced(packet, line.key, packet.mark, line))

    def record(self, packet: Packet, record: Record) -> None:
        if not self.noting:
            return
        self.logs.append(
            Logged(packet, record, self.hook, packet.in_interface, packet.out_interface, packet.mark)
        )

    # -- memory

    def memory(self, factory: Callable[[], T]) -> T:
        held = self.line.memory
        place = self.place
        if place not in held:
            held[place] = factory()
        found: T = held[place]
        return found

    def named(self, kind: str, name: str, factory: Callable[[], T]) -> T:
        key = kind, name
        if key not in self._named:
            self._named[key] = factory()
        found: T = self._named[key]
        return found

    def named_objects(self, kind: str) -> dict[str, Any]:
        """All that rules share of a kind, by name."""
        return {name: held for (of, name), held in self._named.items() if of == kind}

    # -- the machine

    def address_type(self, address: int, interface: str | None) -> str | None:
        if self.family == 4:
            # The local table alone is asked (inet_addr_type), and what it does not know is unicast.
            kind = self.routing.kind_of(address)
            if kind not in ("local", "broadcast", "multicast"):
                return "UNICAST"
            if interface is not None and kind != "multicast":
                route = self.routing.lookup(address)
                if route is not None and route.interface not in ("", interface):
                    return "UNICAST"
            return ADDRESS_TYPES[kind]
        if interface is not None and self.routing.is_own(address):
            return "LOCAL" if self.routing.has_address(interface, address) else "UNICAST"
        return ADDRESS_TYPES.get(self.routing.kind_of(address))

    def reverse_path(self, packet: Packet, *, loose: bool, valid_mark: bool, accept_local: bool) -> Truth:
        if packet.in_interface == LOOPBACK:
            return True
        route = self.routing.lookup(packet.src, packet.in_interface)
        if self.family == 4 and packet.src >> 28 == 14:
            return packet.src == 0
        if self.family == 4 and packet.src == 0:
            return True  # a host that does not know its address yet
        if route is None:
            return False
        if route.kind not in ("unicast", "anycast") and (route.kind != "local" or not accept_local):
            return False
        hops = (route.interface, *(device for device, _ in route.others))
        return loose or packet.in_interface in hops

    def device_group(self, interface: str) -> int | None:
        found = self.topology.interfaces.get(interface)
        return None if found is None else found.group

    def socket(self, packet: Packet) -> Any:
        return False if self.sockets and packet.proto in (TCP, UDP) else None

    def deliver_locally(self, packet: Packet, address: int, port: int) -> bool | None:
        return False if self.sockets else None

    def queue_program(self, queue: int) -> Truth:
        return False if self.sockets else None

    def ipset(self, name: str) -> Any:
        return self.sets.get(name)

    def path_mtu(self, packet: Packet) -> int | None:
        route = packet.route
        key = packet.src, packet.in_interface
        known, mtu = self._path_mtus.get(key, _NO_PATH)
        if known is not route or route is None:
            mtu = self._path_mtu(packet)
            if len(self._path_mtus) >= REMEMBERED:
                self._path_mtus.clear()
            self._path_mtus[key] = route, mtu
        return mtu

    def _path_mtu(self, packet: Packet) -> int | None:
        out = self.route_mtu(packet.route)
        back = self.route_mtu(self.routing.lookup(packet.src, packet.in_interface))
        if out is None or back is None:
            return back if out is None else out
        return min(out, back)

    def route_mtu(self, route: Route | None) -> int | None:
        """The MTU of the interface a route leaves by; a local one is the loopback's."""
        if route is None:
            return None
        name = LOOPBACK if route.kind in ("local", "anycast") else route.interface
        found = self.topology.interfaces.get(name)
        return None if found is None else found.mtu

    def source_address(self, packet: Packet) -> int | None:
        if self.family == 6:
            return self.routing.source6(packet.out_interface, packet.dst)
        route = packet.route
        near = route.gateway if route is not None and route.gateway is not None else packet.dst
        return self.routing.outward_address(packet.out_interface, near)

    def interface_address(self, packet: Packet) -> int | None:
        if self.family == 4:
            return self.routing.first_address(packet.in_interface)
        return self.routing.address_of_scope(packet.in_interface, scope6(packet.dst))

    # -- connections

    def tuple_of(self, packet: Packet) -> Tuple | None:
        if packet.fragment_offset:
            return None
        return tuple_at(
            self.tracker, packet.family, packet.src, packet.dst, packet.proto, packet.data, packet.l4
        )

    def find_connection(self, tuple_: Tuple, zone: int, direction: int) -> Entry | None:
        return self.tracker.find(tuple_, zone, direction, self.now)

    def nat(self, packet: Packet, range_: NatRange, kind: str) -> str:
        entry = packet.connection
        if entry is None:
            return ACCEPT
        return self.translator.target(packet, range_, kind, self.now)

    def attach_template(self, packet: Packet, template: Template | None) -> None:
        packet.connection = template
        packet.ctinfo = CT_UNTRACKED if template is None else 0

    # -- sending

    def reject(self, packet: Packet, kind: str) -> None:
        raise Unknown("how to reject")

    def icmp_error(self, packet: Packet, kind: int, code: int, info: int = 0) -> None:
        raise Unknown("how to answer")

    def send(self, packet: Packet) -> None:
        raise Unknown("how to send")

    def copy_to(self, packet: Packet, gateway: int, interface: str) -> None:
        raise Unknown("how to copy")
