"""Numbers as C's own functions read them, for options that do without libxtables' checks.

These functions stop at the first character they do not know and say nothing; what the option makes of
the rest is its own matter.  The facts are those of the C standard and of glibc on 64 bits.
"""

from __future__ import annotations

import re

from iptkit.text.pattern import Pattern
from iptkit.values.numbers import BLANKS, DIGITS, UINT64_MAX

INT64_MAX = 0x7FFFFFFFFFFFFFFF

_HEX_DIGITS = "0123456789abcdefABCDEF"

_ANY_CASE = re.ASCII | re.IGNORECASE
_DECIMAL_FLOAT = Pattern(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_HEX_FLOAT = Pattern(r"[+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?\d+)?", _ANY_CASE)
_WORD_FLOAT = Pattern(r"([+-]?)(inf(?:inity)?|nan(?:\([0-9A-Za-z_]*\))?)", _ANY_CASE)


def leading_int(text: str) -> tuple[int, str]:
    """Return the decimal number `text` begins with, sign and all, and the text after it.

    As `strtoll` with base 10: blanks before it are skipped, and it is held within 64 bits.  Without a
    digit the number is 0 and the rest all of `text`.
    """
    body = text.lstrip(BLANKS)
    sign = -1 if body[:1] == "-" else 1
    if body[:1] in ("+", "-"):
        body = body[1:]
    rest = body.lstrip(DIGITS)
    digits = body[: len(body) - len(rest)]
    if not digits:
        return 0, text
    significant = digits.lstrip("0")
    value = int(significant or "0") if len(significant) < 20 else INT64_MAX + 1
    return (min(value, INT64_MAX) if sign > 0 else max(-value, -INT64_MAX - 1)), rest


def atoi(text: str) -> int:
    """Return what C's `atoi` makes of `text`: the low 32 bits of the number it begins with, as signed."""
    value = leading_int(text)[0] & 0xFFFFFFFF
    return value - 0x100000000 if value & 0x80000000 else value


def strtod(text: str) -> tuple[float, str]:
    """Return the floating-point number `text` begins with, and the text after it.

    Hexadecimal numbers, ``inf`` and ``nan`` count.  Without a number: 0.0 and all of `text`.
    """
    body = text.lstrip(BLANKS)
    if found := _HEX_FLOAT.match(body):
        try:
            value = float.fromhex(found[0])
        except OverflowError:
            value = float("-inf" if found[0][0] == "-" else "inf")
    elif found := _DECIMAL_FLOAT.match(body):
        value = float(found[0])
    elif found := _WORD_FLOAT.match(body):
        value = float(found[1] + found[2][:3])
    else:
        return 0.0, text
    return value, body[found.end() :]


def strtoul(text: str, base: int = 10) -> tuple[int, str]:
    """Return the unsigned number `text` begins with, and the text after it.

    `base` is 10, 16, or 0 for decimal, ``0x`` hexadecimal and ``0`` octal.  A minus wraps round at 2^64,
    what is too large is 2^64 - 1, and without a digit the number is 0 and the rest all of `text`.
    """
    body = text.lstrip(BLANKS)
    negative = body[:1] == "-"
    if body[:1] in ("+", "-"):
        body = body[1:]
    hexadecimal = body[:2] in ("0x", "0X") and body[2:3] != "" and body[2] in _HEX_DIGITS
    if hexadecimal and base in (0, 16):
        body, base = body[2:], 16
    elif base == 0:
        base = 8 if body[:1] == "0" else 10
    rest = body.lstrip(_HEX_DIGITS if base == 16 else DIGITS[:base])
    digits = body[: len(body) - len(rest)]
    if not digits:
        return 0, text
    significant = digits.lstrip("0")
    value = int(significant or "0", base) if len(significant) <= 22 else UINT64_MAX + 1
    if value > UINT64_MAX:
        return UINT64_MAX, rest
    return (-value & UINT64_MAX if negative else value), rest
