"""UDP and UDP-Lite: one timeout before, another after both sides have spoken.

Facts: net/netfilter/nf_conntrack_proto_udp.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.settings import REPLIED, UNREPLIED
from iptkit.extensions.world import ASSURED, CONFIRMED, NAT_CLASH, SEEN_REPLY

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.tracker import Tracker
    from iptkit.values.packet import Packet

STREAM_AFTER = 2.0  # seconds after which a flow with replies counts as a stream


def packet(tracker: Tracker, entry: Entry, packet: Packet, direction: int, now: float) -> int:
    """A UDP packet.  `entry.state` is the time from which on the flow may become a stream."""
    data, at = packet.data, packet.l4
    length = packet.length - at
    if length < 8:
        return tracker.invalid(packet, "short packet")
    said = data[at + 4] << 8 | data[at + 5]
    if said > length or said < 8:
        return tracker.invalid(packet, "truncated/malformed packet")
    if tracker.checking and (data[at + 6] or data[at + 7]) and not tracker.checksum_ok(packet):
        return tracker.invalid(packet, "bad checksum")
    status = entry.status
    if not status & CONFIRMED:
        entry.state = now + STREAM_AFTER
    timeouts = (
        tracker.settings.udp_timeouts if entry.extra is None else tracker.timeouts(entry, "udp_timeouts")
    )
    if not status & SEEN_REPLY:
        tracker.refresh(entry, packet, direction, timeouts[UNREPLIED], now)
        return 1
    stream = entry.state is None or now > entry.state
    tracker.refresh(entry, packet, direction, timeouts[REPLIED if stream else UNREPLIED], now)
    if stream and not status & NAT_CLASH:
        entry.status |= ASSURED
    return 1


def udplite_packet(tracker: Tracker, entry: Entry, packet: Packet, direction: int, now: float) -> int:
    """A UDP-Lite packet.

    The kernel sums up its checksum with UDP's protocol number in the pseudo
    header, so a correct one is INVALID where checksums are looked at.
    """
    data, at = packet.data, packet.l4
    length = packet.length - at
    if length < 8:
        return tracker.invalid(packet, "short packet")
    coverage = data[at + 4] << 8 | data[at + 5] or length
    if coverage < 8 or coverage > length:
        return tracker.invalid(packet, "invalid checksum coverage")
    if not (data[at + 6] or data[at + 7]):
        return tracker.invalid(packet, "checksum missing")
    if tracker.checking and not tracker.checksum_ok(packet, proto=17, coverage=coverage):
        return tracker.invalid(packet, "bad checksum")
    timeouts = tracker.timeouts(entry, "udp_timeouts")
    if not entry.status & SEEN_REPLY:
        tracker.refresh(entry, packet, direction, timeouts[UNREPLIED], now)
        return 1
    tracker.refresh(entry, packet, direction, timeouts[REPLIED], now)
    if not entry.status & NAT_CLASH:
        entry.status |= ASSURED
    return 1
