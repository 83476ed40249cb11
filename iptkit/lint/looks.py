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


def looks(facts: Facts, wanted: Sequence[Check], lines: range | None = None) -> Iterator[list[Diagnostic]]:
    """What checks find, look by look; only what is about some of the lines, of a file in shares."""
    for found, of_table in _looks(facts, wanted, lines):
        if lines is None or of_table:
            yield found
        else:
            yield [each for each in found if each.span.line in lines]


def _looks(
    facts: Facts, wanted: Sequence[Check], lines: range | None
) -> Iterator[tuple[list[Diagnostic], bool]]:
    """What checks find, and whether it is about a table as a whole."""
    for check in wanted:
        if isinstance(check, FileCheck):
            yield list(check.look(facts)), False
    values = ValueLooks(facts, [check for check in wanted if isinstance(check, ValueCheck)])
    uses = [check for check in wanted if isinstance(check, UseCheck)]
    for section in facts.sections:
        for check in wanted:
            if isinstance(check, SectionCheck) and (
                not check.of_table or lines is None or section.section.line.number in lines
            ):
                yield list(check.look(section)), check.of_table
        if uses:
            yield list(_look_at_uses(section, uses)), False
        if values.wanted:
            yield list(values.look(section)), False


def _look_at_uses(section: SectionFacts, wanted: list[UseCheck]) -> Iterator[Diagnostic]:
    for segment, sites in section.sites.items():
        for check in wanted:
            if segment.cls.name in check.extensions:
                for note in check.look(UseFacts(segment, section)):
                    for placed, part in sites:
                        for line, offset in part.lines():
                            yield check.noted(line, placed.word + offset + note.word, note)
