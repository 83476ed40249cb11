"""RETURN and goto: how chains end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import SectionCheck, whole
from iptkit.lint.conditions import is_return
from iptkit.text.diagnostic import Edit, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.text.diagnostic import Diagnostic

_COUNTING = frozenset(("recent", "hashlimit", "quota", "connlimit", "nfacct", "limit", "rateest", "set"))


class UselessReturn(SectionCheck, code="IPT208"):
    """A RETURN at the end of a chain does what the end does.

    What: A rule with RETURN after which its chain has no rule, or only such rules.  Not where the rule has a
        condition that counts something.
    Why: At the end of a chain the packet goes back anyway, and in a built-in chain to the policy.
    Example:
        -A WEB -p tcp -j ACCEPT
        -A WEB -j RETURN
    Instead:
        -A WEB -p tcp -j ACCEPT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        refused = section.refused
        broken = {broken.chain for broken in section.section.broken}
        for name, chain in section.chains.items():
            if name in broken:
                continue  # what could not be read may stand behind it
            for rule in reversed(chain.rules):
                if not is_return(section.target_of(rule)) or rule.line.number in refused:
                    break
                if any(placed.segment.cls.name in _COUNTING for placed in rule.bound.matches):
                    continue
                line = rule.line
                yield self.found(
                    whole(line),
                    f"{name} ends here anyway",
                    "remove it",
                    fix=(Edit(Span(line.number, 0, len(line.raw) + 1), "", True),),
                )
