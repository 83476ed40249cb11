"""The course that packets of one class take through chains, remembered.

A packet walks the chains of several tables with nothing in between but the
next table: from forwarding to POSTROUTING, through mangle, filter, security
and mangle again.  Such a sequence is a Leg.

Packets whose addresses, ports, protocol and interfaces admit the same rules
are of one class (iptkit.evaluator.chains.Classes), and differ in little that
these rules ask about: the state of their connection, their marks, flags, TTL.
Such *facts* are declared by each match (Match.facts).  Two packets of a
class with the same facts meet the same rules, so what the first one met is
written down as a node - rules to count, targets to run, verdict - and the next
one is led along it.  A match whose answer hangs on more (limit, recent) is a
question: it is asked of each packet, and the node goes on one way or the other.

A node counts for its rules what was led along it; Uncounted.settle() hands
that on before anybody reads their counters.

Everything else takes the plain walk of iptkit.evaluator.chains, to which
tests/evaluator/test_lookup.py holds this one.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from iptkit.extensions.world import ACCEPT, DROP, DST_NAT, RETURN, SRC_NAT, TEMPLATE, CountedDrop, HotDrop
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from iptkit.evaluator.chains import Line, Walkable
    from iptkit.evaluator.world import Surroundings
    from iptkit.values.packet import Packet

REMEMBERED = 64  # sets of facts of one class
COUNTED_APART = 1 << 15  # nodes that count for their rules
_STATUS = SRC_NAT | DST_NAT | TEMPLATE


# Facts of the packet's connection, and those that are attributes of the packet.
_OF_CONNECTION = frozenset(("state", "connmark"))
_ATTRIBUTES = ("mark", "tos", "ttl", "length", "tcp_flags", "icmp", "link_type", "source_mac")
FACTS = _OF_CONNECTION.union(_ATTRIBUTES)


def reader(names: set[str]) -> Callable[[Packet], Any] | None:
    """A function that reads these facts off a packet; None where there are none."""
    attributes = sorted(names - _OF_CONNECTION)
    plain = attrgetter(*attributes) if attributes else None
    if names.isdisjoint(_OF_CONNECTION):
        return plain
    marks = "connmark" in names

    def read(packet: Packet) -> Any:
        facts = None if plain is None else plain(packet)
        entry = packet.connection
        if entry is None:
            return -1 - packet.ctinfo, facts
        state = packet.ctinfo | (entry.status & _STATUS) << 3  # all that a ctstate hangs on
        if marks and not entry.template:
            return state, facts, entry.mark
        return state, facts

    return read


class Stage(NamedTuple):
    """A table's chain at a hook."""

    table: str
    hook: str
    chain: Walkable


class Leg:
    """Chains that a packet walks one after another, as long as the verdict is ACCEPT.

    stages   these chains
    idle     where nothing is in the chains and they let everything through: this is all they do
    indexed  may courses through it be remembered?
    """

    __slots__ = ("idle", "indexed", "stages")

    def __init__(self, stages: Iterable[Stage]) -> None:
        self.stages = tuple(stages)
        chains = [stage.chain for stage in self.stages]
        self.indexed = all(chain.indexed for chain in chains)
        self.idle: Idle | None = None
        if not any(chain.lines or chain.end.verdict != ACCEPT for chain in chains):
            self.idle = Idle([chain.end for chain in chains])


class _Place(NamedTuple):
    """Where a walk is: a line of a chain, how many of its checks are behind it, and where to come back to."""

    stage: int
    chain: Walkable
    asked: tuple[Any, ...]
    number: int = 0
    check: int = 0
    caller: _Place | None = None


# A target that runs, see Node.acts.
_Act: TypeAlias = "tuple[Line | None, Callable[[Packet, Surroundings], str | None], str, str, int]"


class Node:
    """A stretch of a course, up to a question or the end.

    start     where it begins; None once it is explored
    lines     rules and chain ends that count the packet
    packets, bytes  how much was led along since these lines were last told of it
    changed   where targets made packets longer or ended them: by the number of lines they had met,
              how many packets and bytes the others count less or more
    acts      targets that run: line, method, table, hook, and how many of `lines` are counted by then;
              no table for one that does not look where it is, no line if it does not end packets either
    deeds     those of them that do more than write a record
    question  the line, the place and the method of the match that is asked at its end; None at the end
    target    instead of a question, a line whose target may give a verdict or change facts
    starts    where the walk goes on after a no and a yes, or if the target gives no verdict and if it gives
              ACCEPT (None: nowhere), and `answers` the nodes that begin there
    following  where the target may change facts: the nodes for those there are then, instead of `answers`
    table, hook  where question or target stand
    verdict   what it ends with
    """

    __slots__ = (
        "acts",
        "answers",
        "bytes",
        "changed",
        "deeds",
        "following",
        "hook",
        "last",
        "lines",
        "packets",
        "question",
        "start",
        "starts",
        "table",
        "target",
        "verdict",
    )

    def __init__(self, lines: list[Line], start: _Place | None = None) -> None:
        self.start = start
        self.lines = lines
        self.packets = self.bytes = 0
        self.changed: dict[int, tuple[int, int]] = {}
        self.acts: list[_Act] = []
        self.deeds: list[_Act] = []
        self.question: tuple[Line, int, Callable[[Packet, Surroundings], bool | None]] | None = None
        self.starts: tuple[_Place | None, ...] = ()
        self.target: Line | None = None
        self.following: dict[Any, Node] | None = None
        self.answers: list[Node | None] = [None, None]
        self.table = self.hook = ""
        self.verdict = ACCEPT
        self.last: Line | None = None

    def lead(self, packet: Packet, world: Surroundings) -> str | None:
        """Lead a packet along what is explored; the verdict, where a target ends it on the way."""
        if not self.packets:
            world.uncounted.add(self)
        length = packet.length
        self.packets += 1
        self.bytes += length
        if not self.acts:
            return None
        world.place = -1
        for line, act, table, hook, counted in self.acts if world.noting else self.deeds:
            if line is None:
                act(packet, world)
                continue
            if table:
                world.line, world.table, world.hook = line, table, hook
            verdict = act(packet, world)
            if verdict is not None:
                packets, size = self.changed.get(counted, (0, 0))
                self.changed[counted] = packets - 1, size - length
                world.last = line
                return verdict
            if packet.length != length:
                packets, size = self.changed.get(counted, (0, 0))
                self.changed[counted] = packets, size + packet.length - length
                length = packet.length
        return None

    def settle(self) -> None:
        """Let the lines know what was led along."""
        for line in self.lines:
            line.packets += self.packets
            line.bytes += self.bytes
        for counted, (packets, size) in self.changed.items():
            for line in self.lines[counted:]:
                line.packets += packets
                line.bytes += size
        self.packets = self.bytes = 0
        self.changed.clear()


class Idle:
    """What packets do on a leg without rules: its policies count them."""

    __slots__ = ("_node",)

    def __init__(self, ends: list[Line]) -> None:
        self._node = Node(ends)

    def run(self, packet: Packet, world: Surroundings) -> str:
        """Let a packet through."""
        self._node.lead(packet, world)
        return ACCEPT


class Uncounted:
    """The nodes whose lines have not been told yet what was led along."""

    __slots__ = ("_nodes",)

    def __init__(self) -> None:
        self._nodes: list[Node] = []

    def add(self, node: Node) -> None:
        """A node begins to count."""
        if len(self._nodes) >= COUNTED_APART:
            self.settle()
        self._nodes.append(node)

    def settle(self) -> None:
        """Let the lines know."""
        for node in self._nodes:
            node.settle()
        self._nodes.clear()


class Course:
    """What packets of one class do on a leg.

    known  gives, for each chain, what its lines ask that such packets may match
    asked  the facts it hangs on
    """

    __slots__ = ("_facts", "_known", "_roots", "_stages", "asked")

    def __init__(
        self, stages: Sequence[Stage], known: Mapping[Walkable, tuple[Any, ...]], facts: set[str]
    ) -> None:
        self._stages = stages
        self._known = known
        self.asked = facts
        self._facts = reader(facts)
        self._roots: dict[Any, Node] = {}

    def run(self, packet: Packet, world: Surroundings) -> str:
        """Lead a packet along; gives the verdict, and world.last the line it is due to."""
        facts = None if self._facts is None else self._facts(packet)
        node = self._roots.get(facts)
        if node is None:
            if len(self._roots) >= REMEMBERED:
                self._roots.clear()
            node = self._roots[facts] = Node([], self._begin(0))
        while True:
            if node.start is None:
                ended = node.lead(packet, world)
            else:
                ended = self._explore(node, node.start, packet, world)
            if ended is not None:
                return ended
            if node.question is not None:
                line, place, matches = node.question
                world.line, world.place = line, place
                world.table, world.hook = node.table, node.hook
                try:
                    answer = matches(packet, world)
                except HotDrop as drop:
                    if isinstance(drop, CountedDrop):
                        line.packets += 1
                        line.bytes += packet.length
                    world.last = line
                    return DROP
                if answer is None:
                    answer = world.decide(line, line.matches[place], packet)
                node = node.answers[answer] or self._beyond(node, answer)
            elif node.target is not None:
                line = node.target
                world.line, world.place = line, -1
                world.table, world.hook = node.table, node.hook
                verdict: str | None = line.target.act(packet, world)
                if verdict is not None and (verdict != ACCEPT or node.starts[1] is None):
                    world.last = line
                    return verdict
                passed = verdict is not None
                if node.following is None:
                    node = node.answers[passed] or self._beyond(node, passed)
                else:
                    node = self._after(node, passed, packet)
            else:
                world.last = node.last
                return node.verdict

    def _begin(self, stage: int) -> _Place:
        """Where the walk of a stage begins."""
        chain = self._stages[stage].chain
        return _Place(stage, chain, self._known[chain])

    @staticmethod
    def _beyond(node: Node, answer: bool) -> Node:
        """The node that follows an answer, made."""
        start = node.starts[answer]
        assert start is not None
        found = node.answers[answer] = Node([], start)
        return found

    def _after(self, node: Node, passed: bool, packet: Packet) -> Node:
        """The node that follows a target which may have changed the facts of the packet."""
        following, start = node.following, node.starts[passed]
        assert following is not None
        assert start is not None
        key = passed, None if self._facts is None else self._facts(packet)
        found = following.get(key)
        if found is None:
            if len(following) >= REMEMBERED:
                following.clear()
            found = following[key] = Node([], start)
        return found

    def _explore(self, node: Node, place: _Place, packet: Packet, world: Surroundings) -> str | None:
        """Walk on from a place as the first packet with these facts does, and write it down.

        The verdict, where a target ends the packet on the way; then it is written down another time.
        """
        stage, chain, asked, number, check, caller = place
        table, hook, top = self._stages[stage]
        world.table, world.hook = table, hook
        node.start = None
        while True:
            decided: Line | None = None
            if number == len(asked):
                end = chain.end
                self._count(node, end, packet)
                if caller is not None:
                    _, chain, asked, number, check, caller = caller
                    continue
                if chain is not top:
                    # A goto from the built-in chain: what would come back goes to the policy.
                    end = top.end
                    self._count(node, end, packet)
                decided = end
            else:
                line, test, checks = asked[number]
                met = check > 0 or test is None or test(packet)
                while met and check < len(checks):
                    matches, at, _ = checks[check]
                    check += 1
                    known = _known(line.matches[at], packet, world)
                    if known is None:
                        node.question = line, at, matches
                        node.table, node.hook = table, hook
                        node.starts = (
                            _Place(stage, chain, asked, number + 1, 0, caller),
                            _Place(stage, chain, asked, number, check, caller),
                        )
                        return None
                    met = known
                number, check = number + 1, 0
                if not met:
                    continue
                self._count(node, line, packet)
                if line.jump is not None:
                    if not line.goto:
                        caller = _Place(stage, chain, asked, number, 0, caller)
                    chain, asked, number = line.jump, self._known[line.jump], 0
                elif line.verdict == RETURN:
                    # Without a caller, a goto's chain among them, what is left is the policy.
                    _, chain, asked, number, check, caller = caller or _Place(stage, top, ())
                elif line.verdict is not None:
                    decided = line
                elif line.target is not None and self._goes_on(line.target):
                    target = line.target
                    act = (
                        line if target.aware or target.effect != "steady" else None,
                        target.act,
                        table if target.aware else "",
                        hook,
                        len(node.lines),
                    )
                    node.acts.append(act)
                    if not target.logs:
                        node.deeds.append(act)
                    world.line, world.place = line, -1
                    verdict: str | None = line.target.act(packet, world)
                    if verdict is not None:
                        node.start = place
                        node.lines, node.acts, node.deeds = [], [], []
                        world.last = line
                        return verdict
                elif line.target is not None:
                    node.target = line
                    node.table, node.hook = table, hook
                    changes = line.target.changes
                    if changes is None or not self.asked.isdisjoint(changes):
                        node.following = {}
                    node.starts = (
                        _Place(stage, chain, asked, number, 0, caller),
                        self._begin(stage + 1) if stage + 1 < len(self._stages) else None,
                    )
                    return None
            if decided is not None:
                ends = decided.verdict or ACCEPT
                if ends != ACCEPT or stage + 1 == len(self._stages):
                    node.last, node.verdict = decided, ends
                    return None
                stage, chain, asked, number, check, caller = self._begin(stage + 1)
                table, hook, top = self._stages[stage]
                world.table, world.hook = table, hook

    def _goes_on(self, target: Any) -> bool:
        """Does a target leave what is asked as it was foreseen, unless it ends the packet?"""
        return target.effect == "steady" or (
            target.effect == "drops" and target.changes is not None and self.asked.isdisjoint(target.changes)
        )

    @staticmethod
    def _count(node: Node, line: Line, packet: Packet) -> None:
        node.lines.append(line)
        line.packets += 1
        line.bytes += packet.length


def _known(match: Any, packet: Packet, world: Surroundings) -> bool | None:
    """What the facts say about a match; None where it has to be asked each time."""
    if match.facts is None:
        return None
    try:
        found: bool | None = match.matches(packet, world)
    except HotDrop:
        return None
    return found


def course_of(leg: Leg, known: Mapping[Walkable, tuple[Any, ...]]) -> Course | None:
    """The course of packets of one class on a leg; None where it cannot be written down."""
    facts: set[str] = set()
    waiting = [stage.chain for stage in leg.stages]
    seen = set(waiting)
    while waiting:
        for line, _, checks in known[waiting.pop()]:
            for _, at, _ in checks:
                facts.update(line.matches[at].facts or ())
            if line.target is not None and line.target.effect == "traces":
                return None
            if line.jump is not None and line.jump not in seen:
                seen.add(line.jump)
                waiting.append(line.jump)
    facts.discard("header")  # the same for all, or of no account
    if "mark" in facts or "connmark" in facts:
        facts |= {"mark", "connmark"}  # targets copy one to the other
    return Course(leg.stages, known, facts)
