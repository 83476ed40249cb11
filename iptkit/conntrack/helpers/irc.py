"""IRC: DCC offers ("PRIVMSG bob :\\1DCC SEND file 167772418 1025 99\\1").

Facts: net/netfilter/nf_conntrack_irc.c and nf_nat_irc.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.expect import ADDED, Expectation, Policy
from iptkit.conntrack.helpers.reading import (
    NATTED,
    dropped,
    established,
    find_port,
    mangle_tcp,
    number,
    tcp_data,
)
from iptkit.conntrack.nat import follow_master
from iptkit.extensions.world import ACCEPT
from iptkit.values.packet import TCP
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat
    from iptkit.values.packet import Packet

POLICY = Policy(8, 300)
_OFFERS = (b"SEND ", b"CHAT ", b"MOVE ", b"TSEND ", b"SCHAT ")
_READ_AT_MOST = 4095
_SHORTEST_OFFER = 26  # bytes that must follow: " :", "\1DCC ", a word of five, and its shortest arguments
_SHORTEST_ARGUMENTS = 12  # an address of eight digits, a space, a port, \1 and newline
_BLANKS = b" \r\n"


def read(nat: Nat, packet: Packet, entry: Entry, direction: int, now: float) -> str:
    """Read a segment from the client."""
    start = tcp_data(packet) if not direction and established(packet) else -1
    if start < 0:
        return ACCEPT
    data = bytes(packet.data[start : start + _READ_AT_MOST])
    end = len(data)
    at = 0
    while at < end - 10 and data[at] in _BLANKS:
        at += 1
    if at < end - 10:
        if data[at : at + 8].upper() != b"PRIVMSG ":
            return ACCEPT
        at += 8
    while at < end - _SHORTEST_OFFER:
        if data[at : at + 2] != b" :":
            at += 1
            continue
        at += 2
        if data[at : at + 5] != b"\1DCC ":
            return ACCEPT
        at += 5
        for word in _OFFERS:
            if data[at : at + len(word)] != word:
                continue
            at += len(word)
            offer = _offer(data, at)
            if offer is None:
                continue
            place, length, address, port = offer
            if not port or address not in (entry.original.src, entry.reply.dst):
                continue  # forged
            return _announced(nat, packet, entry, place, length, port, now)
    return ACCEPT


def _offer(data: bytes, at: int) -> tuple[int, int, int, int] | None:
    """Where address and port stand, how long that is, and both; `at` is after the offer's word."""
    end = len(data)
    while True:
        char = data[at : at + 1]
        at += 1
        if char == b" ":
            break
        if at > end - _SHORTEST_ARGUMENTS:
            return None
    if data.find(b"\n", at) < 0:
        return None
    start = at
    address, at = number(data, at)
    while data[at : at + 1] == b" ":
        if at >= end:
            return None
        at += 1
    port, at = number(data, at)
    return start, at - start, address & 0xFFFFFFFF, port & 0xFFFF


def _announced(nat: Nat, packet: Packet, entry: Entry, place: int, length: int, port: int, now: float) -> str:
    reply = entry.reply
    expectation = Expectation(entry, Tuple(4, 0, 0, reply.dst, port, TCP), POLICY, source_mask=0)
    if not entry.status & NATTED:
        if nat.expectations.add(expectation, now) != ADDED:
            return dropped(nat, entry, "cannot add expectation")
        return ACCEPT
    expectation.saved_port = port
    expectation.direction = 1
    expectation.on_arrival = follow_master
    port = find_port(nat, expectation, port, now)
    if not port:
        return dropped(nat, entry, "all ports in use")
    if not mangle_tcp(packet, entry, 0, place, length, f"{reply.dst} {port}".encode()):
        nat.expectations.remove(expectation)
        return dropped(nat, entry, "cannot mangle packet")
    return ACCEPT
