"""Plain numbers and marks as option values, shared by many extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.text.pattern import Pattern
from iptkit.values.numbers import UINT32_MAX, parse_mark_mask, parse_uint

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.values.context import Context


_USUAL_MARK = Pattern("0x([1-9a-f][0-9a-f]{0,7})/0x([1-9a-f][0-9a-f]{0,7})")


def _is_usual_mark(text: str) -> bool:
    """Has it a mask that takes some bits, not all, and no bits outside?"""
    found = _USUAL_MARK.fullmatch(text)
    if found is None:
        return False
    mark, mask = int(found[1], 16), int(found[2], 16)
    return mark & mask == mark and mask != UINT32_MAX


class UInt:
    """A number from `low` to `high`, decimal, 0x hexadecimal or 0 octal; `base` is what save prints it in."""

    metavar = "number"
    words = 1
    code = "IPT129"

    def __init__(self, high: int = UINT32_MAX, low: int = 0, *, hexadecimal: bool = False) -> None:
        self.low = low
        self.high = high
        self.hexadecimal = hexadecimal

    def parse(self, text: str, context: Context) -> int:
        return parse_uint(text, self.low, self.high)

    def show(self, value: int) -> str:
        return f"{value:#x}" if self.hexadecimal else str(value)


class MarkMask:
    """`value[/mask]`, 32 bits each; the mask is printed only where it is not all ones."""

    metavar = "value[/mask]"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> tuple[int, int]:
        return parse_mark_mask(text)

    def usual(self, context: Context) -> Callable[[str], object]:
        """As spec.ValueType.usual."""
        return _is_usual_mark

    def show(self, value: tuple[int, int]) -> str:
        mark, mask = value
        return f"{mark:#x}" if mask == UINT32_MAX else f"{mark:#x}/{mask:#x}"


class MarkAndMask(MarkMask):
    """The same, with the mask always printed: as targets save it."""

    def usual(self, context: Context) -> Callable[[str], object]:
        return _USUAL_MARK.fullmatch

    def show(self, value: tuple[int, int]) -> str:
        mark, mask = value
        return f"{mark:#x}/{mask:#x}"


class Hex(UInt):
    """The same, printed in hexadecimal of at least `digits` digits."""

    def __init__(self, high: int = UINT32_MAX, low: int = 0, *, digits: int = 8) -> None:
        super().__init__(high, low)
        self.digits = digits

    def show(self, value: int) -> str:
        return f"0x{value:0{self.digits}x}"


class SignedWord(UInt):
    """A number of 32 bits that save prints with a sign: 4294967295 as -1."""

    def show(self, value: int) -> str:
        return str(value - (1 << 32) if value >> 31 else value)
