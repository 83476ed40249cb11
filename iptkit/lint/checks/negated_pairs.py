"""Rules that together refuse more than each of them says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import INTERFACE, NETWORKS
from iptkit.lint.asked import interface, network
from iptkit.lint.check import SectionCheck, whole
from iptkit.lint.conditions import names_target
from iptkit.lint.intervals import share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.lint.intervals import Span
    from iptkit.ruleset.model import Chain, Rule
    from iptkit.text.diagnostic import Diagnostic

_REFUSING = ("DROP", "REJECT")
# Option, and where a Bound keeps its value and whether it is negated.
_NEGATED: tuple[tuple[str, str, str, Any], ...] = (
    ("-s", "source", "source_inverted", NETWORKS),
    ("-d", "destination", "destination_inverted", NETWORKS),
    ("-i", "in_interface", "in_inverted", INTERFACE),
    ("-o", "out_interface", "out_inverted", INTERFACE),
)
_MOST = 200  # such rules of a chain


class NegatedDropPair(SectionCheck, code="IPT222"):
    """Two rules that each refuse all but one refuse everything.

    What: Two rules of a chain with DROP or REJECT that differ in one negated address or interface alone, and
        the two have nothing in common.  Reported at the second.
    Why: What the first lets through the second refuses.
    Example:
        -A INPUT ! -s 10.0.0.1/32 -j DROP
        -A INPUT ! -s 10.0.0.2/32 -j DROP
    Instead:
        (an ipset, or RETURN rules before one DROP)
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for flag, ref, inverted, type_ in _NEGATED:
            found: dict[str, list[Rule]] = {}
            chains: dict[str, Chain] = {}
            for bound, head in section.heads.items():
                if not getattr(bound, inverted) or getattr(bound, ref) is None:
                    continue
                for rule, chain in zip(head.rules, head.chains, strict=True):
                    if names_target(section.target_of(rule)) in _REFUSING:
                        found.setdefault(chain.name, []).append(rule)
                        chains[chain.name] = chain
            for name, rules in found.items():
                if 1 < len(rules) <= _MOST:
                    places = {id(rule): at for at, rule in enumerate(chains[name].rules)}
                    rules.sort(key=lambda rule: places[id(rule)])
                    yield from self._look_at(section, rules, flag, ref, type_)

    def _look_at(
        self, section: SectionFacts, rules: list[Rule], flag: str, ref: str, type_: Any
    ) -> Iterator[Diagnostic]:
        groups: dict[Any, list[tuple[Span, Rule]]] = {}
        dead = section.dead
        for rule in rules:
            if rule.line.number in section.refused:
                continue
            form, values = section.facts.forms.of(rule.bound)
            if form.changing or flag not in form.plain:
                continue
            at = form.plain.index(flag)
            plain, *rest = values(rule)
            others = form.number, *plain[:at], *plain[at + 1 :], *rest
            span = _span(section, rule.value(getattr(rule.bound, ref), type_))
            if span is None:
                continue
            before = groups.setdefault(others, [])
            pair = next((first for theirs, first in before if not share(theirs, span)), None)
            if pair is not None and rule.line.number not in dead:
                yield self.found(
                    whole(rule.line),
                    f"what line {pair.line.number} does not refuse, this does",
                    "a set, or RETURN rules before one that refuses the rest",
                    related=((whole(pair.line), "this refuses all others"),),
                )
            before.append((span, rule))


def _span(section: SectionFacts, value: Any) -> Span | None:
    """The addresses or interface names of a value of -s, -d, -i or -o."""
    if isinstance(value, str):
        return interface(value)
    if len(value) != 1:
        return None
    ((address, mask),) = value
    return network(address, mask, 32 if section.facts.family == 4 else 128)
