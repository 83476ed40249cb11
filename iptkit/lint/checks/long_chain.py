"""Chains and runs of rules that are longer than they need be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.core import Verdict
from iptkit.lint.check import SectionCheck, whole
from iptkit.lint.conditions import states_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.ruleset.model import Rule
    from iptkit.text.diagnostic import Diagnostic

MANY = 200
EARLY = 10
_ESTABLISHED = 0x2


class LongChain(SectionCheck, code="IPT406"):
    """A chain has very many rules.

    What: More than 200 rules in one chain.  Reported at the first rule over that.
    Why: A packet is compared with one rule after the other.
    Example:
        (201 rules)
    Instead:
        (chains by interface or protocol, ipsets)
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for name, chain in section.own.items():
            if len(chain.rules) > MANY:
                yield self.found(
                    whole(chain.rules[MANY].line),
                    f"{name} has {len(chain.rules)} rules, and packets go through them one by one",
                    "chains by interface or protocol, or sets",
                )


class EstablishedLate(SectionCheck, code="IPT401"):
    """Established connections are accepted late.

    What: In INPUT, FORWARD or OUTPUT of filter, ten or more rules stand before the first that accepts state
        ESTABLISHED with no condition but the state.
    Why: Nearly all packets belong to established connections, and each is compared with all the rules before.
    Example:
        (ten rules)
        -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    Instead:
        -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        (ten rules)
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        if section.name != "filter":
            return
        for chain in section.own.values():
            if not chain.builtin or len(chain.rules) <= EARLY:
                continue
            for at, rule in enumerate(chain.rules):
                if self._accepts_established(section, rule):
                    if at >= EARLY:
                        yield self.found(
                            whole(rule.line),
                            f"{at} rules stand before this one, which takes most packets",
                            "move it to the top",
                        )
                    break

    def _accepts_established(self, section: SectionFacts, rule: Rule) -> bool:
        bound = rule.bound
        if bound.protocol or bound.fragment or bound.hooked or bound.lists or bound.opaque:
            return False
        matches = [p for p in bound.matches if p.segment.cls.name != "comment"]
        if len(matches) != 1 or len(matches[0].segment.fields) != 1:
            return False
        target = section.target_of(rule)
        states = states_of(rule)
        return (
            states is not None
            and bool(states[0] & _ESTABLISHED) != states[1]
            and isinstance(target, Verdict)
            and target.name == "ACCEPT"
            and rule.line.number not in section.refused
        )
