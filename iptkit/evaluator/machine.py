"""A machine that packets go through: hooks in the kernel's order, routing between them, its own answers.

At each hook the parts run by priority (linux/netfilter_ipv4.h): defragmentation
-400, raw -300, connection tracking -200, mangle -150, destination NAT -100,
filter 0, security 50, source NAT 100, helpers and confirmation last.  Routing
is net/ipv4/route.c, ip_forward.c, ip_output.c and their IPv6 kin, as far as a
firewall shows it.  Facts are those of Linux 6.18.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from iptkit.conntrack.defrag import Defragmenter, fragments, largest_fragment, must_fragment
from iptkit.conntrack.nat import ESTABLISHED, Nat
from iptkit.conntrack.settings import Settings
from iptkit.conntrack.tcp import set_closing
from iptkit.conntrack.tracker import Tracker
from iptkit.evaluator import answers
from iptkit.evaluator.chains import Classes, CompiledTable, Line, compile_ruleset, load_uses, walk_leg
from iptkit.evaluator.courses import Leg, Stage
from iptkit.evaluator.ip6options import Problem, check_hop_by_hop
from iptkit.evaluator.ipoptions import Options, Refused
from iptkit.evaluator.lookup import key_of
from iptkit.evaluator.passages import Led, Passage, Passages
from iptkit.evaluator.routing import Routing, scope6
from iptkit.evaluator.stack import answer as stack_answer
from iptkit.evaluator.sysctls import Sysctls
from iptkit.evaluator.topology import LOOPBACK, Route, two_networks
from iptkit.evaluator.world import Doubt, Surroundings
from iptkit.extensions.world import ACCEPT, DROP, QUEUE, STOLEN, Owner
from iptkit.text.record import NamedTuple
from iptkit.values.checksum import checksum, mend
from iptkit.values.packet import (
    CT_RELATED,
    CT_RELATED_REPLY,
    CT_UNTRACKED,
    EXTENSIONS6,
    TCP,
    Malformed,
    Packet,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from iptkit.evaluator.courses import Course, Idle
    from iptkit.evaluator.lookup import Key
    from iptkit.evaluator.topology import Topology
    from iptkit.ruleset.model import Ruleset

DONT_FRAGMENT = 0x4000
LEAST_MTU4, LEAST_MTU6 = 68, 1280
KERNELS_SOCKET = Owner(-1, -1, ())  # what the kernel sends itself has a socket, and nobody's
LIMITED4 = frozenset((3, 4, 11, 12))  # net.ipv4.icmp_ratemask
KERNELS_ID = 0x8000  # an IP identification that the kernel picks, at random
ERROR_BURST = 5.0  # net.ipv4.route.error_burst, in errors (its cost is a second for each)
HELD = "waiting for its other fragments"
ALL_HOSTS = 0xE0000001  # 224.0.0.1, which every interface listens to
ALL_NODES6 = (0xFF01 << 112 | 1, 0xFF02 << 112 | 1)
# What a route of such a kind answers: errno of a local sender, ICMP and ICMPv6 code for others.
UNREACHABLE = {
    "unreachable": (errno.EHOSTUNREACH, 1, 0),
    "prohibit": (errno.EACCES, 13, 1),
    "blackhole": (errno.EINVAL, -1, -1),
    "none": (errno.ENETUNREACH, 0, 0),
}
# What a packet walks in one go: tables and hooks, in the order of their priorities.  Between two
# legs stand connection tracking, NAT, routing.
LEGS = {
    "raw PREROUTING": (("raw", "PREROUTING"),),
    "PREROUTING": (("mangle", "PREROUTING"),),
    "nat PREROUTING": (("nat", "PREROUTING"),),
    "INPUT": (("mangle", "INPUT"), ("filter", "INPUT"), ("security", "INPUT")),
    "nat INPUT": (("nat", "INPUT"),),
    "FORWARD": (("mangle", "FORWARD"), ("filter", "FORWARD"), ("security", "FORWARD")),
    "raw OUTPUT": (("raw", "OUTPUT"),),
    "mangle OUTPUT": (("mangle", "OUTPUT"),),
    "nat OUTPUT": (("nat", "OUTPUT"),),
    "OUTPUT": (("filter", "OUTPUT"), ("security", "OUTPUT")),
    "POSTROUTING": (("mangle", "POSTROUTING"),),
    "nat POSTROUTING": (("nat", "POSTROUTING"),),
}
LEGS["FORWARD to POSTROUTING"] = LEGS["FORWARD"] + LEGS["POSTROUTING"]


class Tracked(NamedTuple):
    """What connection tracking said of a packet: at PREROUTING or OUTPUT, right after it."""

    packet: Packet
    hook: str
    state: str
    direction: int | None


class Seen(NamedTuple):
    """A packet that left or was delivered, as it was then."""

    packet: Packet
    interface: str


class Way(NamedTuple):
    """Where routing sends a packet that came in.

    kind    "forward", "deliver", "drop", or how it is refused: a key of UNREACHABLE
    chance  would another packet like it perhaps go elsewhere?
    """

    kind: str
    route: Route | None = None
    why: str = ""
    chance: bool = False


MARTIAN_SOURCE = Way("drop", why="martian source")
REMEMBERED = 1 << 16  # ways that are kept in mind


class Machine(Surroundings):
    """A firewall with its rules, its table of connections and its surroundings.

    out, local  packets that left, and that were delivered to the machine itself; the caller empties them
    egress      packets at the end of POSTROUTING
    tracked     what connection tracking said
    drops       why packets ended, in words: (packet, reason, line or None)
    answering   does the machine's own stack answer what is delivered to it?
    noting      are these lists kept, and what rules log?
    """

    def __init__(
        self,
        ruleset: Ruleset,
        topology: Topology | None = None,
        *,
        settings: Settings | None = None,
        sysctls: Mapping[str, int] | None = None,
        all_tables: bool = False,
        indexed: bool = True,
    ) -> None:
        topology = topology or two_networks()
        super().__init__(ruleset.family, topology, Routing(topology, ruleset.family))
        self.tracker = Tracker(settings)
        self.translator = Nat(self.tracker)
        self.translator.choose = self.choose
        self.translator.broadcast_mask = self._broadcast_mask
        self.sysctls = Sysctls(sysctls)
        self.fragments = Defragmenter(self.family)
        self.all_tables = all_tables
        self.indexed = indexed
        self.answering = False
        self.out: list[Seen] = []
        self.local: list[Seen] = []
        self.egress: list[Seen] = []
        self.tracked: list[Tracked] = []
        self.drops: list[tuple[Packet, str, Line | None]] = []
        self.last_doubts: list[Doubt] = []  # of the step before, see iptkit.evaluator.session
        self._ways: dict[tuple[int, int, str], Way] = {}
        self._tokens: dict[int, tuple[float, float]] = {}  # by source, see _may_tell
        self._waiting: list[Packet] = []  # on their way over lo
        self.passages = Passages()
        self._trail: list[Any] | None = None  # what led the packet at hand, where that is to be learnt
        # Another packet goes the same way, unless chance decides about it.
        self._hurries = indexed and not any(route.others for route in topology.routes)
        self.tables: dict[str, CompiledTable] = {}
        self.load(ruleset)

    def load(self, ruleset: Ruleset) -> None:
        """Take these rules, as iptables-restore does: what named lists keep stays."""
        self.uncounted.settle()
        self.passages.clear()
        self.tables = compile_ruleset(ruleset, all_tables=self.all_tables, indexed=self.indexed)
        self.classes = Classes(self.tables.values())
        self._legs = {
            name: Leg(
                [
                    Stage(table, hook, self.tables[table].hooks[hook])
                    for table, hook in parts
                    if table in self.tables and hook in self.tables[table].hooks
                ]
            )
            for name, parts in LEGS.items()
        }
        self._lines = {line.key: line for table in self.tables.values() for line in table.lines()}
        load_uses(self.tables.values(), self)

    def set_sysctl(self, name: str, value: int) -> None:
        """Change a sysctl.  Raises KeyError for one that is not known."""
        if ".nf_conntrack_" in name.replace("/", "."):
            self.tracker.settings.set(name, value)
        else:
            self.sysctls.set(name, value)
            self._ways.clear()
            self.passages.clear()

    # -- packets come in

    def receive(self, packet: Packet, interface: str) -> None:
        """A packet comes in from outside, and all that follows from it happens."""
        packet.in_interface = interface
        if packet.link_type is None:
            packet.link_type = "unicast"
        if packet.link_type == "otherhost":
            return self._drop(packet, "the frame is for another host")
        if packet.family == 4:
            # The words add up to 0xffff, see iptkit.values.checksum.
            if int.from_bytes(packet.data[: packet.l4], "big") % 0xFFFF:
                return self._drop(packet, "bad IP header checksum")
        elif not self._sane6(packet):
            return self._run_waiting()
        self._prerouting(packet)
        return self._run_waiting() if self._waiting else None

    def send_out(self, packet: Packet) -> int:
        """A local program sends a packet through a raw socket; 0, or the errno it gets."""
        self._by_program = True
        code = self._send_out(packet)
        self._by_program = False
        self._run_waiting()
        return code

    def _run_waiting(self) -> None:
        while self._waiting:
            packet = self._waiting.pop(0)
            packet.in_interface = packet.out_interface
            packet.out_interface = ""
            packet.owner = None
            if packet.in_interface == LOOPBACK:
                packet.link_type = "unicast"
                packet.source_mac = packet.destination_mac = bytes(6)
            else:
                packet.link_type = "loopback"
                packet.checked = True  # nobody damages what stays at home
            if self.family == 6 and (packet.src >> 120 == 0xFF or not _fits6(packet)):
                self._drop(packet, "a header that nobody receives")
                continue
            self._prerouting(packet, routed=True)

    def _sane6(self, packet: Packet) -> bool:
        """The checks of ipv6_rcv (net/ipv6/ip6_input.c)."""
        src, dst = packet.src, packet.dst
        problem = ""
        if 1 in {src, dst}:
            problem = "::1 does not come from outside"
        elif src >> 120 == 0xFF:
            problem = "a multicast source"
        elif dst >> 120 == 0xFF and (dst >> 112 & 15) in {0, 1}:
            problem = "a multicast address of a scope that does not leave a host"
        if problem:
            self._drop(packet, problem)
            return False
        try:
            check_hop_by_hop(packet)
        except Problem as found:
            self._drop(packet, "a hop-by-hop option that cannot be")
            if found.code >= 0:
                self.icmp_error(packet, 4, found.code, found.at)
            return False
        return True

    # -- hooks

    def _walk(self, name: str, packet: Packet) -> bool:
        """Walk the chains of a leg; False where the packet ends there."""
        leg = self._legs[name]
        trail, self._trail = self._trail, None  # packets that are sent meanwhile go their own way
        led: Course | Idle | None = leg.idle
        if led is not None and not (self.tracing or packet.traced):
            verdict = led.run(packet, self)
        else:
            verdict = walk_leg(leg, packet, self)
            led = self.led
        if trail is not None:
            trail.append(Led(name, led) if led is not None else None)
            self._trail = trail
        return verdict == ACCEPT or self._end(verdict, packet)

    def _end(self, verdict: str, packet: Packet) -> bool:
        """A packet's way ends in the chains; gives False.

        A packet that nobody takes from a queue is lost without a word to its sender.
        """
        self._error = 0 if verdict in (STOLEN, QUEUE) else errno.EPERM
        if verdict != STOLEN:
            self._drop(packet, "nobody reads the queue" if verdict == QUEUE else "", self.last)
        return False

    def _walk_nat(self, packet: Packet) -> str:
        return walk_leg(self._legs[f"nat {self._nat_hook}"], packet, self)

    def _nat(self, kind: str, hook: str, packet: Packet) -> bool:
        if packet.connection is None or "nat" not in self.tables:
            return True
        self._nat_hook = hook
        self.last = None
        verdict = self.translator.inet(packet, kind, hook, self.now, self._walk_nat)
        if verdict == ACCEPT:
            return True
        self._drop(packet, "NAT", self.last)
        self._error = errno.EPERM
        return False

    def _track(self, hook: str, packet: Packet) -> bool:
        if self.tracker.track(packet, hook, self.now) != ACCEPT:
            self._drop(packet, "connection tracking")
            self._error = errno.EPERM
            return False
        if self.noting:
            entry = packet.connection
            if entry is None:
                state = "UNTRACKED" if packet.ctinfo == CT_UNTRACKED else "INVALID"
                self.tracked.append(Tracked(packet, hook, state, None))
            else:
                state = ("ESTABLISHED", "RELATED", "NEW")[packet.ctinfo % 3]
                self.tracked.append(Tracked(packet, hook, state, packet.ctinfo // 3))
        return True

    def _confirm(self, packet: Packet) -> bool:
        """Helpers read, then the connection enters the table."""
        entry = packet.connection
        if entry is None or entry.settled:
            return True
        if self.translator.help(packet, self.now) != ACCEPT:
            self._drop(packet, "helper")
            return False
        if self.tracker.confirm(packet, self.now) != ACCEPT:
            self._drop(packet, "its place in the connection table is taken")
            return False
        return True

    def _drop(self, packet: Packet, why: str, line: Line | None = None) -> None:
        if self.noting:
            self.drops.append((packet, why, line))

    def _prerouting(self, packet: Packet, *, routed: bool = False) -> None:
        """`routed`: the packet was sent by the machine to itself, and has its route already."""
        if packet.more_fragments or packet.fragment_offset or packet.headers:
            whole = self.fragments.add(packet, self.now)
            if whole is None:
                return self._drop(packet, HELD)
            packet = whole
        if self._hurries and not routed and self._is_ordinary(packet):
            return self._hurry(packet)
        if self._walk("raw PREROUTING", packet) and self._track("PREROUTING", packet):
            self._go_on(packet, routed=routed)
        return None

    def _go_on(self, packet: Packet, *, routed: bool = False) -> None:
        """The packet has been tracked."""
        if not (self._walk("PREROUTING", packet) and self._nat("DNAT", "PREROUTING", packet)):
            return None
        if routed:
            if packet.family == 4 and packet.l4 > 20 and not self._take_options(packet):
                return None
            return self._input(packet)
        if packet.family == 4:
            return self._route_in4(packet)
        return self._route_in6(packet)

    # -- the short way of packets whose connection is established, see iptkit.evaluator.passages

    def _is_ordinary(self, packet: Packet) -> bool:
        """May what became of a packet before say what becomes of this one?"""
        return (
            packet.whole
            and packet.l4 == (20 if packet.family == 4 else 40)
            and packet.link_type == "unicast"
            and packet.connection is None
            and not packet.fragment_sizes
            and not (self.tracing or packet.traced or self.why_not is not None)
        )

    def _hurry(self, packet: Packet) -> None:
        """_prerouting, with what is remembered.

        No rule is being walked meanwhile, so that nobody asks afterwards where that was.
        """
        passages = self.passages
        header: Key | None = None
        course: Course | Idle | None = self._legs["raw PREROUTING"].idle
        if course is None:
            header = key_of(packet)
            course = passages.raw.get(header)
        if course is not None:
            verdict = course.run(packet, self)
            if verdict != ACCEPT:
                self._end(verdict, packet)
                return None
        else:
            trail = self._trail = []
            goes_on = self._walk("raw PREROUTING", packet)
            self._trail = None
            if header is not None and trail[0] is not None:
                passages.add_raw(header, trail[0].course)
            if not goes_on:
                return None
        # What -j CT --notrack has seen, nobody tracks; that is only to be noted.
        if (packet.ctinfo != CT_UNTRACKED or self.noting) and not self._track("PREROUTING", packet):
            return None
        key: tuple[Any, ...]
        entry = packet.connection
        if packet.traced:
            return self._go_on(packet)
        if entry is None:
            key = packet.ctinfo, header or key_of(packet)
        elif packet.ctinfo in ESTABLISHED and entry.settled:
            key = entry, packet.ctinfo, packet.in_interface
        else:
            return self._go_on(packet)
        passage = passages.known.get(key)
        if passage is not None:
            return self._travel(passage, packet)
        trail = self._trail = []
        try:
            self._go_on(packet)
        finally:
            self._trail = None
        if len(trail) == 2 and None not in trail and packet.out_interface != LOOPBACK:
            before, after = trail
            if after.leg == "FORWARD to POSTROUTING":
                route = packet.route
                room = self.route_mtu(route) or 0
                passages.add(key, Passage(before.course, route, room, after.course))
        return None

    def _travel(self, passage: Passage, packet: Packet) -> None:
        """What _go_on does, with nothing to look up."""
        verdict = passage.before.run(packet, self)
        if verdict != ACCEPT:
            self._end(verdict, packet)
            return None
        tracked = packet.connection is not None
        if tracked and self.translator.translate(packet, "DNAT") != ACCEPT:
            return self._drop(packet, "NAT")
        route = packet.route = passage.route
        if packet.ttl <= 1 or packet.length > passage.room:
            return self._forward4(packet, route) if packet.family == 4 else self._forward6(packet, route)
        packet.lower_ttl()
        packet.out_interface = route.interface
        verdict = passage.after.run(packet, self)
        if verdict != ACCEPT:
            self._end(verdict, packet)
            return None
        if tracked and self.translator.translate(packet, "SNAT") != ACCEPT:
            return self._drop(packet, "NAT")
        if self.noting:
            self.egress.append(Seen(packet.copy(), packet.out_interface))
        if packet.length > passage.room:
            self._transmit(packet)
        elif self.noting:
            self.out.append(Seen(packet, packet.out_interface))
        return None

    def _input(self, packet: Packet) -> None:
        if not (self._walk("INPUT", packet) and self._nat("SNAT", "INPUT", packet) and self._confirm(packet)):
            return
        if self.noting:
            self.local.append(Seen(packet.copy(), packet.in_interface))
        if self.answering:
            stack_answer(self, packet)

    def _forward(self, packet: Packet) -> None:
        if packet.ip_options is None:
            if self._walk("FORWARD to POSTROUTING", packet):
                self._leave(packet)
        elif self._walk("FORWARD", packet):
            out = self.routing.source_for(packet.route, packet.dst)
            packet.ip_options.forward(packet, out or 0)
            self._postrouting(packet)

    def _postrouting(self, packet: Packet, *, back: bool = False, gone: bool = False) -> int:
        """Gives the errno of a local sender, 0 for none; see _leave."""
        if not self._walk("POSTROUTING", packet):
            return self._error
        return self._leave(packet, back=back, gone=gone)

    def _leave(self, packet: Packet, *, back: bool = False, gone: bool = False) -> int:
        """The end of POSTROUTING; gives the errno of a local sender, 0 for none.

        `back`: the packet is to come back at once; `gone`: it does not leave the machine at all.
        """
        if not self._nat("SNAT", "POSTROUTING", packet):
            return self._error
        if self.noting:
            self.egress.append(Seen(packet.copy(), packet.out_interface))
        if not self._confirm(packet):
            return errno.EPERM
        if back:
            self._waiting.append(packet)
            return 0
        return 0 if gone else self._transmit(packet)

    def _local_out(self, packet: Packet) -> int:
        """A packet of the machine's own, which has its route; gives the errno."""
        hook = "OUTPUT"
        # The hook keeps its device, whatever route the packet gets on the way.
        packet.out_interface = device_of(packet.route)
        if packet.is_fragment or packet.headers:
            whole = self.fragments.add(packet, self.now)
            if whole is None:
                self._drop(packet, HELD)
                return 0
            packet = whole
        if not (self._walk("raw OUTPUT", packet) and self._track(hook, packet)):
            return self._error
        before = packet.src, packet.dst, packet.mark, packet.tos
        if not self._walk("mangle OUTPUT", packet):
            return self._error
        if before != (packet.src, packet.dst, packet.mark, packet.tos) and (code := self._reroute(packet)):
            return code
        to = packet.dst
        if not self._nat("DNAT", hook, packet):
            return self._error
        if to != packet.dst and (code := self._reroute(packet)):
            return code
        if not self._walk("OUTPUT", packet):
            return self._error
        packet.out_interface = device_of(packet.route)
        kind = packet.route.kind
        if kind == "multicast" and self.family == 6:
            return self._to_group6(packet)
        listening = kind == "broadcast" or (kind == "multicast" and packet.dst == ALL_HOSTS)
        if listening and packet.out_interface != LOOPBACK:
            # The machine is among those it speaks to (ip_mc_output).
            self._postrouting(packet.copy(), back=True)
            if self._by_program:
                self._run_waiting()  # nothing else keeps the processor from it
            if kind == "multicast" and not packet.ttl:
                return 0  # a hop limit of 0 is for this host alone
        return self._postrouting(packet)

    def _to_group6(self, packet: Packet) -> int:
        """Send to a group, and to the machine itself where it listens (ip6_finish_output2)."""
        interface = packet.out_interface
        copy = packet.copy()
        leaves = packet.dst >> 112 & 15 > 1
        code = self._postrouting(packet) if leaves else self._postrouting(packet, gone=True)
        if not code and (packet.dst in ALL_NODES6 or self._listens6(interface, packet.dst)):
            copy.connection, copy.ctinfo, copy.mark = packet.connection, packet.ctinfo, packet.mark
            self._postrouting(copy, back=True)
        return code

    def _reroute(self, packet: Packet) -> int:
        """The packet changed on its way out: find its route anew (ip_route_me_harder)."""
        code = self._find_way(packet, again=True)
        if code:
            self._drop(packet, "no route to where it is sent now")
        return code

    def _find_way(self, packet: Packet, *, again: bool = False) -> int:
        """Set the route of a packet of the machine's own; gives an errno where there is none.

        `again`: it had one before, and its own source counts now.
        """
        found = self.routing.way_out(packet.dst, packet.out_interface)
        if again and self.family == 6:
            found = self.routing.lookup(packet.dst, packet.out_interface)
        route = self._pick(found)
        kind = "none" if route is None else route.kind
        if route is None or kind in UNREACHABLE:
            return UNREACHABLE[kind][0]
        if again and self.family == 4:
            if kind == "multicast" or packet.dst == 0xFFFFFFFF:
                # All are spoken to on the interface that has the source's address.
                by = route.interface
                if self.routing.kind_of(packet.src) not in ("multicast", "broadcast"):
                    by = self.routing.interface_of(packet.src)
                if not by:
                    return errno.ENETUNREACH
                route = Route(4, packet.dst, 32, by, kind=kind)
            if packet.src >> 24 == 127 and device_of(route) != LOOPBACK:
                return errno.EINVAL  # 127.0.0.1 does not leave the machine
        packet.route = route
        return 0

    def route_error(self, destination: int) -> int:
        """The errno that sending to an address gets, whatever the packet; 0 for none."""
        route = self.routing.way_out(destination)
        kind = "none" if route is None else route.kind
        return UNREACHABLE[kind][0] if kind in UNREACHABLE else 0

    def _pick(self, route: Route | None) -> Route | None:
        """One next hop of a multipath route: which, the kernel's hash of the flow decides."""
        if route is None or not route.others:
            return route
        hops = ((route.interface, route.gateway), *route.others)
        device, gateway = self.choose("next hop of a multipath route", hops)
        return route.by(device, gateway)

    # -- routing

    def _route_in4(self, packet: Packet) -> None:
        key = packet.src, packet.dst, packet.in_interface
        way = self._ways.get(key)
        if way is None:
            way = self._judge4(packet)
            if not way.chance:
                if len(self._ways) >= REMEMBERED:
                    self._ways.clear()
                self._ways[key] = way
        if way.kind == "drop":
            return self._drop(packet, way.why)
        packet.route = way.route
        if packet.l4 > 20 and not self._take_options(packet):
            return None
        if way.kind == "forward":
            assert way.route is not None
            return self._forward4(packet, way.route)
        if way.kind == "deliver":
            return self._input(packet)
        return self._refuse(packet, way.kind, self.sysctls.forwarding4(packet.in_interface))

    def _judge4(self, packet: Packet) -> Way:
        """ip_route_input_slow: where a packet goes, by its addresses and the interface it came in by."""
        src, dst, interface = packet.src, packet.dst, packet.in_interface
        broadcast = dst == 0xFFFFFFFF or (not src and not dst)
        if src >> 28 == 14 or src == 0xFFFFFFFF or (not src and not broadcast and dst >> 28 != 14):
            return MARTIAN_SOURCE
        localnet = self.sysctls.both4("route_localnet", interface)
        if dst >> 28 == 14:
            if dst == ALL_HOSTS and self._source_fits4(packet):
                return Way("deliver", Route(4, dst, 32, interface, kind="multicast"))
            return Way("drop", why="nobody listens to the multicast address")
        if not broadcast and (not dst or (dst >> 24 == 127 and interface != LOOPBACK and not localnet)):
            return Way("drop", why="martian destination")
        if src >> 24 == 127 and interface != LOOPBACK and not localnet:
            return MARTIAN_SOURCE
        if broadcast:
            if src and not self._source_fits4(packet):
                return MARTIAN_SOURCE
            return Way("deliver", Route(4, dst, 32, interface, kind="broadcast"))
        found = self.routing.lookup(dst)
        route = self._pick(found)
        chance = found is not None and bool(found.others)
        if route is None or route.kind in UNREACHABLE:
            return Way("none" if route is None else route.kind)
        if route.kind in ("broadcast", "local"):
            if not self._source_fits4(packet) and (src or route.kind == "local"):
                return MARTIAN_SOURCE
            return Way("deliver", route, chance=chance)
        if not self.sysctls.forwarding4(interface):
            return Way("drop", why="forwarding is off", chance=chance)
        if not self._source_fits4(packet):
            return Way("drop", why=MARTIAN_SOURCE.why, chance=chance)
        return Way("forward", route, chance=chance)

    def _take_options(self, packet: Packet) -> bool:
        """Look at the options of the header (ip_rcv_options); False where the packet ends there."""
        options = packet.ip_options = Options()
        try:
            options.read(packet, self._answering_address(packet), self.now, self._is_elsewhere)
        except Refused as refused:
            self._drop(packet, "options of the header that make no sense")
            self.icmp_error(packet, 12, 0, refused.at << 24)
            return False
        if options.source_route:
            self._drop(packet, "source routes are not taken")
            return False
        return True

    def _is_elsewhere(self, address: int) -> bool:
        return self.routing.kind_of(address) not in ("local", "broadcast", "multicast")

    def _answering_address(self, packet: Packet) -> int:
        """The address that an answer to a packet would have (fib_compute_spec_dst)."""
        route = packet.route
        if route is not None and route.kind == "local":
            return packet.dst
        back = self.routing.lookup(packet.src)
        if back is None or back.kind in UNREACHABLE:
            return self.routing.outward_address(packet.in_interface, packet.src) or 0
        return self.routing.source_for(back, packet.src) or 0

    def _source_fits4(self, packet: Packet) -> bool:
        """fib_validate_source: is the source no address of ours, and, with rp_filter, where it belongs?"""
        interface = packet.in_interface
        if interface == LOOPBACK:
            return True
        strict = self.sysctls.most4("rp_filter", interface)
        accept_local = self.sysctls.either4("accept_local", interface)
        if not strict:
            return accept_local or not self.routing.is_own(packet.src)
        route = self.routing.lookup(packet.src)
        if route is None or route.kind in UNREACHABLE:
            return False
        if route.kind != "unicast":
            return route.kind == "local" and accept_local
        hops = (route.interface, *(device for device, _ in route.others))
        return strict == 2 or interface in hops

    def _refuse(self, packet: Packet, kind: str, forwarding: bool) -> None:
        """There is no way: tell the sender, if this is a router (ip_error, ip6_pkt_drop)."""
        self._drop(packet, {"none": "no route"}.get(kind, f"{kind} route"))
        code = UNREACHABLE[kind][1 if self.family == 4 else 2]
        if code >= 0 and forwarding and (self.family == 6 or self._may_tell(packet.src)):
            self.icmp_error(packet, 3 if self.family == 4 else 1, code)

    def _may_tell(self, source: int) -> bool:
        """Routers tell one sender of five unreachable destinations at once, then of one a second."""
        tokens, last = self._tokens.get(source, (ERROR_BURST, self.now))
        tokens = min(tokens + self.now - last, ERROR_BURST)
        told = tokens >= 1
        self._keep_tokens(source, tokens - told)
        return told

    def _deliver(self, packet: Packet, route: Route) -> None:
        packet.route = route
        self._input(packet)

    def _forward4(self, packet: Packet, route: Route) -> None:
        """ip_forward."""
        packet.route = route
        if packet.link_type != "unicast":
            return self._drop(packet, "the frame was not for this machine alone")
        if packet.ttl <= 1:
            self._drop(packet, "TTL exceeded")
            return self.icmp_error(packet, 11, 0)
        if packet.length > LEAST_MTU4:
            mtu = self.route_mtu(route) or 0
            if self._too_big(packet, mtu):
                self._drop(packet, "too big, and not to be fragmented")
                return self.icmp_error(packet, 3, 4, mtu)
        packet.lower_ttl()
        packet.out_interface = route.interface
        return self._forward(packet)

    def _too_big(self, packet: Packet, mtu: int) -> bool:
        if packet.length <= mtu:
            return False
        if packet.fragment_sizes:
            return largest_fragment(packet) > mtu and (packet.dont_fragment or packet.family == 6)
        return packet.dont_fragment or packet.family == 6

    def _route_in6(self, packet: Packet) -> None:
        dst, interface = packet.dst, packet.in_interface
        if dst >> 120 == 0xFF:
            if dst in ALL_NODES6 or self._listens6(interface, dst):
                return self._deliver(packet, Route(6, dst, 128, interface, kind="multicast"))
            return self._drop(packet, "nobody listens to the multicast address")
        # ::1 is at lo alone, and no other interface leads there.
        route = None if dst == 1 else self._pick(self.routing.lookup(dst, interface))
        kind = "none" if route is None else route.kind
        if route is None or kind in UNREACHABLE:
            # Errors are sent whether or not this is a router: the route's own input function does it.
            return self._refuse(packet, kind, True)
        if kind in ("local", "anycast"):
            return self._deliver(packet, route)
        return self._forward6(packet, route)

    def _listens6(self, interface: str, group: int) -> bool:
        """Solicited-node groups of its addresses, where neighbours are solicited at all (RFC 4291 2.7.1)."""
        found = self.topology.interfaces.get(interface)
        if found is None or not found.arp:
            return False
        return any(
            each.family == 6 and group == (0xFF0200000000000000000001FF000000 | each.address & 0xFFFFFF)
            for each in found.addresses
        )

    def _forward6(self, packet: Packet, route: Route) -> None:
        """ip6_forward."""
        packet.route = route
        if not self.sysctls.forwarding6():
            return self._drop(packet, "forwarding is off")
        if packet.link_type != "unicast":
            return self._drop(packet, "the frame was not for this machine alone")
        if packet.ttl <= 1:
            self._drop(packet, "hop limit exceeded")
            return self.icmp_error(packet, 3, 0)
        src = packet.src
        # Where it goes back by the interface it came in by, a redirect is the answer, and nobody looks.
        passing = route.interface != packet.in_interface
        if passing and (not src or src >> 120 == 0xFF or src == 1):
            return self._drop(packet, "a source that is not forwarded")
        if passing and scope6(src) == 2:
            self._drop(packet, "a link-local source is not forwarded")
            return self.icmp_error(packet, 1, 2)
        mtu = max(self.route_mtu(route) or 0, LEAST_MTU6)
        if self._too_big(packet, mtu):
            self._drop(packet, "too big")
            return self.icmp_error(packet, 2, 0, mtu)
        packet.lower_ttl()
        packet.out_interface = route.interface
        return self._forward(packet)

    # -- packets go out

    def _send_out(self, packet: Packet) -> int:
        """raw_sendmsg with IP_HDRINCL, rawv6_sendmsg."""
        code = self._find_way(packet)
        if not code and packet.family == 4:
            code = self._complete(packet)
        if code:
            self._drop(packet, "no route")
            return code
        mtu = self.route_mtu(packet.route)
        if mtu is not None and len(packet.data) > mtu:
            self._drop(packet, "bigger than the MTU")
            return errno.EMSGSIZE
        return self._local_out(packet)

    def _complete(self, packet: Packet) -> int:
        """Fill in what a program left to the kernel (raw_send_hdrinc); gives an errno."""
        route = packet.route
        if route.kind == "broadcast":
            return errno.EACCES  # SO_BROADCAST is not set
        if not packet.src:
            # The upper layer's checksum is the program's affair.
            source = self.routing.source_for(route, packet.dst) or 0
            packet.src = source
            packet.data[12:16] = source.to_bytes(4, "big")
        if not packet.ip_id and not packet.dont_fragment:
            packet.ip_id = KERNELS_ID
            packet.data[4:6] = KERNELS_ID.to_bytes(2, "big")
        packet.data[10:12] = bytes(2)
        packet.data[10:12] = checksum(packet.data[: packet.l4]).to_bytes(2, "big")
        return 0

    def source_towards(self, destination: int) -> int:
        """The address by which the machine speaks to another; 0 where it cannot."""
        route = self.routing.way_out(destination)
        return (self.routing.source_for(route, destination) or 0) if route is not None else 0

    def answer(self, packet: Packet, to: Packet) -> None:
        """Send what the machine's own stack answers to a packet."""
        packet.owner = KERNELS_SOCKET
        self._reflect(packet, to)
        self.send(packet)

    def send(self, packet: Packet) -> None:
        """Send a packet the machine made."""
        if self._find_way(packet) == 0:
            self._local_out(packet)

    def copy_to(self, packet: Packet, gateway: int, interface: str) -> None:
        """nf_dup_ipv4 and _ipv6: an untracked copy, which cannot be copied again."""
        copy = packet.copy()
        route = self._pick(self.routing.lookup(gateway, interface))
        if route is None or route.kind in UNREACHABLE:
            return
        copy.connection, copy.ctinfo = None, CT_UNTRACKED
        if self.family == 4:
            word = copy.data[6] << 8 | copy.data[7]
            if not word & DONT_FRAGMENT:
                mend(copy.data, 10, word, word | DONT_FRAGMENT)  # the header's own sum
                copy.data[6] |= 0x40
                copy.dont_fragment = True
        if self.hook in ("PREROUTING", "INPUT"):
            copy.set_ttl(max(copy.ttl - 1, 0))
        copy.route = route.by(interface or route.interface, gateway)
        if not self._copying:
            self._copying = True
            self._local_out(copy)
            self._copying = False

    _by_program = False  # is a local program sending, rather than the stack answering?
    _copying = False
    _error = errno.EPERM  # what a local sender gets where its packet has just ended
    _nat_hook = ""

    def _transmit(self, packet: Packet) -> int:
        """ip_finish_output, ip6_finish_output: in fragments where it must be."""
        interface = packet.out_interface
        if interface == LOOPBACK:
            if packet.partial:
                answers.leave_sum(packet)
            self._waiting.append(packet)
            return 0
        mtu = self.route_mtu(packet.route) or 0 if packet.length > LEAST_MTU4 or packet.fragment_sizes else 0
        if mtu and must_fragment(packet, mtu):
            pieces = fragments(packet, mtu, local=not packet.in_interface)
            if pieces is None:
                self._drop(packet, "too big, and not to be fragmented")
                self.icmp_error(packet, *((3, 4, mtu) if self.family == 4 else (2, 0, mtu)))
                return errno.EMSGSIZE
            if self.noting:
                for piece in pieces:
                    self.out.append(Seen(piece, interface))
            return 0
        if self.noting:
            self.out.append(Seen(packet, interface))
        return 0

    # -- answers of its own

    def icmp_error(self, packet: Packet, kind: int, code: int, info: int = 0) -> None:
        """Tell the sender of a packet what became of it (icmp_send, icmpv6_send)."""
        if packet.link_type not in (None, "unicast") or answers.is_icmp_error(packet):
            return
        make = self._error4 if self.family == 4 else self._error6
        error = make(packet, kind, code, info)
        if error is None or (
            self.family == 4 and device_of(error.route) != LOOPBACK and not self._within_rate(error.dst, kind)
        ):
            return
        error.owner = KERNELS_SOCKET
        self._reflect(error, packet)
        self.attach(error, packet)
        self._local_out(error)

    def _error4(self, packet: Packet, kind: int, code: int, info: int) -> Packet | None:
        route = packet.route
        if packet.fragment_offset or (route is not None and route.kind in ("broadcast", "multicast")):
            return None
        back = self._pick(self.routing.lookup(packet.src))
        if back is None or back.kind in UNREACHABLE:
            return None
        source: int | None = packet.dst
        group = back.kind == "multicast" or packet.src == 0xFFFFFFFF
        if group:
            own = packet.dst if route is not None and route.kind == "local" else 0
            device = self.routing.interface_of(own)
            way = (
                self.routing.way_out(packet.src)
                if back.kind == "multicast"
                else self.routing.main(packet.src)
            )
            if not device and way is None:
                return None
            back = Route(4, packet.src, 32, device or (way.interface if way else ""), kind=back.kind)
        if route is None or route.kind != "local" or not packet.dst:
            if self.sysctls.get("net.ipv4.icmp_errors_use_inbound_ifaddr") and packet.in_interface:
                source = self.routing.outward_address(packet.in_interface, packet.src)
            else:
                source = self.routing.source_for(back, packet.src)
        if source is None:
            source = 0xC0000008  # INADDR_DUMMY
        if source >> 24 == 127 and device_of(back) != LOOPBACK:
            return None  # 127.0.0.1 does not leave the machine
        options = packet.ip_options.echo(packet, source, self.now) if packet.ip_options is not None else b""
        room = min(self.route_mtu(back) or 0, answers.MOST_QUOTED4) - 28 - len(options)
        error = answers.icmp_message(
            4,
            source,
            packet.src,
            kind,
            code,
            info.to_bytes(4, "big"),
            packet.data[:room],
            tos=answers.error_tos(packet.tos),
            ttl=1 if back.kind == "multicast" else self.default_ttl(),
            options=options,
        )
        error.route = back
        return error

    def _error6(self, packet: Packet, kind: int, code: int, info: int) -> Packet | None:
        src, dst = packet.src, packet.dst
        if not src or src >> 120 == 0xFF:
            return None
        if dst >> 120 == 0xFF and kind != 2:
            return None
        back = self._pick(self.routing.lookup(src, packet.in_interface or packet.out_interface))
        if back is None or back.kind in UNREACHABLE or back.kind == "anycast":
            return None
        source: int | None
        if self.routing.is_own(dst):
            source = dst
        else:
            source = self.routing.source6(packet.in_interface or back.interface, src)
        error = answers.icmp_message(
            6,
            source or 0,
            src,
            kind,
            code,
            info.to_bytes(4, "big"),
            packet.data[: answers.LONGEST6 - 48],
        )
        error.route = back
        return error

    def _within_rate(self, to: int, kind: int) -> bool:
        """Has a host not yet been told of too many errors (icmpv4_xrlim_allow)?"""
        if kind not in LIMITED4:
            return True
        limit = self.sysctls.get("net.ipv4.icmp_ratelimit") / 1000
        tokens, last = self._tokens.get(to, (60.0, self.now - 60))
        if self.now > last:
            tokens = min(tokens + self.now - last, 6 * limit)
        fine = tokens >= limit
        self._keep_tokens(to, tokens - limit if fine else tokens)
        return fine

    def _keep_tokens(self, host: int, tokens: float) -> None:
        if host not in self._tokens and len(self._tokens) >= REMEMBERED:
            self._tokens.clear()
        self._tokens[host] = tokens, self.now

    def _reflect(self, answer: Packet, packet: Packet) -> None:
        """Answers have no mark, unless that is wanted."""
        if self.sysctls.get(f"net.ipv{self.family}.fwmark_reflect"):
            answer.mark = packet.mark

    def default_ttl(self) -> int:
        """The TTL or hop limit of the machine's own packets."""
        return self.sysctls.get("net.ipv4.ip_default_ttl") if self.family == 4 else answers.TTL

    def attach(self, new: Packet, old: Packet) -> None:
        """The new packet belongs to the old one's connection (nf_conntrack_attach)."""
        if old.connection is None:
            if old.ctinfo == CT_UNTRACKED:
                new.ctinfo = CT_RELATED  # of no connection: too much for -j CT, and tracked all the same
            return
        new.connection = old.connection
        new.ctinfo = CT_RELATED_REPLY if old.ctinfo < 3 else CT_RELATED

    def reject(self, packet: Packet, kind: str) -> None:
        if kind == "tcp-reset":
            return self._reject_reset(packet)
        if kind not in answers.REJECT4 and kind not in answers.REJECT6:
            return None  # icmp-echo-reply and the like, which the kernel knows no more
        if packet.fragment_offset:
            return None
        if self.family == 6 and (len(packet.data) <= packet.l4 or packet.proto in EXTENSIONS6):
            return None  # nothing of an upper layer is there (reject6_csum_ok)
        if not answers.has_no_sum(packet) and not self._sum_passes(packet, any_protocol=True):
            return None
        if self.family == 4:
            return self.icmp_error(packet, 3, answers.REJECT4[kind])
        return self.icmp_error(packet, 1, answers.REJECT6[kind])

    def _sum_passes(self, packet: Packet, *, any_protocol: bool) -> bool:
        """Does REJECT take the packet's checksum for right (nf_ip_checksum)?"""
        return bool(packet.checked) or answers.sum_is_right(packet, any_protocol=any_protocol)

    def _reject_reset(self, packet: Packet) -> None:
        route = packet.route
        if route is not None and route.kind in ("broadcast", "multicast"):
            return
        src, dst = packet.src, packet.dst
        if packet.family == 6 and (src >> 120 == 0xFF or dst >> 120 == 0xFF or not src or not dst):
            return
        ttl = self.default_ttl()
        answer = answers.reset(packet, partial=self.family == 4, ttl=ttl)
        if answer is None or not self._sum_passes(packet, any_protocol=False):
            return
        self._reflect(answer, packet)
        if self._find_way(answer):
            return
        self.attach(answer, packet)
        entry = packet.connection
        if entry is not None and entry.original.proto == TCP:
            set_closing(self.tracker, entry, self.now)
        self._local_out(answer)

    def _broadcast_mask(self, packet: Packet) -> int:
        """The netmask of the network a packet is broadcast to, 0 where it is no broadcast."""
        found = self.topology.interfaces.get(packet.out_interface)
        for each in found.addresses if found is not None else ():
            mask = 0xFFFFFFFF << (32 - each.length) & 0xFFFFFFFF if each.family == 4 else 0
            if mask and each.address | ~mask & 0xFFFFFFFF == packet.dst:
                return mask
        return 0

    # -- notes and counters

    def forget_notes(self) -> None:
        """Begin all notes anew."""
        self.trace.clear()
        self.logs.clear()
        self.out.clear()
        self.local.clear()
        self.egress.clear()
        self.tracked.clear()
        self.drops.clear()
        self.doubts.clear()
        self.tracker.notes.clear()
        if self.why_not is not None:
            self.why_not.clear()

    def lines(self) -> Iterable[Line]:
        """All rules, policies and implicit returns."""
        self.uncounted.settle()
        return self._lines.values()

    def line_at(self, key: str) -> Line:
        """The rule, policy or end with this key."""
        self.uncounted.settle()
        return self._lines[key]

    def snapshot_counters(self) -> dict[str, tuple[int, int]]:
        """Packets and bytes of every rule, policy and implicit return, by key."""
        return {line.key: (line.packets, line.bytes) for line in self.lines()}


def _fits6(packet: Packet) -> bool:
    """Is all there that an IPv6 header promises?"""
    return 40 + (packet.data[4] << 8 | packet.data[5]) <= len(packet.data)


def device_of(route: Route) -> str:
    """The interface that packets leave by on a route."""
    return LOOPBACK if route.kind in ("local", "anycast") else route.interface


def read_packet(data: bytes) -> Packet | None:
    """A packet from bytes; None for what the stack drops before any hook."""
    try:
        return Packet(data)
    except Malformed:
        return None


__all__ = ("DROP", "Machine", "Seen", "Tracked", "read_packet")
