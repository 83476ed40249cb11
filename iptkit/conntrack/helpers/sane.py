"""SANE: a scanner server's answer to NET_START names a data port.

Facts: net/netfilter/nf_conntrack_sane.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.expect import ADDED, Expectation, Policy
from iptkit.conntrack.helpers.reading import dropped, established, tcp_data
from iptkit.extensions.world import ACCEPT
from iptkit.values.packet import TCP
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat
    from iptkit.values.packet import Packet

POLICY = Policy(1, 300)
_NET_START = 7  # the number of the remote procedure
_REQUEST = _ANSWER = 8  # bytes of a request; of the part of an answer that counts


def read(nat: Nat, packet: Packet, entry: Entry, direction: int, now: float) -> str:
    """Read a request or an answer."""
    start = tcp_data(packet) if established(packet) else -1
    if start < 0:
        return ACCEPT
    data = packet.data[start:]
    if entry.extra is None:
        entry.extra = {}
    if not direction:
        if len(data) == _REQUEST:
            entry.extra["sane"] = int.from_bytes(data[:4], "big") == _NET_START
        return ACCEPT
    if not entry.extra.get("sane"):
        return ACCEPT
    entry.extra["sane"] = False
    # status and a word that is zero, then the port
    if len(data) < _ANSWER or any(data[:6]):
        return ACCEPT
    original = entry.original
    port = data[6] << 8 | data[7]
    expectation = Expectation(entry, Tuple(original.family, original.src, 0, original.dst, port, TCP), POLICY)
    if nat.expectations.add(expectation, now) != ADDED:
        return dropped(nat, entry, "cannot add expectation")
    return ACCEPT
