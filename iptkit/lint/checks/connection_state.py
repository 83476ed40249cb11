"""Connection states where they cannot be, or go together badly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.core import Jump, Verdict
from iptkit.lint.check import Note, SectionCheck, ShapeCheck, whole
from iptkit.lint.conditions import STATE_MATCHES, states_of
from iptkit.lint.facts import names_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts, ShapeFacts
    from iptkit.ruleset.model import Rule
    from iptkit.text.diagnostic import Diagnostic

# Bits of xt_conntrack.h
INVALID, ESTABLISHED, RELATED = 0x1, 0x2, 0x4


class CtstateInRaw(ShapeCheck, code="IPT216"):
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

    def look(self, shape: ShapeFacts) -> Iterator[Note]:
        if shape.section.name == "raw":
            for placed in shape.bound.matches:
                if placed.segment.cls.name in STATE_MATCHES:
                    yield Note(
                        "packets have no connection yet when they are in raw",
                        placed.word,
                        "mangle PREROUTING",
                    )
                    return


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
        for shape in _with_state(section):
            for rule, chain in zip(shape.rules, shape.chains, strict=True):
                states = states_of(rule)
                if states is not None and not states[1] and states[0] & (RELATED | ESTABLISHED) == RELATED:
                    target = section.target_of(rule)
                    known = related.get(chain.name)
                    if _accepts(target) and (known is None or known.line.number > rule.line.number):
                        related[chain.name] = rule
        for name, rule in related.items():
            if not any(self._may_accept_established(section, each) for each in section.chains[name].rules):
                yield self.found(
                    whole(rule.line), f"{name} accepts RELATED and nowhere ESTABLISHED", "RELATED,ESTABLISHED"
                )

    def _may_accept_established(self, section: SectionFacts, rule: Rule) -> bool:
        """May a rule, or what it calls, be there for packets of state ESTABLISHED?  When in doubt, yes."""
        target = section.target_of(rule)
        if isinstance(target, Jump):
            return True
        states = states_of(rule)
        if not _accepts(target):
            return False
        if states is not None:
            return bool(states[0] & ESTABLISHED) != states[1]
        return not self._is_for_one_service(rule)

    def _is_for_one_service(self, rule: Rule) -> bool:
        names = {option.flag for placed in rule.bound.matches for option, _, _, _ in placed.segment.fields}
        return bool(names & _SERVICE) or rule.conditions.in_interface == "lo"


_SERVICE = frozenset(("--dport", "--dports", "--ports", "--icmp-type", "--icmpv6-type"))


def _accepts(target: object) -> bool:
    return isinstance(target, Verdict) and target.name == "ACCEPT"


def _with_state(section: SectionFacts) -> Iterator[ShapeFacts]:
    for shape in section.shapes.values():
        if any(placed.segment.cls.name in STATE_MATCHES for placed in shape.bound.matches):
            yield shape


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
        for shape in _with_state(section):
            for rule in shape.rules:
                if names_target(section.target_of(rule)) != "REJECT" or rule.line.number in section.refused:
                    continue
                states = states_of(rule)
                if states is not None and states[0] & INVALID and not states[1]:
                    yield self.found(
                        whole(rule.line), "a packet of state INVALID is dropped, not rejected", "-j DROP"
                    )
