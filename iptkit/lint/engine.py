"""Run the checks over a file, and put their findings in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import FileCheck, SectionCheck, ShapeCheck, WordCheck, word_of
from iptkit.lint.facts import Facts
from iptkit.lint.meant import Meant
from iptkit.lint.registry import checks
from iptkit.lint.suppress import Suppressions
from iptkit.ruleset.binding import RawMemo
from iptkit.ruleset.interpret import interpret
from iptkit.text.diagnostic import Diagnostic, Severity, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iptkit.lint.check import Check, Note
    from iptkit.lint.facts import OptionAt, ShapeFacts
    from iptkit.lint.select import Selection
    from iptkit.ruleset.binding import Binder
    from iptkit.syntax.document import BlankLine, Document


def run(
    document: Document,
    binder: Binder,
    *,
    noflush: bool,
    backends: tuple[str, ...],
    selection: Selection,
) -> list[Diagnostic]:
    """All findings about a document, in the order of their places."""
    meant = Meant(document)
    outcome = interpret(meant.document, binder, noflush=noflush)
    facts = Facts(
        meant.document, outcome, binder, noflush=noflush, backends=backends, written=document, meant=meant
    )
    found = list(facts.faults)
    wanted = [check for check in checks() if selection.wants(check)]
    for check in wanted:
        if isinstance(check, FileCheck):
            found += check.look(facts)
    by_section = [check for check in wanted if isinstance(check, SectionCheck)]
    by_shape = [check for check in wanted if isinstance(check, ShapeCheck)]
    words = _Words(facts, [check for check in wanted if isinstance(check, WordCheck)])
    for section in facts.sections:
        found += section.refusals
        for section_check in by_section:
            found += section_check.look(section)
        for shape in section.shapes.values():
            for shape_check in by_shape:
                for note in shape_check.look(shape):
                    for line in shape.lines():
                        found.append(_noted(shape_check, line, note, 0))
            found += words.look(shape)
    found = [meant.at_written(each) for each in _settled(found)]
    kept = [each for each in found if selection.keeps(each) and _concerns(each, backends)]
    return sorted(Suppressions(document).apply(kept, selection), key=lambda d: (d.span, d.code))


def _noted(check: Check, line: BlankLine, note: Note, first: int) -> Diagnostic:
    span = word_of(line, note.word + first if note.word >= 0 else -1)
    return check.found(span, note.message, note.hint, severity=note.severity, backends=note.backends)


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


class _Words:
    """Looks at each distinct value of an option once, and finds the lines that have those with a finding."""

    def __init__(self, facts: Facts, wanted: list[WordCheck]) -> None:
        self._facts = facts
        self._by_flag: dict[str, list[WordCheck]] = {}
        for check in wanted:
            for flag in check.options:
                self._by_flag.setdefault(flag, []).append(check)
        self._looked: dict[tuple[str, int, OptionAt], dict[str, list[Note]]] = {}

    def look(self, shape: ShapeFacts) -> Iterator[Diagnostic]:
        for option in shape.options:
            for check in self._by_flag.get(option.flag, ()):
                yield from self._look(check, option, shape)

    def _look(self, check: WordCheck, option: OptionAt, shape: ShapeFacts) -> Iterator[Diagnostic]:
        refs = option.refs
        holes = [ref for ref in refs if isinstance(ref, int)]
        if not holes:
            notes = self._notes(check, option, tuple(map(str, refs)))
            for line in shape.lines() if notes else ():
                for note in notes:
                    yield _noted(check, line, note, option.at)
        elif len(refs) == 1:
            yield from self._single(check, option, shape, holes[0])
        else:
            for line in shape.lines():
                words = tuple(line.values[ref] if isinstance(ref, int) else ref for ref in refs)
                for note in self._notes(check, option, words):
                    yield _noted(check, line, note, option.at)

    def _single(
        self, check: WordCheck, option: OptionAt, shape: ShapeFacts, hole: int
    ) -> Iterator[Diagnostic]:
        """The usual case, one word that differs from rule to rule."""
        memo = shape.bound.memos[hole]
        key = (check.code, id(memo), option._replace(refs=(), at=0))
        bad = self._looked.get(key)
        if isinstance(memo, RawMemo):
            for line in shape.lines():
                raw = line.values[hole]
                if len(raw) > check.longer_than and (check.pattern is None or check.pattern.search(raw)):
                    for note in self._notes(check, option, (raw,)):
                        yield _noted(check, line, note, option.at)
            return
        if bad is None:
            bad = self._looked[key] = {}
            for raw in self._facts.odd_words(memo) if check.odd_only else memo:
                if len(raw) > check.longer_than and (check.pattern is None or check.pattern.search(raw)):
                    notes = self._notes(check, option, (raw,))
                    if notes:
                        bad[raw] = notes
        if bad:
            for line in shape.lines():
                for note in bad.get(line.values[hole], ()):
                    yield _noted(check, line, note, option.at)

    def _notes(self, check: WordCheck, option: OptionAt, words: tuple[str, ...]) -> list[Note]:
        return list(check.look(self._facts.read(option, words)))
