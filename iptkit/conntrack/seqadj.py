"""TCP sequence numbers after a NAT helper changed the length of what was said.

Facts: net/netfilter/nf_conntrack_seqadj.c, Linux 6.18.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from iptkit.extensions.world import SEQ_ADJUST
from iptkit.values.checksum import updated

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.values.packet import Packet

_MASK = 0xFFFFFFFF
_SACK, _NOP, _END = 5, 1, 0
_BLOCK = 8  # bytes of one selective acknowledgement


def after(one: int, other: int) -> bool:
    """Does sequence number `one` come after `other` (RFC 1982 arithmetic)?"""
    return 0 < ((one - other) & _MASK) < 0x80000000


class Shift:
    """By how much one direction is shifted, before and after the last place that changed its length."""

    __slots__ = ("after", "before", "position")

    def __init__(self) -> None:
        self.position = self.before = self.after = 0

    def at(self, seq: int) -> int:
        """The shift of a sequence number."""
        return self.after if after(seq, self.position) else self.before

    def undone(self, seq: int) -> int:
        """A sequence number that the other side named, as this side knows it."""
        shift = self.after if after(seq - self.before & _MASK, self.position) else self.before
        return seq - shift & _MASK


class Shifts:
    """The shifts of both directions; kept as `extra["seqadj"]` of an entry."""

    __slots__ = ("directions",)

    def __init__(self) -> None:
        self.directions = (Shift(), Shift())

    def offset(self, direction: int, seq: int) -> int:
        """By how much a sequence number of this direction is shifted (nf_ct_seq_offset)."""
        return self.directions[direction].at(seq)


def shifts(entry: Entry) -> Shifts | None:
    """What a connection is shifted by; None: no helper of it can have."""
    return entry.extra.get("seqadj") if entry.extra else None


def prepare(entry: Entry) -> Shifts:
    """Make room for shifts: NAT does so for a connection with a helper."""
    if entry.extra is None:
        entry.extra = {}
    found: Shifts = entry.extra.setdefault("seqadj", Shifts())
    return found


def shift(entry: Entry, direction: int, seq: int, change: int) -> None:
    """The segment with this sequence number became `change` bytes longer."""
    if not change:
        return
    entry.status |= SEQ_ADJUST
    this = prepare(entry).directions[direction]
    # Not for a retransmission of what was counted already.
    if this.before == this.after or after(seq, this.position):
        this.position = seq
        this.before = this.after
        this.after += change


def adjust(packet: Packet, entry: Entry, direction: int) -> bool:
    """Shift the packet's sequence numbers; False: its options are broken, drop it (nf_ct_seq_adjust)."""
    both = shifts(entry)
    data, at = packet.data, packet.l4
    if both is None or len(data) < at + 20:
        return False
    this, other = both.directions[direction], both.directions[not direction]
    seq, ack = struct.unpack_from("!II", data, at + 4)
    _rewrite(packet, 4, seq + this.at(seq) & _MASK)
    _rewrite(packet, 8, other.undone(ack))
    return _adjust_sack(packet, other)


def _rewrite(packet: Packet, offset: int, value: int) -> None:
    """Rewrite 32 bits of the TCP header, and the checksum.

    As the kernel does it even where the offset is odd, after which the
    checksum is wrong (inet_proto_csum_replace4 in nf_ct_sack_block_adjust).
    """
    data, at = packet.data, packet.l4 + offset
    was = int.from_bytes(data[at : at + 4], "big")
    data[at : at + 4] = value.to_bytes(4, "big")
    field = packet.l4 + 16
    data[field : field + 2] = updated(data[field] << 8 | data[field + 1], was, value).to_bytes(2, "big")


def _adjust_sack(packet: Packet, other: Shift) -> bool:
    data = packet.data
    at, end = 20, (data[packet.l4 + 12] >> 4) * 4
    if len(data) < packet.l4 + end:
        return False
    while at < end:
        kind = data[packet.l4 + at]
        if kind == _END:
            return True
        if kind == _NOP:
            at += 1
            continue
        if at + 1 == end:
            return False
        length = data[packet.l4 + at + 1]
        if length < 2 or at + length > end:
            return False
        if kind == _SACK and length > _BLOCK and (length - 2) % _BLOCK == 0:
            for edge in range(at + 2, at + length, 4):
                seq = int.from_bytes(data[packet.l4 + edge : packet.l4 + edge + 4], "big")
                _rewrite(packet, edge, other.undone(seq))
        at += length
    return True
