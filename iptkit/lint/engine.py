"""Run the checks over a file, and put their findings in order."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from iptkit.lint.facts import Facts
from iptkit.lint.looks import looks
from iptkit.lint.meant import Meant
from iptkit.lint.registry import checks
from iptkit.lint.suppress import Suppressions
from iptkit.ruleset.interpret import interpret
from iptkit.syntax.parser import parse
from iptkit.text import aside
from iptkit.text.diagnostic import Severity, packed, unpacked
from iptkit.text.source import Source
from iptkit.text.uncollected import Uncollected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iptkit.lint.select import Selection
    from iptkit.lint.shares import Shares
    from iptkit.ruleset.binding import Binder
    from iptkit.syntax.document import Document
    from iptkit.text.diagnostic import Diagnostic, Span


def run(
    text: Document | Source,
    binder: Binder,
    *,
    noflush: bool,
    backends: tuple[str, ...],
    selection: Selection,
) -> list[Diagnostic]:
    """All findings about a document, or a text that is not parsed yet, in the order of their places."""
    source = _source(text)
    with Uncollected():
        shares = _shares(source, binder, noflush, backends, selection)
        found = None if shares is None else shares.look(packed)
        return _finished(
            _as_a_whole(text, binder, noflush, backends, selection)
            if found is None
            else unpacked(found[0] + found[1]),
            Suppressions(source.text),
            backends,
            selection,
        )


def told(
    text: Document | Source,
    binder: Binder,
    tell: Callable[[Source, list[Diagnostic]], list[str]],
    *,
    noflush: bool,
    backends: tuple[str, ...],
    selection: Selection,
) -> list[str]:
    """The same findings, each as what `tell` makes of it: a large file by the two who look at it.

    It is asked about all of them, or first about those of some lines and then
    about those of the others.
    """
    source = _source(text)
    suppressions = Suppressions(source.text)

    def finished(found: list[Diagnostic]) -> list[str]:
        return tell(source, _finished(found, suppressions, backends, selection))

    with Uncollected():
        shares = _shares(source, binder, noflush, backends, selection)
        # An ignore may be for all of a file.
        found = None if shares is None or suppressions.any else shares.look(finished)
        if found is None:
            return finished(_as_a_whole(text, binder, noflush, backends, selection))
    return found[0] + found[1]


def _source(text: Document | Source) -> Source:
    return text if isinstance(text, Source) else text.source


def _shares(
    source: Source, binder: Binder, noflush: bool, backends: tuple[str, ...], selection: Selection
) -> Shares | None:
    """How checks look at a large file; None for one that is not for that."""
    if noflush or len(source.text) < aside.LARGE * _SHORTEST:
        return None
    from iptkit.lint.shares import Shares  # small files are done before this is imported

    return Shares(source, binder, backends, [check for check in checks() if selection.wants(check)])


def _as_a_whole(
    text: Document | Source,
    binder: Binder,
    noflush: bool,
    backends: tuple[str, ...],
    selection: Selection,
) -> list[Diagnostic]:
    """What checks find in any file."""
    document = parse(text) if isinstance(text, Source) else text
    meant = Meant(document)
    outcome = interpret(meant.document, binder, noflush=noflush)
    facts = Facts(
        meant.document, outcome, binder, noflush=noflush, backends=backends, written=document, meant=meant
    )
    found = list(facts.faults)
    for section in facts.sections:
        found += section.refusals
    for each in looks(facts, [check for check in checks() if selection.wants(check)]):
        found += each
    return [meant.at_written(each) for each in found]


def _finished(
    found: list[Diagnostic], suppressions: Suppressions, backends: tuple[str, ...], selection: Selection
) -> list[Diagnostic]:
    """What is said of what was found."""
    kept = [
        each
        for each in _settled(found)
        if (each.severity is not Severity.ERROR or _concerns(each, backends)) and selection.keeps(each)
    ]
    kept = suppressions.apply(kept, selection)
    kept.sort(key=_PLACE)
    return kept


def _concerns(error: Diagnostic, backends: tuple[str, ...]) -> bool:
    """Is an error about one of the backends the file is meant for?"""
    return not error.backends or bool(set(error.backends) & set(backends))


_PLACE = attrgetter("span", "code")
_SHORTEST = len("-A X\n")  # no rule is shorter
# A line with one of these findings gets none of those: it says the same better.
_INSTEAD = {"IPT113": ("IPT205", "IPT201", "IPT221")}


def _settled(found: list[Diagnostic]) -> Iterator[Diagnostic]:
    """Leave out what follows from something else.

    A malformed line is not also refused for its parts; a refused rule takes no
    part in what is said about rules.
    """
    errors = [each for each in found if each.severity is Severity.ERROR]
    malformed = {each.span.line for each in errors if each.code < "IPT1"}
    refused = {each.span.line for each in errors if each.code < "IPT2"}
    instead = {
        (each.span.line, code) for each in found if each.code in _INSTEAD for code in _INSTEAD[each.code]
    }
    seen: set[tuple[str, Span]] = set()
    for each in found:
        code, span = key = each.code, each.span
        line = span.line
        if line in refused and (line in malformed if "IPT1" <= code < "IPT2" else "IPT2" <= code < "IPT5"):
            continue
        if (line, code) in instead or key in seen:
            continue
        seen.add(key)
        yield each
