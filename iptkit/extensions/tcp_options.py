"""Walking and rewriting the options of a TCP header; those of DCCP are laid out alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.world import HotDrop
from iptkit.values.checksum import updated

if TYPE_CHECKING:
    from iptkit.values.packet import Packet


def option_length(data: bytearray, at: int) -> int:
    """How long the option there is; one of no length counts as a byte, so that walks end."""
    if data[at] <= 1 or at + 1 >= len(data):
        return 1
    return data[at + 1] or 1


def has_option(data: bytearray, at: int, end: int, kind: int) -> bool:
    """Is the option between `at` and `end`?  Raises HotDrop where the header's length is wrong."""
    if end < at or len(data) < end:
        raise HotDrop
    while at < end:
        if data[at] == kind:
            return True
        at += option_length(data, at)
    return False


def set_upper_bytes(packet: Packet, offset: int, new: bytes) -> None:
    """Rewrite bytes of a TCP header at any offset, its checksum with them."""
    data, place = packet.data, packet.l4 + 16
    total = data[place] << 8 | data[place + 1]
    at = packet.l4 + offset
    for index, byte in enumerate(new):
        shift = 0 if (offset + index) % 2 else 8
        total = updated(total, data[at + index] << shift, byte << shift)
    data[at : at + len(new)] = new
    data[place : place + 2] = total.to_bytes(2, "big")


__all__ = ["has_option", "option_length", "set_upper_bytes"]
