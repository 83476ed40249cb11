"""Comments in a ruleset that silence findings.

    # iptkit: ignore[IPT209] the provider hands it out like this
    -A INPUT -s 10.0.0.5/24 -j ACCEPT

silences a check for the next line that is neither blank nor a comment;

    # iptkit: ignore-file[IPT601, counters-in-vcs] written by hand

for the whole file.  Checks are named by code or name, several with commas;
what follows the bracket is the reason.  An ignore that silences nothing is
itself reported, so that none outlives its cause.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iptkit.text.codes import BY_NAME, CODES
from iptkit.text.diagnostic import Diagnostic, Severity, Span
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iptkit.lint.select import Selection

UNUSED = "IPT000"
_MARK = "iptkit:"
_IGNORE = r"#[ \t]*iptkit:[ \t]*(ignore-file|ignore)[ \t]*\[([^]]*)\]"
_TRIED = r"#[ \t]*iptkit:"


class Ignore(NamedTuple):
    """One check of one ignore comment.  `line` is the line it is for, 0 for the whole file."""

    code: str
    line: int
    span: Span


class Suppressions:
    def __init__(self, text: str) -> None:
        self.ignores: list[Ignore] = []
        self.misread: list[tuple[Span, str]] = []
        if _MARK in text:
            self._collect(text)

    @property
    def any(self) -> bool:
        """Is there any such comment, good or bad?"""
        return bool(self.ignores or self.misread)

    def _collect(self, text: str) -> None:
        waiting: list[tuple[str, Span]] = []
        for number, raw in enumerate(text.split("\n"), 1):
            if not raw:
                continue
            if raw[0] == "#":
                for code, span, everywhere in self._read(number, raw):
                    if everywhere:
                        self.ignores.append(Ignore(code, 0, span))
                    else:
                        waiting.append((code, span))
                continue
            self.ignores += [Ignore(code, number, span) for code, span in waiting]
            waiting = []
        self.ignores += [Ignore(code, -1, span) for code, span in waiting]

    def _read(self, number: int, raw: str) -> Iterator[tuple[str, Span, bool]]:
        found = re.match(_IGNORE, raw)
        if found is None:
            if re.match(_TRIED, raw):
                self.misread.append((Span(number, 0, len(raw)), "this comment is not understood"))
            return
        at = found.start(2)
        for item in found[2].split(","):
            word = item.strip()
            start = at + len(item) - len(item.lstrip())
            span = Span(number, start, start + len(word))
            at += len(item) + 1
            code = BY_NAME.get(word, word)
            if code in CODES:
                yield code, span, found[1] == "ignore-file"
            else:
                self.misread.append((span, f"there is no check {word!r}"))

    def apply(self, found: Iterable[Diagnostic], selection: Selection) -> list[Diagnostic]:
        """The findings that are not silenced, and one for each ignore that silences nothing."""
        found = list(found)
        if not self.any:
            return found
        wanted = {(each.code, each.line) for each in self.ignores}
        used: set[tuple[str, int]] = set()
        kept = []
        for each in found:
            keys = {(each.code, each.span.line), (each.code, 0)} & wanted
            if keys:
                used |= keys
            else:
                kept.append(each)
        kept += [
            _unused(ignore.span, f"nothing here is {CODES[ignore.code][0]}: this ignore has no use")
            for ignore in self.ignores
            if (ignore.code, ignore.line) not in used and selection.wants_code(ignore.code)
        ]
        kept += [_unused(span, what, "# iptkit: ignore[CODE, ...] reason") for span, what in self.misread]
        return kept


def _unused(span: Span, message: str, hint: str = "") -> Diagnostic:
    return Diagnostic(UNUSED, CODES[UNUSED][0], Severity.INFO, message, span, hint)
