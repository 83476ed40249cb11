"""COMMIT: missing, misspelt, in the wrong place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import Fault, FileCheck
from iptkit.lint.meant import COMMITS
from iptkit.text.diagnostic import Edit, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import Facts
    from iptkit.text.diagnostic import Diagnostic


class MissingCommit(Fault, code="IPT004"):
    """A table section is not ended by COMMIT.

    What: The next `*table` line or the end of the file comes before the section's COMMIT.
    Why: Nothing of the section is applied, and the file is refused.
    Example:
        *filter
        -A INPUT -j ACCEPT
        *nat
        COMMIT
    Instead:
        *filter
        -A INPUT -j ACCEPT
        COMMIT
        *nat
        COMMIT
    """


class StrayCommit(Fault, code="IPT005"):
    """COMMIT stands outside a table section.

    What: There is a COMMIT with no open section: before the first `*table` line, or after another COMMIT.
    Why: The file is refused at this line; sections before it have been applied.
    Example:
        COMMIT
        COMMIT
    Instead:
        COMMIT
    """


class CommitLine(FileCheck, code="IPT006"):
    """A line means COMMIT but says it in another way.

    What: The word is in another case, has blanks before or after it, or more words behind it.
    Why: Only the seven bytes `COMMIT<LF>` end a section; anything else is read as a rule, and refused.
    Example:
        Commit
    Instead:
        COMMIT
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for number, repairs in sorted(facts.meant.repairs.items()):
            if COMMITS in repairs:
                span = Span(number, 0, len(facts.written_line(number).rstrip("\r")))
                fix = (Edit(span, "COMMIT", True),)
                yield self.found(span, "this line is not exactly COMMIT", "COMMIT and nothing else", fix=fix)
