"""Conditions that no packet can meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.lint.check import Note, SectionCheck, ValueCheck, whole
from iptkit.lint.checks.no_op import EVERYTHING, UNSAVED, NoOpMatch
from iptkit.lint.checks.values import ReversedRange
from iptkit.lint.optionvalues import ValueLooks
from iptkit.text.diagnostic import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.lint.optionvalues import OptionValue
    from iptkit.ruleset.model import Rule
    from iptkit.text.diagnostic import Diagnostic

_HOPS = {"--ttl-gt": 255, "--hl-gt": 255}
_SHORTEST = {4: 20, 6: 40}  # bytes of an IP header


class ImpossibleMatch(SectionCheck, code="IPT205"):
    """No packet meets what this rule asks.

    What: TCP flags that must be set but are not looked at, a mark with bits outside its mask, a TTL above 255
        or below 0, a length no packet has, `!` before something that every packet meets; or conditions that
        exclude each other, such as two ports, two networks or two connection states.
    Why: The rule does nothing.  (`! -s 0.0.0.0/0` is refused by nf_tables.)
    Example:
        -p tcp -m tcp --tcp-flags SYN,ACK RST -j DROP
    Instead:
        -p tcp -m tcp --tcp-flags SYN,ACK,RST RST -j DROP
    """

    class Values(ValueCheck, code="IPT205"):
        """Single conditions."""

        options = (*NoOpMatch.options, "--ttl-gt", "--ttl-lt", "--hl-gt", "--hl-lt")
        odd_options = UNSAVED
        pattern = NoOpMatch.pattern + "|[/ :]"

        def look(self, value: OptionValue) -> Iterator[Note]:
            flag, read = value.flag, value.value
            if value.inverted:
                if flag in EVERYTHING and EVERYTHING[flag](read):
                    what = "every packet meets this, and so none meets it with !"
                    if flag in ("-s", "-d"):
                        yield Note(f"{what}, and nf_tables refuses it", "", Severity.ERROR, ("nft",))
                    else:
                        yield Note(what, "", Severity.WARNING)
                return
            why = _impossible(flag, read, value.family)
            if why:
                yield Note(why, "", Severity.WARNING)

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        single: dict[int, Diagnostic] = {}
        for found in ValueLooks(section.facts, [self.Values()]).look(section):
            before = single.get(found.span.line)
            if before is None or (found.severity, -found.span.start) > (before.severity, -before.span.start):
                single[found.span.line] = found
        judged = {each.rule.line.number: each.rule for each in section.judged if each.code == self.code}
        sure = judged.keys() if section.is_judged else _entered(section) if single else set()
        for number, found in single.items():
            if found.severity is Severity.ERROR or number in sure:
                yield found
        for number, rule in judged.items():
            if number not in single and not _is_reversed(rule):
                yield self.found(
                    whole(rule.line), "no packet meets all these conditions", severity=Severity.WARNING
                )


def _impossible(flag: str, read: Any, family: int) -> str:
    """Why no packet meets a condition; "" where one may."""
    if flag == "--tcp-flags" and read[1] & ~read[0]:
        return "flags must be set that are not looked at: this is never true"
    if flag == "--mark" and read[0] & ~read[1]:
        return "the mark has bits outside its mask: this is never true"
    if flag == "--length" and read[0] <= read[1] < _SHORTEST[family]:
        return f"a packet has {_SHORTEST[family]} bytes at least: this is never true"
    if flag in _HOPS and read >= _HOPS[flag]:
        return "nothing is above 255: this is never true"
    if flag in ("--ttl-lt", "--hl-lt") and read == 0:
        return "nothing is below 0: this is never true"
    return ""


def _entered(section: SectionFacts) -> set[int]:
    """Numbers of the lines whose rules are in chains that packets enter."""
    entered = section.reach.entered
    return {
        rule.line.number for name, chain in section.own.items() if name in entered for rule in chain.rules
    }


def _is_reversed(rule: Rule) -> bool:
    """Is it a range from a higher to a lower value?  That has a finding of its own, reversed-range."""
    for use in rule.matches:
        for option, value in zip(use.options, use.values, strict=True) if use.kind == "match" else ():
            if (
                option.flag in ReversedRange.options
                and isinstance(value, tuple)
                and len(value) == 2
                and value[0] > value[1]
            ):
                return True
    return False
