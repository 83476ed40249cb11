"""What is said about a piece of source text.  Every layer reports with `Diagnostic`."""

from __future__ import annotations

import enum
from typing import Any

from iptkit.text.record import NamedTuple


class Severity(enum.IntEnum):
    INFO = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class Span(NamedTuple):
    """A half-open range of bytes of one line.

    Lines count from 1, one per line feed, as an editor counts them; `start`
    and `end` count bytes from 0 within the line.
    """

    line: int
    start: int
    end: int


class Diagnostic(NamedTuple):
    """One finding.

    `code` and `name` are a check's (`IPT101`, `undefined-chain`).  `backends`
    names who refuses the file for it, for errors: any of `legacy`, `nft`.
    `fix` is a list of edits that would cure it, see `iptkit.text.edit`.
    """

    code: str
    name: str
    severity: Severity
    message: str
    span: Span
    hint: str = ""
    related: tuple[tuple[Span, str], ...] = ()
    backends: tuple[str, ...] = ()
    fix: tuple[Edit, ...] = ()


class Edit(NamedTuple):
    """Replace the bytes of `span` by `text`; `safe` if the file does what it did, or what was meant."""

    span: Span
    text: str
    safe: bool


def packed(found: list[Diagnostic]) -> list[tuple[Any, ...]]:
    """Findings as marshal takes them, for another process; see `unpacked`."""
    return [
        (code, name, int(severity), message, tuple(span), hint, _plain(related), backends, _plain(fix))
        for code, name, severity, message, span, hint, related, backends, fix in found
    ]


def unpacked(found: list[tuple[Any, ...]]) -> list[Diagnostic]:
    """The findings that were packed."""
    severities = {int(severity): severity for severity in Severity}
    return [
        Diagnostic(
            code,
            name,
            severities[severity],
            message,
            Span(*span),
            hint,
            tuple([(Span(*place), what) for place, what in related]) if related else (),
            backends,
            tuple([Edit(Span(*place), text, safe) for place, text, safe in fix]) if fix else (),
        )
        for code, name, severity, message, span, hint, related, backends, fix in found
    ]


def _plain(value: object) -> object:
    """Tuples without names, as marshal takes them."""
    return tuple([_plain(each) for each in value]) if isinstance(value, tuple) and value else value


BOTH = ("legacy", "nft")


class IptkitError(Exception):
    """Base of every error iptkit raises on purpose; its text is meant for the user."""


class RulesetError(IptkitError):
    """A text that cannot be loaded; `diagnostics` says where and why."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__("; ".join(f"line {d.span.line}: {d.message}" for d in diagnostics[:3]))
        self.diagnostics = diagnostics
