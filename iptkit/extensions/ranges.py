"""Ranges that may be whole: a match by ports or SPIs says nothing when it takes them all.

iptables-save leaves a whole range out, and its `!` with it, though `! --dport 0:65535`
matches no packet at all: saved and loaded again, that rule matches every packet.
The uses here keep the `!`, and print as iptables-save does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from iptkit.extensions.spec import Match
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT32_MAX, parse_uint_prefix
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.spec import Given
    from iptkit.values.context import Context

Range = tuple[int, int]


class NumberRange:
    """`number[:number]`, either end left out being the lowest or highest; a reversed range is taken.

    As xtables_option_parse reads XTTYPE_UINT8RC, UINT16RC and UINT32RC (libxtables/xtoptions.c).
    """

    words = 1
    code = "IPT129"

    def __init__(self, high: int = UINT32_MAX, *, metavar: str = "number[:number]") -> None:
        self.high = high
        self.metavar = metavar

    def parse(self, text: str, context: Context) -> Range:
        first, rest = self._number(text, text, 0)
        if not rest:
            # An empty word is 0: there is nothing to read, and nothing left over.
            return first, first
        second, rest = self._number(rest[1:], text, self.high)
        if rest:
            raise BadValue(f"must be a number or LOW:HIGH, not {quote(text)}")
        return first, second

    def _number(self, piece: str, text: str, left_out: int) -> tuple[int, str]:
        """One end of a range, and what follows it: nothing, or a colon."""
        if piece[:1] in ("", ":"):
            return left_out, piece
        try:
            value, rest = parse_uint_prefix(piece, 0, self.high)
        except ValueError:
            rest = "?"
        if rest[:1] not in ("", ":"):
            raise BadValue(f"must be a number from 0 to {self.high} or LOW:HIGH, not {quote(text)}")
        return value, rest

    def show(self, value: Range) -> str:
        low, high = value
        return str(low) if low == high else f"{low}:{high}"


class Ranged(Match):
    """A match with options whose whole range iptables-save leaves out: `whole` maps their fields to it."""

    __slots__ = ()
    whole: ClassVar[dict[str, Range]] = {}

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return {
            field: found
            for field, found in given.items()
            if found.inverted or found.value != cls.whole.get(field)
        }

    def left_out(self, field: str, value: Any) -> bool:
        """Does iptables-save leave this option out, though it was given?"""
        return bool(value == self.whole.get(field))

    def save(self) -> Iterator[str]:
        for option, value in zip(self.options, self.values, strict=True):
            if value is None or self.left_out(option.field, value):
                continue
            if self.is_inverted(option.field):
                yield "!"
            yield option.flag
            if option.type is not None:
                yield option.type.show(value)


__all__ = ["NumberRange", "Range", "Ranged"]
