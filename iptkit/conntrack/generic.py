"""Protocols without a tracker of their own; DCCP is among them since Linux 6.17.

Facts: net/netfilter/nf_conntrack_proto_generic.c, Linux 6.18.  One timeout,
no ports, never ASSURED.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.tracker import Tracker
    from iptkit.values.packet import Packet


def packet(tracker: Tracker, entry: Entry, packet: Packet, direction: int, now: float) -> int:
    """Any packet renews the timeout."""
    tracker.refresh(entry, packet, direction, tracker.timeouts(entry, "generic_timeouts")[0], now)
    return 1
