"""Rules and rulesets as meaning.  No parsing, no I/O.

`Rule` is one rule of a state: conditions, matches, target, counters.  It is a
Bound (the meaning of its shape), and values; what it says is worked out when
somebody asks.
"""

from __future__ import annotations

from operator import getitem
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import (
    BUILTIN_CHAINS,
    INTERFACE,
    NETWORKS,
    VERDICTS,
    Conditions,
    Jump,
    Verdict,
)
from iptkit.extensions.spec import Opaque
from iptkit.syntax.words import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from iptkit.extensions.spec import Match, Target
    from iptkit.ruleset.binding import Binder, Bound, Placed, Ref
    from iptkit.syntax.document import Document, Line, RuleLine, Shape
    from iptkit.text.diagnostic import Diagnostic
    from iptkit.values.context import Context, Family

Counters = tuple[int, int]  # packets, bytes
NO_COUNTERS: Counters = (0, 0)
EVERYTHING = (0, 0)


class Rule:
    """One rule.

    `line` is where it was written.  `pick` says which of the rules a comma
    list of addresses stands for (the n-th, in the order iptables adds them).
    `renamed` is the new name of the chain it jumps to, where -E gave it one.
    """

    __slots__ = ("_binder", "_values", "bound", "counters", "line", "pick", "renamed")

    def __init__(
        self,
        binder: Binder,
        line: RuleLine,
        bound: Bound,
        values: tuple[Any, ...] | None,
        counters: Counters,
        pick: int = 0,
        renamed: str | None = None,
    ) -> None:
        self._binder = binder
        self.line = line
        self.bound = bound
        self._values = values
        self.counters = counters
        self.pick = pick
        self.renamed = renamed

    @property
    def values(self) -> tuple[Any, ...]:
        """What the words of the line say, in the order of its shape's holes."""
        values = self._values
        if values is None:
            values = self._values = tuple(map(getitem, self.bound.memos, self.line.values))
        return values

    def counting(self, counters: Counters) -> Rule:
        """The same rule with other counters."""
        return Rule(self._binder, self.line, self.bound, self._values, counters, self.pick, self.renamed)

    def jumping_to(self, chain: str) -> Rule:
        """The same rule after the chain it jumps to was renamed."""
        return Rule(self._binder, self.line, self.bound, self._values, self.counters, self.pick, chain)

    # Every property is worked out anew: 100,000 rules are kept, few are asked.

    def value(self, ref: Ref | None, type_: Any) -> Any:
        """What a word of the rule says, as the value type given: from a hole, or written in the shape."""
        if ref is None:
            return None
        return self.values[ref] if isinstance(ref, int) else self._binder.memo(type_)[ref]

    @property
    def binder(self) -> Binder:
        """Who bound its shape."""
        return self._binder

    @property
    def context(self) -> Context:
        return self._binder.context

    @property
    def command(self) -> str:
        return self.bound.command

    @property
    def conditions(self) -> Conditions:
        bound = self.bound
        sources = self.value(bound.source, NETWORKS) or (None,)
        destinations = self.value(bound.destination, NETWORKS) or (None,)
        at_source, at_destination = divmod(self.pick, len(destinations))
        return Conditions(
            self._binder.family,
            sources[at_source],
            bound.source_inverted,
            destinations[at_destination],
            bound.destination_inverted,
            self.value(bound.in_interface, INTERFACE) or "",
            bound.in_inverted,
            self.value(bound.out_interface, INTERFACE) or "",
            bound.out_inverted,
            bound.protocol,
            bound.protocol_inverted,
            bound.fragment,
            bound.fragment_inverted,
        )

    @property
    def picks(self) -> int:
        """How many rules the line stands for: sources times destinations."""
        count = 1
        for ref in (self.bound.source, self.bound.destination):
            if ref is not None:
                count *= len(self.value(ref, NETWORKS))
        return count

    @property
    def matches(self) -> tuple[Match | Opaque, ...]:
        context = self._binder.context
        uses: list[Any] = [p.segment.use(p.key(self.values), context) for p in self.bound.matches]
        for at, opaque in self.bound.opaque:
            if at >= 0:
                uses.insert(at, self._filled(opaque))
        return tuple(uses)

    @property
    def target(self) -> Target | Opaque | Jump | Verdict | None:
        """Where a packet that matches goes; None for a rule that only counts."""
        bound = self.bound
        if bound.target is not None:
            found: Target = bound.target.segment.use(  # type: ignore[assignment]  # a target's segment makes targets
                bound.target.key(self.values), self._binder.context
            )
            return found
        for at, opaque in bound.opaque:
            if at < 0:
                return self._filled(opaque)
        if bound.jump is None:
            return None
        if self.renamed is not None:
            return Jump(self.renamed, bound.goto)
        if isinstance(bound.jump, int):
            target: Target | Jump | Verdict = self.values[bound.jump]
            return target
        if bound.jump in VERDICTS and not bound.goto:
            return Verdict(bound.jump)
        return Jump(bound.jump, bound.goto)

    def _filled(self, opaque: Opaque) -> Opaque:
        """An opaque extension with its values: the shape holds `\\0hole` in their places."""
        words = tuple(unquote(self.values[int(w[1:])]) if w[:1] == "\0" else w for w in opaque.words)
        return Opaque(opaque.kind_, opaque.name_, words)

    def uses(self) -> Iterator[tuple[Placed, Any]]:
        """Each match and the target, with where it stands in the line."""
        context = self._binder.context
        for placed in (*self.bound.matches, self.bound.target):
            if placed is not None:
                yield placed, placed.segment.use(placed.key(self.values), context)

    def text(self) -> str:
        """The rule as iptables-save prints it, after `-A CHAIN`; each piece is led by a blank."""
        out = self.conditions.save()
        for match in self.matches:
            out += f" -m {match.text()}"
        target = self.target
        if target is not None:
            out += f" {'-g' if self.bound.goto else '-j'} {target.text()}"
        return out

    def identity(self) -> tuple[Any, ...]:
        """Equal for rules that say the same, counters aside."""
        conditions = self.conditions
        # Any address and any interface, said or left out, are one thing to the kernel.
        if conditions.source == EVERYTHING and not conditions.source_inverted:
            conditions = conditions._replace(source=None)
        if conditions.destination == EVERYTHING and not conditions.destination_inverted:
            conditions = conditions._replace(destination=None)
        if conditions.in_interface == "+" and not conditions.in_inverted:
            conditions = conditions._replace(in_interface="")
        if conditions.out_interface == "+" and not conditions.out_inverted:
            conditions = conditions._replace(out_interface="")
        return (conditions, self.matches, self.target)

    def __repr__(self) -> str:
        return f"<rule{self.text()}>"


class BrokenRule:
    """A line that could not be read as a rule or command.

    A type of its own: with its unread parts left out it would look like a rule
    that takes more packets than was written.
    """

    __slots__ = ("chain", "diagnostics", "line", "status")

    def __init__(
        self, line: RuleLine, chain: str | None, diagnostics: tuple[Diagnostic, ...], status: int
    ) -> None:
        self.line = line
        self.chain = chain
        self.diagnostics = diagnostics
        self.status = status


class Unreadable(Exception):  # it is no error
    """A line that was not read turns out to be no plain rule: the file has to be read as a whole."""


class Unread:
    """Rules of lines that were not read (see syntax.parser.Unread): made when somebody asks, each once."""

    def __init__(self, binder: Binder, document: Document) -> None:
        self._binder = binder
        self._document = document

    def rules(self, numbers: Sequence[int]) -> list[Rule]:
        """The rules of the lines with these numbers.  Raises Unreadable."""
        document = self._document
        if isinstance(numbers, range):
            return list(map(self._rule, document.row(numbers)))
        return [self._rule(document.line(number)) for number in numbers]

    def _rule(self, line: Line) -> Rule:
        shape: Shape | None = getattr(line, "shape", None)
        bound = None if shape is None else self._binder.bound(shape)
        if bound is None or not bound.appends:
            raise Unreadable
        return Rule(self._binder, line, bound, None, NO_COUNTERS)  # type: ignore[arg-type]  # what has a shape


class Chain:
    """A chain: `policy` is None for a user chain, `counters` are those of the policy."""

    __slots__ = ("_rules", "_unread", "counters", "name", "policy")

    def __init__(
        self, name: str, policy: str | None, counters: Counters = NO_COUNTERS, rules: list[Rule] | None = None
    ) -> None:
        self.name = name
        self.policy = policy
        self.counters = counters
        self._rules = [] if rules is None else rules
        self._unread: tuple[Unread, Sequence[int] | None] | None = None

    @property
    def rules(self) -> list[Rule]:
        """Its rules, in order."""
        if self._unread is not None:
            unread, numbers = self._unread
            assert numbers is not None
            self._rules = unread.rules(numbers)
            self._unread = None
        return self._rules

    @rules.setter
    def rules(self, rules: list[Rule]) -> None:
        self._unread = None
        self._rules = rules

    def leave_unread(self, unread: Unread, numbers: Sequence[int] | None) -> None:
        """Its rules are those of certain lines (None: not known yet), to be read when somebody asks."""
        self._unread = unread, numbers

    @property
    def count(self) -> int:
        """How many rules it has."""
        lines = self._rules if self._unread is None else self._unread[1]
        assert lines is not None
        return len(lines)

    @property
    def builtin(self) -> bool:
        return self.policy is not None

    def copy(self) -> Chain:
        return Chain(self.name, self.policy, self.counters, list(self.rules))


class Gathered:
    """Rules that have a part of their shapes in common: these, their chains, and the words of their lines."""

    __slots__ = ("chains", "columns", "rules", "values")

    def __init__(self, columns: list[tuple[Callable[[list[str]], Any], set[Any]]]) -> None:
        self.columns = columns  # what takes some of the words, and where these are to be looked at
        self.rules: list[Rule] = []
        self.chains: list[Chain] = []
        self.values: list[list[str]] = []

    def sort(self) -> None:
        """Put all words where they are to be looked at."""
        for take, unseen in self.columns:
            unseen.update(map(take, self.values))


class Table:
    """A table: its chains by name, the built-in ones first and in hook order."""

    __slots__ = ("chains", "name")

    def __init__(self, name: str, chains: dict[str, Chain]) -> None:
        self.name = name
        self.chains = chains

    @classmethod
    def fresh(cls, name: str) -> Table:
        """As the kernel makes it when it is first used.  Raises KeyError for a table there is not."""
        return cls(name, {chain: Chain(chain, "ACCEPT") for chain in BUILTIN_CHAINS[name]})

    def copy(self) -> Table:
        return Table(self.name, {name: chain.copy() for name, chain in self.chains.items()})

    def saved_chains(self) -> list[Chain]:
        """In the order iptables-save prints them: built-in ones, then the user's by byte value."""
        chains = self.chains.values()
        return [c for c in chains if c.builtin] + sorted(
            (c for c in chains if not c.builtin), key=lambda c: c.name
        )


class Ruleset:
    """The state of one family: its tables, in the order they were first used."""

    __slots__ = ("family", "tables")

    def __init__(self, family: Family, tables: dict[str, Table] | None = None) -> None:
        self.family = family
        self.tables = {} if tables is None else tables

    def copy(self) -> Ruleset:
        return Ruleset(self.family, {name: table.copy() for name, table in self.tables.items()})
