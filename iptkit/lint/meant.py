"""What a file was plainly meant to be, where its form alone keeps it from being read.

A byte order mark, CR LF line ends, an indented `*table` or a `commit` in lower
case make the real tool stop, but leave no doubt what was meant.  Such lines
are put right before the file is interpreted, so that one slip is one finding
and not one for every line that follows from it.  Rule lines stay as they are,
the CR at their end aside.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iptkit.syntax.parser import parse
from iptkit.text.diagnostic import Span
from iptkit.text.source import Source

if TYPE_CHECKING:
    from iptkit.syntax.document import Document
    from iptkit.text.diagnostic import Diagnostic

BOM = "\xef\xbb\xbf"  # U+FEFF in UTF-8
_COMMIT = r"(?i)[ \t]*commit(?![^ \t;,.\r])"

# What is put right about a line:
MARKED = "bom"  # a byte order mark before it
RETURN = "cr"  # a CR before its line feed
INDENTED = "indent"  # blanks before *, :, # or COMMIT
EMPTY = "empty"  # blanks and nothing else
COMMITS = "commit"  # it means COMMIT
UNENDED = "unended"  # COMMIT without a line feed


class Meant:
    """`document` is the file as it was meant; `repairs` says what was put right, by line number."""

    __slots__ = ("_shifts", "document", "odd_starts", "repairs")

    def __init__(self, written: Document) -> None:
        text = written.source.text
        self.repairs: dict[int, set[str]] = {}
        self._shifts: dict[int, int] = {}
        # Numbers of the lines that begin unlike any line of a save file, those that are COMMIT aside.
        self.odd_starts = _odd_starts(written)
        if not self.odd_starts and "\r" not in text:
            self.document = written
            return
        lines = text.split("\n")
        ended = lines[-1] == ""
        if ended:
            lines.pop()
        suspects = range(1, len(lines) + 1) if "\r\n" in text else self.odd_starts
        for number in suspects:
            self._repair(lines, number, ended or number < len(lines))
        if not self.repairs:
            self.document = written
            return
        if len(lines) in self.repairs and UNENDED in self.repairs[len(lines)]:
            ended = True
        self.document = parse(Source(written.source.name, "\n".join(lines) + ("\n" if ended else "")))

    def _repair(self, lines: list[str], number: int, ended: bool) -> None:
        raw = lines[number - 1]
        done = set()
        if ended and raw.endswith("\r"):
            raw = raw[:-1]
            done.add(RETURN)
        if raw.startswith(BOM):
            raw = raw[len(BOM) :]
            self._shifts[number] = len(BOM)
            done.add(MARKED)
        bare = raw.lstrip(" \t")
        if re.match(_COMMIT, raw):
            if raw != "COMMIT":
                done.add(COMMITS)
                raw = "COMMIT"
            if not ended:
                done.add(UNENDED)
        elif raw and not bare:
            raw = ""
            done.add(EMPTY)
        elif raw is not bare and bare[:1] in ("*", ":", "#"):
            self._shifts[number] = self._shifts.get(number, 0) + len(raw) - len(bare)
            raw = bare
            done.add(INDENTED)
        if done:
            self.repairs[number] = done
            lines[number - 1] = raw

    def shift(self, number: int) -> int:
        """How many bytes were taken off the front of a line."""
        return self._shifts.get(number, 0)

    def at_written(self, found: Diagnostic) -> Diagnostic:
        """A finding about the document that was meant, with its places in the file as written."""
        if not self._shifts:
            return found
        return found._replace(
            span=self._moved(found.span),
            related=tuple((self._moved(span), what) for span, what in found.related),
            fix=tuple(edit._replace(span=self._moved(edit.span)) for edit in found.fix),
        )

    def _moved(self, span: Span) -> Span:
        by = self._shifts.get(span.line, 0)
        return Span(span.line, span.start + by, span.end + by) if by else span


def _odd_starts(document: Document) -> list[int]:
    """Numbers of the lines that begin unlike the lines of a save file, those that are COMMIT aside."""
    lines = document.lines
    # An overlong line is read in pieces; those after the first begin anyhow.
    pieces = {id(lines[at + 1]) for at in document.joined if at + 1 < len(lines)}
    return [line.number for line in document.odd if line.raw[0] not in "-[" and id(line) not in pieces]
