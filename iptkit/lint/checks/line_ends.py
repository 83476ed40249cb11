"""What stands at the ends of lines and at the beginning of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import FileCheck
from iptkit.lint.meant import BOM, MARKED, RETURN, UNENDED
from iptkit.ruleset.interpret import interpret
from iptkit.syntax.document import ChainLine, CommentLine, Document, RuleLine
from iptkit.text.diagnostic import BOTH, Edit, Severity, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import Facts
    from iptkit.text.diagnostic import Diagnostic


class Bom(FileCheck, code="IPT001"):
    """A line starts with a byte order mark.

    What: The bytes EF BB BF (U+FEFF) stand at the start of a line, as some editors write them.
    Why: To iptables-restore they are part of the first word, so that the line is neither a table line nor a
        comment.  It stops there.
    Example:
        <U+FEFF>*filter
    Instead:
        *filter
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for number, repairs in sorted(facts.meant.repairs.items()):
            if MARKED in repairs:
                # Spans are those of the line that was meant; the mark stands before it.
                shift = facts.meant.shift(number)
                span = Span(number, -shift, len(BOM) - shift)
                fix = (Edit(span, "", True),)
                yield self.found(span, "a byte order mark stands before this line", "remove it", fix=fix)


class Crlf(FileCheck, code="IPT002"):
    """Lines end in CR LF.

    What: A line ends in carriage return and line feed, as files from Windows do.  Reported once, at the
        first such line.
    Why: The CR belongs to the last word of the line: there is no table `filter<CR>` and no target
        `ACCEPT<CR>`.  Where the last word may be any text, the rule loads with the CR in it.
    Example:
        COMMIT<CR>
    Instead:
        COMMIT
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        numbers = [number for number, repairs in facts.meant.repairs.items() if RETURN in repairs]
        if not numbers:
            return
        backends = self._refusing(facts, numbers)
        ends = [len(facts.written_line(n)) - facts.meant.shift(n) for n in numbers]
        spans = [Span(n, end - 1, end) for n, end in zip(numbers, ends, strict=True)]
        yield self.found(
            min(spans),
            f"{len(numbers)} lines end in CR LF" if len(numbers) > 1 else "the line ends in CR LF",
            "end lines with LF alone, as dos2unix does",
            severity=Severity.ERROR if backends else Severity.WARNING,
            backends=backends,
            fix=tuple(Edit(span, "", True) for span in spans),
        )

    def _refusing(self, facts: Facts, numbers: list[int]) -> tuple[str, ...]:
        """Who refuses the file for one of these lines."""
        refusing: set[str] = set()
        rules = set()
        for number in numbers:
            line = facts.line(number)
            if isinstance(line, RuleLine):
                rules.add(number)
            elif isinstance(line, ChainLine):
                if line.counters is None:
                    # nf_tables does not look at the policy of a user chain.
                    user = line.policy == "-"
                    refusing.update(("legacy",) if user else BOTH)
            elif not isinstance(line, CommentLine):
                return BOTH
        if rules and len(facts.written.lines) == len(facts.document.lines):
            lines = [
                old if new.number in rules else new
                for old, new in zip(facts.written.lines, facts.document.lines, strict=True)
            ]
            as_written = Document(facts.document.source, lines, facts.document.joined)
            for found in interpret(as_written, facts.binder, noflush=facts.noflush).diagnostics:
                if found.span.line in rules - facts.refused:
                    refusing.update(found.backends)
        return tuple(name for name in BOTH if name in refusing)


class NoFinalNewline(FileCheck, code="IPT003"):
    """The last line has no line feed.

    What: The file is not empty and its last byte is not a line feed.
    Why: The legacy tool reads a COMMIT without a line feed as a rule and refuses it; nf_tables takes it.
        Any other line loads, and breaks when something is appended to the file.
    Example:
        COMMIT<end of file>
    Instead:
        COMMIT<LF>
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        text = facts.written.source.text
        if not text or text.endswith("\n"):
            return
        line = facts.written.lines[-1]
        commit = UNENDED in facts.meant.repairs.get(line.number, ()) and line.raw == "COMMIT"
        end = Span(line.number, len(line.raw), len(line.raw))
        yield self.found(
            Span(line.number, 0, len(line.raw)) if commit else end,
            "COMMIT is the end of the file, without a line feed"
            if commit
            else "the last line has no line feed",
            "end the line",
            severity=Severity.ERROR if commit else Severity.WARNING,
            backends=("legacy",) if commit else (),
            fix=(Edit(end, "\n", True),),
        )
