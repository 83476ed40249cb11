"""The checksums of IP and of what it carries (RFC 1071), their incremental update (RFC 1624), and CRC-32C."""

from __future__ import annotations

import functools


def ones_sum(data: bytes | bytearray, start: int = 0) -> int:
    """The sum of the 16-bit words of `data`, folded; an odd last byte counts as the high one."""
    # A whole number is its 16-bit digits' sum modulo 0xffff, since 0x10000 is 1 there.
    total = int.from_bytes(data, "big")
    if len(data) & 1:
        total <<= 8
    total += start
    if not total:
        return 0
    return total % 0xFFFF or 0xFFFF


def checksum(data: bytes | bytearray, start: int = 0) -> int:
    """What the checksum field holds: the complement of the sum (RFC 1071); `start` is a pseudo header's."""
    return ~ones_sum(data, start) & 0xFFFF


def updated(old: int, was: int, now: int) -> int:
    """The checksum after data that summed up to `was` became `now` (RFC 1624, equation 3).

    A wrong checksum stays wrong by as much.
    """
    # A sum of ones' complements that is not all zeros folds to what it is modulo 0xffff, and never to 0.
    return 0xFFFF - ((now - was - old) % 0xFFFF or 0xFFFF)


def mend(data: bytearray, at: int, was: int, now: int) -> None:
    """Update the checksum that stands at `at`, as `updated` does."""
    new = updated(data[at] << 8 | data[at + 1], was, now)
    data[at], data[at + 1] = new >> 8, new & 0xFF


def pseudo_sum(src: bytes, dst: bytes, proto: int, length: int) -> int:
    """The pseudo header's share of an upper-layer checksum (RFC 793, RFC 8200 section 8.1)."""
    return ones_sum(src + dst, proto + (length & 0xFFFF) + (length >> 16))


@functools.cache
def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901  # a shift register
        table.append(value)
    return tuple(table)


def crc32c(data: bytes | bytearray) -> int:
    """SCTP's checksum (RFC 9260, appendix A), as a number to be stored little-endian."""
    table = _crc32c_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
