"""The text that LOG, NFLOG and ULOG put before what they log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.faults import BadValue
from iptkit.values.text import quoted

if TYPE_CHECKING:
    from iptkit.values.context import Context


class LogPrefix:
    """Any text on one line; what is over `limit` bytes is cut off without a word."""

    metavar = "text"
    words = 1
    code = "IPT129"

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def parse(self, text: str, context: Context) -> str:
        if not text:
            raise BadValue("must not be empty", hint="leave the option out")
        if "\n" in text:
            raise BadValue("must not have a newline in it")
        return text[: self.limit]

    def show(self, value: str) -> str:
        return quoted(value)
