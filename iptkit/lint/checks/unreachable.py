"""Rules no packet comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import SectionCheck, whole
from iptkit.lint.conditions import LOGGING, is_verdict, names_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.ruleset.model import Rule
    from iptkit.text.diagnostic import Diagnostic


class UnreachableRule(SectionCheck, code="IPT201"):
    """No packet comes to this rule.

    What: An earlier rule of the chain, one without conditions, takes every packet: by a verdict, RETURN or a
        goto, or by a jump to a chain that decides everything.
    Why: The rule does nothing, and whoever wrote it thinks it does.
    Example:
        -A INPUT -j DROP
        -A INPUT -p tcp --dport 22 -j ACCEPT
    Instead:
        -A INPUT -p tcp --dport 22 -j ACCEPT
        -A INPUT -j DROP
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for rule, closing in _dead_rules(section):
            target = section.target_of(rule)
            logs = names_target(target) in LOGGING and is_verdict(section.target_of(closing))
            if not logs:
                yield self.found(
                    whole(rule.line),
                    "no packet comes to this rule",
                    related=((whole(closing.line), "this rule takes every packet"),),
                )


class LogAfterVerdict(SectionCheck, code="IPT214"):
    """The packet is gone before it can be logged.

    What: A rule with LOG, NFLOG, ULOG, AUDIT or TRACE that no packet can match, because an earlier rule of
        its chain with a verdict covers it.
    Why: LOG goes on to the next rule, a verdict does not: to log and to drop, log first.
    Example:
        -A INPUT -p tcp --dport 23 -j DROP
        -A INPUT -p tcp --dport 23 -j LOG
    Instead:
        -A INPUT -p tcp --dport 23 -j LOG
        -A INPUT -p tcp --dport 23 -j DROP
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for rule, closing in _dead_rules(section):
            target = section.target_of(rule)
            if names_target(target) in LOGGING and is_verdict(section.target_of(closing)):
                yield self.found(
                    whole(rule.line),
                    f"no packet comes to this {names_target(target)}",
                    "log before the verdict",
                    related=((whole(closing.line), "this rule takes every packet"),),
                )


def _dead_rules(section: SectionFacts) -> Iterator[tuple[Rule, Rule]]:
    """Rules that no packet comes to, in chains that packets enter, each with the rule that takes them all."""
    reach = section.reach
    duplicates = section.alike.duplicates
    refused = section.refused
    seen = set()
    for name, at in reach.closed.items():
        if name not in reach.entered:
            continue
        rules = section.chains[name].rules
        for rule in rules[at + 1 :]:
            number = rule.line.number
            if id(rule) not in duplicates and number not in refused and number not in seen:
                seen.add(number)
                yield rule, rules[at]
