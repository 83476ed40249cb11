"""Matches that look into packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import SectionCheck, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.ruleset.model import Rule
    from iptkit.text.diagnostic import Diagnostic

_LOOKING = ("string", "u32", "bpf")
# Matches on protocol, ports, addresses or state: they spare most packets the long look.
_SPARING = frozenset(
    "tcp udp sctp dccp multiport icmp icmp6 ah esp iprange set addrtype mac conntrack state socket".split()
)


class PayloadMatchWide(SectionCheck, code="IPT405"):
    """Every packet is searched.

    What: -m string, u32 or bpf in a rule without protocol, port, address or state condition.
    Why: Looking through a packet takes far longer than any other match.
    Example:
        -A FORWARD -m string --algo bm --string x -j DROP
    Instead:
        -A FORWARD -p tcp --dport 80 -m string --algo bm --string x -j DROP
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for segment, sites in section.sites.items():
            if segment.cls.kind != "match" or segment.cls.name not in _LOOKING:
                continue
            for _, part in sites:
                bound = part.bound
                names = {placed.segment.cls.name for placed in bound.matches}
                if bound.protocol or bound.opaque or names & _SPARING:
                    continue
                before = None
                for rule in part.rules:
                    if rule.line is not before and not _names_address(rule):
                        before = rule.line
                        yield self.found(
                            whole(rule.line),
                            f"-m {segment.cls.name} looks through every packet",
                            "-p and a port first",
                        )


def _names_address(rule: Rule) -> bool:
    given = rule.conditions
    return any(
        net is not None and (net != (0, 0) or inverted)
        for net, inverted in (
            (given.source, given.source_inverted),
            (given.destination, given.destination_inverted),
        )
    )
