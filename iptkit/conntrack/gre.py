"""GRE: keys are looked at for PPTP's calls alone.

Facts: net/netfilter/nf_conntrack_proto_gre.c, Linux 6.18.  Version 0, whose
key RFC 2890 defines, is tracked by addresses only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.settings import REPLIED, UNREPLIED
from iptkit.extensions.world import ASSURED, CONFIRMED, NAT_CLASH, SEEN_REPLY
from iptkit.values.packet import GRE
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.tracker import Tracker
    from iptkit.values.packet import Packet

PPP = 0x880B  # the protocol GRE version 1 carries, RFC 2637


def tuple_at(
    tracker: Tracker, family: int, src: int, dst: int, data: bytes | bytearray, at: int
) -> Tuple | None:
    """The tuple: of version 1 the call id is the destination key, and the source key what PPTP agreed on."""
    if len(data) < at + 4 or data[at + 1] & 7 != 1:
        return Tuple(family, src, 0, dst, 0, GRE)
    if len(data) < at + 8:
        return Tuple(family, src, 0, dst, 0, GRE)
    if data[at + 2] << 8 | data[at + 3] != PPP:
        return None
    call = data[at + 6] << 8 | data[at + 7]
    key = tracker.keymap.get(Tuple(family, src, 0, dst, call, GRE), 0)
    return Tuple(family, src, key, dst, call, GRE)


def packet(tracker: Tracker, entry: Entry, packet: Packet, direction: int, now: float) -> int:
    """A GRE packet.  `entry.state` is (timeout, stream timeout), which PPTP's helper raises."""
    status = entry.status
    if not status & CONFIRMED:
        timeouts = tracker.timeouts(entry, "gre_timeouts")
        entry.state = (timeouts[UNREPLIED], timeouts[REPLIED])
    if not status & SEEN_REPLY:
        tracker.refresh(entry, packet, direction, entry.state[UNREPLIED], now)
        return 1
    tracker.refresh(entry, packet, direction, entry.state[REPLIED], now)
    if not status & NAT_CLASH:
        entry.status |= ASSURED
    return 1
