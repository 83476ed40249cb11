"""The pipelines as plain functions: what the commands call, and `import iptkit` offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.ruleset.binding import Binder
from iptkit.ruleset.interpret import Outcome
from iptkit.ruleset.interpret import interpret as _interpret
from iptkit.syntax.document import ChainLine
from iptkit.syntax.parser import parse as _parse
from iptkit.text.diagnostic import RulesetError
from iptkit.text.source import Source

if TYPE_CHECKING:
    from iptkit.ruleset.model import Ruleset
    from iptkit.syntax.document import Document
    from iptkit.values.context import Family, Names


def parse(data: bytes | str, name: str = "<string>") -> Document:
    """The lossless tree of a text.  Never raises; `parse(x).text()` is x (as Latin-1)."""
    return _parse(Source.of(data, name))


def parse_source(source: Source) -> Document:
    """`parse` for a Source at hand."""
    return _parse(source)


def has_counters(document: Document) -> bool:
    """Can the document be read with -c?  Not where a policy stands without counters: iptables-restore refuses it."""
    return not any(
        isinstance(line, ChainLine) and line.policy not in (None, "-") and line.counters is None
        for line in document.lines
    )


def canonical(document: Document, outcome: Outcome, *, counters: bool, keep_comments: bool = False) -> str:
    """A document that was interpreted on an empty base, in canonical form (Latin-1).

    Each table is what iptables-save prints; the tables stay in the order of
    the document, so that doing it twice changes nothing more.
    """
    from iptkit.ruleset.canonical import comments_of, save_table

    comments = comments_of(document, outcome) if keep_comments else None
    out: list[str] = []
    for name in outcome.tables:
        out += save_table(outcome.ruleset.tables[name], counters=counters, comments=comments)
    if comments is not None:
        out += comments.rest
    return "".join(line + "\n" for line in out)


def interpret(
    document: Document,
    family: Family = 4,
    *,
    base: Ruleset | None = None,
    noflush: bool = False,
    counters: bool = False,
    table: str | None = None,
    names: Names | None = None,
    plugins: frozenset[str] = frozenset(),
    binder: Binder | None = None,
) -> Outcome:
    """What a document does to a state, and everything iptables-restore would refuse in it.

    `binder` may be given to share what was learnt from other files of the family.
    """
    binder = binder or Binder(family, names, plugins)
    return _interpret(document, binder, base=base, noflush=noflush, counters=counters, table=table)


def load(data: bytes | str, family: Family = 4, *, name: str = "<string>", counters: bool = True) -> Ruleset:
    """The ruleset a text stands for, loaded into an empty kernel.

    Raises RulesetError, with all diagnostics, where the real tool would refuse it.
    """
    outcome = interpret(parse(data, name), family, counters=counters)
    if outcome.status:
        raise RulesetError(tuple(outcome.diagnostics))
    return outcome.ruleset


def save(ruleset: Ruleset, *, counters: bool = False, tables: tuple[str, ...] | None = None) -> str:
    """The ruleset as iptables-save prints it, without the comment lines around each table (Latin-1)."""
    from iptkit.ruleset.canonical import save as lines

    return "".join(line + "\n" for line in lines(ruleset, counters=counters, tables=tables))
