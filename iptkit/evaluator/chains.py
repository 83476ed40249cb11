"""Rules made ready to run, and the walk of a packet through them.

The walk is that of ipt_do_table and ip6t_do_table
(net/ipv4/netfilter/ip_tables.c, net/ipv6/netfilter/ip6_tables.c): rule by
rule; a rule that matches counts before its target acts; user chains come back
to where they were jumped from, and a goto does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.evaluator.courses import Course, Leg, course_of
from iptkit.evaluator.lookup import Index, demands, key_of, left, mask, members
from iptkit.extensions.core import Jump, Verdict
from iptkit.extensions.spec import Extension, Match, Opaque, Target
from iptkit.extensions.world import ACCEPT, DROP, RETURN, CountedDrop, HotDrop, Unknown
from iptkit.ruleset.model import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from iptkit.evaluator.lookup import Key
    from iptkit.evaluator.world import Surroundings
    from iptkit.ruleset.model import Chain, Rule, Ruleset
    from iptkit.values.packet import Packet

REMEMBERED = 1 << 15  # sets of addresses, ports, protocol and interfaces whose class is remembered
TABLES = ("filter", "nat", "mangle", "raw", "security")


class Line:
    """A rule ready to run; also a chain's end: its policy, or the implicit return.

    key      `table:CHAIN:n`, `table:CHAIN:policy` or `table:CHAIN:end`
    test     the conditions that belong to no match; None where there are none
    matches  the matches, in order
    verdict  what a standard target says; None for a jump or an extension
    jump     the chain to go to
    target   the extension that acts
    memory   what its stateful uses keep, by place; the target's is -1
    asked    what it asks of a packet: itself, the test of its conditions or None, and for each match
             the method, its place, and whether it wants to know that place
    left     the same for packets that the index admits, and whose class answered the early checks
    early    these checks, see iptkit.evaluator.lookup.Left
    by_header  do those that are left look at what is indexed?
    """

    __slots__ = (
        "asked",
        "by_header",
        "bytes",
        "early",
        "goto",
        "jump",
        "key",
        "left",
        "matches",
        "memory",
        "packets",
        "rule",
        "target",
        "test",
        "verdict",
    )

    def __init__(self, key: str, rule: Rule | None = None) -> None:
        self.key = key
        self.rule = rule
        self.test: Callable[[Packet], bool] | None = None
        self.matches: tuple[Any, ...] = ()
        self.verdict: str | None = None
        self.jump: Walkable | None = None
        self.goto = False
        self.target: Any = None
        self.packets = self.bytes = 0
        self.memory: dict[int, Any] = {}
        self.asked: Any = None
        self.left: Any = None
        self.early: tuple[Any, ...] = ()
        self.by_header = False

    def prepare(self) -> None:
        """Work out what is asked of packets."""
        checks = tuple([(match.matches, place, match.stateful) for place, match in enumerate(self.matches)])
        self.asked = self, self.test, checks
        if self.rule is not None:
            early, late, self.by_header = left(self.matches)
            self.early = tuple([checks[place][0] for place in early])
            test = self.test if self.rule.conditions.fragment else None
            self.left = self, test, tuple([checks[place] for place in late])

    @property
    def target_name(self) -> str:
        """The name after -j, or a policy; "" where there is neither."""
        if self.target is not None:
            return str(self.target.saved_name())
        if self.jump is not None:
            return self.jump.name
        return self.verdict or ""

    def __repr__(self) -> str:
        return f"<line {self.key}>"


class Walkable:
    """A chain ready to be walked: its lines, and the one that ends it."""

    __slots__ = ("_mask", "_offset", "all", "end", "indexed", "lines", "name")

    def __init__(self, name: str, end: Line) -> None:
        self.name = name
        self.end = end
        self.lines: tuple[Line, ...] = ()
        self.all: tuple[Any, ...] = ()  # what all lines ask
        self.indexed = False
        self._offset = self._mask = 0

    def fill(self, lines: tuple[Line, ...], *, indexed: bool = True) -> None:
        self.lines = lines
        self.indexed = indexed
        self.all = tuple([line.asked for line in self.lines])

    def place(self, offset: int) -> None:
        """Tell it where its lines stand among those that are indexed."""
        self._offset = offset
        self._mask = (1 << len(self.lines)) - 1

    def admitted(self, bits: int, *, answered: bool) -> tuple[Any, ...]:
        """What its lines ask, of those among these bits: all, or what is left once the early checks are."""
        numbers = members(bits >> self._offset & self._mask)
        return tuple([self.lines[at].left if answered else self.all[at] for at in numbers])


class CompiledTable:
    """A table ready to run: `hooks` are its built-in chains, by name."""

    __slots__ = ("chains", "hooks", "name")

    def __init__(self, name: str, chains: dict[str, Walkable], hooks: dict[str, Walkable]) -> None:
        self.name = name
        self.chains = chains
        self.hooks = hooks

    def lines(self) -> Iterator[Line]:
        for chain in self.chains.values():
            yield from chain.lines
            yield chain.end


def compile_table(table: Table, *, indexed: bool = True) -> CompiledTable:
    """A table ready to run, with the counters its rules have.

    `indexed` False leaves lookup by index out: the plain linear walk, which
    gives the same answers.
    """
    chains: dict[str, Walkable] = {}
    hooks: dict[str, Walkable] = {}
    for chain in table.saved_chains():
        end = Line(f"{table.name}:{chain.name}:{'policy' if chain.builtin else 'end'}")
        end.verdict = chain.policy if chain.builtin else RETURN
        end.packets, end.bytes = chain.counters if chain.builtin else (0, 0)
        chains[chain.name] = Walkable(chain.name, end)
        if chain.builtin:
            hooks[chain.name] = chains[chain.name]
    ready = {chain.name: tuple(_lines(table.name, chain, chains)) for chain in table.saved_chains()}
    # Where a target gives packets other addresses, what the index said of them holds no more.
    if any(line.target is not None and line.target.readdresses for lines in ready.values() for line in lines):
        indexed = False
    for name, lines in ready.items():
        chains[name].fill(lines, indexed=indexed)
    return CompiledTable(table.name, chains, hooks)


def _lines(table: str, chain: Chain, chains: dict[str, Walkable]) -> Iterator[Line]:
    for number, rule in enumerate(chain.rules, 1):
        line = Line(f"{table}:{chain.name}:{number}", rule)
        line.test = rule.conditions.compiled()
        line.matches = rule.matches
        line.packets, line.bytes = rule.counters
        target = rule.target
        if isinstance(target, Verdict):
            line.verdict = target.name
        elif isinstance(target, Jump):
            line.jump, line.goto = chains[target.chain], target.goto
        elif target is not None:
            line.target = target
        for use in (*line.matches, line.target):
            if use is not None:
                use.unfold()
        line.prepare()
        yield line


def compile_ruleset(
    ruleset: Ruleset, *, all_tables: bool = False, indexed: bool = True
) -> dict[str, CompiledTable]:
    """The tables of a ruleset by name; with `all_tables` also those it has not, empty."""
    tables = dict(ruleset.tables)
    for name in TABLES if all_tables else ():
        tables.setdefault(name, Table.fresh(name))
    return {name: compile_table(tables[name], indexed=indexed) for name in TABLES if name in tables}


def load_uses(tables: Iterable[CompiledTable], world: Surroundings) -> None:
    """Tell each match and target that its rule is loaded."""
    plain = Extension.loaded
    for table in tables:
        for line in table.lines():
            for place, use in enumerate((*line.matches, line.target)):
                if use is not None and type(use).loaded is not plain:
                    world.line, world.place = line, place if use is not line.target else -1
                    use.loaded(world)


class Class(dict["Walkable", "tuple[Any, ...]"]):
    """Packets that the same rules may match: what the lines of each chain still ask them.

    answered  did they answer the early checks, so that their lines need not ask?
    courses   those of these packets, by leg; None where only one came so far
    hopeless  legs on which there is none
    """

    __slots__ = ("answered", "bits", "courses", "hopeless")

    def __init__(self, bits: int, *, answered: bool) -> None:
        self.bits = bits
        self.answered = answered
        self.courses: dict[Leg, Course | None] = {}
        self.hopeless: tuple[Leg, ...] = ()

    def __missing__(self, chain: Walkable) -> tuple[Any, ...]:
        found = self[chain] = chain.admitted(self.bits, answered=self.answered)
        return found

    def learn(self, leg: Leg) -> Course | None:
        """The course on a leg, which is begun with the second packet."""
        course = None
        if leg in self.courses and leg not in self.hopeless:
            course = course_of(leg, self)
            if course is None:
                self.hopeless = (*self.hopeless, leg)
        self.courses[leg] = course
        return course


class Classes:
    """The classes of packets under some rules."""

    __slots__ = ("_by_header", "_by_key", "_classes", "_early", "_index", "_with_early")

    def __init__(self, tables: Iterable[CompiledTable]) -> None:
        lines: list[Line] = []
        for table in tables:
            for chain in table.chains.values():
                if chain.indexed:
                    chain.place(len(lines))
                    lines += chain.lines
        self._index = Index(
            [demands(line.rule.conditions, line.matches) for line in lines if line.rule is not None]
        )
        self._early = {number: line.early for number, line in enumerate(lines) if line.early}
        self._with_early = mask(len(lines), self._early)
        self._by_header = mask(len(lines), (number for number, line in enumerate(lines) if line.by_header))
        self._by_key: dict[Key, Class] = {}
        self._classes: dict[tuple[int, Key | None], Class] = {}

    def fresh(self) -> Classes:
        """The same, with nothing remembered."""
        new = Classes.__new__(Classes)
        new._index, new._early = self._index, self._early
        new._with_early, new._by_header = self._with_early, self._by_header
        new._by_key, new._classes = {}, {}
        return new

    def of(self, packet: Packet, world: Surroundings) -> Class:
        """The class of a packet, which is whole."""
        key = key_of(packet)
        found = self._by_key.get(key)
        if found is None:
            if len(self._by_key) >= REMEMBERED:
                self._by_key.clear()
                self._classes.clear()
            found = self._by_key[key] = self._find(key, packet, world)
        return found

    def _find(self, key: Key, packet: Packet, world: Surroundings) -> Class:
        admitted = bits = self._index.admitted(key)
        known = True
        for number in members(bits & self._with_early):
            for matches in self._early[number]:
                answer = _ask(matches, packet, world)
                if answer is None:
                    known = False
                elif not answer:
                    bits ^= 1 << number
                    break
        if not known:
            return Class(admitted, answered=False)
        # Where a rule looks at the header later on, only packets with the same header are alike.
        sort = bits, key if bits & self._by_header else None
        found = self._classes.get(sort)
        if found is None:
            found = self._classes[sort] = Class(bits, answered=True)
        return found


def _ask(matches: Callable[[Packet, Surroundings], bool | None], packet: Packet, world: Surroundings) -> Any:
    """What a match says, None where it would drop the packet."""
    try:
        return matches(packet, world)
    except HotDrop:
        return None


def walk_leg(leg: Leg, packet: Packet, world: Surroundings) -> str:
    """Run a packet through the chains of a leg; gives the verdict.

    world.last is the line that decided.  Raises Unknown where a target's
    effect is not known.
    """
    outer = world.table, world.hook
    if leg.indexed and packet.whole and not (world.tracing or packet.traced or world.why_not is not None):
        known = world.classes.of(packet, world)
        course = known.courses.get(leg) or known.learn(leg)
        if course is not None:
            verdict = course.run(packet, world)
            world.table, world.hook = outer
            world.led = course
            return verdict
    verdict = ACCEPT
    for table, hook, chain in leg.stages:
        world.table, world.hook = table, hook
        verdict = _walk(chain, packet, world)
        if verdict != ACCEPT:
            break
    world.table, world.hook = outer
    world.led = None
    return verdict


def _walk(chain: Walkable, packet: Packet, world: Surroundings) -> str:
    """Run a packet through a built-in chain, line by line."""
    stack: list[tuple[Walkable, Iterator[Any]]] = []
    here = chain
    verdict: str | None
    tracing = packet.traced or world.tracing
    why_not = world.why_not
    known = world.classes.of(packet, world) if why_not is None and chain.indexed and packet.whole else None
    asked = iter(chain.all if known is None else known[chain])
    length = packet.length
    while True:
        for line, test, checks in asked:
            if test is not None and not test(packet):
                if why_not is not None:
                    why_not.append((len(world.trace), line.key, failing_condition(line, packet)))
                continue
            if checks:
                failed = False
                try:
                    for matches, place, stateful in checks:
                        if stateful:
                            world.line, world.place = line, place
                        answer = matches(packet, world)
                        if not answer and (
                            answer is not None or not world.decide(line, line.matches[place], packet)
                        ):
                            failed = True
                            if why_not is not None:
                                why_not.append(
                                    (len(world.trace), line.key, f"-m {line.matches[place].text()}")
                                )
                            break
                except HotDrop as drop:
                    if isinstance(drop, CountedDrop):
                        line.packets += 1
                        line.bytes += length
                        if tracing:
                            world.traced(packet, line)
                    world.last = line
                    return DROP
                if failed:
                    continue
            line.packets += 1
            line.bytes += length
            if tracing:
                world.traced(packet, line)
            verdict = line.verdict
            if verdict is None:
                if line.jump is not None:
                    called = line.jump.all if known is None else known[line.jump]
                    if not called and not line.goto and not tracing:
                        # Nothing there for this packet: in and back.
                        line.jump.end.packets += 1
                        line.jump.end.bytes += length
                        continue
                    if not line.goto:
                        stack.append((here, asked))
                    here = line.jump
                    asked = iter(called)
                    break
                target = line.target
                if target is None:
                    continue
                world.line, world.place = line, -1
                verdict = target.act(packet, world)
                if verdict is None:
                    tracing = packet.traced or world.tracing
                    length = packet.length
                    continue
            if verdict != RETURN:
                world.last = line
                return verdict
            if stack:
                here, asked = stack.pop()
            else:
                here, asked = chain, iter(())
            break
        else:
            end = here.end
            if here is not chain or end.verdict == RETURN:
                end.packets += 1
                end.bytes += length
                if tracing:
                    world.traced(packet, end)
                if stack:
                    here, asked = stack.pop()
                    continue
                # A goto from the built-in chain: what would come back goes to the policy.
                end = chain.end
            end.packets += 1
            end.bytes += length
            if tracing:
                world.traced(packet, end)
            world.last = end
            return end.verdict or ACCEPT


def failing_condition(line: Line, packet: Packet) -> str:
    """The first of a rule's own conditions that a packet does not meet, in words of the rule."""
    assert line.rule is not None
    conditions = line.rule.conditions
    for piece in (
        ("source", "source_inverted"),
        ("destination", "destination_inverted"),
        ("in_interface", "in_inverted"),
        ("out_interface", "out_inverted"),
        ("protocol", "protocol_inverted"),
        ("fragment", "fragment_inverted"),
    ):
        alone = type(conditions)(conditions.family)._replace(
            **{name: getattr(conditions, name) for name in piece}
        )
        if not alone.matches(packet):
            return alone.save().strip()
    return conditions.save().strip()


def is_known(use: object) -> bool:
    """Does iptkit know what the match or target does?"""
    if isinstance(use, Opaque):
        return False
    if isinstance(use, Match):
        return type(use).matches is not Match.matches
    return not isinstance(use, Target) or type(use).act is not Target.act


__all__ = (
    "Classes",
    "CompiledTable",
    "Line",
    "Unknown",
    "Walkable",
    "compile_ruleset",
    "compile_table",
    "failing_condition",
    "is_known",
    "load_uses",
    "walk_leg",
)
