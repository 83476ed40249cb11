"""From bytes to what people read: text, columns, widths.

Everything below this layer holds text as Latin-1, one character a byte.  Here
it becomes UTF-8, and byte offsets become columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iptkit.text.diagnostic import Span
    from iptkit.text.source import Source


class Lines:
    """The lines of a source, by number, and the columns in them."""

    __slots__ = ("_source",)

    def __init__(self, source: Source) -> None:
        self._source = source

    def raw(self, number: int) -> str:
        """Line `number` without its line feed, counted from 1; "" where there is none."""
        return self._source.line(number)

    def columns(self, span: Span) -> tuple[int, int]:
        """First and one-past-last column of a span, counted in characters from 1."""
        raw = self.raw(span.line)
        end = max(span.end, span.start)
        if raw.isascii():
            return min(span.start, len(raw)) + 1, min(end, len(raw)) + 1
        return column(raw, span.start), column(raw, end)


def column(raw: str, offset: int) -> int:
    """The column, counted in characters from 1, of a byte offset.  A byte that is no UTF-8 counts as one."""
    head = raw[:offset]
    if head.isascii():
        return len(head) + 1
    return len(head.encode("latin-1").decode("utf-8", "surrogateescape")) + 1


def readable(text: str) -> str:
    """A message that may hold bytes as Latin-1, as UTF-8; what is no UTF-8 or unprintable is escaped."""
    if text.isascii() and text.isprintable():
        return text
    try:
        decoded = text.encode("latin-1").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        decoded = text  # real characters already
    return "".join(c if c.isprintable() else _escape(c) for c in decoded)


def file_name(source: Source) -> str:
    """The name of a source as text that can be printed, whatever bytes it is made of."""
    return source.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
