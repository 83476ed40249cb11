"""Rules that repeat others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import SectionCheck, whole
from iptkit.lint.judged import IMPOSSIBLE
from iptkit.text.diagnostic import Edit, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.text.diagnostic import Diagnostic


class DuplicateRule(SectionCheck, code="IPT204"):
    """The rule repeats an earlier one.

    What: An earlier rule of the chain has the same conditions and the same target, however it is written;
        comments and counters do not count.  A rule that logs, marks or otherwise goes on is a duplicate only
        directly after the first.
    Why: The second one does nothing.  Loads that append without emptying the chain first pile them up.
    Example:
        -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
        -A INPUT -p tcp --dport ssh -j ACCEPT
    Instead:
        -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        duplicates = section.alike.duplicates
        if not duplicates:
            return
        entered = section.reach.entered
        impossible = {each.rule.line.number for each in section.judged if each.code == IMPOSSIBLE}
        for name, chain in section.own.items():
            if name not in entered:
                continue
            said = None
            for rule in chain.rules:
                first = duplicates.get(id(rule))
                line = rule.line
                if first is None or line is said or line.number in impossible or first.line is line:
                    continue
                if rule.picks > 1 and not all(
                    id(each) in duplicates for each in chain.rules if each.line is line
                ):
                    continue  # of a list of addresses some are new
                said = line
                yield self.found(
                    whole(line),
                    f"this repeats the rule of line {first.line.number}",
                    "remove it",
                    related=((whole(first.line), "the first is here"),),
                    fix=(Edit(Span(line.number, 0, len(line.raw) + 1), "", True),),
                )
