"""Rules that do nothing, because of the rules before them or after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import SectionCheck, whole
from iptkit.lint.conditions import names_target
from iptkit.text.diagnostic import Edit, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.lint.judged import Judgement
    from iptkit.text.diagnostic import Diagnostic


class _Judged(SectionCheck):
    """A check that says what iptkit.lint.judged has found."""

    message = ""
    why = ""

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        said = set()
        for each in section.judged:
            line = each.rule.line
            if each.code == self.code and line.number not in said:
                said.add(line.number)
                related = () if each.by is None else ((whole(each.by.line), self.why),)
                fix = (Edit(Span(line.number, 0, len(line.raw) + 1), "", False),)
                yield self.found(
                    whole(line),
                    self.says(section, each),
                    self.hint(section, each),
                    related=related,
                    fix=fix if self.fix != "none" else (),
                )

    def says(self, section: SectionFacts, each: Judgement) -> str:
        return self.message

    def hint(self, section: SectionFacts, each: Judgement) -> str:
        return ""


class UnreachableRule(_Judged, code="IPT201"):
    """No packet comes to this rule.

    What: The rules before it take every packet that could match: one without conditions, or several together,
        by verdicts, RETURN or goto, in called chains too; or none is left by the jumps to its chain.
    Why: The rule does nothing, and whoever wrote it thinks it does.
    Example:
        -A INPUT -s 10.0.0.0/25 -j DROP
        -A INPUT -s 10.0.0.128/25 -j DROP
        -A INPUT -s 10.0.0.0/24 -p tcp -j ACCEPT
    Instead:
        (remove or move the third rule)
    """

    message = "no packet comes to this rule"
    why = "this rule takes every packet"


class ShadowedRule(_Judged, code="IPT202"):
    """An earlier rule with another target takes all its packets.

    What: One earlier rule of the chain, which has conditions and a verdict, covers the rule, and the two
        differ in target or in its options.
    Why: Of two contradicting rules the first one counts.  The exception must stand before what it is an
        exception to.
    Example:
        -A INPUT -s 10.0.0.0/8 -j ACCEPT
        -A INPUT -s 10.1.2.3/32 -j DROP
    Instead:
        -A INPUT -s 10.1.2.3/32 -j DROP
        -A INPUT -s 10.0.0.0/8 -j ACCEPT
    """

    why = "this rule takes all its packets"

    def says(self, section: SectionFacts, each: Judgement) -> str:
        name = names_target(section.target_of(each.by)) if each.by is not None else ""
        line = each.by.line.number if each.by is not None else 0
        return f"no packet comes to this rule: line {line} has {name} for all of them"

    def hint(self, section: SectionFacts, each: Judgement) -> str:
        return "put it before that rule, or remove it"


class RedundantRule(_Judged, code="IPT203"):
    """Another rule does the same to all its packets.

    What: An earlier rule covers it and has the same target; or later rules give every packet it decides the
        same verdict, with nothing between that would do something else to them.
    Why: Without it the chain does the same.
    Example:
        -A INPUT -s 10.1.0.0/16 -j DROP
        -A INPUT -s 10.0.0.0/8 -j DROP
    Instead:
        -A INPUT -s 10.0.0.0/8 -j DROP
    """

    why = "this rule does the same to its packets"

    def says(self, section: SectionFacts, each: Judgement) -> str:
        line = each.by.line.number if each.by is not None else 0
        if each.dead:
            return f"line {line} does the same to all its packets"
        return f"rules after it, the last in line {line}, do the same to all its packets"

    def hint(self, section: SectionFacts, each: Judgement) -> str:
        return "remove it"


class LogAfterVerdict(_Judged, code="IPT214"):
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

    why = "this rule takes all its packets"

    def says(self, section: SectionFacts, each: Judgement) -> str:
        return f"no packet comes to this {names_target(section.target_of(each.rule))}"

    def hint(self, section: SectionFacts, each: Judgement) -> str:
        return "log before the verdict"
