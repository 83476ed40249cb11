"""Which rules do nothing, and the one thing to say about each.

Of impossible-match, duplicate-rule, log-after-verdict, unreachable-rule,
shadowed-rule and redundant-rule a rule gets at most one, in that order of what
is looked at: can it match at all, has it been said before, does any packet come
to it, and if so, would later rules do the same to these.  Rules in chains that
no packet enters get none: something else is said of the chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from iptkit.extensions.core import Jump
from iptkit.lint.conditions import LOGGING, is_return, is_verdict, names_target
from iptkit.lint.flow import TooMuch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.lint.flow import Flow
    from iptkit.ruleset.model import Chain, Rule

UNREACHABLE, SHADOWED, REDUNDANT = "IPT201", "IPT202", "IPT203"
IMPOSSIBLE, AFTER_VERDICT = "IPT205", "IPT214"


class Judgement(NamedTuple):
    """What is said of a rule: a code, and the rule it is on account of."""

    code: str
    rule: Rule
    by: Rule | None


def judge(section: SectionFacts) -> list[Judgement]:
    """All there is to say about a section, in the order of its chains."""
    flow = section.flow
    out: list[Judgement] = []
    if flow is None:
        out += _behind_closed(section)
        return out
    for name in flow.inflow:
        chain = section.chains[name]
        said = _Chain(section, flow, chain)
        try:
            said.look()
        except TooMuch:
            out += [each for each in said.out if each.code != REDUNDANT or each.by is not None]
            break
        out += said.out
    return out


def _behind_closed(section: SectionFacts) -> Iterator[Judgement]:
    """For large sections: what stands behind a rule that takes every packet."""
    reach = section.reach
    for name, at in reach.closed.items():
        if name in reach.entered:
            rules = section.chains[name].rules
            for rule in rules[at + 1 :]:
                if id(rule) not in section.alike.duplicates and rule.line.number not in section.refused:
                    logs = names_target(section.target_of(rule)) in LOGGING
                    after = logs and is_verdict(section.target_of(rules[at]))
                    yield Judgement(AFTER_VERDICT if after else UNREACHABLE, rule, rules[at])


class _Chain:
    """Judges the rules of one chain."""

    def __init__(self, section: SectionFacts, flow: Flow, chain: Chain) -> None:
        self._section = section
        self._flow = flow
        self._chain = chain
        self._left = flow.left[chain.name]
        self._judged: set[int] = set()  # places of rules of which something is said
        self.out: list[Judgement] = []

    def look(self) -> None:
        duplicates = self._section.alike.duplicates
        rules = self._chain.rules
        for at, rule in enumerate(rules):
            if not self._flow.counts(rule):
                self._judged.add(at)
            elif not self._flow.region(self._chain, at):
                self._judged.add(at)
                self.out.append(Judgement(IMPOSSIBLE, rule, None))
            elif id(rule) in duplicates:
                self._judged.add(at)
            elif not self._flow.meets(self._left[at], self._flow.region(self._chain, at)):
                self._judged.add(at)
                self.out.append(self._dead(at))
        # From the end: what stays must not lean on what is to go.
        for at in range(len(rules) - 2, -1, -1):
            if at not in self._judged:
                by = self._replaced_by(at)
                if by is not None:
                    self._judged.add(at)
                    self.out.append(Judgement(REDUNDANT, rules[at], by))

    # -- rules no packet comes to

    def _dead(self, at: int) -> Judgement:
        rule = self._chain.rules[at]
        for before in range(at):
            taker = self._chain.rules[before]
            if self._flow.counts(taker) and self._covers(before, at):
                return Judgement(self._code(taker, rule), rule, taker)
        return Judgement(UNREACHABLE, rule, None)

    def _covers(self, before: int, at: int) -> bool:
        """Does one rule take all packets that meet the conditions of another?"""
        target = self._section.target_of(self._chain.rules[before])
        taken = self._flow.region(self._chain, before)
        if isinstance(target, Jump):
            if not target.goto:
                taken = self._flow.meet(taken, self._flow.decided(target.chain))
        elif not is_verdict(target) and not is_return(target):
            return False
        return all(self._flow.covers(taken, box) for box in self._flow.region(self._chain, at))

    def _code(self, taker: Rule, rule: Rule) -> str:
        target = self._section.target_of(taker)
        if not is_verdict(target):
            return UNREACHABLE
        if names_target(self._section.target_of(rule)) in LOGGING:
            return AFTER_VERDICT
        if id(taker) in self._section.reach.unconditional.get(self._chain.name, ()):
            return UNREACHABLE
        return REDUNDANT if taker.target == rule.target else SHADOWED

    # -- rules that later ones make superfluous

    def _replaced_by(self, at: int) -> Rule | None:
        """The last of the later rules that together do the same to all packets of a rule, if they do."""
        flow, chain = self._flow, self._chain
        rule = chain.rules[at]
        if not is_verdict(self._section.target_of(rule)) or self._changes(at):
            return None
        packets = flow.hit(chain, at)
        for later in range(at + 1, len(chain.rules)):
            other = chain.rules[later]
            target = self._section.target_of(other)
            region = flow.region(chain, later)
            if target is None or not flow.counts(other) or not flow.meets(packets, region):
                continue
            if not is_verdict(target) or other.target != rule.target:
                return None
            # What is reported itself, and may go, replaces nothing.
            if later not in self._judged and not self._changes(later):
                packets = flow.less(packets, region)
                if not packets:
                    return other
        return None

    def _changes(self, at: int) -> bool:
        """Has a rule a condition that may match one packet and not the next like it?"""
        for box in self._flow.region(self._chain, at):
            if any(isinstance(dimension, tuple) and dimension[0] == "once" for dimension in box):
                return True
        return False
