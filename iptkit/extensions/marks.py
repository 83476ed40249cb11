"""How the targets MARK and CONNMARK change a mark: its bits in a mask are cleared, a value is XORed in.

All their ways to say it (set, AND, OR, XOR) come down to that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.numbers import UINT32_MAX

if TYPE_CHECKING:
    from typing import Any

    from iptkit.extensions.spec import Given

# Fields of the options, the first being the one that the others come down to.
SETTERS = ("set_xmark", "set_mark", "and_mark", "or_mark", "xor_mark")


def others(field: str, fields: tuple[str, ...] = SETTERS) -> tuple[str, ...]:
    """All of `fields` but this one."""
    return tuple(f for f in fields if f != field)


def as_xmark(field: str, value: Any) -> tuple[int, int]:
    """The value and mask of --set-xmark that one of the setters means."""
    if field == "set_mark":
        bits, mask = value
        return bits, mask | bits
    if field == "and_mark":
        return 0, value ^ UINT32_MAX
    if field == "or_mark":
        return value, value
    if field == "xor_mark":
        return value, 0
    found: tuple[int, int] = value
    return found


def settle_marks(given: dict[str, Given]) -> dict[str, Given]:
    """Whichever setter is given, as --set-xmark."""
    out = dict(given)
    for field in SETTERS:
        if field in given:
            found = out.pop(field)
            out["set_xmark"] = found._replace(value=as_xmark(field, found.value))
    return out


__all__ = ["SETTERS", "as_xmark", "others", "settle_marks"]
