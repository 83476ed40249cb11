"""TFTP: the answer to a request comes from another port of the server.

Facts: net/netfilter/nf_conntrack_tftp.c and nf_nat_tftp.c, Linux 6.18; RFC 1350.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.expect import ADDED, Expectation, Policy
from iptkit.conntrack.helpers.reading import NATTED, dropped
from iptkit.conntrack.nat import follow_master
from iptkit.extensions.world import ACCEPT
from iptkit.values.packet import UDP
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat
    from iptkit.values.packet import Packet

POLICY = Policy(1, 300)
_READ, _WRITE = 1, 2


def read(nat: Nat, packet: Packet, entry: Entry, direction: int, now: float) -> str:
    """Read a datagram."""
    data, at = packet.data, packet.l4 + 8
    if len(data) < at + 2 or (data[at] << 8 | data[at + 1]) not in (_READ, _WRITE):
        return ACCEPT
    reply = entry.reply
    expectation = Expectation(
        entry, Tuple(reply.family, reply.src, 0, reply.dst, reply.destination, UDP), POLICY
    )
    if entry.status & NATTED:
        expectation.saved_port = entry.original.source
        expectation.direction = 1
        expectation.on_arrival = follow_master
    if nat.expectations.add(expectation, now) != ADDED:
        return dropped(nat, entry, "cannot add expectation")
    return ACCEPT
