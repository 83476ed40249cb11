"""Findings for a person at a terminal.

rules.save:4:13: error: there is no chain "WEB" [IPT101 undefined-chain]
  4 | -A INPUT -j WEB
    |             ^^^
    = did you mean "Web"?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.report.readable import Lines, cells, file_name, readable
from iptkit.text.diagnostic import BOTH, Severity
from iptkit.text.source import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iptkit.text.diagnostic import Diagnostic, Span
    from iptkit.text.source import Source

# SGR codes (ECMA-48, 8.3.117) by what they colour.
_BOLD, _DIM, _OFF = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_SEVERITY = {Severity.ERROR: "\x1b[1;31m", Severity.WARNING: "\x1b[1;33m", Severity.INFO: "\x1b[1;36m"}
_HINT = "\x1b[32m"
_WINDOW = 160  # of a longer line, so many bytes around the finding are shown
_LEAD = 40  # of which so many stand before it
_BLANKS = " " * _WINDOW
_MARKS = "^" * _WINDOW


def render_text(source: Source, diagnostics: Iterable[Diagnostic], color: bool = False) -> str:
    """The findings of one source, each with its line and the words marked; real text, not Latin-1.

    `color` puts SGR codes in.  The order is that of `diagnostics`.
    """
    return "".join(texts(source, diagnostics, color))


def texts(source: Source, diagnostics: Iterable[Diagnostic], color: bool = False) -> list[str]:
    """The same, finding by finding."""
    lines = Lines(source)
    name = file_name(source)
    out: list[str] = []
    said: dict[object, tuple[str, str]] = {}  # what stands behind places and lines: thousands say the same
    known, usual = "", False
    for found in diagnostics:
        code, _, severity, message, (number, begin, end), hint, related, backends, _ = found
        key = code, message, hint, severity, backends
        says = said.get(key)
        if says is None:
            says = said[key] = _says(found, color), _hint(found, color)
        raw = lines.raw(number)
        if raw is not known:
            known = raw
            # So is nearly every line.
            usual = 0 < len(raw) <= _WINDOW and raw.isascii() and raw.isprintable() and not raw.isspace()
        margin = 3 if number < 100 else len(str(number)) + 1
        paint, off = (_SEVERITY[severity], _OFF) if color else ("", "")
        if usual:
            start = min(begin, len(raw))
            pad, marks = _BLANKS[:start], _MARKS[: max(1, min(end, len(raw)) - start)]
            excerpt = f"{number:>{margin}} | {raw}\n{_BLANKS[:margin]} | {pad}{paint}{marks}{off}\n"
        else:
            start = lines.columns(found.span)[0] - 1
            excerpt = "".join([f"{line}\n" for line in _excerpt(raw, found.span, margin, paint)])
        place = f"{_BOLD}{name}:{number}:{start + 1}:{_OFF}" if color else f"{name}:{number}:{start + 1}:"
        text = f"{place} {says[0]}\n{excerpt}"
        if related:
            for other, what in related:
                at, _ = lines.columns(other)
                text += f"{_BLANKS[:margin]} = {name}:{other.line}:{at}: {readable(what)}\n"
        out.append(f"{text}{_BLANKS[:margin]} = {says[1]}\n" if says[1] else text)
    return out


def _says(found: Diagnostic, color: bool) -> str:
    """What stands behind the place of a finding."""
    severity = found.severity.word
    # Scripts and the like have faults without a code; there is nothing more to read about these.
    label = f"[{found.code} {found.name}]" if found.code else ""
    who = ""
    if found.severity is Severity.ERROR and found.backends and set(found.backends) != set(BOTH):
        who = f" ({', '.join(found.backends)} only)"
    if color:
        severity = f"{_SEVERITY[found.severity]}{severity}{_OFF}"
        label = f"{_DIM}{label}{_OFF}" if label else ""
    return f"{severity}: {readable(found.message)}{who} {label}".rstrip()


def _hint(found: Diagnostic, color: bool) -> str:
    hint = readable(found.hint)
    return _HINT + hint + _OFF if color and hint else hint


def _excerpt(raw: str, span: Span, margin: int, paint: str) -> Iterator[str]:
    """The line, and a second one that marks the span in it."""
    if not raw.strip():
        return
    start = min(span.start, len(raw))
    end = min(max(span.end, start), len(raw))
    begin, stop = 0, len(raw)
    before = after = ""
    if len(raw) > _WINDOW:
        begin = _boundary(raw, max(0, start - _LEAD))
        stop = _boundary(raw, min(len(raw), begin + _WINDOW))
        end = min(end, stop)
        before = "..." if begin else ""
        after = "..." if stop < len(raw) else ""
    head, marked, tail = shown(raw[begin:start]), shown(raw[start:end]), shown(raw[end:stop])
    yield f"{span.line:>{margin}} | {before}{head}{marked}{tail}{after}"
    # Tabs stay tabs, so that the marks stand under the words whatever a tab is worth.
    pad = "\t".join([" " * cells(piece) for piece in (before + head).split("\t")])
    marks = "^" * max(1, cells(marked.replace("\t", " ")))
    yield f"{' ' * margin} | {pad}{paint}{marks}{_OFF if paint else ''}"


def _boundary(raw: str, at: int) -> int:
    """The nearest place at or before `at` that is not inside a UTF-8 sequence."""
    floor = max(0, at - 3)
    while at > floor and at < len(raw) and "\x80" <= raw[at] <= "\xbf":
        at -= 1
    return at
