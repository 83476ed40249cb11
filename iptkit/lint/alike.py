"""Rules of a chain that repeat others, or differ from them in one value.

Comparing all rules in full would take longer than loading them.  So a glance
comes first: protocol, addresses and target, as far as they lie at hand.  Only
rules that look alike are compared by what they mean (iptkit.lint.normal).
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import NETWORKS, Jump
from iptkit.lint.conditions import is_harmless, is_return, is_verdict
from iptkit.lint.normal import comment_of
from iptkit.text.record import NamedTuple
from iptkit.values.addresses import show_network4, show_network6

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.lint.normal import Form, Values
    from iptkit.ruleset.bound import Bound
    from iptkit.ruleset.model import Chain, Rule

Glance = tuple[Any, Any, Any]  # source, destination, target, as they are written


_FEW = 10


class Run(NamedTuple):
    """Rules in a row that differ in nothing but the value of one option, and these values."""

    flag: str
    rules: list[Rule]
    values: list[Any]


class Alike:
    def __init__(self, section: SectionFacts) -> None:
        self._section = section
        self._changes: dict[str, list[int]] = {}

    @functools.cached_property
    def _looked(self) -> tuple[list[tuple[Chain, list[int]]], list[tuple[Chain, int, int]]]:
        """Places of rules that may repeat others, and stretches (chain, from, to) of rules alike."""
        repeats: list[tuple[Chain, list[int]]] = []
        stretches: list[tuple[Chain, int, int]] = []
        respelt = self._respelt
        given, asked = _kinds(self._section)
        for chain in self._section.own.values():
            rules = chain.rules
            if len(rules) < 2:
                continue
            bounds = [rule.bound for rule in rules]
            seen = [asked[bound.later or bound] + given[bound.earlier or bound] for bound in bounds]
            if len(set(seen)) == len(rules):
                continue
            glances: dict[int, Glance] = {}
            for at in _not_alone(seen):
                glance = _glance(bounds[at], rules[at].line.values)
                if respelt:
                    glance = respelt.get(glance[0], glance[0]), respelt.get(glance[1], glance[1]), glance[2]
                glances[at] = glance
            repeats += [(chain, places) for places in _repeated(seen, glances)]
            stretches += [(chain, start, end) for start, end in _stretches(seen, glances)]
        return repeats, stretches

    @functools.cached_property
    def _respelt(self) -> dict[str, Any]:
        """Addresses that are not written as they are saved -> what they mean."""
        facts = self._section.facts
        memo = facts.binder.memo(NETWORKS)
        show = show_network4 if facts.family == 4 else show_network6
        return {
            raw: show(*memo[raw][0]) if len(memo[raw]) == 1 else memo[raw] for raw in facts.odd_words(memo)
        }

    # -- repetition

    @functools.cached_property
    def duplicates(self) -> dict[int, Rule]:
        """`id` of each rule that repeats an earlier one of its chain -> the earlier one.

        A verdict, a RETURN or a jump may be repeated anywhere later; for other
        targets the repetition must follow at once.  Rules with conditions that
        change, and such on what a rule between may have rewritten, repeat
        nothing.
        """
        out: dict[int, Rule] = {}
        forms = self._section.facts.forms
        refused = self._section.refused
        for chain, places in self._looked[0]:
            rules = chain.rules
            seen: dict[Any, int] = {}
            for at in places:
                rule = rules[at]
                form, values = forms.of(rule.bound)
                if form.changing or rule.line.number in refused:
                    continue
                key = (form.number, values(rule))
                before = seen.setdefault(key, at)
                if before != at:
                    if self._repeats(chain, before, at, form):
                        out[id(rule)] = rules[before]
                    else:
                        seen[key] = at
        return out

    def _repeats(self, chain: Chain, before: int, at: int, form: Form) -> bool:
        target = self._section.target_of(chain.rules[at])
        if not (is_verdict(target) or is_return(target) or isinstance(target, Jump)) and before + 1 != at:
            return False
        return not form.rewritable or self._last_change(chain)[at] < before

    def _last_change(self, chain: Chain) -> list[int]:
        """For each rule of a chain, the last one before it that may change packets or sets; -1 for none."""
        found = self._changes.get(chain.name)
        if found is None:
            found = self._changes[chain.name] = []
            last = -1
            for at, rule in enumerate(chain.rules):
                found.append(last)
                target = self._section.target_of(rule)
                if isinstance(target, Jump):
                    if target.chain in self.changing_chains:
                        last = at
                elif not is_harmless(target):
                    last = at
        return found

    @functools.cached_property
    def changing_chains(self) -> set[str]:
        """The chains in which packets or sets may be changed, or in chains that are called from there."""
        out = self.changing | self._section.told.changing
        pending = list(out)
        while pending:
            new = [name for name in self._section.calls.callers(pending.pop()) if name not in out]
            out.update(new)
            pending += new
        return out

    @functools.cached_property
    def changing(self) -> set[str]:
        """The chains that are looked at in which packets or sets may be changed."""
        section = self._section
        harmful = {
            segment.cls.name
            for segment in section.sites
            if segment.cls.kind == "target" and not is_harmless(segment.cls)
        }
        harmful.update(
            name
            for name, each in section.bare_targets.items()
            if not is_harmless(section.target_of(each[0].rule))
        )
        out: set[str] = set()
        for bound, part in section.parts.items():
            if bound.opaque or (bound.target is not None and bound.target.segment.cls.name in harmful):
                out |= part.chain_names()
        for name in harmful:
            out.update([each.chain.name for each in section.bare_targets.get(name, ())])
        return out

    # -- runs

    def runs(self, flags: tuple[str, ...], shortest: int, *, changing: bool = False) -> Iterator[Run]:
        """The longest runs, of at least `shortest` rules, in which only the value of one of `flags` differs.

        Rules with conditions that change, such as limit, count with `changing` only.
        """
        forms = self._section.facts.forms
        refused = self._section.refused
        for chain, first, last in self._looked[1]:
            if last - first < shortest:
                continue
            rules = [rule for rule in chain.rules[first:last] if rule.line.number not in refused]
            start = 0
            while start + shortest <= len(rules):
                form = forms.of(rules[start].bound).form
                end = start + 1
                while end < len(rules) and forms.of(rules[end].bound).form is form:
                    end += 1
                usable = (changing or not form.changing) and not rules[start].bound.opaque
                positions = [at for at, flag in enumerate(form.plain) if flag in flags]
                if end - start >= shortest and usable and positions and rules[start].bound.jump is not None:
                    yield from self._split(rules[start:end], form, positions, shortest)
                start = end

    def _split(self, rules: list[Rule], form: Form, positions: list[int], shortest: int) -> Iterator[Run]:
        """Cut rules of one form into runs."""
        forms = self._section.facts.forms
        values = [forms.of(rule.bound).values(rule) for rule in rules]
        begin = 0
        while begin + shortest <= len(rules):
            best, position = begin + 1, -1
            for at in positions:
                stop = begin + 1
                while (
                    stop < len(rules)
                    and _differ_only(values[begin], values[stop], at)
                    and comment_of(rules[begin]) == comment_of(rules[stop])
                ):
                    stop += 1
                if stop > best:
                    best, position = stop, at
            if best - begin >= shortest:
                yield Run(
                    form.plain[position],
                    rules[begin:best],
                    [each[0][position] for each in values[begin:best]],
                )
            begin = best


def _kinds(section: SectionFacts) -> tuple[dict[Bound, int], dict[Bound, int]]:
    """Numbers for what the two parts of a shape ask, values and the order of words aside: added, for both."""
    given = {
        bound: sum(
            bit
            for bit, ref in (
                (1, bound.source),
                (2, bound.destination),
                (4, bound.in_interface),
                (8, bound.out_interface),
            )
            if ref is not None
        )
        for bound in section.heads
    }
    numbers: dict[tuple[Any, ...], int] = {}
    asked = {bound: 16 * numbers.setdefault(_asked(bound), len(numbers)) for bound in section.parts}
    return given, asked


def _asked(bound: Bound) -> tuple[Any, ...]:
    """What the later part of a shape asks, at a glance."""
    matches = [
        placed.segment.cls.kernel_name
        for placed in bound.matches
        if placed.segment.fields and placed.segment.cls.name != "comment"
    ]
    return (bound.protocol, bound.goto, bound.target is None, *sorted(matches))


def _glance(bound: Bound, words: list[str]) -> Glance:
    """What lies at hand, as it is written."""
    head = bound.earlier or bound
    source, destination, jump = head.source, head.destination, (bound.later or bound).jump
    return (
        words[source] if source.__class__ is int else source,
        words[destination] if destination.__class__ is int else destination,
        words[jump] if jump.__class__ is int else jump,
    )


def _not_alone(kinds: list[int]) -> list[int]:
    """Places of what is in a list more than once."""
    if len(kinds) < _FEW:
        return [at for at, kind in enumerate(kinds) if kinds.count(kind) > 1]
    count = Counter(kinds)
    return [at for at, kind in enumerate(kinds) if count[kind] > 1]


def _repeated(kinds: list[int], glances: dict[int, Glance]) -> Iterator[list[int]]:
    """Groups of places of rules that look the same."""
    if len(set(glances.values())) == len(glances):
        return
    places: dict[Any, list[int]] = {}
    for at, glance in glances.items():
        places.setdefault((kinds[at], glance), []).append(at)
    for found in places.values():
        if len(found) > 1:
            yield found


def _stretches(kinds: list[int], glances: dict[int, Glance]) -> Iterator[tuple[int, int]]:
    """Stretches of rules of which each differs from the next in one address at most, at a glance."""
    start = end = 0
    for at in [at for at in glances if at and kinds[at] == kinds[at - 1]]:
        one, other = glances[at - 1], glances[at]
        if one[2] != other[2] or (one[0] != other[0] and one[1] != other[1]):
            continue
        if at - 1 != end:
            if end > start:
                yield start, end + 1
            start = at - 1
        end = at
    if end > start:
        yield start, end + 1


def _differ_only(one: Values, other: Values, at: int) -> bool:
    """Do two rules differ in the plain option `at`, and in nothing else?"""
    ours, theirs = one[0], other[0]
    return (
        one[1:] == other[1:]
        and bool(ours[at] != theirs[at])
        and ours[:at] == theirs[:at]
        and ours[at + 1 :] == theirs[at + 1 :]
    )
