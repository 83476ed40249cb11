"""Is a line what iptables-save would print for it?

Printing 100,000 rules to compare them takes longer than loading them.  So a
rule is taken apart: its shape must have the words in the order in which they
are saved, and each value and each use of an extension must be written as it is
saved; those are compared once each, however many rules have them.  Only what
fails is printed in full, so that a doubt costs time and no truth.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from iptkit.extensions.spec import Extension
from iptkit.lint.optionvalues import CORE
from iptkit.ruleset.bound import RawMemo
from iptkit.syntax.document import RuleLine
from iptkit.syntax.words import unquote
from iptkit.values.names import protocol_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts, ShapeFacts, Site
    from iptkit.ruleset.bound import Bound, Segment
    from iptkit.ruleset.model import Rule

    Word = str | None

# A text as iptables-save surely writes it; what is not surely so is printed and compared.
_AS_SAVED = r'(?:[0-9A-Za-z_-]+|"(?=[0-9A-Za-z_-]*[^0-9A-Za-z_"-])[^"\\\']{0,200}")\Z'
# Extensions that turn some of their options into others, and keep these as they are written.
AS_WRITTEN: dict[str, frozenset[str]] = {
    **dict.fromkeys(("tcp", "udp", "sctp", "dccp"), frozenset(("--sport", "--dport"))),
    **dict.fromkeys(("MARK", "CONNMARK"), frozenset(("--set-xmark",))),
    "multiport": frozenset(("--sports", "--dports", "--ports")),
}
# Values of those that are saved in another way all the same: all ports are not saved at all, what the name of
# a service means depends on the protocol.
_UNSAVED = {
    **dict.fromkeys(("tcp", "udp", "sctp", "dccp"), r"0*:65535\Z|0+:\Z|:\Z"),
    "multiport": "[A-Za-z]",
}


class SavedForms:
    """Compares the rules of a section with their saved form."""

    def __init__(self, section: SectionFacts) -> None:
        self._section = section
        self._facts = section.facts
        self._heads: dict[Bound, bool] = {}
        # The rules that may not be as saved.
        self._suspects: dict[int, Rule] = {}
        # The segments whose words stand in the order in which they are saved.
        self._templates: dict[Segment, tuple[Word, ...] | None] = {}

    def line(self, rule: Rule) -> str:
        """The line as iptables-save prints it, without counters."""
        chain = rule.bound.chain
        name = unquote(rule.line.values[chain]) if isinstance(chain, int) else chain
        return f"-A {name}{rule.text()}"

    def unlike(self) -> Iterator[tuple[RuleLine, list[Rule]]]:
        """The -A lines that iptables-save would write otherwise, each with the rules it makes."""
        self._collect()
        refused = self._section.refused
        by_line: dict[RuleLine, list[Rule]] = {}
        for rule in self._suspects.values():
            if rule.bound.command == "A" and rule.line.number not in refused:
                by_line.setdefault(rule.line, []).append(rule)
        for line, rules in by_line.items():
            if len(rules) > 1 or self.line(rules[0]) != _text(line):
                yield line, rules

    def _suspect(self, rules: list[Rule]) -> None:
        self._suspects.update((id(rule), rule) for rule in rules)

    def _collect(self) -> None:
        section = self._section
        for segment, sites in section.sites.items():
            self._templates[segment] = template = _template(segment)
            if template is not None:
                self._values(segment, template[1:], sites)
        for part, shapes in section.parts.items():
            in_order = self._is_part_in_order(part, shapes[0])
            for shape in shapes:
                if not in_order or not self._is_head_in_order(shape):
                    self._suspect(shape.rules)
        self._spaced()
        for core in CORE:
            odd = self._facts.odd_words(self._facts.binder.memo(core.type))
            for shape in section.shapes.values() if odd else ():
                ref = getattr(shape.bound, core.ref)
                if isinstance(ref, int):
                    self._suspect([rule for rule in shape.rules if rule.line.values[ref] in odd])
        self._quoted_names()
        for targets in section.bare_targets.values():
            use = targets[0].rule.target
            if isinstance(use, Extension) and use.text() != use.name:
                self._suspect([each.rule for each in targets])

    def _spaced(self) -> None:
        """Words with more than a blank between them."""
        numbers = self._facts.spaced
        lines = [self._facts.line(number) for number in numbers]
        shapes = {line.shape for line in lines if isinstance(line, RuleLine) and line.shape is not None}
        for bound, shape in self._section.shapes.items() if shapes else ():
            if bound.shape in shapes:
                self._suspect([rule for rule in shape.rules if rule.line.number in numbers])

    def _quoted_names(self) -> None:
        """Names of chains in quotes, which they never need."""
        section = self._section
        chains = '-A "' in self._facts.document.source.text
        jumps = bool(section.jumps) and section.quotes_jumps
        for bound, shape in section.shapes.items() if chains or jumps else ():
            for hole in (bound.chain, bound.jumps):
                if isinstance(hole, int):
                    self._suspect([rule for rule in shape.rules if rule.line.values[hole][:1] == '"'])

    def _is_part_in_order(self, part: Bound, shape: ShapeFacts) -> bool:
        """Are the words of a part those of a saved rule, in their order?  `shape` is one that has it."""
        bound = shape.bound
        if part.opaque or part.counters is not None or bound.command != "A":
            return False
        expected: tuple[Word, ...] = ()
        if part is bound:
            expected = self._head(bound)
        elif part.protocol or part.fragment:
            expected = self._after_interfaces(part)
        for placed in (*part.matches, part.target):
            if placed is not None:
                template = self._templates[placed.segment]
                if template is None:
                    return False
                expected += template
        if part.jumps is not None:
            expected += _GOTO if part.goto else _JUMP
        return expected == bound.shape.words[shape.words :]

    def _is_head_in_order(self, shape: ShapeFacts) -> bool:
        """The same for what stands before the part."""
        earlier = shape.bound.earlier
        if earlier is None:
            return True
        found = self._heads.get(earlier)
        if found is None:
            words = shape.bound.shape.words[: shape.words]
            found = self._heads[earlier] = self._head(earlier) == words
        return found

    def _head(self, bound: Bound) -> tuple[Word, ...]:
        """The words of a saved rule up to its first match."""
        words: list[Word] = ["-A", None if isinstance(bound.chain, int) else bound.chain]
        for core in CORE:
            if getattr(bound, core.ref) is not None:
                words += ("!", core.flag, None) if getattr(bound, core.inverted) else (core.flag, None)
        return (*words, *self._after_interfaces(bound))

    def _after_interfaces(self, bound: Bound) -> tuple[Word, ...]:
        words: tuple[Word, ...] = ()
        if bound.protocol:
            flag = ("!", "-p") if bound.protocol_inverted else ("-p",)
            words = (*flag, protocol_name(bound.protocol))
        if bound.fragment:
            words += ("!", "-f") if bound.fragment_inverted else ("-f",)
        return words

    # -- values

    def _values(self, segment: Segment, template: tuple[Word, ...], sites: list[Site]) -> None:
        """Find the rules with values of a segment that are not as saved."""
        if not _follows_piecewise(segment):
            self._whole_uses(segment, template)
            return
        placed, shapes = sites[0]
        unsaved = _UNSAVED.get(segment.cls.name)
        for hole in range(segment.holes):
            memo = shapes[0].bound.memos[placed.holes[hole] + shapes[0].holes]
            if isinstance(memo, RawMemo):
                self._texts(hole, memo.type, sites)
                continue
            odd = self._facts.odd_words(memo)
            if unsaved:
                odd = odd.union(self._facts.suspects(unsaved, memo, False))
            for placed, shapes in sites if odd else ():
                for shape in shapes:
                    at = placed.holes[hole] + shape.holes
                    self._suspect([rule for rule in shape.rules if rule.line.values[at] in odd])

    def _texts(self, hole: int, type_: Any, sites: list[Site]) -> None:
        """Of values that may be any text."""
        plain = re.compile(_AS_SAVED).match
        for placed, shapes in sites:
            for shape in shapes:
                at = placed.holes[hole] + shape.holes
                for rule in shape.rules:
                    raw = rule.line.values[at]
                    if not plain(raw) and type_.show(type_.parse(unquote(raw), rule.context)) != raw:
                        self._suspects[id(rule)] = rule

    def _whole_uses(self, segment: Segment, template: tuple[Word, ...]) -> None:
        """Compare the uses of an extension as a whole, each distinct one once."""
        known: dict[Any, bool] = {}
        for placed, shape, rule, _, words in self._section.uses(segment):
            odd = known.get(words)
            if odd is None:
                use = self._facts.use(placed, shape, words)
                left = iter((words,) if isinstance(words, str) else words)
                written = " ".join([next(left) if word is None else word for word in template])
                odd = known[words] = written != use.text()
            if odd:
                self._suspects[id(rule)] = rule


_JUMP: tuple[Word, ...] = ("-j", None)
_GOTO: tuple[Word, ...] = ("-g", None)


def _template(segment: Segment) -> tuple[Word, ...] | None:
    """The words of a use as they are saved, from -m or -j on; None stands for values.

    None altogether when its options stand in another order.
    """
    cls = segment.cls
    words: list[Word] = [cls.name]
    last = -1
    hole = 0
    for option, refs, inverted, at in segment.fields:
        if option.index < last:
            return None
        last = option.index
        if inverted:
            words.append("!")
        if at != len(words):
            return None
        words.append(option.flag)
        for ref in refs:
            if isinstance(ref, int):
                if ref != hole:
                    return None
                hole += 1
                words.append(None)
            else:
                words.append(ref)
    return ("-m" if cls.kind == "match" else "-j", *words)


def _follows_piecewise(segment: Segment) -> bool:
    """Does the text of a use follow from its values one by one?"""
    cls = segment.cls
    as_written = AS_WRITTEN.get(cls.name)
    if as_written is not None:
        return all(option.flag in as_written for option, _, _, _ in segment.fields)
    return (
        cls.settle.__func__ is Extension.settle.__func__  # type: ignore[attr-defined]  # classmethods have __func__
        and cls.within is Extension.within
        and cls.save is Extension.save
        and cls.text is Extension.text
        and cls.saved_name is Extension.saved_name
        and all(
            len(refs) == 0 or (len(refs) == 1 and isinstance(refs[0], int))
            for _, refs, _, _ in segment.fields
        )
    )


def _text(line: RuleLine) -> str:
    """The line without its counters."""
    return line.raw if line.counters is None else line.raw[line.counters.end :].lstrip(" ")
