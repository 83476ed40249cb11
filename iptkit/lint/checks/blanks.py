"""Blanks and tabs where they matter, or should not be."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from iptkit.lint.check import FileCheck
from iptkit.lint.meant import BOM, COMMITS, EMPTY, INDENTED
from iptkit.lint.settle import continuation_lines
from iptkit.ruleset.interpret import word_spans
from iptkit.syntax.document import CommentLine, RuleLine
from iptkit.text.diagnostic import Edit, Severity, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import Facts
    from iptkit.text.diagnostic import Diagnostic


class LeadingSpace(FileCheck, code="IPT009"):
    """A line is indented.

    What: A line starts with a blank or a tab, and then something follows.
    Why: What a line is, its first character says: an indented `*filter`, `:INPUT`, `# comment`, `[1:2]` or
        COMMIT is read as a rule, and refused.  An indented -A loads.
    Example:
          # office network
    Instead:
        # office network
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        continued: set[int] | None = None
        for number in facts.meant.odd_starts:
            raw = facts.written_line(number).removeprefix(BOM)
            bare = raw.lstrip(" \t")
            if bare is raw or bare in ("", "\r"):
                continue
            continued = continuation_lines(facts) if continued is None else continued
            if number in continued:
                continue
            repaired = bool(facts.meant.repairs.get(number, set()) & {INDENTED, COMMITS})
            refused = repaired or bare.startswith("[")
            indent = len(raw) - len(bare)
            # Of a line put right, spans are those of the line that was meant.
            span = (
                Span(number, -indent, 0)
                if INDENTED in facts.meant.repairs.get(number, ())
                else Span(number, 0, indent)
            )
            yield self.found(
                span,
                "this line is indented, and so it is read as a rule" if refused else "this line is indented",
                "begin it in the first column",
                severity=Severity.ERROR if refused else Severity.WARNING,
                fix=(Edit(span, "", True),),
            )


class BlankWithSpaces(FileCheck, code="IPT010"):
    """A line has blanks and nothing else.

    What: A line that looks empty holds blanks or tabs.
    Why: It is read as a rule, one that gives no command, and refused.
    Example:
        <blank><blank>
    Instead:
        <empty line>
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for number, repairs in sorted(facts.meant.repairs.items()):
            if EMPTY in repairs:
                span = Span(number, 0, len(facts.written_line(number).rstrip("\r")))
                yield self.found(
                    span,
                    "this line is not empty, it has blanks in it",
                    "remove them",
                    fix=(Edit(span, "", True),),
                )


class TabSeparator(FileCheck, code="IPT603"):
    """Words are parted by tabs.

    What: A tab stands between two words of a line.
    Why: It loads; iptables-save writes one blank, and so do most people.
    Example:
        -A INPUT<TAB>-j ACCEPT
    Instead:
        -A INPUT -j ACCEPT
    """

    _BETWEEN = r"(?<=[^ \t])[ \t]*\t[ \t]*(?=[^ \t\r])"

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for line in facts.lines_with("\t"):
            if isinstance(line, CommentLine):
                continue
            if isinstance(line, RuleLine) and line.shape is not None:
                gaps = [
                    (before[1], after[0])
                    for before, after in pairwise(word_spans(line))
                    if "\t" in line.raw[before[1] : after[0]]
                ]
            else:
                gaps = [hit.span() for hit in re.finditer(self._BETWEEN, line.raw)]
            if gaps:
                spans = [Span(line.number, *gap) for gap in gaps]
                yield self.found(
                    spans[0],
                    "a tab parts these words",
                    "a blank",
                    fix=tuple(Edit(s, " ", True) for s in spans),
                )
