"""The table of connections: a packet comes in, its connection is found or begun.

Facts: net/netfilter/nf_conntrack_core.c, Linux 6.18.  Times are seconds on
whatever clock the caller keeps; nothing here reads one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack import generic, gre, icmp, sctp, tcp, udp
from iptkit.conntrack.entry import Entry
from iptkit.conntrack.settings import PROTOCOL_FIELDS, Settings
from iptkit.extensions.world import (
    ASSURED,
    CONFIRMED,
    DST_NAT_DONE,
    DYING,
    EXPECTED,
    FIXED_TIMEOUT,
    HELPER,
    NAT_CLASH,
    SEEN_REPLY,
    SRC_NAT_DONE,
    Template,
)
from iptkit.extensions.world import TEMPLATE as TEMPLATE_BIT
from iptkit.values.checksum import crc32c
from iptkit.values.packet import (
    CT_ESTABLISHED,
    CT_ESTABLISHED_REPLY,
    CT_NEW,
    CT_RELATED,
    CT_UNTRACKED,
    EXTENSIONS6,
    FRAGMENT,
    GRE,
    ICMP,
    ICMPV6,
    NO_NEXT,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
)
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from iptkit.values.packet import Packet

ACCEPT, DROP = "ACCEPT", "DROP"
_DROP, _ACCEPT, _REPEAT = 0, 1, -4  # what a protocol's function answers; other negative ones: INVALID

# Protocols whose tuple has ports; DCCP lost its tracker in Linux 6.17.
TRACKED_PORTS = frozenset((TCP, UDP, UDPLITE, SCTP))
_new_tuple = tuple.__new__  # a Tuple without the detour of NamedTuple's own __new__
NO_ACCOUNT: list[int] = []  # packets and bytes of an entry that began while nf_conntrack_acct was 0

_HANDLERS: dict[int, Callable[[Tracker, Entry, Packet, int, float], int]] = {
    TCP: tcp.packet,
    UDP: udp.packet,
    UDPLITE: udp.udplite_packet,
    ICMP: icmp.packet,
    ICMPV6: icmp.packet,
    SCTP: sctp.packet,
    GRE: gre.packet,
}


# Early drop looks at so many buckets (NF_CT_EVICTION_RANGE).  Where so many entries are to be
# expected in them, it is sure to find one; where so few, never.
EARLY_DROP_BUCKETS, EARLY_DROP_SURE, EARLY_DROP_NEVER = 8, 8, 0.001


def _likeliest(question: str, outcomes: tuple[Any, ...]) -> Any:
    return outcomes[0]


def invert(tuple_: Tuple) -> Tuple | None:
    """The tuple of the other direction; None where no answer can come (nf_ct_invert_tuple)."""
    family, src, source, dst, destination, proto = tuple_
    if proto == ICMP:
        kind = icmp.INVERSE.get(destination >> 8)
        if kind is None:
            return None
        return Tuple(family, dst, source, src, kind << 8 | destination & 0xFF, proto)
    if proto == ICMPV6:
        kind = icmp.INVERSE6.get(destination >> 8)
        if kind is None:
            return None
        return Tuple(family, dst, source, src, kind << 8 | destination & 0xFF, proto)
    return Tuple(family, dst, destination, src, source, proto)


def tuple_at(
    tracker: Tracker, family: int, src: int, dst: int, proto: int, data: bytes | bytearray, at: int
) -> Tuple | None:
    """The tuple of an upper layer that begins at `at`; None where too few bytes are there."""
    if proto in TRACKED_PORTS:
        if len(data) < at + 4:
            return None
        return Tuple(family, src, data[at] << 8 | data[at + 1], dst, data[at + 2] << 8 | data[at + 3], proto)
    if proto in (ICMP, ICMPV6):
        if len(data) < at + 8:
            return None
        return Tuple(family, src, data[at + 4] << 8 | data[at + 5], dst, data[at] << 8 | data[at + 1], proto)
    if proto == GRE:
        return gre.tuple_at(tracker, family, src, dst, data, at)
    return Tuple(family, src, 0, dst, 0, proto)


def inner_tuple(tracker: Tracker, packet: Packet, at: int) -> Tuple | None:
    """The tuple of the packet that an ICMP error quotes from `at` on (nf_ct_get_tuplepr)."""
    data = packet.data
    end = len(data)
    if packet.family == 4:
        if end < at + 20:
            return None
        if (data[at + 6] << 8 | data[at + 7]) & 0x1FFF:
            return None
        upper = at + (data[at] & 15) * 4
        if upper > end:
            return None
        src, dst = (
            int.from_bytes(data[at + 12 : at + 16], "big"),
            int.from_bytes(data[at + 16 : at + 20], "big"),
        )
        return tuple_at(tracker, 4, src, dst, data[at + 9], data, upper)
    if end < at + 40:
        return None
    src = int.from_bytes(data[at + 8 : at + 24], "big")
    dst = int.from_bytes(data[at + 24 : at + 40], "big")
    proto, upper = data[at + 6], at + 40
    while proto in (0, 43, 44, 51, 60):
        if end < upper + 8:
            return None
        if proto == FRAGMENT:
            if (data[upper + 2] << 8 | data[upper + 3]) & 0xFFF8:
                return None
            size = 8
        else:
            size = (data[upper + 1] + 2) * 4 if proto == 51 else (data[upper + 1] + 1) * 8
        proto, upper = data[upper], upper + size
    if upper > end or proto == NO_NEXT:
        return None
    return tuple_at(tracker, 6, src, dst, proto, data, upper)


class Tracker:
    """Connection tracking of one machine.

    settings      sysctls and timeout policies
    notes         why packets were INVALID or let through unheeded, in the words
                  of nf_conntrack_log_invalid; the caller empties it
    stats         counters as `conntrack -S` calls them
    evictable     foreign entries, counted but not in this table, that early drop may evict
    choose        asked where chance decides: (question, outcomes, the likeliest first) -> one of them
    keymap        keys of PPTP's GRE calls: the tuple without its source key -> that key
    find_expectation  (tuple, zones, tracked, now) -> an expectation, or None; set by NAT's helpers.
                  It has `master`, `helper` and `began(entry, now)`
    on_destroy    called with each entry that leaves the table, and the time
    """

    __slots__ = (
        "checking",
        "choose",
        "count_entries",
        "evictable",
        "find_expectation",
        "keymap",
        "notes",
        "on_destroy",
        "originals",
        "replies",
        "settings",
        "stats",
    )

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        # The entries, by the zone id of a direction and the tuple of that direction
        self.originals: dict[int, dict[Tuple, Entry]] = {0: {}}
        self.replies: dict[int, dict[Tuple, Entry]] = {0: {}}
        self.notes: list[str] = []
        self.stats: dict[str, int] = {}
        self.count_entries = 0
        self.evictable = 0
        self.choose: Callable[[str, tuple[Any, ...]], Any] = _likeliest
        self.checking = False  # are checksums looked at, for the packet at hand?
        self.keymap: dict[Tuple, int] = {}
        self.find_expectation: Callable[[Tuple, tuple[int, int], bool, float], Any] | None = None
        self.on_destroy: list[Callable[[Entry, float], None]] = []

    # -- what protocols ask for

    def note(self, packet: Packet, text: str, entry: Entry | None = None) -> None:
        """Say in nf_conntrack_log_invalid's words what is odd about a packet."""
        self.notes.append(f"nf_ct_proto_{packet.proto}: {text}")

    def invalid(self, packet: Packet, text: str) -> int:
        """The packet is INVALID, for this reason."""
        self.notes.append(f"nf_ct_proto_{packet.proto}: {text}")
        return -1

    def checksum_ok(self, packet: Packet, proto: int = 0, coverage: int = 0) -> bool:
        """Is the upper layer's checksum right?  `coverage`: over so many bytes (UDP-Lite)."""
        if packet.checked is not None:
            return packet.checked
        data, at = packet.data, packet.l4
        length = packet.length - at
        proto = proto or packet.proto
        first, header = (12, 20) if packet.family == 4 else (8, 40)  # of the addresses; after them
        if proto == ICMP:
            body = data[at:]
        elif at == header and not coverage:
            body = data[first:]  # the addresses of the pseudo header stand before it
        else:
            body = data[first:header] + (data[at : at + coverage] if coverage else data[at:])
        total = int.from_bytes(body, "big")
        if len(body) & 1:
            total <<= 8
        if proto != ICMP:
            total += proto + length
        # The sum of all 16-bit words, folded, is 0xffff where it is right: a whole number is its words'
        # sum modulo 0xffff.
        right = total % 0xFFFF == 0 and total != 0
        if not coverage:
            packet.checked = right
        return right

    def crc_ok(self, packet: Packet) -> bool:
        """Is SCTP's CRC-32C right?"""
        if packet.checked:
            return True
        data, at = packet.data, packet.l4
        said = int.from_bytes(data[at + 8 : at + 12], "little")
        body = data[at : packet.length]
        body[8:12] = bytes(4)
        return crc32c(body) == said

    def timeouts(self, entry: Entry, field: str) -> list[int]:
        """The timeouts that hold for an entry: its policy's, or the sysctls'."""
        if entry.extra is not None:
            own: list[int] | None = entry.extra.get("timeouts")
            if own is not None:
                return own
        found: list[int] = getattr(self.settings, field)
        return found

    def refresh(self, entry: Entry, packet: Packet, direction: int, seconds: float, now: float) -> None:
        """The packet counts, and renews the entry's timeout (nf_ct_refresh_acct)."""
        status = entry.status
        if not status & FIXED_TIMEOUT:
            entry.deadline = now + seconds if status & CONFIRMED else seconds
        packets = entry.packets
        if packets:
            packets[direction] += 1
            entry.bytes[direction] += packet.length

    def count(self, entry: Entry, packet: Packet, direction: int) -> None:
        """The packet counts."""
        if entry.packets:
            entry.packets[direction] += 1
            entry.bytes[direction] += packet.length

    def bump(self, name: str) -> None:
        """Count an event, under the name `conntrack -S` has for it."""
        self.stats[name] = self.stats.get(name, 0) + 1

    # -- the table

    def zones_of(self, packet: Packet, template: Template | None) -> tuple[int, int]:
        """The zone ids a packet has in the original and the reply direction (nf_ct_zone_tmpl)."""
        if template is None:
            return 0, 0
        zone = packet.mark & 0xFFFF if template.zone_from_mark else template.zone
        return zone if template.zone_dir & 1 else 0, zone if template.zone_dir & 2 else 0

    def lookup(self, tuple_: Tuple, zones: tuple[int, int], now: float) -> tuple[Entry | None, int]:
        """The confirmed entry with this tuple, and the direction it has there."""
        # Where both directions have the same tuple, the reply's stands first in the kernel's chain;
        # with a zone for one direction alone they stand in different chains.
        for direction in (1, 0) if zones[0] == zones[1] else (0, 1):
            table = (self.replies if direction else self.originals).get(zones[direction])
            entry = table.get(tuple_) if table is not None else None
            if entry is not None:
                if entry.deadline > now:
                    return entry, direction
                self.kill(entry, now)
        return None, 0

    def find(self, tuple_: Tuple, zone: int = 0, direction: int = -1, now: float = 0.0) -> Entry | None:
        """The confirmed entry with this tuple in this direction; -1 for either."""
        entry, found = self.lookup(tuple_, (zone, zone), now)
        return entry if direction < 0 or found == direction else None

    def entries(self, now: float) -> Iterator[Entry]:
        """All confirmed entries whose time is not up."""
        for table in list(self.originals.values()):
            for entry in list(table.values()):
                if entry.deadline > now:
                    yield entry

    def _holder(self, tuple_: Tuple, zones: tuple[int, int], direction: int, now: float) -> Entry | None:
        """Who holds the place in the table where a tuple of this direction is to stand."""
        for there in (direction, 1 - direction) if zones[0] == zones[1] else (direction,):
            table = (self.replies if there else self.originals).get(zones[there])
            other = table.get(tuple_) if table is not None else None
            if other is not None:
                if other.deadline > now:
                    return other
                self.kill(other, now)
        return None

    def _taken(self, entry: Entry, now: float) -> Entry | None:
        """Another entry that stands where this one is to stand."""
        zones = entry.zones
        return self._holder(entry.original, zones, 0, now) or self._holder(entry.reply, zones, 1, now)

    def _put(self, entry: Entry) -> None:
        entry.status |= CONFIRMED
        for tables, zone, tuple_ in (
            (self.originals, entry.zones[0], entry.original),
            (self.replies, entry.zones[1], entry.reply),
        ):
            table = tables.get(zone)
            if table is None:
                table = tables[zone] = {}
            table[tuple_] = entry
        self.count_entries += 1

    def insert(self, entry: Entry, now: float = 0.0) -> bool:
        """Put an entry into the table as it is, as `conntrack -I` does; False: its place is taken."""
        if self._taken(entry, now) is not None:
            return False
        self._put(entry)
        return True

    def kill(self, entry: Entry, now: float) -> bool:
        """Take an entry out of the table (nf_ct_kill); False: it was not in it any more."""
        if entry.status & DYING:
            return False
        entry.status |= DYING
        for table, tuple_ in (
            (self.originals.get(entry.zones[0]), entry.original),
            (self.replies.get(entry.zones[1]), entry.reply),
        ):
            if table is not None and table.get(tuple_) is entry:
                del table[tuple_]
        if entry.status & CONFIRMED:
            self.count_entries -= 1
        for destroyed in self.on_destroy:
            destroyed(entry, now)
        return True

    def expire(self, now: float) -> None:
        """Take out what has timed out."""
        # Through the replies: an entry that lost a clash is found by its answer alone.
        for table in list(self.replies.values()):
            for entry in [entry for entry in table.values() if entry.deadline <= now]:
                self.kill(entry, now)

    def postpone(self, seconds: float) -> None:
        """Time passes for the timeouts alone: what UDP waits for comes so much later."""
        for entry in [entry for table in self.replies.values() for entry in table.values()]:
            if entry.original.proto == UDP and entry.state is not None:
                entry.state += seconds

    def delete(self, wanted: Callable[[Entry], bool], now: float) -> int:
        """Take out all entries that are wanted, as `conntrack -D` does; how many they were."""
        gone = [entry for entry in self.entries(now) if wanted(entry)]
        for entry in gone:
            self.kill(entry, now)
        return len(gone)

    def flush(self, now: float = 0.0) -> None:
        """Take out everything, as `conntrack -F` does."""
        self.delete(lambda _: True, now)

    def alter_reply(self, entry: Entry, tuple_: Tuple) -> None:
        """Change what answers look like, before the entry is confirmed (nf_conntrack_alter_reply)."""
        assert not entry.status & CONFIRMED, "a confirmed entry stands in the table under its reply tuple"
        entry.reply = tuple_

    def set_closing(self, entry: Entry, now: float) -> None:
        """A TCP connection is being reset by the machine itself (nf_ct_set_closing)."""
        if entry.status & CONFIRMED and entry.original.proto == TCP:
            tcp.set_closing(self, entry, now)

    # -- packets

    def track(self, packet: Packet, hook: str, now: float) -> str:
        """A packet at PREROUTING or OUTPUT: find or begin its connection (nf_conntrack_in).

        Sets packet.connection and packet.ctinfo; gives ACCEPT or DROP.
        """
        template: Template | None = None
        held = packet.connection
        if held is not None:
            if type(held) is Template:
                template = held
            elif held.status & TEMPLATE_BIT:
                template = held.extra["template"]
            else:
                return ACCEPT  # seen before: a packet over lo, or one that REJECT made
            packet.connection = None
        elif packet.ctinfo == CT_UNTRACKED:
            return ACCEPT
        packet.ctinfo = CT_ESTABLISHED
        self.checking = hook == "PREROUTING" and self.settings.checksum != 0
        proto = packet.proto
        tuple_: Any
        if packet.sport >= 0 and proto in TRACKED_PORTS:
            # The same as a Tuple to look up, and made in half the time.
            tuple_ = packet.family, packet.src, packet.sport, packet.dst, packet.dport, proto
        else:
            if (
                packet.fragment_offset
                or packet.l4 > packet.length
                or (packet.family == 6 and proto in EXTENSIONS6)  # no upper layer (ipv6_skip_exthdr)
            ):
                self.bump("invalid")
                return ACCEPT
            if proto in (ICMP, ICMPV6):
                if icmp.error(self, packet, template, now) < 0:
                    packet.connection = None
                    self.bump("icmp_error")
                    return ACCEPT
                if packet.connection is not None or packet.ctinfo == CT_UNTRACKED:
                    return ACCEPT
            tuple_ = tuple_at(self, packet.family, packet.src, packet.dst, proto, packet.data, packet.l4)
            if tuple_ is None:
                self.bump("invalid")
                return ACCEPT
        zones = (0, 0) if template is None else self.zones_of(packet, template)
        handler = _HANDLERS.get(proto, generic.packet)
        while True:
            # The short way of most packets is what `lookup` does, for zone 0.
            direction = 0
            entry = None
            if template is None:
                entry = self.replies[0].get(tuple_)
                if entry is not None:
                    direction = 1
                else:
                    entry = self.originals[0].get(tuple_)
            if entry is None or entry.deadline <= now:
                entry, direction = self.lookup(tuple_, zones, now)
            if entry is None:
                tuple_ = _new_tuple(Tuple, tuple_)
                entry = self._begin(tuple_, zones, template, now)
                if entry is None:
                    if invert(tuple_) is None:
                        self.bump("invalid")
                        return ACCEPT
                    self.bump("drop")
                    return DROP
                direction = 0
            packet.connection = entry
            if direction:
                packet.ctinfo = CT_ESTABLISHED_REPLY
            elif entry.status & SEEN_REPLY:
                packet.ctinfo = CT_ESTABLISHED
            elif entry.status & EXPECTED:
                packet.ctinfo = CT_RELATED
            else:
                packet.ctinfo = CT_NEW
            said = handler(self, entry, packet, direction, now)
            if said > 0:
                if direction and not entry.status & SEEN_REPLY:
                    entry.status |= SEEN_REPLY
                return ACCEPT
            packet.connection = None
            packet.ctinfo = CT_ESTABLISHED
            if said == _REPEAT:
                continue
            self.bump("invalid")
            if said == _DROP:
                self.bump("drop")
                return DROP
            return ACCEPT

    def _begin(
        self, tuple_: Tuple, zones: tuple[int, int], template: Template | None, now: float
    ) -> Entry | None:
        """A new entry, not yet confirmed; None: impossible, or the table is full (init_conntrack)."""
        reply = invert(tuple_)
        if reply is None:
            return None
        settings = self.settings
        if settings.max and self.count_entries >= settings.max and not self._early_drop(now):
            return None
        entry = Entry(tuple_, reply, zones)
        if not settings.acct:
            entry.packets = entry.bytes = NO_ACCOUNT
        if template is not None and template.timeout:
            policy = settings.policies.get(template.timeout)
            if policy is not None and policy[0] == PROTOCOL_FIELDS.get(tuple_.proto, "generic_timeouts"):
                entry.extra = {"timeouts": policy[1], "timeout_policy": template.timeout}
        expectation = None
        if self.find_expectation is not None:
            expectation = self.find_expectation(tuple_, zones, template is None, now)
        if expectation is not None:
            entry.status |= EXPECTED
            master = entry.master = expectation.master
            entry.helper = expectation.helper
            entry.mark = master.mark
            entry.secmark = master.secmark
            self.bump("expect_new")
            expectation.began(entry, now)
        elif template is not None and template.helper:
            entry.helper = template.helper
            entry.status |= HELPER
        return entry

    def _early_drop(self, now: float) -> bool:
        """Make room: an entry that is not ASSURED goes, if one is found (early_drop).

        The kernel looks at eight buckets, from the new tuple's on, whose hash
        is secret: which entry goes is chance, and in a sparse table whether
        any does.  Each entry stands in the table twice.
        """
        found: Entry | None = None
        count = 2 * self.evictable
        enough = EARLY_DROP_SURE * self.settings.buckets / EARLY_DROP_BUCKETS
        for table in self.originals.values():
            for entry in table.values():
                if not entry.status & ASSURED or entry.deadline <= now:
                    if found is None:
                        found = entry
                    count += 2
                    if count >= enough:
                        break
        expected = count * EARLY_DROP_BUCKETS / self.settings.buckets
        if expected < EARLY_DROP_NEVER:
            return False
        if expected < EARLY_DROP_SURE and not self.choose(
            "does early drop find an entry that is not ASSURED?",
            (True, False) if expected >= 1 else (False, True),
        ):
            return False
        if self.evictable:
            self.evictable -= 1
            self.count_entries -= 1
        elif found is not None:
            self.kill(found, now)
        self.bump("early_drop")
        return True

    def confirm(self, packet: Packet, now: float) -> str:
        """The packet leaves, or is delivered: its new entry enters the table (nf_conntrack_confirm)."""
        entry: Entry | None = packet.connection
        if entry is None or entry.status & (CONFIRMED | TEMPLATE_BIT):
            return ACCEPT
        if packet.ctinfo >= CT_ESTABLISHED_REPLY:  # a RST or error that REJECT made
            return ACCEPT
        if entry.status & DYING:
            self.bump("insert_failed")
            return DROP
        other = self._taken(entry, now)
        if other is not None:
            return self._clash(packet, entry, other, now)
        entry.deadline += now
        entry.started = now
        self._put(entry)
        return ACCEPT

    def _clash(self, packet: Packet, entry: Entry, other: Entry, now: float) -> str:
        """The place is taken, perhaps by a packet of the same connection (nf_ct_resolve_clash)."""
        if entry.original.proto in (UDP, UDPLITE, GRE):
            same = (
                other.original == entry.original and other.reply == entry.reply and other.zones == entry.zones
            )
            if not other.status & DYING and (same or not other.status & (SRC_NAT_DONE | DST_NAT_DONE)):
                if other.packets and entry.packets:
                    for direction in (0, 1):
                        other.packets[direction] += entry.packets[direction]
                        other.bytes[direction] += entry.bytes[direction]
                packet.connection = other
                self.bump("clash_resolve")
                return ACCEPT
            if self._holder(entry.reply, entry.zones, 1, now) is None:
                # It may live for a second, to be found by its answer alone.
                entry.status |= CONFIRMED | FIXED_TIMEOUT | NAT_CLASH
                entry.deadline = now + 1
                self.replies.setdefault(entry.zones[1], {})[entry.reply] = entry
                self.count_entries += 1
                self.bump("clash_resolve")
                return ACCEPT
        self.bump("drop")
        self.bump("insert_failed")
        entry.status |= DYING
        return DROP
