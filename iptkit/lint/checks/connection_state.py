"""Connection states where they cannot be, or go together badly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.core import Jump
from iptkit.lint.check import Note, SectionCheck, UseCheck, whole
from iptkit.lint.conditions import (
    ESTABLISHED,
    INVALID,
    RELATED,
    STATE_MATCHES,
    is_accept,
    names_target,
    states_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts, UseFacts
    from iptkit.ruleset.model import Rule
    from iptkit.text.diagnostic import Diagnostic


class CtstateInRaw(UseCheck, code="IPT216"):
    """The raw table comes before connection tracking.

    What: -m conntrack or -m state in a rule of raw.
    Why: There a packet has no connection yet, apart from those over loopback: the condition is not what it
        seems.
    Example:
        *raw
        -A PREROUTING -m conntrack --ctstate INVALID -j DROP
    Instead:
        *mangle
        -A PREROUTING -m conntrack --ctstate INVALID -j DROP
    """

    extensions = STATE_MATCHES

    def look(self, use: UseFacts) -> Iterator[Note]:
        if use.section.name == "raw":
            yield Note("packets have no connection yet when they are in raw", "mangle PREROUTING")


class RelatedOnly(SectionCheck, code="IPT223"):
    """RELATED is accepted, ESTABLISHED is not.

    What: A rule of the chain accepts packets of state RELATED, and no rule of it those of ESTABLISHED.
    Why: RELATED is only the first packet of a new connection that belongs to another, and errors; all that
        follows is ESTABLISHED.
    Example:
        -A INPUT -m conntrack --ctstate RELATED -j ACCEPT
    Instead:
        -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        related: dict[str, Rule] = {}
        established: set[str] = set()
        for stated in section.stated:
            part = stated.part
            accepts = section.accepts(part)
            rows = zip(part.rules, part.chains, stated.states, part.goals(), strict=True) if accepts else ()
            for rule, chain, states, goal in rows:
                if goal not in accepts or not states & (RELATED | ESTABLISHED):
                    continue
                if states & ESTABLISHED:
                    established.add(chain.name)
                elif chain.name not in related or related[chain.name].line.number > rule.line.number:
                    related[chain.name] = rule
        for name in related.keys() - established:
            if not any(self._may_accept_established(section, each) for each in section.chains[name].rules):
                yield self.found(
                    whole(related[name].line),
                    f"{name} accepts RELATED and nowhere ESTABLISHED",
                    "RELATED,ESTABLISHED",
                )

    def _may_accept_established(self, section: SectionFacts, rule: Rule) -> bool:
        """May a rule, or what it calls, be there for packets of state ESTABLISHED?  When in doubt, yes."""
        target = section.target_of(rule)
        if isinstance(target, Jump):
            return True
        states = states_of(rule)
        if not is_accept(target):
            return False
        if states is not None:
            return bool(states[0] & ESTABLISHED) != states[1]
        return not self._is_for_one_service(rule)

    def _is_for_one_service(self, rule: Rule) -> bool:
        names = {option.flag for placed in rule.bound.matches for option, _, _, _ in placed.segment.fields}
        return bool(names & _SERVICE) or rule.conditions.in_interface == "lo"


_SERVICE = frozenset(("--dport", "--dports", "--ports", "--icmp-type", "--icmpv6-type"))


class RejectInvalid(SectionCheck, code="IPT310"):
    """Packets of state INVALID are answered.

    What: A rule with REJECT whose --ctstate or --state list, not negated, has INVALID in it.
    Why: A packet that is late or was sent twice can be INVALID in the middle of a healthy connection.  The
        answer, a reset or an error, ends it.
    Example:
        -A INPUT -m conntrack --ctstate INVALID -j REJECT
    Instead:
        -A INPUT -m conntrack --ctstate INVALID -j DROP
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for stated in section.stated:
            target = stated.part.bound.target
            if target is not None and target.segment.cls.name != "REJECT":
                continue
            for rule, _, _ in stated.rules(INVALID):
                if (
                    names_target(section.target_of(rule)) == "REJECT"
                    and rule.line.number not in section.refused
                ):
                    yield self.found(
                        whole(rule.line), "a packet of state INVALID is dropped, not rejected", "-j DROP"
                    )
