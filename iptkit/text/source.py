"""A text with a name.

Rulesets are bytes, not characters: lengths are limited in bytes and a file
need not be valid UTF-8.  So iptkit holds text decoded as Latin-1, one
character a byte, lossless for every input; `shown` turns a piece of it into
what a person should see.
"""

from __future__ import annotations


class Source:
    """One input: what it is called in messages, and its text (Latin-1, see above)."""

    __slots__ = ("_lines", "_part", "name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self._lines: list[str] | None = None
        self._part: tuple[int, list[str]] = 1, []  # some lines, and the number of the first

    @property
    def lines(self) -> list[str]:
        """What its line feeds part, once for whoever asks; the last is "" where the text ends with one."""
        if self._lines is None:
            self._lines = self.text.split("\n")
        return self._lines

    def part(self, first: int, begin: int, end: int) -> list[str]:
        """The lines that stand between two places, where lines begin; `first` is the number of the first."""
        lines = self.text[begin:end].split("\n")
        if end < len(self.text) or lines[-1] == "":
            lines.pop()
        self._part = first, lines
        return lines

    def line(self, number: int) -> str:
        """The line of that number, counted from 1; "" where there is none."""
        first, lines = self._part
        if not first <= number < first + len(lines):
            first, lines = 1, self.lines
        return lines[number - first] if first <= number < first + len(lines) else ""

    @classmethod
    def of(cls, data: bytes | str, name: str = "<string>") -> Source:
        """Take bytes as they are; a str is taken as UTF-8 (lone surrogates as the bytes they stand for)."""
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogateescape")
        return cls(name, data.decode("latin-1"))


def shown(text: str) -> str:
    """Latin-1-held bytes as readable text: UTF-8 where valid, `\\xNN` where not or unprintable."""
    decoded = text if text.isascii() else text.encode("latin-1").decode("utf-8", "backslashreplace")
    if decoded.isprintable():
        return decoded
    return "".join(c if c.isprintable() or c == "\t" else _escape(c) for c in decoded)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
