"""RETURN and goto: how chains end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.core import Jump
from iptkit.lint.check import SectionCheck, whole
from iptkit.lint.checks.jumps import jump_span
from iptkit.lint.conditions import is_return
from iptkit.text.diagnostic import Edit, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.spec import Extension
    from iptkit.lint.facts import SectionFacts
    from iptkit.text.diagnostic import Diagnostic


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
        for name, chain in section.own.items():
            if name not in section.returning or name in broken:
                continue  # what could not be read may stand behind it
            for rule in reversed(chain.rules):
                if not is_return(section.target_of(rule)) or rule.line.number in refused:
                    break
                if any(_counts(placed.segment.cls) for placed in rule.bound.matches):
                    continue
                line = rule.line
                yield self.found(
                    whole(line),
                    f"{name} ends here anyway",
                    "remove it",
                    fix=(Edit(Span(line.number, 0, len(line.raw) + 1), "", True),),
                )


class GotoNonTerminal(SectionCheck, code="IPT215"):
    """What comes out of the chain does not come back.

    What: -g leads to a chain that some packet can leave without a verdict, and the chain with the -g rule
        goes on after it.
    Why: After a goto the packet goes on where the whole chain was called from, and in a built-in chain to
        the policy: the rules that follow here are skipped.
    Example:
        -A INPUT -p tcp -g TCP
        -A INPUT -j LOGDROP
        -A TCP -p tcp --dport 22 -j ACCEPT
    Instead:
        -A INPUT -p tcp -j TCP
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        flow = None
        for bound, part in section.parts.items():
            if not bound.goto:
                continue
            flow = flow or section.flow
            if flow is None:
                return
            for rule, chain in zip(part.rules, part.chains, strict=True):
                target = section.target_of(rule)
                number = rule.line.number
                if not isinstance(target, Jump) or number in section.refused or number in section.dead:
                    continue
                later = chain.rules[-1]
                if later.line is not rule.line and flow.may_leave(chain, rule, target.chain):
                    yield self.found(
                        jump_span(rule),
                        f"what {target.chain} does not decide skips the rest of {chain.name}",
                        f"-j {target.chain}",
                    )


def _counts(match: type[Extension]) -> bool:
    """Does it leave its mark that a match was asked?  A set counts packets for its entries."""
    return match.counts or match.name == "set"
