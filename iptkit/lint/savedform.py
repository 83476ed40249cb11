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

    from iptkit.lint.facts import PartFacts, SectionFacts, Site
    from iptkit.ruleset.bound import Bound, Ref, Segment
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
        for bound, part in section.parts.items():
            if not self._is_part_in_order(bound, part):
                self._suspect(part.rules)
        for bound, head in section.heads.items():
            whole = head.rules[0].bound
            if whole is not bound and self._head(bound) != whole.shape.head.words:
                self._suspect(head.rules)
        self._spaced()
        for core in CORE:
            odd = self._facts.odd_words(self._facts.binder.memo(core.type))
            for bound, head in section.heads.items() if odd else ():
                ref = getattr(bound, core.ref)
                if isinstance(ref, int):
                    self._suspect(_having(head, ref, odd))
        self._quoted_names()
        for targets in section.bare_targets.values():
            use = targets[0].rule.target
            if isinstance(use, Extension) and use.text() != use.name:
                self._suspect([each.rule for each in targets])

    def _spaced(self) -> None:
        """Words with more than a blank between them."""
        facts = self._facts
        numbers = facts.spaced
        for part in self._section.parts.values() if numbers else ():
            self._suspect([rule for rule in part.rules if rule.line.number in numbers])

    def _quoted_names(self) -> None:
        """Names of chains in quotes, which they never need."""
        section = self._section
        if self._facts.quotes_chains:
            self._suspect_quotes([(bound.chain, head) for bound, head in section.heads.items()])
        if section.jumps and section.quotes_jumps:
            self._suspect_quotes([(bound.jumps, part) for bound, part in section.parts.items()])

    def _suspect_quotes(self, places: list[tuple[Ref | None, PartFacts]]) -> None:
        for at, part in places:
            if isinstance(at, int):
                self._suspect([rule for rule in part.rules if rule.line.values[at][:1] == '"'])

    def _is_part_in_order(self, bound: Bound, part: PartFacts) -> bool:
        """Are the words of a part those of a saved rule, in their order?"""
        whole = part.rules[0].bound
        if bound.opaque or bound.counters is not None or (whole.earlier or whole).command != "A":
            return False
        expected: tuple[Word, ...] = ()
        if bound is whole:
            words = whole.shape.words
            expected = self._head(bound)
        else:
            words = whole.shape.tail.words
            expected = self._after_interfaces(bound)
        for placed in (*bound.matches, bound.target):
            if placed is not None:
                template = self._templates[placed.segment]
                if template is None:
                    return False
                expected += template
        if bound.jumps is not None:
            expected += _GOTO if bound.goto else _JUMP
        return expected == words

    def _head(self, bound: Bound) -> tuple[Word, ...]:
        """The words of a saved rule up to its first match, or those of its head."""
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
        placed, part = sites[0]
        unsaved = _UNSAVED.get(segment.cls.name)
        for hole in range(segment.holes):
            memo = part.bound.memos[placed.holes[hole]]
            if isinstance(memo, RawMemo):
                self._texts(hole, memo.type, sites)
                continue
            odd = self._facts.odd_words(memo)
            if unsaved:
                odd = odd.union(self._facts.suspects(unsaved, memo, False))
            for other, group in sites if odd else ():
                self._suspect(_having(group, other.holes[hole], odd))

    def _texts(self, hole: int, type_: Any, sites: list[Site]) -> None:
        """Of values that may be any text."""
        plain = re.compile(_AS_SAVED).match
        for placed, part in sites:
            at = placed.holes[hole]
            odd = {raw for raw in {values[at] for values in part.values} if not plain(raw)}
            for rule in part.rules if odd else ():
                raw = rule.line.values[at]
                if raw in odd and type_.show(type_.parse(unquote(raw), rule.context)) != raw:
                    self._suspects[id(rule)] = rule

    def _whole_uses(self, segment: Segment, template: tuple[Word, ...]) -> None:
        """Compare the uses of an extension as a whole, each distinct one once."""
        known: dict[Any, bool] = {}
        for placed, part in self._section.sites[segment]:
            for words in part.distinct(placed):
                if words not in known:
                    use = self._facts.use(placed, part, words)
                    left = iter((words,) if isinstance(words, str) else words)
                    written = " ".join([next(left) if word is None else word for word in template])
                    known[words] = written != use.text()
            odd = {words for words in part.distinct(placed) if known[words]}
            if odd:
                self._suspect(
                    [rule for rule, words in zip(part.rules, part.words(placed), strict=True) if words in odd]
                )


def _having(part: PartFacts, hole: int, words: set[str]) -> list[Rule]:
    """The rules of a part that have one of some words in a place."""
    if words.isdisjoint([values[hole] for values in part.values]):
        return []
    return [rule for rule, values in zip(part.rules, part.values, strict=True) if values[hole] in words]


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
