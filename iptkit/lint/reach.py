"""Which rules no packet comes to because an earlier rule of their chain takes every packet.

Only what is certain whatever the packets: a rule without conditions whose
target decides, returns, or leads to a chain that decides everything.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from iptkit.extensions.core import Jump
from iptkit.lint.conditions import (
    is_only_commented,
    is_return,
    is_unconditional,
    is_verdict,
    may_say_nothing,
)

if TYPE_CHECKING:
    from collections.abc import Container

    from iptkit.lint.facts import PartFacts, SectionFacts
    from iptkit.ruleset.model import Chain, Rule


_NO_STEPS: tuple[list[tuple[str, bool, bool]], bool] = ([], False)


class Reach:
    def __init__(self, section: SectionFacts) -> None:
        self._section = section
        self._decides: dict[str, bool] = {}

    @functools.cached_property
    def unconditional(self) -> dict[str, set[int]]:
        """Chain -> `id` of its rules without conditions, those without a target aside."""
        out: dict[str, set[int]] = {}
        refused = self._section.refused
        facts = self._section.facts
        any_network, any_interface = facts.any_network, facts.any_interface
        for part, group in self._section.parts.items():
            if part.jump is None or not may_say_nothing(part):
                continue
            plain = is_only_commented(part)
            if not plain and not self._may_say_nothing(group):
                continue
            for rule, chain in zip(group.rules, group.chains, strict=True):
                bound = rule.bound
                # Conditions of the rule itself say nothing only by these values.
                if (bound.lists and not any_network) or (bound.hooked and not any_interface):
                    continue
                always = plain and not bound.lists and not bound.hooked
                if (always or is_unconditional(rule)) and not (refused and rule.line.number in refused):
                    out.setdefault(chain.name, set()).add(id(rule))
        return out

    def _may_say_nothing(self, group: PartFacts) -> bool:
        """Has any rule of a part matches that let every packet through?"""
        use = self._section.facts.use
        return all(
            placed.segment.cls.name == "comment"
            or any(use(placed, group, words).says_nothing() for words in group.distinct(placed))
            for placed in group.bound.matches
        )

    @functools.cached_property
    def closed(self) -> dict[str, int]:
        """Chain -> index of the first rule that lets no packet through to the next; the last rule aside."""
        out = {}
        for name, rules in self.unconditional.items():
            all_rules = self._section.chains[name].rules
            if len(rules) == 1 and id(all_rules[-1]) in rules:
                continue
            for at, rule in enumerate(all_rules[:-1]):
                if id(rule) in rules and self._takes_all(rule):
                    out[name] = at
                    break
        return out

    def _takes_all(self, rule: Rule) -> bool:
        """Given that every packet matches: does none go on to the next rule?"""
        target = self._section.target_of(rule)
        if isinstance(target, Jump):
            return target.goto or self.decides(target.chain)
        return is_verdict(target) or is_return(target)

    def decides(self, name: str) -> bool:
        """Does a chain send no packet back to whoever called it?  Only a certain yes is a yes."""
        found = self._decides.get(name)
        if found is None:
            self._decides[name] = False  # while we look: a chain that needs itself proves nothing
            found = self._decides[name] = self._looks_decided(name)
        return found

    def _looks_decided(self, name: str) -> bool:
        steps, end = self.steps.get(name) or self._section.told.steps.get(name) or _NO_STEPS
        for to, goto, always in steps:
            if goto and not self.decides(to):
                return False
            if always and (goto or self.decides(to)):
                return True
        return end

    @functools.cached_property
    def steps(self) -> dict[str, tuple[list[tuple[str, bool, bool]], bool]]:
        """For the chains that are looked at and may decide: their calls, up to where that is clear.

        Of each call the chain, whether it is a goto, and whether all packets
        take it; then whether behind these all packets are decided.  Calls that
        not all packets take, and that these come back from, are left out.
        """
        chains = self._section.chains
        return {
            name: self._steps(chains[name], rules)
            for name, rules in self.unconditional.items()
            if not chains[name].builtin
        }

    def _steps(self, chain: Chain, unconditional: set[int]) -> tuple[list[tuple[str, bool, bool]], bool]:
        steps: list[tuple[str, bool, bool]] = []
        section = self._section
        rules = chain.rules
        if chain.name not in section.returning and chain.name not in section.going:
            # Nearly always it is the last.
            last = rules[-1:] if len(unconditional) == 1 and id(rules[-1]) in unconditional else rules
            rules = [rule for rule in last if id(rule) in unconditional]
        for rule in rules:
            target = section.target_of(rule)
            always = id(rule) in unconditional
            if target.__class__ is Jump:
                if always or target.goto:
                    steps.append((target.chain, target.goto, always))
                if always and target.goto:
                    break
            elif is_return(target):
                break
            elif always and is_verdict(target):
                return steps, True
        return steps, False

    @functools.cached_property
    def dead(self) -> set[int]:
        """Numbers of the lines that no packet comes to, since a rule of a line before takes all."""
        out: set[int] = set()
        for name, at in self.closed.items():
            lines = [rule.line.number for rule in self._section.chains[name].rules[at:]]
            out.update(lines)
            out.discard(lines[0])
        return out

    @functools.cached_property
    def entered(self) -> Container[str]:
        """The chains that packets may enter: from built-in chains, along jumps that are not dead.

        Every chain of a piece for --noflush counts: who calls it is not in the file.
        """
        section = self._section
        if section.is_piece:
            return section.chains.keys()
        live = {**self.live, **section.told.live}
        if not live:
            return section.calls.nft.reached
        callees = {**section.calls.callees, **section.told.calls, **live}
        seen = {name for name, chain in section.chains.items() if chain.builtin}
        pending = list(seen)
        while pending:
            new = [to for to in callees.get(pending.pop(), ()) if to not in seen]
            seen.update(new)
            pending += new
        return seen

    @functools.cached_property
    def live(self) -> dict[str, list[str]]:
        """For each chain with dead jumps the chains it calls by others."""
        dead = self.dead
        calls = self._section.calls.own
        return {
            name: [to for to, rule in calls[name] if rule.line.number not in dead]
            for name in self.closed
            if any(rule.line.number in dead for _, rule in calls.get(name, ()))
        }
