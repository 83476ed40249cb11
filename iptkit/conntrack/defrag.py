"""Fragments: put together before anything looks at them, and cut again on the way out.

Facts: net/ipv4/ip_fragment.c, net/ipv4/inet_fragment.c, net/ipv4/ip_output.c,
net/ipv6/netfilter/nf_conntrack_reasm.c, net/ipv6/ip6_output.c, Linux 6.18.
Tracking needs whole packets, so nf_defrag_ipv4 and nf_defrag_ipv6 collect them
ahead of every table, at priority -400; what goes out has the sizes that came in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.checksum import checksum
from iptkit.values.packet import (
    DESTINATION,
    FRAGMENT,
    HOP_BY_HOP,
    ICMPV6,
    ROUTING,
    TCP,
    UDP,
    Malformed,
)

if TYPE_CHECKING:
    from iptkit.values.context import Family
    from iptkit.values.packet import Packet

TIMEOUT4 = 30.0  # seconds, net.ipv4.ipfrag_time
TIMEOUT6 = 60.0  # seconds, net.netfilter.nf_conntrack_frag6_timeout
LONGEST = 65535
MIN_MTU6 = 1280

_NOT_ECT, _ECT1, _ECT0, _CE = 1, 2, 4, 8  # bits of the ECN marks that fragments carried


class _Queue:
    """The fragments of one datagram that have come so far."""

    __slots__ = ("deadline", "ecn", "first", "largest", "largest_df", "last_seen", "length", "pieces", "runs")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.first: Packet | None = None  # the one with offset 0
        self.last_seen = False
        self.length = 0
        self.pieces: dict[int, bytes] = {}  # by offset
        self.runs: list[list[int]] = []  # [start, end] of what came one after another, in order of arrival
        self.largest = self.largest_df = 0
        self.ecn = 0

    def insert(self, offset: int, piece: bytes) -> str:
        """Take a piece: "" if it fits, "duplicate" if a run holds it already, else "overlap"."""
        end = offset + len(piece)
        tail = max(self.runs, key=lambda run: run[1], default=None)
        if tail is None or tail[1] < end:
            if tail is not None and offset < tail[1]:
                return "overlap"
            if tail is not None and offset == tail[1]:
                tail[1] = end
            else:
                self.runs.append([offset, end])
        else:
            for start, stop in self.runs:
                if end <= start or offset >= stop:
                    continue
                return "duplicate" if start <= offset and end <= stop else "overlap"
            self.runs.append([offset, end])
        self.pieces[offset] = piece
        return ""

    @property
    def complete(self) -> bool:
        return (
            self.last_seen
            and self.first is not None
            and sum(len(piece) for piece in self.pieces.values()) == self.length
        )


class Defragmenter:
    """Fragments in waiting.  `timeout`: how long they may wait for each other, in seconds."""

    __slots__ = ("queues", "timeout")

    def __init__(self, family: Family, timeout: float | None = None) -> None:
        self.queues: dict[tuple[int, ...], _Queue] = {}
        self.timeout = timeout or (TIMEOUT4 if family == 4 else TIMEOUT6)

    def add(self, packet: Packet, now: float) -> Packet | None:
        """The packet itself, or the datagram it completes; None: it waits, or is thrown away.

        A reassembled packet says in `fragment_sizes` what it came in as.
        """
        if packet.family == 4:
            if not packet.is_fragment:
                return packet
            return self._gather4(packet, now)
        at = next((header.at for header in packet.headers if header.type == FRAGMENT), -1)
        if at < 0:
            return packet
        return self._gather6(packet, at, now)

    def expire(self, now: float) -> None:
        """Throw away what has waited too long."""
        for key in [key for key, queue in self.queues.items() if queue.deadline <= now]:
            del self.queues[key]

    def _queue(self, key: tuple[int, ...], now: float) -> _Queue:
        queue = self.queues.get(key)
        if queue is None or queue.deadline <= now:
            queue = self.queues[key] = _Queue(now + self.timeout)
        return queue

    def _gather4(self, packet: Packet, now: float) -> Packet | None:
        key = (4, packet.src, packet.dst, packet.proto, packet.ip_id)
        queue = self._queue(key, now)
        offset = packet.fragment_offset
        end = offset + packet.length - packet.l4
        if not packet.more_fragments:
            if end < queue.length or (queue.last_seen and end != queue.length):
                del self.queues[key]
                return None
            queue.last_seen = True
            queue.length = end
        else:
            end &= ~7
            if end > queue.length:
                if queue.last_seen:
                    del self.queues[key]
                    return None
                queue.length = end
        if end == offset:
            del self.queues[key]
            return None
        piece = bytes(packet.data[packet.l4 : packet.l4 + end - offset])
        trouble = queue.insert(offset, piece)
        if trouble:
            if trouble == "overlap":
                del self.queues[key]
            return None
        size = len(piece) + packet.l4
        queue.largest = max(queue.largest, size)
        if packet.dont_fragment:
            queue.largest_df = max(queue.largest_df, size)
        queue.ecn |= 1 << (packet.tos & 3)
        if not offset:
            queue.first = packet
        if not queue.complete:
            return None
        del self.queues[key]
        return _whole4(queue)

    def _gather6(self, packet: Packet, at: int, now: float) -> Packet | None:
        if packet.length == 40 or _header_cut(packet):
            return packet
        key = (6, packet.src, packet.dst, packet.ip_id)
        queue = self._queue(key, now)
        offset = packet.fragment_offset
        end = offset + packet.length - at - 8
        if end > LONGEST:
            return None
        if not packet.more_fragments:
            if end < queue.length or (queue.last_seen and end != queue.length):
                return None
            queue.last_seen = True
            queue.length = end
        else:
            if end & 7:
                del self.queues[key]
                return None
            if end > queue.length:
                if queue.last_seen:
                    return None
                queue.length = end
        if end == offset:
            return None
        trouble = queue.insert(offset, bytes(packet.data[at + 8 : packet.length]))
        if trouble:
            if trouble == "overlap":
                del self.queues[key]
            return None
        queue.largest = max(queue.largest, packet.length)
        queue.ecn |= 1 << (packet.tos & 3)
        if not offset:
            queue.first = packet
        if not queue.complete:
            return None
        del self.queues[key]
        return _whole6(queue)


# How much of the upper layer a first IPv6 fragment must hold (ipv6frag_thdr_truncated)
_WHOLE_HEADER = {TCP: 20, UDP: 8, ICMPV6: 8}


def _header_cut(packet: Packet) -> bool:
    """Is it a first fragment that ends within its upper header?  It goes its way alone (RFC 8200)."""
    if packet.fragment_offset:
        return False
    return bool(packet.length < packet.l4 + _WHOLE_HEADER.get(packet.proto, 1))


def _ecn(seen: int) -> int | None:
    """The mark of a datagram whose fragments carried these (RFC 3168 section 5.3); None: throw it away."""
    if not seen & _CE and (seen & _NOT_ECT) in (0, seen):
        return 0
    if seen & _NOT_ECT:
        return None
    return 3 if seen != _CE else 0


def _pieces(queue: _Queue) -> list[bytes]:
    return [piece for _, piece in sorted(queue.pieces.items())]


def _whole4(queue: _Queue) -> Packet | None:
    first = queue.first
    assert first is not None
    mark = _ecn(queue.ecn)
    pieces = _pieces(queue)
    length = first.l4 + queue.length
    if mark is None or length > LONGEST:
        return None
    data = first.data[: first.l4]
    data[1] |= mark
    data[2:4] = length.to_bytes(2, "big")
    data[6:8] = b"\x40\x00" if queue.largest_df == queue.largest else b"\x00\x00"
    data[10:12] = b"\x00\x00"
    data[10:12] = checksum(data).to_bytes(2, "big")
    return _rebuilt(first, data, pieces)


def _whole6(queue: _Queue) -> Packet | None:
    first = queue.first
    assert first is not None
    mark = _ecn(queue.ecn)
    start = next(header.at for header in first.headers if header.type == FRAGMENT)
    length = start + queue.length
    if mark is None or length - 40 > LONGEST:
        return None
    data = first.data[:start]
    # The header before takes over what the fragment header said comes next.
    before = [header for header in first.headers if header.at < start]
    data[before[-1].at if before else 6] = first.data[start]
    data[4:6] = (length - 40).to_bytes(2, "big")
    data[1] |= mark << 4
    whole = _rebuilt(first, data, _pieces(queue))
    if whole is not None:
        whole.ip_id = first.ip_id
    return whole


def _rebuilt(first: Packet, header: bytearray, pieces: list[bytes]) -> Packet | None:
    whole = first.copy()
    whole.data = header + b"".join(pieces)
    try:
        whole.reread()
    except Malformed:
        return None
    whole.fragment_sizes = tuple(len(piece) for piece in pieces) if len(pieces) > 1 else ()
    return whole


# -- and out again


def largest_fragment(packet: Packet) -> int:
    """The whole length of the largest fragment a packet came in; 0 where it came in one piece."""
    sizes = packet.fragment_sizes
    if not sizes:
        return 0
    return max(sizes) + (packet.l4 if packet.family == 4 else 8 + _unfragmentable(packet)[0])


def must_fragment(packet: Packet, mtu: int) -> bool:
    """Does the packet leave in fragments, or not at all?"""
    if packet.family == 4:
        return packet.length > mtu or bool(packet.fragment_sizes)
    return bool(packet.length > mtu or 0 < largest_fragment(packet) < packet.length)


def fragments(packet: Packet, mtu: int, *, local: bool = False) -> list[Packet] | None:
    """The fragments a packet leaves in, if it must; None: it is too big (ICMP must say so).

    `local` packets of IPv6 may be cut by the machine that sends them; routers
    cut only what came in fragments.
    """
    if packet.family == 4:
        return _cut4(packet, mtu)
    return _cut6(packet, mtu, local)


def _fits(packet: Packet, header: int, room: int) -> bool:
    """Can the pieces leave in the sizes they came in?

    Not where the stack has pulled TCP's header together (tcp_v4_early_demux).
    """
    sizes = packet.fragment_sizes
    if packet.proto == TCP and sizes and sizes[0] < 20:
        return False
    return (
        bool(sizes)
        and sum(sizes) == packet.length - header
        and all(size <= room for size in sizes)
        and not any(size & 7 for size in sizes[:-1])
    )


def _cuts(length: int, room: int) -> list[int]:
    """All but the last are whole multiples of eight (ip_frag_next)."""
    cuts = []
    while length > room:
        cuts.append(room & ~7)
        length -= room & ~7
    return [*cuts, length]


def _cut4(packet: Packet, mtu: int) -> list[Packet] | None:
    header = packet.l4
    sizes = packet.fragment_sizes
    largest = largest_fragment(packet)
    keep_df = False
    if packet.dont_fragment:
        if not largest or largest > mtu:
            return None
        keep_df = True
    room = (min(mtu, largest) if largest else mtu) - header
    body = packet.data[header : packet.length]
    if _fits(packet, header, room):
        keep_df = False  # the kernel's short cut forgets it
        cuts = list(sizes)
    else:
        cuts = _cuts(len(body), room)
    out = []
    offset = 0
    for size in cuts:
        data = packet.data[:header]
        if offset:
            _later_options(data)
        data[2:4] = (header + size).to_bytes(2, "big")
        more = offset + size < len(body)
        word = offset >> 3 | (0x2000 if more else 0) | (0x4000 if keep_df else 0)
        data[6:8] = word.to_bytes(2, "big")
        data[10:12] = b"\x00\x00"
        data[10:12] = checksum(data).to_bytes(2, "big")
        out.append(_piece(packet, data + body[offset : offset + size]))
        offset += size
    return out


def _later_options(header: bytearray) -> None:
    """Options that only the first fragment carries become NOPs in the others (ip_options_fragment)."""
    at = 20
    while at < len(header):
        kind = header[at]
        if kind == 0:
            return
        if kind == 1:
            at += 1
            continue
        if at + 1 >= len(header) or header[at + 1] < 2 or at + header[at + 1] > len(header):
            return
        size = header[at + 1]
        if not kind & 0x80:
            header[at : at + size] = b"\x01" * size
        at += size


def _unfragmentable(packet: Packet) -> tuple[int, int]:
    """Where a fragment header goes, and where the number of what follows stands (ip6_find_1stfragopt)."""
    data = packet.data
    at, number = 40, 6
    routed = False
    while data[number] in (HOP_BY_HOP, ROUTING, DESTINATION) and at + 8 <= len(data):
        if data[number] == ROUTING:
            routed = True
        elif data[number] == DESTINATION and routed:
            break
        number, at = at, at + (data[at + 1] + 1) * 8
    return at, number


def _cut6(packet: Packet, mtu: int, local: bool) -> list[Packet] | None:
    header, number = _unfragmentable(packet)
    sizes = packet.fragment_sizes
    if sizes:
        largest = largest_fragment(packet)
        if largest > mtu:
            return None
        room = max(largest, MIN_MTU6)
    elif local:
        room = mtu
    else:
        return None
    room -= header + 8
    body = packet.data[header : packet.length]
    cuts = list(sizes) if _fits(packet, header, room) else _cuts(len(body), room)
    out = []
    offset = 0
    following = packet.data[number]
    # The kernel takes one at random (ipv6_select_ident); never the one it came in with.
    new_id = (~packet.ip_id & 0xFFFFFFFF).to_bytes(4, "big")
    for size in cuts:
        data = packet.data[:header]
        data[number] = FRAGMENT
        data[4:6] = (header - 40 + 8 + size).to_bytes(2, "big")
        more = offset + size < len(body)
        data += bytes((following, 0)) + (offset | more).to_bytes(2, "big") + new_id
        out.append(_piece(packet, data + body[offset : offset + size]))
        offset += size
    return out


def _piece(packet: Packet, data: bytearray) -> Packet:
    new = packet.copy()
    new.data = data
    new.reread()
    new.fragment_sizes = ()
    return new
