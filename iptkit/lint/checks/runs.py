"""Rules in a row that could be one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import SectionCheck, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.text.diagnostic import Diagnostic

FOR_A_SET = 10
FOR_A_LIST = 3
_ADDRESSES = ("-s", "-d")
_PORTS = ("--sport", "--dport")


class UseIpset(SectionCheck, code="IPT402"):
    """A row of rules that differ in an address alone.

    What: Ten or more rules in a row in one chain that differ in nothing but one address, all in -s or all in
        -d.  Reported once, at the first.
    Why: A packet is compared with one after the other.  A set is one rule, and as fast with a million
        addresses.
    Example:
        -A INPUT -s 192.0.2.1/32 -j DROP
        -A INPUT -s 192.0.2.7/32 -j DROP
        (eight more)
    Instead:
        -A INPUT -m set --match-set bad src -j DROP
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for run in section.alike.runs(_ADDRESSES, FOR_A_SET, changing=True):
            last = run.rules[-1].line
            yield self.found(
                whole(run.rules[0].line),
                f"these {len(run.rules)} rules differ in the address of {run.flag} alone",
                f"a set, and -m set --match-set NAME {'src' if run.flag == '-s' else 'dst'}",
                related=((whole(last), "the last of them"),),
            )


class MergePorts(SectionCheck, code="IPT403"):
    """A row of rules that differ in a port alone.

    What: Three or more rules in a row in one chain that differ in nothing but the value of a single --dport,
        or --sport.  Comments count.  Reported once, at the first.
    Why: multiport takes up to 15 ports in one rule.
    Example:
        -A INPUT -p tcp --dport 25 -j ACCEPT
        -A INPUT -p tcp --dport 80 -j ACCEPT
        -A INPUT -p tcp --dport 443 -j ACCEPT
    Instead:
        -A INPUT -p tcp -m multiport --dports 25,80,443 -j ACCEPT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for run in section.alike.runs(_PORTS, FOR_A_LIST):
            ports = ",".join(f"{low}" if low == high else f"{low}:{high}" for low, high in run.values[:15])
            yield self.found(
                whole(run.rules[0].line),
                f"these {len(run.rules)} rules differ in {run.flag} alone",
                f"-m multiport {run.flag}s {ports}" if len(run.rules) <= 15 else f"-m multiport {run.flag}s",
                related=((whole(run.rules[-1].line), "the last of them"),),
            )


class AggregateCidrs(SectionCheck, code="IPT404"):
    """Two networks in a row are the halves of one.

    What: In a row of rules that differ in nothing but one address, two networks are the two halves of a
        larger one.  Reported once, at the earlier rule of the first such pair.
    Why: One rule does the work of two.
    Example:
        -A INPUT -s 10.0.0.0/25 -j DROP
        -A INPUT -s 10.0.0.128/25 -j DROP
    Instead:
        -A INPUT -s 10.0.0.0/24 -j DROP
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for run in section.alike.runs(_ADDRESSES, 2):
            pair = _halves(run.values, section.facts.family)
            if pair:
                first, second, both = pair
                rule = run.rules[first]
                yield self.found(
                    whole(rule.line),
                    f"this network and that of line {run.rules[second].line.number} are the halves of {both}",
                    f"{run.flag} {both}",
                    related=((whole(run.rules[second].line), "the other half"),),
                )


def _halves(values: list[tuple[tuple[int, int], ...]], family: int) -> tuple[int, int, str] | None:
    """The first two networks that are halves of one, by index, and what they make.  Lists do not count."""
    from iptkit.values.addresses import show_network4, show_network6

    bits = 32 if family == 4 else 128
    full = (1 << bits) - 1
    seen: dict[tuple[int, int], int] = {}
    best: tuple[int, int, str] | None = None
    for at, value in enumerate(values):
        if len(value) != 1:
            continue
        ((address, mask),) = value
        lowest = mask & -mask if mask else 0
        prefix = mask and (mask | (lowest - 1)) == full  # ones, then zeros
        if not prefix:
            continue
        first = seen.get((address ^ lowest, mask))
        if first is not None and (best is None or first < best[0]):
            wider = mask & ~lowest
            show = show_network4 if family == 4 else show_network6
            best = first, at, show(address & wider, wider)
        seen.setdefault((address, mask), at)
    return best
