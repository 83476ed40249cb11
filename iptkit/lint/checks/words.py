"""How a line is cut into words: quotes, comments at its end, continuation."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from iptkit.lint.check import FileCheck
from iptkit.lint.meant import COMMITS
from iptkit.lint.settle import long_lines
from iptkit.ruleset.interpret import word_spans
from iptkit.syntax.document import ChainLine, RuleLine, TableLine
from iptkit.text.diagnostic import Edit, Severity, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import Facts
    from iptkit.syntax.document import Line
    from iptkit.text.diagnostic import Diagnostic


_AT_ONCE = 1 << 20  # bytes of a text looked at together


class TrailingComment(FileCheck, code="IPT011"):
    """A comment stands behind something else on its line.

    What: On a table, chain, rule or COMMIT line a word starts with `#` that is no option's value.
    Why: A comment is a line of its own.  In a rule or behind COMMIT the `#` is one word too many, and the
        line is refused; on table and chain lines what follows is not looked at.
    Example:
        -A INPUT -i lo -j ACCEPT # local
    Instead:
        # local
        -A INPUT -i lo -j ACCEPT
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for number in sorted(facts.refused):
            line = facts.line(number)
            if isinstance(line, RuleLine) and "#" in line.raw:
                at = self._in_rule(facts, line)
                if at >= 0:
                    yield self._finding(number, line.raw, at, True)
        if "#" in facts.document.source.text:
            for line in facts.other_lines:
                if line.__class__ in (ChainLine, TableLine) and _word_with_hash(line.raw) >= 0:
                    refused = line.number in facts.refused
                    yield self._finding(line.number, line.raw, _word_with_hash(line.raw), refused)
        for number, repairs in sorted(facts.meant.repairs.items()):
            raw = facts.written_line(number)
            if COMMITS in repairs and _word_with_hash(raw) >= 0:
                yield self._finding(number, raw, _word_with_hash(raw), True)

    def _in_rule(self, facts: Facts, line: RuleLine) -> int:
        """Where a word begins with # that stands where no word may."""
        strays = {
            found.span.start
            for found in facts.outcome.diagnostics
            if found.span.line == line.number and found.code == "IPT130"
        }
        before = "-"
        for start, end in word_spans(line):
            if line.raw[start] == "#" and (start in strays or before[:1] not in ("-", "!")):
                return start
            before = line.raw[start:end]
        return -1

    def _finding(self, number: int, raw: str, at: int, refused: bool) -> Diagnostic:
        gap = len(raw[:at].rstrip(" \t"))
        end = len(raw.rstrip("\r"))
        return self.found(
            Span(number, at, end),
            "a comment stands on a line of its own" if refused else "what follows here is not looked at",
            "move it to the line before",
            severity=Severity.ERROR if refused else Severity.WARNING,
            fix=(Edit(Span(number, 0, 0), raw[at:end] + "\n", True), Edit(Span(number, gap, end), "", True)),
        )


def _word_with_hash(raw: str) -> int:
    """Where the first word begins with #; -1 where none does."""
    if "#" not in raw:
        return -1
    found = [at for at in (raw.find(" #"), raw.find("\t#")) if at >= 0]
    return min(found) + 1 if found else -1


class SingleQuotes(FileCheck, code="IPT012"):
    """A word is put in single quotes.

    What: A word of a rule starts with a single quote.
    Why: iptables-restore knows double quotes only.  The quote is part of the value, and blanks after it part
        the words: the rule is refused, or loads with the quotes in it.
    Example:
        -A INPUT -m comment --comment 'from office' -j ACCEPT
    Instead:
        -A INPUT -m comment --comment "from office" -j ACCEPT
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for line in facts.lines_with(r"'(?<=[ \t]')"):
            if not isinstance(line, RuleLine):
                continue
            for start, end in word_spans(line):
                if line.raw[start] == "'":
                    yield self._finding(line, start, end, line.number in facts.refused)
                    break

    def _finding(self, line: RuleLine, start: int, end: int, refused: bool) -> Diagnostic:
        close = line.raw.find("'", start + 1)
        span = Span(line.number, start, close + 1 if close >= 0 else end)
        inside = line.raw[start + 1 : close]
        fix = (Edit(span, f'"{inside}"', True),) if close >= 0 and '"' not in inside else ()
        return self.found(
            span,
            "single quotes do not quote" if refused else "the single quotes are part of the value",
            "use double quotes",
            severity=Severity.ERROR if refused else Severity.WARNING,
            fix=fix,
        )


class UnterminatedQuote(FileCheck, code="IPT013"):
    """A double quote is never closed.

    What: A rule has an odd number of double quotes, those with a backslash inside quotes not counted.
    Why: The rest of the line, its line feed too, becomes part of the value: the rule often loads without its
        target.
    Example:
        -A INPUT -m comment --comment "office -j DROP
    Instead:
        -A INPUT -m comment --comment "office" -j DROP
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for line in _quoting(facts):
            at = _open_quote(line.raw)
            if at >= 0:
                refused = line.number in facts.refused
                yield self.found(
                    Span(line.number, at, len(line.raw)),
                    "this quote is never closed"
                    + ("" if refused else ": all that follows is part of the value"),
                    'close it with "',
                    severity=Severity.ERROR if refused else Severity.WARNING,
                )


class BadQuoting(FileCheck, code="IPT014"):
    """Text follows directly on a closing quote.

    What: A double quote opens inside a word, or a word goes on where its quotes end, and the line is refused
        for the words that come of it.
    Why: A closing quote ends a word, so that `a"b c"d` is two words: `ab c` and `d`.
    Example:
        -A INPUT -m comment --comment a"b c"d
    Instead:
        -A INPUT -m comment --comment "ab cd"
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        if not facts.refused:
            return
        for line in facts.lines_with('"'):
            if line.number not in facts.refused or not isinstance(line, RuleLine):
                continue
            spans = word_spans(line)
            for before, after in pairwise(spans):
                if before[1] == after[0] and line.raw[before[1] - 1] == '"':
                    yield self.found(
                        Span(line.number, before[0], after[1]),
                        "a closing quote ends the word, and this goes on behind it",
                        "quote the word as a whole",
                    )
                    break


def _quoting(facts: Facts) -> list[RuleLine]:
    """Rule lines whose quotes may not be in pairs."""
    return [line for line in facts.document.odd if line.raw.count('"') & 1 or '\\"' in line.raw]


def _open_quote(raw: str) -> int:
    """Where the quote opens that is never closed; -1 when all are."""
    opened = -1
    at = 0
    while at < len(raw):
        char = raw[at]
        if char == '"':
            opened = at if opened < 0 else -1
        elif char == "\\" and opened >= 0:
            at += 1
        at += 1
    return opened


class LineContinuation(FileCheck, code="IPT017"):
    """A line ends with a backslash.

    What: The last character of a rule is a backslash, and the rule is meant to go on in the next line.
    Why: Save files have no continuation lines: the backslash is a word, and the next line a rule of its own.
    Example:
        -A INPUT -p tcp \\
          --dport 22 -j ACCEPT
    Instead:
        -A INPUT -p tcp --dport 22 -j ACCEPT
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for line in facts.lines_with(r"\\\n"):
            if isinstance(line, RuleLine) and {line.number, line.number + 1} & facts.refused:
                if line.number > 1 and facts.line(line.number - 1).raw.endswith("\\"):
                    continue  # the first line of them says it
                end = len(line.raw)
                yield self.found(
                    Span(line.number, end - 1, end),
                    "a rule does not go on in the next line",
                    "write it in one line",
                    fix=self._joined(facts, line),
                )

    def _joined(self, facts: Facts, line: Line) -> tuple[Edit, ...]:
        edits = []
        while line.raw.endswith("\\") and line.number < len(facts.document.lines):
            after = facts.line(line.number + 1)
            indent = len(after.raw) - len(after.raw.lstrip(" \t"))
            glued = line.raw[-2:-1] in (" ", "\t")
            # One edit over the line feed: the span ends on the next line's text.
            edits.append(
                Edit(
                    Span(line.number, len(line.raw) - 1, len(line.raw) + 1 + indent),
                    "" if glued else " ",
                    True,
                )
            )
            line = after
        return tuple(edits)


class LineTooLong(FileCheck, code="IPT021"):
    """A line is too long.

    What: A line of more than 10,239 bytes, comments too, or a rule of more than 254 words.
    Why: The real tool reads lines in pieces of 10,239 bytes, and takes each piece for a line.  What follows
        the first is refused.
    Example:
        # xxxx... (11,000 bytes)
    Instead:
        # xxxx
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for number in sorted(long_lines(facts)):
            if number in facts.refused:
                length = len(facts.written_line(number))
                yield self.found(
                    Span(number, 0, length),
                    "the line is longer than 10,239 bytes, and what is over counts as another line",
                    "shorter lines",
                )
