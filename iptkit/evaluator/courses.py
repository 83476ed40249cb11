"""The course that packets of one flow take through a chain, remembered.

Packets with the same addresses, ports, protocol and interfaces differ in
little that rules ask about: the state of their connection, their marks, flags,
TTL.  Such *facts* are declared by each match (Match.facts).  Two packets of a
flow with the same facts meet the same rules, so what the first one met is
written down as a node - rules to count, targets to run, verdict - and the next
one is led along it.  A match whose answer hangs on more (limit, recent) is a
question: it is asked of each packet, and the node goes on one way or the other.

Everything else takes the plain walk of iptkit.evaluator.chains, to which
tests/evaluator/test_lookup.py holds this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from iptkit.extensions.world import ACCEPT, DROP, DST_NAT, RETURN, SRC_NAT, CountedDrop, HotDrop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from iptkit.evaluator.chains import Line, Walkable
    from iptkit.evaluator.world import Surroundings
    from iptkit.values.packet import Packet

REMEMBERED = 64  # sets of facts of one flow
_NATTED = SRC_NAT | DST_NAT


def _state(packet: Packet) -> int:
    """All that a ctstate hangs on, in one number."""
    entry = packet.connection
    if entry is None:
        return -1 - int(packet.ctinfo)
    found: int = packet.ctinfo | (entry.status & _NATTED) << 3 | entry.template << 16
    return found


def _connmark(packet: Packet) -> int:
    entry = packet.connection
    return -1 if entry is None or entry.template else entry.mark


FACTS: dict[str, Callable[[Packet], Any]] = {
    "state": _state,
    "mark": lambda packet: packet.mark,
    "connmark": _connmark,
    "tos": lambda packet: packet.tos,
    "ttl": lambda packet: packet.ttl,
    "length": lambda packet: packet.length,
    "tcp_flags": lambda packet: packet.tcp_flags,
    "icmp": lambda packet: packet.icmp,
    "link_type": lambda packet: packet.link_type,
    "source_mac": lambda packet: packet.source_mac,
}


def _reader(names: Iterable[str]) -> Callable[[Packet], Any] | None:
    """A function that reads these facts off a packet."""
    readers = [FACTS[name] for name in sorted(names)]
    if len(readers) <= 1:
        return readers[0] if readers else None
    if len(readers) == 2:
        first, second = readers
        return lambda packet: (first(packet), second(packet))
    return lambda packet: tuple([read(packet) for read in readers])


class _Place(NamedTuple):
    """Where a walk is: a line of a chain, how many of its checks are behind it, and where to come back to."""

    chain: Walkable
    asked: tuple[Any, ...]
    number: int = 0
    check: int = 0
    caller: _Place | None = None


class _Node:
    """A stretch of a course, up to a question or the end.

    start     where it begins; None once it is explored
    lines     rules and chain ends that count the packet
    acts      targets that run, with their lines
    question  the line, the place and the method of the match that is asked at its end; None at the end
    starts    where the walk goes on after a no and a yes, and `answers` the nodes that begin there
    target    instead of a question, a line whose target may do anything; `starts` is where the walk
              goes on if that gives no verdict, and `following` the nodes for the facts there are then
    verdict   what it ends with; None where the target of the last line says
    """

    __slots__ = (
        "acts",
        "answers",
        "following",
        "last",
        "lines",
        "question",
        "start",
        "starts",
        "target",
        "verdict",
    )

    def __init__(self, start: _Place) -> None:
        self.start: _Place | None = start
        self.lines: list[Line] = []
        self.acts: list[tuple[Line, Callable[[Packet, Surroundings], str | None]]] = []
        self.question: tuple[Line, int, Callable[[Packet, Surroundings], bool | None]] | None = None
        self.starts: tuple[_Place, ...] = ()
        self.target: Line | None = None
        self.following: dict[Any, _Node] = {}
        self.answers: list[_Node | None] = [None, None]
        self.verdict: str | None = None
        self.last: Line | None = None


class Course:
    """What packets with one key do in a built-in chain.

    `known` gives, for each chain, what its lines ask that such packets may match.
    """

    __slots__ = ("_chain", "_facts", "_known", "_roots")

    def __init__(self, chain: Walkable, known: Mapping[Walkable, tuple[Any, ...]], facts: set[str]) -> None:
        self._chain = chain
        self._known = known
        self._facts = _reader(facts)
        self._roots: dict[Any, _Node] = {}

    def run(self, packet: Packet, world: Surroundings) -> str:
        """Lead a packet along; gives the verdict, and world.last the line it is due to."""
        facts = None if self._facts is None else self._facts(packet)
        node = self._roots.get(facts)
        if node is None:
            if len(self._roots) >= REMEMBERED:
                self._roots.clear()
            node = self._roots[facts] = _Node(_Place(self._chain, self._known[self._chain]))
        length = packet.length
        while True:
            if node.start is None:
                for line in node.lines:
                    line.packets += 1
                    line.bytes += length
                for line, act in node.acts:
                    world.line, world.place = line, -1
                    act(packet, world)
            else:
                self._explore(node, node.start, packet, world)
            if node.target is not None:
                line = node.target
                world.line, world.place = line, -1
                verdict: str | None = line.target.act(packet, world)
                if verdict is not None:
                    world.last = line
                    return verdict
                node = self._after(node, packet)
                length = packet.length
                continue
            if node.question is None:
                break
            line, place, matches = node.question
            world.line, world.place = line, place
            try:
                answer = matches(packet, world)
            except HotDrop as drop:
                if isinstance(drop, CountedDrop):
                    line.packets += 1
                    line.bytes += length
                world.last = line
                return DROP
            if answer is None:
                answer = world.decide(line, line.matches[place], packet)
            following = node.answers[answer]
            if following is None:
                following = node.answers[answer] = _Node(node.starts[answer])
            node = following
        last = world.last = node.last
        if node.verdict is not None:
            return node.verdict
        assert last is not None
        world.line, world.place = last, -1
        return last.target.act(packet, world) or ACCEPT

    def _after(self, node: _Node, packet: Packet) -> _Node:
        """The node that follows a target which may have changed the packet."""
        facts = None if self._facts is None else self._facts(packet)
        found = node.following.get(facts)
        if found is None:
            if len(node.following) >= REMEMBERED:
                node.following.clear()
            found = node.following[facts] = _Node(node.starts[0])
        return found

    def _explore(self, node: _Node, place: _Place, packet: Packet, world: Surroundings) -> None:
        """Walk on from a place as the first packet with these facts does, and write it down."""
        chain, asked, number, check, caller = place
        node.start = None
        while True:
            if number == len(asked):
                end = chain.end
                self._count(node, end, packet)
                if caller is not None:
                    chain, asked, number, check, caller = caller
                    continue
                if chain is not self._chain:
                    # A goto from the built-in chain: what would come back goes to the policy.
                    end = self._chain.end
                    self._count(node, end, packet)
                node.last, node.verdict = end, end.verdict
                return
            line, test, checks = asked[number]
            met = check > 0 or test is None or test(packet)
            while met and check < len(checks):
                matches, at, _ = checks[check]
                check += 1
                known = _known(line.matches[at], packet, world)
                if known is None:
                    node.question = line, at, matches
                    node.starts = (
                        _Place(chain, asked, number + 1, 0, caller),
                        _Place(chain, asked, number, check, caller),
                    )
                    return
                met = known
            number, check = number + 1, 0
            if not met:
                continue
            self._count(node, line, packet)
            if line.jump is not None:
                if not line.goto:
                    caller = _Place(chain, asked, number, 0, caller)
                chain, asked, number = line.jump, self._known[line.jump], 0
            elif line.verdict == RETURN:
                # Without a caller, a goto's chain among them, what is left is the policy.
                chain, asked, number, check, caller = caller or _Place(self._chain, ())
            elif line.verdict is not None:
                node.last, node.verdict = line, line.verdict
                return
            elif line.target is not None:
                if line.target.effect == "final":
                    node.last = line
                    return
                if line.target.effect == "any":
                    node.target = line
                    node.starts = (_Place(chain, asked, number, 0, caller),)
                    return
                node.acts.append((line, line.target.act))
                world.line, world.place = line, -1
                line.target.act(packet, world)

    @staticmethod
    def _count(node: _Node, line: Line, packet: Packet) -> None:
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


def course_of(chain: Walkable, known: Mapping[Walkable, tuple[Any, ...]]) -> Course | None:
    """The course of packets with one key through a built-in chain; None where it cannot be written down."""
    facts: set[str] = set()
    seen = {chain}
    waiting = [chain]
    while waiting:
        for line, _, checks in known[waiting.pop()]:
            for _, at, _ in checks:
                facts.update(line.matches[at].facts or ())
            if line.target is not None and line.target.effect == "traces":
                return None
            if line.jump is not None and line.jump not in seen:
                seen.add(line.jump)
                waiting.append(line.jump)
    if "mark" in facts or "connmark" in facts:
        facts |= {"mark", "connmark"}  # targets copy one to the other
    return Course(chain, known, facts)
