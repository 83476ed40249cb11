"""Findings as one JSON document.

    {"schema": "iptkit-findings/1", "files": ["rules.save"], "findings": [{...}]}

The schema's number changes when a field changes its meaning or goes; new
fields may come at any time.  Lines and columns count from 1, columns in
characters; `end_column` is one past the last.  `backends` names who refuses
the file, for errors.  `fix` is null, or the edits that cure the finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.report.readable import Lines, file_name, readable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iptkit.text.diagnostic import Diagnostic, Span
    from iptkit.text.source import Source

SCHEMA = "iptkit-findings/1"


def document(checked: Iterable[tuple[Source, Iterable[Diagnostic]]]) -> dict[str, Any]:
    """The document for any number of sources and their findings; ready for `json.dumps`."""
    files: list[str] = []
    findings: list[dict[str, Any]] = []
    for source, diagnostics in checked:
        files.append(file_name(source))
        findings += findings_of(source, diagnostics)
    return {"schema": SCHEMA, "files": files, "findings": findings}


def findings_of(
    source: Source, diagnostics: Iterable[Diagnostic], lines: Lines | None = None
) -> list[dict[str, Any]]:
    """The findings of one source as JSON objects; `lines` are the source's, where they are wanted often."""
    lines = lines or Lines(source)
    file = file_name(source)
    return [_finding(file, lines, found) for found in diagnostics]


def _finding(file: str, lines: Lines, found: Diagnostic) -> dict[str, Any]:
    return {
        "code": found.code,
        "name": found.name,
        "severity": found.severity.word,
        "message": readable(found.message),
        **_place(file, lines, found.span),
        "backends": list(found.backends),
        "hint": readable(found.hint) or None,
        "fix": _fix(file, lines, found),
        "related": [{**_place(file, lines, span), "message": readable(what)} for span, what in found.related],
    }


def _fix(file: str, lines: Lines, found: Diagnostic) -> dict[str, Any] | None:
    if not found.fix:
        return None
    return {
        "safe": all(edit.safe for edit in found.fix),
        "edits": [{**_place(file, lines, edit.span), "text": readable(edit.text)} for edit in found.fix],
    }


def _place(file: str, lines: Lines, span: Span) -> dict[str, Any]:
    column, end_column = lines.columns(span)
    return {"file": file, "line": span.line, "column": column, "end_column": end_column}
