"""What checks want to know about a file, worked out once and only if one asks."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from iptkit.extensions.core import BUILTIN_CHAINS, INTERFACE, NETWORKS, Jump, Verdict
from iptkit.extensions.spec import RuleFacts
from iptkit.lint.calls import Calls
from iptkit.lint.duplicates import changing_chains, find_duplicates
from iptkit.lint.kernel import refusals
from iptkit.lint.meant import Meant
from iptkit.lint.normal import Forms
from iptkit.lint.reach import Reach
from iptkit.lint.settle import settle
from iptkit.ruleset.binding import Memo, RawMemo
from iptkit.syntax.document import RuleLine
from iptkit.syntax.parser import words_of
from iptkit.syntax.words import unquote
from iptkit.text.diagnostic import BOTH, Severity
from iptkit.values.addresses import show_network4, show_network6
from iptkit.values.names import protocol_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.spec import Extension
    from iptkit.ruleset.binding import Binder, Bound, Placed, Ref
    from iptkit.ruleset.interpret import Outcome, Section
    from iptkit.ruleset.model import Chain, Rule
    from iptkit.syntax.document import ChainLine, Document, Line
    from iptkit.text.diagnostic import Diagnostic
    from iptkit.values.context import Family

_CORE = (("s", "source", NETWORKS), ("d", "destination", NETWORKS))
_INTERFACES = (("i", "in_interface", INTERFACE), ("o", "out_interface", INTERFACE))


class _Protocol:
    """The value of -p, which the shape holds."""

    def parse(self, text: str, context: object) -> int:
        return protocol_number(text)


_PROTOCOL = _Protocol()


class OptionAt(NamedTuple):
    """One option in a shape.

    `flag` is its name as iptables-save prints it, `refs` its words as holes of
    the rule or as written in the shape, `at` the index of the first of them in
    the line, `owner` the match or target it belongs to (None for iptables'
    own).
    """

    flag: str
    refs: tuple[Ref, ...]
    at: int
    inverted: bool
    type: Any
    owner: type[Extension] | None


class OptionValue(NamedTuple):
    """One value of an option: its words as written and as read, and what they mean."""

    option: OptionAt
    raw: str  # the words, quotes and all, joined by a blank
    text: str  # without quotes
    value: Any
    family: Family


class ShapeFacts:
    """A shape, and the rules of one section that have it, each with its chain."""

    __slots__ = ("bound", "chains", "rules", "section")

    def __init__(self, bound: Bound, section: SectionFacts) -> None:
        self.bound = bound
        self.section = section
        self.rules: list[Rule] = []
        self.chains: list[Chain] = []

    @property
    def options(self) -> tuple[OptionAt, ...]:
        return self.section.facts.options(self.bound)

    def lines(self) -> Iterator[RuleLine]:
        """The lines of the rules, each once: a list of addresses makes several rules of a line."""
        before = None
        for rule in self.rules:
            if rule.line is not before:
                before = rule.line
                yield before

    @property
    def target_name(self) -> str:
        """The target's name; "" for a rule without one, and for a jump to a user chain or a value to come."""
        target = self.bound.target
        if target is not None:
            return target.segment.cls.name
        return ""


class SectionFacts:
    """One section, as it stands at its COMMIT."""

    def __init__(self, facts: Facts, section: Section) -> None:
        self.facts = facts
        self.section = section
        self.table = section.table
        self.name = section.table.name
        self.chains: dict[str, Chain] = section.table.chains
        self.chain_lines: dict[str, ChainLine | RuleLine] = section.chain_lines

    @functools.cached_property
    def shapes(self) -> dict[Bound, ShapeFacts]:
        """The distinct shapes of its rules."""
        shapes: dict[Bound, ShapeFacts] = {}
        for chain in self.chains.values():
            for rule in chain.rules:
                bound = rule.bound
                shape = shapes.get(bound)
                if shape is None:
                    shape = shapes[bound] = ShapeFacts(bound, self)
                shape.rules.append(rule)
                shape.chains.append(chain)
        return shapes

    @functools.cached_property
    def calls(self) -> Calls:
        """Who calls whom."""
        return Calls(self)

    @functools.cached_property
    def reach(self) -> Reach:
        """Which rules and chains no packet comes to."""
        return Reach(self)

    @functools.cached_property
    def declared_builtins(self) -> set[str]:
        return self.chain_lines.keys() & set(BUILTIN_CHAINS[self.name])

    @functools.cached_property
    def is_piece(self) -> bool:
        """Declares and fills no built-in chain: a piece for --noflush, called by what is loaded already."""
        return not self.declared_builtins and not any(
            chain.rules for chain in self.chains.values() if chain.builtin
        )

    @functools.cached_property
    def broken_words(self) -> set[str]:
        """All words of lines that could not be read, lower case: a chain named there may be called there."""
        words: set[str] = set()
        for broken in self.section.broken:
            words.update(word.lower() for word in words_of(broken.line) or broken.line.raw.split())
        return words

    @functools.cached_property
    def duplicates(self) -> dict[int, Rule]:
        """`id` of a rule -> an earlier one of its chain that says the same and has the same effect."""
        return find_duplicates(self)

    @functools.cached_property
    def changing_chains(self) -> set[str]:
        """The chains in which packets, marks or sets may be changed."""
        return changing_chains(self)

    def rule_facts(self, rule: Rule) -> RuleFacts:
        """What an extension may know of its rule; comments are left out of the matches."""
        context = self.facts.binder.context
        matches = tuple(
            placed.segment.use(placed.key(rule.values), context)
            for placed in rule.bound.matches
            if placed.segment.cls.name != "comment"
        )
        return self.shape_facts(rule.bound)._replace(matches=matches)

    def shape_facts(self, bound: Bound) -> RuleFacts:
        """The same without the matches."""
        protocol = (bound.protocol, bound.protocol_inverted)
        return RuleFacts(self.facts.family, *protocol, *protocol, ())

    @functools.cached_property
    def refusals(self) -> list[Diagnostic]:
        """What the kernel refuses in it."""
        return list(refusals(self))

    @functools.cached_property
    def refused(self) -> set[int]:
        """Numbers of the lines whose rules the kernel refuses: they count for nothing."""
        return {found.span.line for found in self.refusals}

    def target_of(self, rule: Rule) -> Any:
        """The target of a rule, its options unread: a Verdict, a Jump, a Target or its class, or None."""
        bound = rule.bound
        if bound.target is not None:
            return bound.target.segment.cls
        jump = bound.jump
        if jump.__class__ is int and rule.renamed is None:
            return rule.values[jump]
        return rule.target


class Facts:
    """A file: its lines, what it does, and what follows from both."""

    def __init__(
        self,
        document: Document,
        outcome: Outcome,
        binder: Binder,
        *,
        noflush: bool = False,
        backends: tuple[str, ...] = BOTH,
        written: Document | None = None,
        meant: Meant | None = None,
    ) -> None:
        self.document = document
        self.outcome = outcome
        self.binder = binder
        self.family: Family = binder.family
        self.noflush = noflush
        self.backends = backends
        # The file as it was written, where `document` is what was meant.
        self.written = written or document
        self.meant = meant or Meant(document)
        self.sections = [SectionFacts(self, section) for section in outcome.sections]
        self._options: dict[Bound, tuple[OptionAt, ...]] = {}
        self._odd: dict[int, set[str]] = {}

    @functools.cached_property
    def faults(self) -> list[Diagnostic]:
        """What reading the file found, less what only follows from something else."""
        return settle(self)

    @functools.cached_property
    def refused(self) -> set[int]:
        """Numbers of the lines that are refused, by either backend."""
        return {d.span.line for d in self.outcome.diagnostics if d.severity is Severity.ERROR}

    def lines_with(self, *needles: str) -> Iterator[Line]:
        """The lines that hold one of the texts, in order.  Cheap where none does."""
        text = self.document.source.text
        starts = {text.rfind("\n", 0, at) + 1 for needle in needles for at in _finds(text, needle)}
        number = 1
        before = 0
        for start in sorted(starts):
            number += text.count("\n", before, start)
            before = start
            yield self.line(number)

    def line(self, number: int) -> Line:
        """The line of that number, counted from 1; its first piece, of one that is read in pieces."""
        return _line(self.document, number)

    def written_line(self, number: int) -> str:
        """The text of a line as it was written."""
        return _line(self.written, number).raw

    @functools.cached_property
    def odd_commands(self) -> list[tuple[RuleLine, Bound]]:
        """Lines that are commands other than -A, or none, with the meaning of their shapes."""
        shapes = {
            bound.shape: bound for bound in self.binder.known.values() if bound.command != "A" or bound.ends
        }
        if not shapes:
            return []
        return [
            (line, shapes[line.shape])
            for line in self.document.lines
            if line.__class__ is RuleLine and line.shape in shapes
        ]

    @functools.cached_property
    def forms(self) -> Forms:
        return Forms(self)

    def options(self, bound: Bound) -> tuple[OptionAt, ...]:
        """The options of a shape that have values, iptables' own first."""
        found = self._options.get(bound)
        if found is None:
            found = self._options[bound] = tuple(_options(bound))
        return found

    def odd_words(self, memo: Memo | RawMemo) -> set[str]:
        """Those words of a memo that iptables-save would write in another way."""
        found = self._odd.get(id(memo))
        if found is None:
            found = self._odd[id(memo)] = set(_odd(memo, self.family))
        return found

    def read(self, option: OptionAt, words: tuple[str, ...]) -> OptionValue:
        """The value that the words, as written, give an option."""
        texts = tuple(map(unquote, words))
        text: Any = texts[0] if len(texts) == 1 else texts
        value = option.type.parse(text, self.binder.context)
        return OptionValue(option, " ".join(words), " ".join(texts), value, self.family)


def _line(document: Document, number: int) -> Line:
    lines = document.lines
    if number <= len(lines) and lines[number - 1].number == number:
        return lines[number - 1]
    return next(line for line in lines if line.number == number)


def _finds(text: str, needle: str) -> Iterator[int]:
    """Where a text occurs, at most once a line."""
    at = text.find(needle)
    while at >= 0:
        yield at
        end = text.find("\n", at)
        at = text.find(needle, end) if end >= 0 else -1


def _options(bound: Bound) -> Iterator[OptionAt]:
    for letter, field, type_ in (*_CORE, *_INTERFACES):
        ref = getattr(bound, field)
        if ref is not None:
            inverted = getattr(bound, _INVERTED[letter])
            yield OptionAt(f"-{letter}", (ref,), bound.where[letter] + 1, inverted, type_, None)
    if "p" in bound.where:
        at = bound.where["p"] + 1
        word = bound.shape.words[at]
        if word is not None:
            yield OptionAt("-p", (word,), at, bound.protocol_inverted, _PROTOCOL, None)
    for placed in (*bound.matches, bound.target):
        if placed is not None:
            yield from _extension_options(bound, placed)


_INVERTED = {
    "s": "source_inverted",
    "d": "destination_inverted",
    "i": "in_inverted",
    "o": "out_inverted",
}


def _extension_options(bound: Bound, placed: Placed) -> Iterator[OptionAt]:
    segment = placed.segment
    for option, refs, inverted, at in segment.fields:
        if option.type is not None:
            whole = tuple(placed.holes[ref] if isinstance(ref, int) else ref for ref in refs)
            words = bound.shape.words
            first = placed.word + at
            # `--opt=value` is one word, `--opt value` are two.
            apart = words[first] in option.names or "=" not in (words[first] or "")
            yield OptionAt(option.flag, whole, first + apart, inverted, option.type, segment.cls)


def _odd(memo: Memo | RawMemo, family: Family) -> Iterator[str]:
    type_ = memo.type
    if type_ is NETWORKS:
        show = show_network4 if family == 4 else show_network6
        for raw, value in memo.items():
            if len(value) != 1 or show(*value[0]) != raw:
                yield raw
    elif type_ is INTERFACE or not hasattr(type_, "show"):
        for raw in memo:
            if raw[:1] == '"':
                yield raw
    else:
        for raw, value in memo.items():
            if type_.show(value) != raw:
                yield raw


def names_target(target: Any) -> str:
    """The name of what `SectionFacts.target_of` gives; "" for None and for jumps."""
    if target is None or isinstance(target, Jump):
        return ""
    name: str = target.name
    return name


__all__ = ["Facts", "OptionAt", "OptionValue", "SectionFacts", "ShapeFacts", "Verdict", "names_target"]
