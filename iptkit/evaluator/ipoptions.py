"""Options of the IPv4 header, as the stack treats them on the way in, through and back.

Only packets that come in are looked at (ip_rcv_options), after the hook
PREROUTING; what goes out through a raw socket is sent as it is.  Facts:
net/ipv4/ip_options.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.checksum import checksum

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.values.packet import Packet

END, NOP, RECORD_ROUTE, TIMESTAMP, CIPSO = 0, 1, 7, 68, 134
LOOSE_SOURCE_ROUTE, STRICT_SOURCE_ROUTE = 131, 137
TIME_ONLY, TIME_AND_ADDRESS, TIME_PRESPECIFIED = 0, 1, 3  # kinds of timestamps (RFC 791)
_FIRST = 20  # where options begin in a header


class Refused(Exception):  # control flow
    """The options make no sense; `at` is the place in the header that a parameter problem points at."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class Options:
    """What is known of a packet's options.

    record, stamp, source_route, security   where such an option stands in the header, 0 for nowhere
    address_wanted   the record route has room for an address of this machine on the way out
    stamp_address, stamp_time   and so has the timestamp
    """

    __slots__ = (
        "address_wanted",
        "changed",
        "record",
        "security",
        "source_route",
        "stamp",
        "stamp_address",
        "stamp_time",
    )

    def __init__(self) -> None:
        self.record = self.stamp = self.source_route = self.security = 0
        self.address_wanted = self.stamp_address = self.stamp_time = self.changed = False

    def read(self, packet: Packet, own: int, now: float, unicast: Callable[[int], bool]) -> None:
        """Note the options of a packet that came in, and write into them what is due here.

        `own` is the address by which this machine would answer; `unicast`
        tells whether an address is another machine's.  The header's checksum
        is left as it was.  Raises Refused.
        """
        data, end = packet.data, packet.l4
        at = _FIRST
        while at < end:
            kind = data[at]
            if kind == END:
                if any(data[at:end]):
                    data[at:end] = bytes(end - at)
                    self.changed = True
                return
            if kind == NOP:
                at += 1
                continue
            if end - at < 2:
                raise Refused(at)
            size = data[at + 1]
            if size < 2 or size > end - at:
                raise Refused(at)
            if kind in (LOOSE_SOURCE_ROUTE, STRICT_SOURCE_ROUTE):
                _check(size >= 3, at + 1)
                _check(data[at + 2] >= 4, at + 2)
                _check(not self.source_route, at)
                self.source_route = at
            elif kind == RECORD_ROUTE:
                self._read_record(data, at, size, own)
            elif kind == TIMESTAMP:
                self._read_stamp(data, at, size, own, now, unicast)
            elif kind == CIPSO:
                _check(not self.security, at)
                self.security = at
                # Too short, or of a domain of interpretation that nobody set up (cipso_v4_validate).
                raise Refused(at + (1 if size < 8 else 2))
            at += size

    def _read_record(self, data: bytearray, at: int, size: int, own: int) -> None:
        _check(not self.record, at)
        _check(size >= 3, at + 1)
        pointer = data[at + 2]
        _check(pointer >= 4, at + 2)
        if pointer <= size:
            _check(pointer + 3 <= size, at + 2)
            data[at + pointer - 1 : at + pointer + 3] = own.to_bytes(4, "big")
            data[at + 2] += 4
            self.address_wanted = self.changed = True
        self.record = at

    def _read_stamp(
        self, data: bytearray, at: int, size: int, own: int, now: float, unicast: Callable[[int], bool]
    ) -> None:
        _check(not self.stamp, at)
        _check(size >= 4, at + 1)
        pointer = data[at + 2]
        _check(pointer >= 5, at + 2)
        kind = data[at + 3] & 15
        if pointer <= size:
            _check(pointer + 3 <= size, at + 2)
            place = 0
            if kind == TIME_ONLY:
                place = at + pointer - 1
                data[at + 2] += 4
                self.stamp_time = True
            elif kind in (TIME_AND_ADDRESS, TIME_PRESPECIFIED):
                _check(pointer + 7 <= size, at + 2)
                if kind == TIME_AND_ADDRESS:
                    data[at + pointer - 1 : at + pointer + 3] = own.to_bytes(4, "big")
                    self.stamp_address = True
                elif unicast(int.from_bytes(data[at + pointer - 1 : at + pointer + 3], "big")):
                    self.stamp = at
                    return
                place = at + pointer + 3
                self.stamp_time = True
                data[at + 2] += 8
            if place:
                data[place : place + 4] = time_stamp(now)
                self.changed = True
        elif kind != TIME_PRESPECIFIED:
            overflow = data[at + 3] >> 4
            _check(overflow != 15, at + 3)
            data[at + 3] = kind | overflow + 1 << 4
            self.changed = True
        self.stamp = at

    def forward(self, packet: Packet, own: int) -> None:
        """Write in the address it leaves by, and make the checksum right (ip_forward_options)."""
        data = packet.data
        if self.address_wanted:
            place = self.record + data[self.record + 2] - 5
            data[place : place + 4] = own.to_bytes(4, "big")
            self.changed = True
        if self.stamp_address:
            place = self.stamp + data[self.stamp + 2] - 9
            data[place : place + 4] = own.to_bytes(4, "big")
            self.changed = True
        if self.changed:
            self.changed = False
            data[10:12] = bytes(2)
            data[10:12] = checksum(data[: packet.l4]).to_bytes(2, "big")

    def echo(self, packet: Packet, own: int, now: float) -> bytes:
        """The options of an answer to the packet, sent from `own` (ip_options_echo, ip_options_build)."""
        data = packet.data
        out = bytearray()
        if self.record:
            size, pointer = data[self.record + 1], data[self.record + 2]
            copied = data[self.record : self.record + size]
            if self.address_wanted and pointer + 3 <= size:
                copied[pointer - 1 : pointer + 3] = own.to_bytes(4, "big")
                copied[2] = pointer + 4
            out += copied
        if self.stamp:
            out += self._echoed_stamp(data, own, now)
        if self.security:
            out += data[self.security : self.security + data[self.security + 1]]
        return bytes(out + bytes(-len(out) % 4))

    def _echoed_stamp(self, data: bytearray, own: int, now: float) -> bytearray:
        size, pointer = data[self.stamp + 1], data[self.stamp + 2]
        copied = data[self.stamp : self.stamp + size]
        if pointer > size:
            return copied
        if self.stamp_address and pointer + 3 <= size:
            copied[pointer - 1 : pointer + 3] = own.to_bytes(4, "big")
            pointer += 4
        if self.stamp_time and pointer + 3 <= size and copied[3] & 15 != TIME_PRESPECIFIED:
            copied[pointer - 1 : pointer + 3] = time_stamp(now)
            pointer += 4
        copied[2] = pointer
        return copied


def _check(fine: bool, at: int) -> None:
    if not fine:
        raise Refused(at)


def time_stamp(now: float) -> bytes:
    """Milliseconds since midnight, UTC (RFC 791)."""
    return (int(now * 1000) % 86_400_000).to_bytes(4, "big")
