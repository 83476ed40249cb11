"""Run the checks over a file, and put their findings in order."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from iptkit.lint.check import FileCheck, SectionCheck, UseCheck, ValueCheck
from iptkit.lint.facts import Facts, UseFacts
from iptkit.lint.meant import Meant
from iptkit.lint.optionvalues import ValueLooks
from iptkit.lint.registry import asks_packets, checks
from iptkit.lint.suppress import Suppressions
from iptkit.ruleset.interpret import interpret
from iptkit.text import aside
from iptkit.text.diagnostic import Diagnostic, Severity, Span, packed, unpacked
from iptkit.text.uncollected import Uncollected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iptkit.lint.check import Check
    from iptkit.lint.facts import SectionFacts
    from iptkit.lint.select import Selection
    from iptkit.ruleset.binding import Binder
    from iptkit.syntax.document import Document


def run(
    document: Document,
    binder: Binder,
    *,
    noflush: bool,
    backends: tuple[str, ...],
    selection: Selection,
) -> list[Diagnostic]:
    """All findings about a document, in the order of their places."""
    with Uncollected():
        return _run(document, binder, noflush, backends, selection)


def _run(
    document: Document, binder: Binder, noflush: bool, backends: tuple[str, ...], selection: Selection
) -> list[Diagnostic]:
    meant = Meant(document)
    outcome = interpret(meant.document, binder, noflush=noflush)
    facts = Facts(
        meant.document, outcome, binder, noflush=noflush, backends=backends, written=document, meant=meant
    )
    found = list(facts.faults)
    wanted = [check for check in checks() if selection.wants(check)]
    packets = [check for check in wanted if asks_packets(check)]
    others = [check for check in wanted if not asks_packets(check)]
    child = aside.start(lambda: packed(_looks(facts, others))) if len(document.lines) >= aside.LARGE else None
    with child or contextlib.nullcontext():
        for section in facts.sections:
            found += section.refusals
        found += _looks(facts, packets)
        sent = None if child is None else child.result()
    found += _looks(facts, others) if sent is None else unpacked(sent)
    found = [meant.at_written(each) for each in _settled(found)]
    kept = [each for each in found if selection.keeps(each) and _concerns(each, backends)]
    return sorted(Suppressions(document).apply(kept, selection), key=lambda d: (d.span, d.code))


def _looks(facts: Facts, wanted: list[Check]) -> list[Diagnostic]:
    """What some checks find."""
    found: list[Diagnostic] = []
    values = ValueLooks(facts, [check for check in wanted if isinstance(check, ValueCheck)])
    uses = [check for check in wanted if isinstance(check, UseCheck)]
    for check in wanted:
        if isinstance(check, FileCheck):
            found += check.look(facts)
    for section in facts.sections:
        for check in wanted:
            if isinstance(check, SectionCheck):
                found += check.look(section)
        if uses:
            found += _look_at_uses(section, uses)
        if values.wanted:
            found += values.look(section)
    return found


def _look_at_uses(section: SectionFacts, wanted: list[UseCheck]) -> Iterator[Diagnostic]:
    for segment, sites in section.sites.items():
        for check in wanted:
            if segment.cls.name in check.extensions:
                for note in check.look(UseFacts(segment, section)):
                    for placed, part in sites:
                        for line, offset in part.lines():
                            yield check.noted(line, placed.word + offset + note.word, note)


def _concerns(found: Diagnostic, backends: tuple[str, ...]) -> bool:
    """Is a finding about one of the backends the file is meant for?"""
    return (
        found.severity is not Severity.ERROR
        or not found.backends
        or bool(set(found.backends) & set(backends))
    )


# A line with one of these findings gets none of those: it says the same better.
_INSTEAD = {"IPT113": ("IPT205", "IPT201", "IPT221")}


def _settled(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Leave out what follows from something else.

    A malformed line is not also refused for its parts; a refused rule takes no
    part in what is said about rules.
    """
    found = list(found)
    errors = [each for each in found if each.severity is Severity.ERROR]
    malformed = {each.span.line for each in errors if each.code < "IPT1"}
    refused = {each.span.line for each in errors if each.code < "IPT2"}
    instead: dict[int, tuple[str, ...]] = {
        each.span.line: _INSTEAD[each.code] for each in found if each.code in _INSTEAD
    }
    seen: set[tuple[str, Span]] = set()
    for each in found:
        line = each.span.line
        if "IPT1" <= each.code < "IPT2" and line in malformed:
            continue
        if "IPT2" <= each.code < "IPT5" and line in refused:
            continue
        if each.code in instead.get(line, ()):
            continue
        if (each.code, each.span) not in seen:
            seen.add((each.code, each.span))
            yield each
