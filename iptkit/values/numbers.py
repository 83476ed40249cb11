"""Unsigned numbers as options write them: decimal, ``0x`` hexadecimal, ``0`` octal.

The reading is that of libxtables (`xtables_strtoui`), which is C's `strtoumax` with base 0 and a minus
refused: leading blanks and one ``+`` are taken, anything after the digits is not. Observed on
iptables 1.8.9: ``08`` is the number 0 with an ``8`` left over, so it is refused, and so are ``0x``, ``0b1``
and ``-0``.
"""

from __future__ import annotations

from iptkit.values.faults import BadValue
from iptkit.values.wording import quote

UINT8_MAX = 0xFF
UINT16_MAX = 0xFFFF
UINT32_MAX = 0xFFFFFFFF
UINT64_MAX = 0xFFFFFFFFFFFFFFFF

BLANKS = " \t\n\v\f\r"
"""What C's `isspace` takes for a blank in the C locale."""

DIGITS = "0123456789"
_HEX_DIGITS = "0123456789abcdefABCDEF"
_OCTAL_DIGITS = "01234567"


def parse_uint(text: str, low: int = 0, high: int = UINT32_MAX) -> int:
    """Return the number that the whole of `text` is.

    Raises ValueError when `text` is no number or one outside of `low` to `high`.
    """
    # The common case, plain decimal; a leading zero would make it octal.
    if text.isdecimal() and len(text) < 20 and (text[0] != "0" or len(text) == 1):
        value = int(text)
        if low <= value <= high:
            return value
        raise ValueError(f"must be a number from {low} to {high}, not {quote(text)}")
    value, rest = parse_uint_prefix(text, low, high)
    if rest:
        octal = text.lstrip(BLANKS + "+").startswith("0") and rest[0] in "89"
        hint = "a leading 0 makes a number octal" if octal else ""
        raise BadValue(f"must be a number from {low} to {high}, not {quote(text)}", hint=hint)
    return value


def parse_uint_prefix(text: str, low: int = 0, high: int = UINT32_MAX) -> tuple[int, str]:
    """Return the number that `text` begins with, and the text left over after it.

    Raises ValueError when `text` begins with no number or with one outside of `low` to `high`.
    """
    body = text.lstrip(BLANKS)
    if body[:1] == "+":
        body = body[1:]
    if body[:1] != "0":
        base, charset = 10, DIGITS
    elif body[1:2] in ("x", "X") and body[2:3] and body[2] in _HEX_DIGITS:
        base, charset = 16, _HEX_DIGITS
        body = body[2:]
    else:
        base, charset = 8, _OCTAL_DIGITS
    rest = body.lstrip(charset)
    digits = body[: len(body) - len(rest)]
    if digits:
        significant = digits.lstrip("0")
        # 22 octal digits hold 64 bits; more is out of any range, and int() refuses thousands of digits.
        value = int(significant or "0", base) if len(significant) <= 22 else UINT64_MAX + 1
        if low <= value <= high:
            return value, rest
    raise ValueError(f"must be a number from {low} to {high}, not {quote(text)}")


def parse_mark_mask(text: str) -> tuple[int, int]:
    """Return (value, mask) of ``VALUE[/MASK]``, 32 bits each; without a mask it is all ones.

    The form of `-m mark --mark`, `-m connmark --mark`, `-j MARK --set-mark` and their like.
    Bits of the value outside the mask are kept. Raises ValueError for any other form.
    """
    try:
        value, rest = parse_uint_prefix(text)
        mask = UINT32_MAX
        if rest[:1] == "/":
            mask, rest = parse_uint_prefix(rest[1:])
    except ValueError:
        rest = text or "?"
    if rest:
        raise ValueError(f"must be VALUE or VALUE/MASK, each from 0 to 0xffffffff, not {quote(text)}")
    return value, mask
