"""Names that the user makes up: of lists, tables, timers and estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.spec import Problem
from iptkit.values.faults import BadValue
from iptkit.values.text import quoted

if TYPE_CHECKING:
    from iptkit.values.context import Context


class Label:
    """A name of any bytes, cut off after `limit` of them, at least `least` long.

    iptables-save prints most of them bare, so that one with a blank in it cannot be read back.
    """

    metavar = "name"
    words = 1
    code = "IPT129"

    def __init__(self, limit: int, least: int = 0) -> None:
        self.limit = limit
        self.least = least

    def parse(self, text: str, context: Context) -> str:
        if len(text) < self.least:
            raise BadValue("must not be empty")
        return text[: self.limit]

    def show(self, value: str) -> str:
        return value


class QuotedLabel(Label):
    """The same, printed in quotes where it needs them."""

    def show(self, value: str) -> str:
        return quoted(value)


def in_quotes(text: str) -> str:
    """`text` in double quotes, as the few extensions print it that put them themselves."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def file_name_problem(name: str, field: str, where: str = "/proc") -> Problem | None:
    """Say why the kernel does not take `name` for a file of its own (xt_check_proc_name), or None."""
    if name in ("", ".", "..") or "/" in name:
        what = f"{name!r}" if name else "an empty name"
        return Problem(f"it names a file in {where}, which {what} cannot do", field)
    return None
