"""Bob Jenkins' lookup3, as the kernel hashes with it (include/linux/jhash.h).

Words are the host's, little-endian here: bytes of a packet that the kernel
hashes as they lie in memory are read little-endian, too.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF
INITVAL = 0xDEADBEEF  # JHASH_INITVAL


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = (a - c ^ (c << 4 | c >> 28)) & _MASK
    c = c + b & _MASK
    b = (b - a ^ (a << 6 | a >> 26)) & _MASK
    a = a + c & _MASK
    c = (c - b ^ (b << 8 | b >> 24)) & _MASK
    b = b + a & _MASK
    a = (a - c ^ (c << 16 | c >> 16)) & _MASK
    c = c + b & _MASK
    b = (b - a ^ (a << 19 | a >> 13)) & _MASK
    a = a + c & _MASK
    c = (c - b ^ (b << 4 | b >> 28)) & _MASK
    b = b + a & _MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = (c ^ b) - (b << 14 | b >> 18) & _MASK
    a = (a ^ c) - (c << 11 | c >> 21) & _MASK
    b = (b ^ a) - (a << 25 | a >> 7) & _MASK
    c = (c ^ b) - (b << 16 | b >> 16) & _MASK
    a = (a ^ c) - (c << 4 | c >> 28) & _MASK
    b = (b ^ a) - (a << 14 | a >> 18) & _MASK
    return (c ^ b) - (b << 24 | b >> 8) & _MASK


def jhash(data: bytes, initval: int = 0) -> int:
    """Hash bytes of any length."""
    length = len(data)
    a = b = c = INITVAL + length + initval & _MASK
    at = 0
    while length - at > 12:
        a = a + int.from_bytes(data[at : at + 4], "little") & _MASK
        b = b + int.from_bytes(data[at + 4 : at + 8], "little") & _MASK
        c = c + int.from_bytes(data[at + 8 : at + 12], "little") & _MASK
        a, b, c = _mix(a, b, c)
        at += 12
    if at == length:
        return c
    a = a + int.from_bytes(data[at : at + 4], "little") & _MASK
    b = b + int.from_bytes(data[at + 4 : at + 8], "little") & _MASK
    c = c + int.from_bytes(data[at + 8 : at + 12], "little") & _MASK
    return _final(a, b, c)


def jhash2(words: tuple[int, ...] | list[int], initval: int = 0) -> int:
    """Hash whole 32-bit words."""
    count = len(words)
    a = b = c = INITVAL + (count << 2) + initval & _MASK
    at = 0
    while count - at > 3:
        a = a + words[at] & _MASK
        b = b + words[at + 1] & _MASK
        c = c + words[at + 2] & _MASK
        a, b, c = _mix(a, b, c)
        at += 3
    left = count - at
    if not left:
        return c
    a = a + words[at] & _MASK
    if left > 1:
        b = b + words[at + 1] & _MASK
    if left > 2:
        c = c + words[at + 2] & _MASK
    return _final(a, b, c)


def _words(a: int, b: int, c: int, initval: int) -> int:
    return _final(a + initval & _MASK, b + initval & _MASK, c + initval & _MASK)


def jhash_3words(a: int, b: int, c: int, initval: int = 0) -> int:
    return _words(a, b, c, INITVAL + 12 + initval)


def jhash_2words(a: int, b: int, initval: int = 0) -> int:
    return _words(a, b, 0, INITVAL + 8 + initval)


def jhash_1word(a: int, initval: int = 0) -> int:
    return _words(a, 0, 0, INITVAL + 4 + initval)


def reciprocal_scale(value: int, end: int) -> int:
    """A 32-bit value spread over 0 ... end - 1 (include/linux/kernel.h)."""
    return value * end >> 32
