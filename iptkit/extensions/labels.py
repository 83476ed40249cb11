"""Names that the user makes up: of lists, tables, timers and estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.spec import Problem
from iptkit.values.faults import BadValue

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


def file_name_problem(name: str, field: str) -> Problem | None:
    """Say why the kernel does not take `name` for a file under /proc (xt_check_proc_name), or None."""
    if name in ("", ".", "..") or "/" in name:
        what = f"{name!r}" if name else "an empty name"
        return Problem(f"the name is that of a file in /proc, which {what} cannot be", field)
    return None
