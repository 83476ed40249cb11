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


def render_text(source: Source, diagnostics: Iterable[Diagnostic], color: bool = False) -> str:
    """The findings of one source, each with its line and the words marked; real text, not Latin-1.

    `color` puts SGR codes in.  The order is that of `diagnostics`.
    """
    lines = Lines(source)
    name = file_name(source)
    out: list[str] = []
    for diagnostic in diagnostics:
        out += _finding(name, lines, diagnostic, color)
    return "\n".join([*out, ""])


def _finding(name: str, lines: Lines, found: Diagnostic, color: bool) -> Iterator[str]:
    start, _ = lines.columns(found.span)
    place = f"{name}:{found.span.line}:{start}:"
    severity = found.severity.word
    # Scripts and the like have faults without a code; there is nothing more to read about these.
    label = f"[{found.code} {found.name}]" if found.code else ""
    who = ""
    if found.severity is Severity.ERROR and found.backends and set(found.backends) != set(BOTH):
        who = f" ({', '.join(found.backends)} only)"
    if color:
        place = f"{_BOLD}{place}{_OFF}"
        severity = f"{_SEVERITY[found.severity]}{severity}{_OFF}"
        label = f"{_DIM}{label}{_OFF}" if label else ""
    yield f"{place} {severity}: {readable(found.message)}{who} {label}".rstrip()
    margin = max(3, len(str(found.span.line)) + 1)
    yield from _excerpt(lines, found.span, margin, _SEVERITY[found.severity] if color else "")
    for span, what in found.related:
        at, _ = lines.columns(span)
        yield f"{' ' * margin} = {name}:{span.line}:{at}: {readable(what)}"
    if found.hint:
        hint = readable(found.hint)
        yield f"{' ' * margin} = {_HINT + hint + _OFF if color else hint}"


def _excerpt(lines: Lines, span: Span, margin: int, paint: str) -> Iterator[str]:
    """The line, and a second one that marks the span in it."""
    raw = lines.raw(span.line)
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
    if not (before or after) and raw.isascii() and raw.isprintable():
        # So is nearly every line.
        yield f"{span.line:>{margin}} | {raw}"
        yield f"{' ' * margin} | {' ' * start}{paint}{'^' * max(1, end - start)}{_OFF if paint else ''}"
        return
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
