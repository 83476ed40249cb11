"""Amanda: a backup client's answer names the ports of its streams ("CONNECT DATA 850 MESG 851 INDEX 852").

Facts: net/netfilter/nf_conntrack_amanda.c and nf_nat_amanda.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.expect import ADDED, Expectation, Policy
from iptkit.conntrack.helpers.reading import (
    NATTED,
    dropped,
    find_port,
    mangle_udp,
    number,
    refresh,
    udp_data,
)
from iptkit.conntrack.nat import follow_master
from iptkit.extensions.world import ACCEPT
from iptkit.values.packet import TCP
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat
    from iptkit.values.packet import Packet

POLICY = Policy(4, 180)
MASTER_TIMEOUT = 300  # seconds: answers may take long
_STREAMS = (b"DATA ", b"MESG ", b"INDEX ", b"STATE ")


def read(nat: Nat, packet: Packet, entry: Entry, direction: int, now: float) -> str:
    """Read an answer."""
    if not direction:
        return ACCEPT
    refresh(entry, MASTER_TIMEOUT, now)
    start = udp_data(packet)
    if start < 0:
        return ACCEPT
    at = packet.data.find(b"CONNECT ", start)
    if at < 0:
        return ACCEPT
    at += len(b"CONNECT ")
    stop = packet.data.find(b"\n", at)
    if stop < 0:
        return ACCEPT
    verdict = ACCEPT
    for stream in _STREAMS:
        data = bytes(packet.data)
        place = data.find(stream, at, stop + len(stream))
        if place < 0:
            continue
        place += len(stream)
        port, end = number(data[: min(stop, place + 5)], place)
        port &= 0xFFFF
        if not port:
            break
        verdict = _announced(nat, packet, entry, place - start, end - place, port, now)
    return verdict


def _announced(nat: Nat, packet: Packet, entry: Entry, place: int, length: int, port: int, now: float) -> str:
    original = entry.original
    expectation = Expectation(entry, Tuple(original.family, original.src, 0, original.dst, port, TCP), POLICY)
    if original.family != 4 or not entry.status & NATTED:
        if nat.expectations.add(expectation, now) != ADDED:
            return dropped(nat, entry, "cannot add expectation")
        return ACCEPT
    expectation.saved_port = port
    expectation.direction = 0
    expectation.on_arrival = follow_master
    port = find_port(nat, expectation, port, now)
    if not port:
        return dropped(nat, entry, "all ports in use")
    if not mangle_udp(packet, place, length, str(port).encode()):
        nat.expectations.remove(expectation)
        return dropped(nat, entry, "cannot mangle packet")
    return ACCEPT
