"""The manual of a check, out of its docstring."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from iptkit.lint.check import Check

PARTS = ("What", "Why", "Example", "Instead")


class Manual(NamedTuple):
    """What `iptkit rule CODE` shows."""

    code: str
    name: str
    severities: tuple[str, ...]  # error, warning, info
    fix: str  # safe, unsafe or none
    summary: str
    what: str
    why: str
    example: str
    instead: str


def manual(check: type[Check]) -> Manual:
    """Take the docstring apart.  Raises ValueError where a part is missing."""
    summary, _, rest = inspect.cleandoc(check.__doc__ or "").partition("\n")
    parts: dict[str, list[str]] = {}
    current: list[str] = []
    for line in rest.split("\n"):
        head, colon, text = line.partition(":")
        if colon and head in PARTS:
            current = parts.setdefault(head, [])
            line = text  # noqa: PLW2901  # the head is taken off
        current.append(line)
    missing = [part for part in PARTS if part not in parts]
    if not summary or missing:
        raise ValueError(f"the manual of {check.code} lacks {', '.join(missing) or 'its first line'}")
    return Manual(
        check.code,
        check.name,
        tuple(severity.word for severity in check.severities),
        check.fix,
        summary,
        _prose(parts["What"]),
        _prose(parts["Why"]),
        _code(parts["Example"]),
        _code(parts["Instead"]),
    )


def _prose(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())


def _code(lines: list[str]) -> str:
    """Lines of a ruleset, without the indent of the docstring."""
    return inspect.cleandoc("\n".join(lines)).strip("\n")
