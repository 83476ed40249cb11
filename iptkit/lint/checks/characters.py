"""Characters that look like others, or cannot be seen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iptkit.lint.check import FileCheck
from iptkit.syntax.document import CommentLine
from iptkit.text.diagnostic import Edit, Severity, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import Facts
    from iptkit.syntax.document import Line
    from iptkit.text.diagnostic import Diagnostic

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_DOUBLE = "\u201c\u201d\u201e\u201f\u00ab\u00bb"
_SINGLE = "\u2018\u2019\u201a\u201b"
_BLANKS = "\u00a0\u202f\u3000" + "".join(map(chr, range(0x2000, 0x200C)))
_NOTHING = "\u200b"
_DIGITS = "".join(map(chr, range(0xFF10, 0xFF1A)))
# What is meant by each.
_MEANT = {
    **dict.fromkeys(_DASHES, "-"),
    **dict.fromkeys(_DOUBLE, '"'),
    **dict.fromkeys(_SINGLE, "'"),
    **dict.fromkeys(_BLANKS, " "),
    _NOTHING: "",
    **{digit: str(value) for value, digit in enumerate(_DIGITS)},
}
_LONG_DASH = r"(?<![^ \t])\xe2\x80[\x94\x95]"  # an em dash before an option is --


class UnicodeDashOrQuote(FileCheck, code="IPT015"):
    """A typographic character stands where ASCII is meant.

    What: A dash, quote, blank or digit of the kind that word processors and web pages put in, outside of
        double quotes.  One finding for each line.
    Why: Options begin with the ASCII hyphen, only the ASCII double quote quotes, and only the ASCII blank
        and the tab part words.  Anything else is part of a value, or refused.
    Example:
        -A INPUT \u2013p tcp -j ACCEPT
    Instead:
        -A INPUT -p tcp -j ACCEPT
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        if facts.document.source.text.isascii():
            return
        # The characters as the text holds them: byte for byte.
        typographic = re.compile("|".join(re.escape(char.encode().decode("latin-1")) for char in _MEANT))
        for line in facts.document.lines:
            raw = line.raw
            if not raw.isascii() and not isinstance(line, CommentLine):
                hits = [hit for hit in typographic.finditer(raw) if not _is_quoted(raw, hit.start())]
                if hits:
                    yield self._finding(line, hits, line.number in facts.refused)

    def _finding(self, line: Line, hits: list[re.Match[str]], refused: bool) -> Diagnostic:
        first = hits[0]
        char = first[0].encode("latin-1").decode()
        meant = _MEANT[char]
        return self.found(
            Span(line.number, *first.span()),
            f"U+{ord(char):04X} is not {_name(char, meant)}"
            + ("" if refused else ", and is part of the value"),
            f"write {meant!r}" if meant.strip() else "write a blank" if meant else "remove it",
            severity=Severity.ERROR if refused else Severity.WARNING,
            fix=tuple(_edit(line, hit) for hit in hits),
        )


def _edit(line: Line, hit: re.Match[str]) -> Edit:
    text = _MEANT[hit[0].encode("latin-1").decode()]
    if re.compile(_LONG_DASH).match(line.raw, hit.start()):
        text = "--"
    return Edit(Span(line.number, *hit.span()), text, False)


def _name(char: str, meant: str) -> str:
    return {"-": "a hyphen", '"': "a quote", "'": "a quote", "": "seen", " ": "a blank"}.get(
        meant, f"the digit {meant}"
    )


def _is_quoted(raw: str, at: int) -> bool:
    """Is a place inside double quotes?"""
    inside = False
    i = 0
    while i < at:
        if raw[i] == '"':
            inside = not inside
        elif raw[i] == "\\" and inside:
            i += 1
        i += 1
    return inside


class BadCharacter(FileCheck, code="IPT022"):
    """A control character stands in a line.

    What: A control character other than the tab and what ends a line.
    Why: It cannot be seen and is part of a word.  A NUL ends the line for iptables-restore: what follows, the
        target perhaps, is not read at all.
    Example:
        -A INPUT -p tcp<NUL> -j ACCEPT
    Instead:
        -A INPUT -p tcp -j ACCEPT
    """

    _CONTROL = r"[\x00-\x08\x0b\x0c\r\x0e-\x1f\x7f]"
    _HARMLESS = bytes(c for c in range(256) if (c >= 0x20 and c != 0x7F) or c in b"\t\n\r")

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        # The document that was meant has no CR at the ends of its lines.
        text = facts.document.source.text
        begin, end = facts.span
        if "\r" not in text and not text[begin:end].encode("latin-1").translate(None, self._HARMLESS):
            return
        for line in facts.document.lines:
            hit = re.search(self._CONTROL, line.raw)
            if hit is None or isinstance(line, CommentLine):
                continue
            refused = line.number in facts.refused
            nul = hit[0] == "\0"
            what = "a NUL" if nul else f"the control character \\x{ord(hit[0]):02x}"
            yield self.found(
                Span(line.number, *hit.span()),
                f"{what} stands here" + (", and what follows it is not read" if nul and not refused else ""),
                "remove it",
                severity=Severity.ERROR if refused else Severity.WARNING,
            )
