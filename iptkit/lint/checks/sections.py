"""Table sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import Fault, FileCheck, whole
from iptkit.syntax.document import TableLine
from iptkit.text.diagnostic import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import Facts
    from iptkit.text.diagnostic import Diagnostic


class RuleOutsideTable(Fault, code="IPT007"):
    """A line stands outside any table section.

    What: A rule, a chain line or blanks before the first `*table` line, or between a COMMIT and the next
        `*table` line.  One finding for each such stretch of lines.
    Why: Only comments and empty lines may stand there.  The file is refused at this line.
    Example:
        -A INPUT -j ACCEPT
        *filter
    Instead:
        *filter
        -A INPUT -j ACCEPT
    """


class BadTable(Fault, code="IPT008"):
    """There is no such table.

    What: `*NAME` where NAME is not filter, nat, mangle, raw or security, in lower case.
    Why: The file is refused at this line.
    Example:
        *FILTER
    Instead:
        *filter
    """


class TableOption(Fault, code="IPT018"):
    """A rule names a table by -t.

    What: -t or --table in a line of a table section, even with the section's own name.
    Why: In a save file the `*table` line says which table; iptables-restore refuses -t.
    Example:
        -t nat -A POSTROUTING -j MASQUERADE
    Instead:
        *nat
        -A POSTROUTING -j MASQUERADE
    """


class DuplicateTable(FileCheck, code="IPT023"):
    """A table has two sections in one file.

    What: A `*table` line names a table that already had its section.
    Why: Loaded without --noflush, each section empties the table first: of the earlier one nothing is left.
    Example:
        *filter
        -A INPUT -i lo -j ACCEPT
        COMMIT
        *filter
        -A INPUT -j DROP
        COMMIT
    Instead:
        *filter
        -A INPUT -i lo -j ACCEPT
        -A INPUT -j DROP
        COMMIT
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        first: dict[str, TableLine] = {}
        for section in facts.sections:
            line = section.section.line
            before = first.setdefault(section.name, line)
            if before is not line:
                effect = "is added to" if facts.noflush else "replaces"
                yield self.found(
                    whole(line),
                    f"this second section {effect} the first one of {section.name}",
                    "" if facts.noflush else "join the two",
                    related=((whole(before), "the first is here"),),
                )


class EmptyRuleset(FileCheck, code="IPT030"):
    """The file has no table section.

    What: There is no `*table` line at all.
    Why: Such a file loads, and does nothing.
    Example:
        # rules follow
    Instead:
        *filter
        :INPUT DROP [0:0]
        COMMIT
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        if not facts.outcome.status and not any(isinstance(line, TableLine) for line in facts.document.lines):
            raw = facts.document.lines[0].raw if facts.document.lines else ""
            yield self.found(Span(1, 0, len(raw)), "there is no table section: loading this does nothing")
