"""One word out of a few, as an option's value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.faults import BadValue
from iptkit.values.wording import did_you_mean, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from iptkit.values.context import Context


class OneOf:
    """One of `words`, or an alias of one; spelt exactly so, or in any case."""

    words = 1
    code = "IPT129"

    def __init__(
        self, words: Iterable[str], *, aliases: Mapping[str, str] | None = None, any_case: bool = False
    ) -> None:
        self.choices = tuple(words)
        self.any_case = any_case
        self.metavar = f"{{{'|'.join(self.choices)}}}"
        self._words = {word: word for word in self.choices} | dict(aliases or {})
        self._by_lower = {word.lower(): meant for word, meant in self._words.items()}

    def parse(self, text: str, context: Context) -> str:
        found = self._by_lower.get(text.lower()) if self.any_case else self._words.get(text)
        if found is None:
            meant = self._by_lower.get(text.lower())
            raise BadValue(
                f"must be {', '.join(self.choices[:-1])} or {self.choices[-1]}, not {quote(text)}",
                hint=f"write {meant}" if meant else did_you_mean(text, self.choices),
            )
        return found

    def show(self, value: str) -> str:
        return value


__all__ = ["OneOf"]
