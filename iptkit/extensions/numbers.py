"""Plain numbers and marks as option values, shared by many extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.numbers import UINT32_MAX, parse_mark_mask, parse_uint

if TYPE_CHECKING:
    from iptkit.values.context import Context


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

    def show(self, value: tuple[int, int]) -> str:
        mark, mask = value
        return f"{mark:#x}" if mask == UINT32_MAX else f"{mark:#x}/{mask:#x}"


class MarkAndMask(MarkMask):
    """The same, with the mask always printed: as targets save it."""

    def show(self, value: tuple[int, int]) -> str:
        mark, mask = value
        return f"{mark:#x}/{mask:#x}"


class UIntRange:
    """`low[:high]`; an end left out is 0 or `most`, a single number both ends (XTTYPE_UINT*RC).

    libxtables takes a range whose low end is above its high one.
    """

    metavar = "low[:high]"
    words = 1
    code = "IPT129"

    def __init__(self, most: int = UINT32_MAX) -> None:
        self.most = most

    def parse(self, text: str, context: Context) -> tuple[int, int]:
        low_text, colon, high_text = text.partition(":")
        low = parse_uint(low_text, 0, self.most) if low_text else 0
        if not colon:
            return low, low
        return low, parse_uint(high_text, 0, self.most) if high_text else self.most

    def show(self, value: tuple[int, int]) -> str:
        low, high = value
        return str(low) if low == high else f"{low}:{high}"
