"""SCTP: the state table, and verification tags.

Facts: net/netfilter/nf_conntrack_proto_sctp.c, Linux 6.18; sections are RFC
9260's.  Rows and columns stand in the kernel's order.  What the table cannot
say is in `packet`: tags, and INITs sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.world import ASSURED, CONFIRMED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.tracker import Tracker
    from iptkit.values.packet import Packet

STATES = (
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
)
NONE, CLOSED, COOKIE_WAIT, COOKIE_ECHOED, ESTABLISHED = range(5)
INVALID = 10  # SCTP_CONNTRACK_MAX

# Chunk types, section 3.2
DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK, ABORT, SHUTDOWN, SHUTDOWN_ACK, ERROR = range(10)
COOKIE_ECHO, COOKIE_ACK = 10, 11
SHUTDOWN_COMPLETE = 14
FLAG_T = 1
ANY_TAG = -1  # of an entry read from a dump, which does not tell tags: the next packet's is taken

# The rows of the table; other chunks change nothing.
CHUNKS = (
    (INIT, "INIT"),
    (INIT_ACK, "INIT_ACK"),
    (ABORT, "ABORT"),
    (SHUTDOWN, "SHUTDOWN"),
    (SHUTDOWN_ACK, "SHUTDOWN_ACK"),
    (ERROR, "ERROR"),
    (COOKIE_ECHO, "COOKIE_ECHO"),
    (COOKIE_ACK, "COOKIE_ACK"),
    (SHUTDOWN_COMPLETE, "SHUTDOWN_COMPLETE"),
    (HEARTBEAT, "HEARTBEAT"),
    (HEARTBEAT_ACK, "HEARTBEAT_ACK"),
)
_ROW = {kind: row for row, (kind, _) in enumerate(CHUNKS)}

sNO, sCL, sCW, sCE, sES, sSS, sSR, sSA, sHS = range(9)  # noqa: N816  # the kernel's short names
sIV = INVALID  # noqa: N816  # the kernel's short names

TABLE = (
    (  # original direction
        # NO   CL   CW   CE   ES   SS   SR   SA   HS
        (sCL, sCL, sCW, sCE, sES, sCL, sCL, sSA, sCW),  # INIT
        (sCL, sCL, sCW, sCE, sES, sSS, sSR, sSA, sCL),  # INIT_ACK
        (sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL),  # ABORT
        (sCL, sCL, sCW, sCE, sSS, sSS, sSR, sSA, sCL),  # SHUTDOWN
        (sSA, sCL, sCW, sCE, sES, sSA, sSA, sSA, sSA),  # SHUTDOWN_ACK
        (sCL, sCL, sCW, sCE, sES, sSS, sSR, sSA, sCL),  # ERROR
        (sCL, sCL, sCE, sCE, sES, sSS, sSR, sSA, sCL),  # COOKIE_ECHO
        (sCL, sCL, sCW, sES, sES, sSS, sSR, sSA, sCL),  # COOKIE_ACK
        (sCL, sCL, sCW, sCE, sES, sSS, sSR, sCL, sCL),  # SHUTDOWN_COMPLETE
        (sHS, sCL, sCW, sCE, sES, sSS, sSR, sSA, sHS),  # HEARTBEAT
        (sCL, sCL, sCW, sCE, sES, sSS, sSR, sSA, sHS),  # HEARTBEAT_ACK
    ),
    (  # reply direction
        # NO   CL   CW   CE   ES   SS   SR   SA   HS
        (sIV, sCL, sCW, sCE, sES, sSS, sSR, sSA, sIV),  # INIT
        (sIV, sCW, sCW, sCE, sES, sSS, sSR, sSA, sIV),  # INIT_ACK
        (sIV, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sIV),  # ABORT
        (sIV, sCL, sCW, sCE, sSR, sSS, sSR, sSA, sIV),  # SHUTDOWN
        (sIV, sCL, sCW, sCE, sES, sSA, sSA, sSA, sIV),  # SHUTDOWN_ACK
        (sIV, sCL, sCW, sCL, sES, sSS, sSR, sSA, sIV),  # ERROR
        (sIV, sCL, sCE, sCE, sES, sSS, sSR, sSA, sIV),  # COOKIE_ECHO
        (sIV, sCL, sCW, sES, sES, sSS, sSR, sSA, sIV),  # COOKIE_ACK
        (sIV, sCL, sCW, sCE, sES, sSS, sSR, sCL, sIV),  # SHUTDOWN_COMPLETE
        (sIV, sCL, sCW, sCE, sES, sSS, sSR, sSA, sHS),  # HEARTBEAT
        (sIV, sCL, sCW, sCE, sES, sSS, sSR, sSA, sES),  # HEARTBEAT_ACK
    ),
)

# Chunks for which section 8.5.1 has rules of its own about the tag
_OWN_TAG_RULE = frozenset(
    (INIT, SHUTDOWN_COMPLETE, COOKIE_ECHO, ABORT, SHUTDOWN_ACK, HEARTBEAT, HEARTBEAT_ACK)
)


class Association:
    """What is known of an SCTP association.

    tags          verification tags the packets of each direction must carry; 0: not known
    init          which directions have sent an INIT that is not settled
    tag_doubted   a HEARTBEAT with a strange tag is waiting for its answer
    last          the direction it came from
    """

    __slots__ = ("init", "last", "state", "tag_doubted", "tags")

    def __init__(self) -> None:
        self.state = NONE
        self.tags = [0, 0]
        self.init = [False, False]
        self.tag_doubted = False
        self.last = 0


def chunks(packet: Packet) -> Iterator[tuple[int, int, int, int]]:
    """(type, flags, length, where it begins) of each chunk; a length of 0 ends them."""
    data, at, end = packet.data, packet.l4 + 12, packet.length
    while at < end and at + 4 <= end:
        length = data[at + 2] << 8 | data[at + 3]
        yield data[at], data[at + 1], length, at
        if not length:
            return
        at += (length + 3) & ~3


def _swapped(tag: int) -> str:
    """A tag as the kernel's log prints it: unconverted, on a little-endian machine."""
    return f"{int.from_bytes(tag.to_bytes(4, 'big'), 'little'):x}"


def packet(tracker: Tracker, entry: Entry, packet: Packet, direction: int, now: float) -> int:
    """What becomes of an SCTP packet of this connection (nf_conntrack_sctp_packet)."""
    data, at = packet.data, packet.l4
    if packet.length - at < 12:
        return tracker.invalid(packet, "nf_ct_sctp: short packet")
    if tracker.checking and not tracker.crc_ok(packet):
        return tracker.invalid(packet, "nf_ct_sctp: bad CRC")
    found = list(chunks(packet))
    if not _chunks_ok(tracker, packet, found):
        return -1
    tag = int.from_bytes(data[at + 4 : at + 8], "big")
    kinds = {kind for kind, _, _, _ in found}
    if not entry.status & CONFIRMED:
        if kinds & {ABORT, SHUTDOWN_COMPLETE, COOKIE_ACK}:
            return -1  # out of the blue, section 8.4
        entry.state = _new(packet, found, tag)
        if entry.state is None:
            return -1
    known: Association = entry.state
    if known.tags[direction] == ANY_TAG and INIT not in kinds:
        known.tags[direction] = tag
    if not kinds & _OWN_TAG_RULE and tag != known.tags[direction]:
        return tracker.invalid(
            packet,
            f"verification tag check failed {_swapped(tag)} vs {_swapped(known.tags[direction])} "
            f"for dir {direction}",
        )
    return _walk(tracker, entry, packet, direction, now, found, tag)


def _chunks_ok(tracker: Tracker, packet: Packet, found: list[tuple[int, int, int, int]]) -> bool:
    """Do the chunks stand where they may (do_basic_checks)?"""
    alone = 0
    for number, (kind, _, length, _) in enumerate(found):
        if kind in (INIT, INIT_ACK, SHUTDOWN_COMPLETE):
            alone = 1
        if ((kind in (COOKIE_ACK, COOKIE_ECHO) or alone) and number) or not length:
            raw = int.from_bytes(length.to_bytes(2, "big"), "little")
            tracker.note(
                packet, f"do_basic_checks failed. chunk num {number}, type {kind}, len {raw} flag {alone}"
            )
            return False
    return bool(found)


def _init_tag(packet: Packet, at: int) -> int | None:
    """The initiate tag of an INIT or INIT_ACK chunk; None where the chunk is cut short."""
    if packet.length < at + 20:
        return None
    return int.from_bytes(packet.data[at + 4 : at + 8], "big")


def _new(packet: Packet, found: list[tuple[int, int, int, int]], tag: int) -> Association | None:
    """An association that begins with these chunks; None: none begins so (sctp_new)."""
    new = Association()
    for kind, _, _, at in found:
        row = _ROW.get(kind)
        if row is None or TABLE[0][row][NONE] == INVALID:
            return None
        if kind == INIT:
            if tag:
                return None
            theirs = _init_tag(packet, at)
            if theirs is None:
                return None
            new.tags[1] = theirs
        elif kind == HEARTBEAT:
            new.tags[0] = tag
        elif kind == SHUTDOWN_ACK:
            new.tags[1] = tag  # its SHUTDOWN_COMPLETE comes back with the same, section 8.4 (5)
    return new


def _walk(
    tracker: Tracker,
    entry: Entry,
    packet: Packet,
    direction: int,
    now: float,
    found: list[tuple[int, int, int, int]],
    tag: int,
) -> int:
    """Chunk by chunk: check its tag (section 8.5.1), change the state."""
    known: Association = entry.state
    tags = known.tags
    other = 1 - direction
    has_data = any(kind == DATA for kind, _, _, _ in found)
    unrefreshed = False
    new = NONE
    for kind, flags, _, at in found:
        if kind == INIT:
            if tag:
                return -1
        elif kind in (ABORT, SHUTDOWN_COMPLETE):
            if tags[other if flags & FLAG_T else direction] not in (tag, ANY_TAG):
                return -1
        elif kind == COOKIE_ECHO:
            if tag != tags[direction]:
                return -1
        elif kind == COOKIE_ACK:
            known.init = [False, False]
        elif kind in (HEARTBEAT, HEARTBEAT_ACK):
            if not tags[direction]:
                tags[direction] = tag
            elif tag != tags[direction]:
                if has_data or unrefreshed:
                    return -1
                if kind == HEARTBEAT:
                    known.tag_doubted = True
                    known.last = direction
                    unrefreshed = True
                    continue
                if not known.tag_doubted or known.last == direction:
                    return -1
                known.tag_doubted = False
                tags[direction] = tag
                tags[other] = 0
            else:
                known.tag_doubted = False

        old = known.state
        row = _ROW.get(kind)
        new = old if row is None else TABLE[direction][row][old]
        if new == INVALID:
            return tracker.invalid(packet, f"Invalid, old_state {old}, dir {direction}, type {kind}")
        if kind == INIT:
            theirs = _init_tag(packet, at)
            if theirs is None:
                return -1
            # One sent again does not unsettle what is known.
            if tags[other] != theirs or not entry.status & CONFIRMED:
                if known.init[direction] and known.init[other]:
                    known.init[other] = False
                known.init[direction] = True
            tags[other] = theirs
            if new == old == CLOSED and entry.status & CONFIRMED:
                unrefreshed = True  # an INIT sent again renews nothing
        elif kind == INIT_ACK:
            theirs = _init_tag(packet, at)
            if theirs is None:
                return -1
            mine = max(tags[other], 0)
            if not known.init[other] and mine and mine != theirs:
                return -1
            if known.init[direction] and known.init[other] and mine != theirs:
                return -1
            tags[other] = theirs
        known.state = new
        if old != new and new == ESTABLISHED:
            entry.status |= ASSURED
    if unrefreshed:
        return 1
    timeouts = tracker.timeouts(entry, "sctp_timeouts")
    tracker.refresh(entry, packet, direction, timeouts[new or CLOSED], now)
    return 1
