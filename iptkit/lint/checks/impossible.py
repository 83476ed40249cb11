"""Conditions that no packet can meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.lint.check import Note, SectionCheck, ValueCheck, whole
from iptkit.lint.checks.no_op import EVERYTHING, UNSAVED, NoOpMatch
from iptkit.text.diagnostic import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.lint.optionvalues import OptionValue
    from iptkit.ruleset.model import Rule
    from iptkit.text.diagnostic import Diagnostic

_HOPS = {"--ttl-gt": 255, "--hl-gt": 255}
_SHORTEST = {4: 20, 6: 40}  # bytes of an IP header


class ImpossibleMatch(ValueCheck, code="IPT205"):
    """No packet can meet this condition.

    What: TCP flags that must be set but are not looked at, a mark with bits outside its mask, a TTL above 255
        or below 0, `!` before something that every packet meets.
    Why: The rule does nothing.  (`! -s 0.0.0.0/0` is refused by nf_tables.)
    Example:
        -p tcp -m tcp --tcp-flags SYN,ACK RST -j DROP
    Instead:
        -p tcp -m tcp --tcp-flags SYN,ACK,RST RST -j DROP
    """

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
        why = self._impossible(flag, read, value.family)
        if why:
            yield Note(why, "", Severity.WARNING)

    def _impossible(self, flag: str, read: Any, family: int) -> str:
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


class ImpossibleTogether(SectionCheck, code="IPT205"):
    """Conditions exclude each other.  The manual is that of ImpossibleMatch, above."""

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        said = set()
        for each in section.judged:
            line = each.rule.line
            if each.code == self.code and line.number not in said and _one_by_one(section, each.rule):
                said.add(line.number)
                yield self.found(
                    whole(line), "no packet meets all these conditions", severity=Severity.WARNING
                )


def _one_by_one(section: SectionFacts, rule: Rule) -> bool:
    """Can each condition be met by itself?  Those that cannot are looked at by ImpossibleMatch."""
    return section.flow is not None and all(section.flow.asked.parts(rule))
