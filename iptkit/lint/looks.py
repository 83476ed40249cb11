"""Let checks look at a file, or at a share of one, each thing once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import FileCheck, SectionCheck, UseCheck, ValueCheck
from iptkit.lint.facts import UseFacts
from iptkit.lint.optionvalues import ValueLooks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from iptkit.lint.check import Check
    from iptkit.lint.facts import Facts, SectionFacts
    from iptkit.text.diagnostic import Diagnostic


def looks(facts: Facts, wanted: Sequence[Check], lines: range | None = None) -> list[Diagnostic]:
    """What checks find; only what is about some of the lines, where a file is looked at in shares."""
    found: list[Diagnostic] = []
    of_tables: list[Diagnostic] = []
    values = ValueLooks(facts, [check for check in wanted if isinstance(check, ValueCheck)])
    uses = [check for check in wanted if isinstance(check, UseCheck)]
    for check in wanted:
        if isinstance(check, FileCheck):
            found += check.look(facts)
    for section in facts.sections:
        for check in wanted:
            if isinstance(check, SectionCheck):
                if not check.of_table:
                    found += check.look(section)
                elif lines is None or section.section.line.number in lines:
                    of_tables += check.look(section)
        if uses:
            found += _look_at_uses(section, uses)
        if values.wanted:
            found += values.look(section)
    if lines is not None:
        found = [each for each in found if each.span.line in lines]
    return found + of_tables


def _look_at_uses(section: SectionFacts, wanted: list[UseCheck]) -> Iterator[Diagnostic]:
    for segment, sites in section.sites.items():
        for check in wanted:
            if segment.cls.name in check.extensions:
                for note in check.look(UseFacts(segment, section)):
                    for placed, part in sites:
                        for line, offset in part.lines():
                            yield check.noted(line, placed.word + offset + note.word, note)
