"""Is a line what iptables-save would print for it?

Printing 100,000 rules to compare them takes longer than loading them.  So each
shape is printed once, with one of its rules, and each value once: a rule is as
saved when its shape is, and all its values are.  Extensions whose text does
not follow piece by piece from their values are compared use by use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import INTERFACE, NETWORKS
from iptkit.extensions.spec import Extension
from iptkit.ruleset.binding import RawMemo
from iptkit.syntax.words import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iptkit.lint.facts import SectionFacts, ShapeFacts
    from iptkit.ruleset.binding import Placed
    from iptkit.ruleset.model import Rule
    from iptkit.syntax.document import RuleLine

    # Of some rules, those whose value at one place differs from its saved form.
    Test = Callable[[list[Rule]], list[Rule]]

# A text as iptables-save surely writes it; what is not surely so is printed and compared.
_AS_SAVED = re.compile(r'(?:[0-9A-Za-z_-]+|"(?=[0-9A-Za-z_-]*[^0-9A-Za-z_"-])[^"\\\']{0,200}")\Z')
_NOTHING = ("0.0.0.0/0", "::/0")
_SAMPLES = 8


class SavedForms:
    """Compares the rules of a section with their saved form."""

    def __init__(self, section: SectionFacts) -> None:
        self._section = section
        text = section.facts.document.source.text
        # Are there words parted by more than one blank anywhere, or blanks at an end?
        self._spaced = "  " in text or "\t" in text or " \n" in text or "\n " in text
        self._quoted_names = '-A "' in text or '-j "' in text or '-g "' in text

    def line(self, rule: Rule) -> str:
        """The line as iptables-save prints it, without counters."""
        chain = rule.bound.chain
        name = unquote(rule.line.values[chain]) if isinstance(chain, int) else chain
        return f"-A {name}{rule.text()}"

    def unlike(self) -> Iterator[tuple[RuleLine, list[Rule]]]:
        """The -A lines that iptables-save would write otherwise, each with the rules it makes."""
        refused = self._section.refused
        for shape in self._section.shapes.values():
            if shape.bound.command != "A":
                continue
            by_line: dict[RuleLine, list[Rule]] = {}
            for rule in self._suspects(shape):
                by_line.setdefault(rule.line, []).append(rule)
            for line, rules in by_line.items():
                if line.number not in refused and (len(rules) > 1 or self.line(rules[0]) != _text(line)):
                    yield line, rules

    def _suspects(self, shape: ShapeFacts) -> list[Rule]:
        """The rules of a shape that may not be as saved."""
        bound = shape.bound
        if self._spaced or bound.opaque or bound.counters is not None:
            return shape.rules
        tests = list(self._tests(shape))
        if not self._shape_is_saved(shape, tests):
            return shape.rules
        found = {id(rule): rule for test in tests for rule in test(shape.rules)}
        return list(found.values())

    def _shape_is_saved(self, shape: ShapeFacts, tests: list[Test]) -> bool:
        """Is the shape as saved, so that only the values matter?

        Shown by a rule whose values all are; where none is found among the
        first, the answer is no, and every rule is compared.
        """
        samples = shape.rules[:_SAMPLES]
        odd = {id(rule) for test in tests for rule in test(samples)}
        for rule in samples:
            if id(rule) not in odd:
                return self.line(rule) == _text(rule.line)
        return False

    def _tests(self, shape: ShapeFacts) -> Iterator[Test]:
        bound = shape.bound
        for ref, type_ in (
            (bound.source, NETWORKS),
            (bound.destination, NETWORKS),
            (bound.in_interface, INTERFACE),
            (bound.out_interface, INTERFACE),
        ):
            if isinstance(ref, int):
                memo = bound.memos[ref]
                # What says nothing is not saved at all.
                unsaved = [raw for raw in (("+",) if type_ is INTERFACE else _NOTHING) if raw in memo]
                yield from _among(ref, self._section.facts.odd_words(memo).union(unsaved))
        if isinstance(bound.chain, int) and self._quoted_names:
            yield _quoted(bound.chain)
        if isinstance(bound.jump, int) and bound.target is None:
            memo = bound.memos[bound.jump]
            yield from _among(
                bound.jump,
                {raw for raw, use in memo.items() if isinstance(use, Extension) and use.text() != raw},
            )
            if self._quoted_names:
                yield _quoted(bound.jump)
        for placed in (*bound.matches, bound.target):
            if placed is not None and placed.segment.holes:
                yield from self._of_extension(shape, placed)

    def _of_extension(self, shape: ShapeFacts, placed: Placed) -> Iterator[Test]:
        if not _is_piecewise(placed):
            yield _Uses(self._section.facts.binder.context, placed, shape).unlike
            return
        for hole in placed.holes:
            memo = shape.bound.memos[hole]
            if isinstance(memo, RawMemo):
                yield _texts(hole, memo.type)
            else:
                yield from _among(hole, self._section.facts.odd_words(memo))


def _is_piecewise(placed: Placed) -> bool:
    """Does the text of an extension follow from its values one by one?"""
    cls = placed.segment.cls
    return (
        cls.settle.__func__ is Extension.settle.__func__  # type: ignore[attr-defined]  # classmethods have __func__
        and cls.within is Extension.within
        and cls.save is Extension.save
        and cls.text is Extension.text
        and cls.saved_name is Extension.saved_name
        and all(len(refs) <= 1 for _, refs, _, _ in placed.segment.fields)
    )


class _Uses:
    """Compares an extension's uses as a whole, each distinct one once."""

    def __init__(self, context: Any, placed: Placed, shape: ShapeFacts) -> None:
        self._context = context
        self._placed = placed
        self._known: dict[Any, bool] = {}
        words = shape.bound.shape.words
        holes = {word: hole for hole, word in enumerate(shape.bound.shape.holes)}
        last = max((at + len(refs) for _, refs, _, at in placed.segment.fields), default=0)
        # Its words in the line, holes as numbers.
        self._words = [
            holes[at] if words[at] is None else words[at]
            for at in range(placed.word, min(placed.word + last + 1, len(words)))
        ]

    def unlike(self, rules: list[Rule]) -> list[Rule]:
        return [rule for rule in rules if self._differs(rule)]

    def _differs(self, rule: Rule) -> bool:
        values = rule.line.values
        key = self._placed.key(values)  # type: ignore[arg-type]  # any sequence of words will do
        found = self._known.get(key)
        if found is None:
            use = self._placed.segment.use(self._placed.key(rule.values), self._context)
            written = " ".join(values[word] if isinstance(word, int) else word or "" for word in self._words)
            found = self._known[key] = written != use.text()
        return found


def _text(line: RuleLine) -> str:
    """The line without its counters."""
    return line.raw if line.counters is None else line.raw[line.counters.end :].lstrip(" ")


def _among(hole: int, odd: set[str]) -> Iterator[Test]:
    if odd:
        yield lambda rules: [rule for rule in rules if rule.line.values[hole] in odd]


def _quoted(hole: int) -> Test:
    return lambda rules: [rule for rule in rules if rule.line.values[hole][:1] == '"']


def _texts(hole: int, type_: Any) -> Test:
    """Of values that may be any text."""
    plain = _AS_SAVED.match

    def unlike(rules: list[Rule]) -> list[Rule]:
        return [
            rule
            for rule in rules
            if not plain(raw := rule.line.values[hole])
            and type_.show(type_.parse(unquote(raw), rule.context)) != raw
        ]

    return unlike
