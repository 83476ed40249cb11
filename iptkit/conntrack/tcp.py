"""TCP: the state table, and window tracking.

Facts: net/netfilter/nf_conntrack_proto_tcp.c, Linux 6.18.  The table has the
kernel's order: rows are what the flags say, columns are the states.  What it
cannot say follows below it, in `packet`: reopening, SYN and SYN/ACK that the
tracker missed, RST validation, timeouts.
"""

from __future__ import annotations

from array import array
from struct import Struct
from typing import TYPE_CHECKING

from iptkit.conntrack.settings import (
    TCP_CLOSE,
    TCP_RETRANS,
    TCP_UNACK,
)
from iptkit.extensions.world import ASSURED, CONFIRMED, FIXED_TIMEOUT, SEEN_REPLY
from iptkit.values.packet import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.tracker import Tracker
    from iptkit.values.packet import Packet

STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
)
(NONE, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2) = range(
    10
)
INVALID, IGNORE = 10, 11

# Rows of the table, in the kernel's order: what a packet's flags say.
FLAG_SETS = ("SYN", "SYN/ACK", "FIN", "ACK", "RST", "none")
(SYN_SET, SYNACK_SET, FIN_SET, ACK_SET, RST_SET, NONE_SET) = range(6)

sNO, sSS, sSR, sES, sFW, sCW, sLA, sTW, sCL, sS2 = range(10)  # noqa: N816  # the kernel's short names
sIV, sIG = INVALID, IGNORE  # noqa: N816  # the kernel's short names

# TABLE[direction][flag set][state] is the next state; sIV: the packet is INVALID, sIG: let through
# without a change of state, since only its receiver can tell whether it is right.
TABLE = (
    (  # original direction
        # NO   SS   SR   ES   FW   CW   LA   TW   CL   S2
        (sSS, sSS, sIG, sIG, sIG, sIG, sIG, sSS, sSS, sS2),  # SYN
        (sIV, sIV, sSR, sIV, sIV, sIV, sIV, sIV, sIV, sSR),  # SYN/ACK
        (sIV, sIV, sFW, sFW, sLA, sLA, sLA, sTW, sCL, sIV),  # FIN
        (sES, sIV, sES, sES, sCW, sCW, sTW, sTW, sCL, sIV),  # ACK
        (sIV, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL),  # RST
        (sIV, sIV, sIV, sIV, sIV, sIV, sIV, sIV, sIV, sIV),  # none
    ),
    (  # reply direction
        # NO   SS   SR   ES   FW   CW   LA   TW   CL   S2
        (sIV, sS2, sIV, sIV, sIV, sIV, sIV, sSS, sIV, sS2),  # SYN
        (sIV, sSR, sIG, sIG, sIG, sIG, sIG, sIG, sIG, sSR),  # SYN/ACK
        (sIV, sIV, sFW, sFW, sLA, sLA, sLA, sTW, sCL, sIV),  # FIN
        (sIV, sIG, sSR, sES, sCW, sCW, sTW, sTW, sCL, sIG),  # ACK
        (sIV, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL),  # RST
        (sIV, sIV, sIV, sIV, sIV, sIV, sIV, sIV, sIV, sIV),  # none
    ),
)

# Flags of one side (IP_CT_TCP_FLAG_*, linux/netfilter/nf_conntrack_tcp.h)
WINDOW_SCALE, SACK_PERM, CLOSE_INIT, BE_LIBERAL, DATA_UNACKNOWLEDGED, MAXACK_SET = 1, 2, 4, 8, 0x10, 0x20
EXP_CHALLENGE_ACK, SIMULTANEOUS_OPEN = 0x40, 0x80
FLAG_NAMES = (
    (WINDOW_SCALE, "WINDOW_SCALE"),
    (SACK_PERM, "SACK_PERM"),
    (CLOSE_INIT, "CLOSE_INIT"),
    (BE_LIBERAL, "BE_LIBERAL"),
    (DATA_UNACKNOWLEDGED, "DATA_UNACKNOWLEDGED"),
    (MAXACK_SET, "MAXACK_SET"),
    (EXP_CHALLENGE_ACK, "CHALLENGE_ACK"),
    (SIMULTANEOUS_OPEN, "SIMULTANEOUS_OPEN"),
)

# Valid combinations of SYN, FIN, RST, ACK and URG; PSH, ECE and CWR may stand with any.
VALID_FLAGS = frozenset(
    (
        SYN,
        SYN | URG,
        SYN | ACK,
        RST,
        RST | ACK,
        FIN | ACK,
        FIN | ACK | URG,
        ACK,
        ACK | URG,
    )
)
_FLAG_VALID = tuple(flags & ~(PSH | ECE | CWR) in VALID_FLAGS for flags in range(256))
_FLAG_SET = tuple(
    RST_SET
    if flags & RST
    else (SYNACK_SET if flags & ACK else SYN_SET)
    if flags & SYN
    else FIN_SET
    if flags & FIN
    else ACK_SET
    if flags & ACK
    else NONE_SET
    for flags in range(256)
)

# struct ip_ct_tcp as one array of 32-bit numbers, since a million of them are held: the state, what is
# remembered of the last packet, then both senders' windows.
STATE, LAST_DIR, RETRANS, LAST_INDEX, LAST_SEQ, LAST_ACK_NO, LAST_END, LAST_WIN, LAST_WSCALE, LAST_FLAGS = (
    range(10)
)
SEEN = (10, 16)  # where each direction's window begins
END, MAXEND, MAXWIN, MAXACK, SCALE, FLAGS = range(6)
PLACES = (tuple(range(10, 16)), tuple(range(16, 22)))  # those six, of each direction
_FRESH = array("I", bytes(4 * 22))

TICKS = 250  # a second, CONFIG_HZ of most kernels; a message tells a timeout in them
MAX_ACK_WINDOW = 66000  # MAXACKWINCONST
_SIGN = 0x80000000
_MASK = 0xFFFFFFFF
_HEADER = Struct("!HHIIBBH")
ACCEPTED, IGNORED, OUT_OF_WINDOW = range(3)

_DROP, _ACCEPT, _INVALID, _REPEAT = 0, 1, -1, -4  # what a protocol says of a packet, tracker.py

_CLOSING = frozenset((FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE))


def new_state() -> array[int]:
    """A fresh struct ip_ct_tcp."""
    return array("I", _FRESH)


def before(first: int, second: int) -> bool:
    """Does sequence number `first` come before `second`, modulo 2**32?"""
    return (first - second) & _SIGN != 0


def after(first: int, second: int) -> bool:
    """Does sequence number `first` come after `second`, modulo 2**32?"""
    return (second - first) & _SIGN != 0


def can_early_drop(entry: Entry) -> bool:
    """Is the connection closing, so that nobody needs its entry much longer?"""
    return entry.state is not None and entry.state[STATE] in _CLOSING


def _read_options(packet: Packet, data_offset: int) -> tuple[int, int] | None:
    """Window scale and flags that the options of a SYN offer; None where there are no options."""
    data = packet.data
    at, end = packet.l4 + 20, packet.l4 + data_offset
    if at >= end:
        return None
    scale = flags = 0
    while at < end:
        kind = data[at]
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        if end - at < 2:
            break
        size = data[at + 1]
        if size < 2 or size > end - at:
            break
        if kind == 4 and size == 2:
            flags |= SACK_PERM
        elif kind == 3 and size == 3:
            scale = min(data[at + 2], 14)
            flags |= WINDOW_SCALE
        at += size
    return scale, flags


def _highest_sack(packet: Packet, data_offset: int, sack: int) -> int:
    """The highest right edge of the first SACK option, if it lies after `sack`."""
    data = packet.data
    at, end = packet.l4 + 20, packet.l4 + data_offset
    if end - at == 12 and data[at : at + 4] == b"\x01\x01\x08\x0a":
        return sack
    while at < end:
        kind = data[at]
        if kind == 0:
            return sack
        if kind == 1:
            at += 1
            continue
        if end - at < 2:
            return sack
        size = data[at + 1]
        if size < 2 or size > end - at:
            return sack
        if kind == 5 and size >= 10 and (size - 2) % 8 == 0:
            for block in range(at + 2, at + size, 8):
                edge = int.from_bytes(data[block + 4 : block + 8], "big")
                if after(edge, sack):
                    sack = edge
            return sack
        at += size
    return sack


def _start_sender(state: array[int], direction: int, packet: Packet, offset: int, end: int, win: int) -> None:
    """A SYN or SYN/ACK begins this side's window (tcp_init_sender)."""
    sender = SEEN[direction]
    state[sender + END] = state[sender + MAXEND] = end
    state[sender + MAXWIN] = win or 1
    options = _read_options(packet, offset)
    if options is not None:
        state[sender + SCALE] = options[0]
        state[sender + FLAGS] = state[sender + FLAGS] & BE_LIBERAL | options[1]
    if direction:
        receiver = SEEN[0]
        if not state[sender + FLAGS] & state[receiver + FLAGS] & WINDOW_SCALE:
            state[sender + SCALE] = state[receiver + SCALE] = 0


def _in_window(
    tracker: Tracker,
    entry: Entry,
    direction: int,
    index: int,
    packet: Packet,
    seq: int,
    ack: int,
    offset: int,
    flags: int,
    win: int,
    end: int,
) -> int:
    """Does the packet fit the windows?  Updates them if so (tcp_in_window).

    With td_ as in the kernel: seq <= sender's maxend; sack <= receiver's end;
    seq + len >= sender's end - receiver's maxwin; sack >= receiver's end -
    max(66000, sender's maxwin).
    """
    state: array[int] = entry.state
    own_end, own_maxend, own_maxwin, own_maxack, own_scale, own_flags = PLACES[direction]
    peer_end, peer_maxend, peer_maxwin, _, _, peer_flags = PLACES[1 - direction]
    sack = ack
    raw_win = win
    if offset > 20 and state[peer_flags] & SACK_PERM:
        sack = _highest_sack(packet, offset, sack)
    if entry.extra is not None and "seqadj" in entry.extra:
        moved = entry.extra["seqadj"].offset(1 - direction, (ack - 1) & _MASK)
        ack = (ack - moved) & _MASK
        sack = (sack - moved) & _MASK

    if not state[own_maxwin]:
        if flags & SYN:
            # SYN/ACK in reply to a SYN, or the other SYN of a simultaneous open
            _start_sender(state, direction, packet, offset, end, win)
            if not flags & ACK:
                return ACCEPTED
        else:
            # In the middle of a connection: this packet is all there is to go by.
            state[own_end] = end
            scaled = win << state[own_scale] or 1
            state[own_maxwin] = scaled
            state[own_maxend] = (end + scaled) & _MASK
            if not state[peer_maxwin]:
                state[peer_end] = state[peer_maxend] = sack
            elif sack == (state[peer_end] + 1) & _MASK:
                state[peer_end] = sack  # the answer to a keepalive
    elif flags & SYN and state[STATE] in (SYN_SENT, SYN_RECV) and after(end, state[own_end]):
        # Another SYN with a later sequence number: this side begins again.
        _start_sender(state, direction, packet, offset, end, win)
        if direction and not flags & ACK:
            return ACCEPTED

    if not flags & ACK or (flags & RST and ack == 0):
        ack = sack = state[peer_end]
    if flags & RST and seq == 0 and state[STATE] == SYN_SENT:
        seq = end = state[own_end]

    last_end, maxend, maxwin = state[own_end], state[own_maxend], state[own_maxwin]
    acked_most, peer_win = state[peer_end], state[peer_maxwin]
    oldest_end = last_end - peer_win - 1
    oldest_ack = acked_most - (maxwin if maxwin > MAX_ACK_WINDOW else MAX_ACK_WINDOW) - 1
    if not (
        (seq - maxend - 1) & _SIGN
        and (sack - acked_most - 1) & _SIGN
        and (not peer_win or (oldest_end - end) & _SIGN)
        and (oldest_ack - sack) & _SIGN
    ):
        return _outside(tracker, entry, direction, packet, seq, sack, end, oldest_end, oldest_ack)

    if not flags & SYN:
        win <<= state[own_scale]
    wide = (win + sack - ack) & _MASK
    if wide > maxwin:
        state[own_maxwin] = wide
    if (last_end - end) & _SIGN:
        state[own_end] = end
        state[own_flags] |= DATA_UNACKNOWLEDGED
    if flags & ACK:
        if not state[own_flags] & MAXACK_SET:
            state[own_maxack] = ack
            state[own_flags] |= MAXACK_SET
        elif (state[own_maxack] - ack) & _SIGN:
            state[own_maxack] = ack

    if peer_win and (maxend - end) & _SIGN:
        state[peer_maxwin] = (peer_win + end - maxend) & _MASK
    if (state[peer_maxend] - 1 - (sack + win)) & _SIGN:
        state[peer_maxend] = (sack + win + (not win)) & _MASK
    if ack == acked_most:
        state[peer_flags] &= ~DATA_UNACKNOWLEDGED

    if index == ACK_SET:
        if (
            state[LAST_SEQ] == seq
            and state[LAST_ACK_NO] == ack
            and state[LAST_END] == end
            and state[LAST_WIN] == raw_win
            and state[LAST_DIR] == direction
        ):
            state[RETRANS] = state[RETRANS] + 1 & 0xFF
        else:
            state[LAST_DIR] = direction
            state[LAST_SEQ] = seq
            state[LAST_ACK_NO] = ack
            state[LAST_END] = end
            state[LAST_WIN] = raw_win
            state[RETRANS] = 0
    return ACCEPTED


def _outside(
    tracker: Tracker,
    entry: Entry,
    direction: int,
    packet: Packet,
    seq: int,
    sack: int,
    end: int,
    oldest_end: int,
    oldest_ack: int,
) -> int:
    """A packet that fits no window: which bound it breaks, and what becomes of it."""
    state: array[int] = entry.state
    own_end, own_maxend, _, _, _, own_flags = PLACES[direction]
    peer_end, _, peer_maxwin, _, _, _ = PLACES[1 - direction]
    maxend, acked_most, peer_win = state[own_maxend], state[peer_end], state[peer_maxwin]
    liberal = state[own_flags] & BE_LIBERAL or tracker.settings.tcp_be_liberal
    result = OUT_OF_WINDOW
    if not (seq - maxend - 1) & _SIGN:
        overshot = (end - maxend + 1) & _MASK
        if (
            peer_win
            and (oldest_end - end) & _SIGN
            and (oldest_ack - sack) & _SIGN
            and overshot <= peer_win
            and (sack - acked_most - 1) & _SIGN
        ):
            # Only the sequence number is too high, by no more than a window: the peer may take it.
            state[own_end] = end
            state[own_flags] |= DATA_UNACKNOWLEDGED
            result = IGNORED
            why = f"{overshot} bytes more than expected"
        else:
            why = f"SEQ is over upper bound {maxend + 1 & _MASK} (over the window of the receiver)"
    elif not (sack - acked_most - 1) & _SIGN:
        why = f"ACK is over upper bound {acked_most + 1 & _MASK} (ACKed data not seen yet)"
    elif peer_win and not (oldest_end - end) & _SIGN:
        result = IGNORED
        why = f"SEQ is under lower bound {oldest_end & _MASK} (already ACKed data retransmitted)"
    else:
        result = IGNORED
        why = f"ignored ACK under lower bound {oldest_ack & _MASK} (possible overly delayed)"
    if liberal:
        return ACCEPTED
    tracker.note(packet, why, entry)
    return result


def _closing_out_of_window(
    tracker: Tracker, entry: Entry, direction: int, index: int, packet: Packet, now: float
) -> None:
    """FINs or RSTs of both sides that fit no window end the long timeout (nf_tcp_handle_invalid)."""
    if not entry.status & ASSURED or entry.status & FIXED_TIMEOUT or index not in (RST_SET, FIN_SET):
        return
    state: array[int] = entry.state
    if state[LAST_DIR] != direction and state[LAST_INDEX] in (RST_SET, FIN_SET):
        left = entry.deadline - now
        if left < 120:
            return
        timeout = tracker.timeouts(entry, "tcp_timeouts")[TCP_UNACK]
        if left > timeout:
            tracker.note(
                packet,
                f"packet (index {index}, dir {direction}) response for index {state[LAST_INDEX]} "
                f"lower timeout to {timeout * TICKS}",
                entry,
            )
            entry.deadline = now + timeout
    else:
        state[LAST_INDEX] = index
        state[LAST_DIR] = direction


def _new(tracker: Tracker, index: int, packet: Packet, offset: int, win: int, end: int) -> array[int] | None:
    """The state of a connection that begins with this packet; None: no connection begins so (tcp_new)."""
    new = TABLE[0][index][NONE]
    if new >= INVALID:
        tracker.note(packet, "invalid new")
        return None
    state = array("I", _FRESH)
    sender = SEEN[0]
    state[sender + END] = end
    state[sender + MAXWIN] = win or 1
    if new == SYN_SENT:
        state[sender + MAXEND] = end
        options = _read_options(packet, offset)
        if options is not None:
            state[sender + SCALE], state[sender + FLAGS] = options
    elif not tracker.settings.tcp_loose:
        return None
    else:
        # In the middle of a connection: assume SACK, and windows of any scale.
        state[sender + MAXEND] = (end + (win or 1)) & _MASK
        state[sender + FLAGS] = state[SEEN[1] + FLAGS] = SACK_PERM | BE_LIBERAL
    state[LAST_INDEX] = NONE_SET
    return state


def packet(tracker: Tracker, entry: Entry, packet: Packet, direction: int, now: float) -> int:
    """What becomes of a TCP packet of this connection (nf_conntrack_tcp_packet)."""
    data, at = packet.data, packet.l4
    length = packet.length - at
    if length < 20:
        return _INVALID
    _, _, seq, ack, offset, flags, win = _HEADER.unpack_from(data, at)
    offset = (offset >> 4) * 4
    if offset < 20 or length < offset:
        return tracker.invalid(packet, "truncated packet")
    if tracker.checking and not tracker.checksum_ok(packet):
        return tracker.invalid(packet, "bad checksum")
    if not _FLAG_VALID[flags]:
        return tracker.invalid(packet, "invalid tcp flag combination")
    index = _FLAG_SET[flags]
    end = (seq + length - offset + (flags & SYN != 0) + (flags & FIN)) & _MASK

    state: array[int] | None = entry.state
    if not entry.status & CONFIRMED:
        state = entry.state = _new(tracker, index, packet, offset, win, end)
        if state is None:
            return _INVALID
    assert state is not None
    old = state[STATE]
    new = TABLE[direction][index][old]
    status = entry.status

    if new == ESTABLISHED == old or (new == SYN_SENT and old < TIME_WAIT):
        pass
    elif new in (SYN_SENT, IGNORE):
        if new == SYN_SENT and (
            (state[SEEN[0] + FLAGS] | state[SEEN[1] + FLAGS]) & CLOSE_INIT
            or (state[LAST_DIR] == direction and state[LAST_INDEX] == RST_SET)
        ):
            tracker.kill(entry, now)  # reopened: the caller begins anew with this packet
            return _REPEAT
        if (
            index == SYNACK_SET
            and state[LAST_INDEX] == SYN_SET
            and state[LAST_DIR] != direction
            and ack == state[LAST_END]
        ):
            # It answers a SYN that was let through: take over what that SYN said.
            old, new = SYN_SENT, SYN_RECV
            other = SEEN[state[LAST_DIR]]
            state[other + END] = state[other + MAXEND] = state[LAST_END]
            state[other + MAXWIN] = state[LAST_WIN] or 1
            state[other + SCALE] = state[LAST_WSCALE]
            state[LAST_FLAGS] &= ~EXP_CHALLENGE_ACK
            state[other + FLAGS] = state[LAST_FLAGS]
            own = SEEN[direction]
            liberal = state[own + FLAGS] & BE_LIBERAL
            for place in range(own, own + 6):
                state[place] = 0
            state[own + FLAGS] = liberal
        else:
            state[LAST_INDEX] = index
            state[LAST_DIR] = direction
            state[LAST_SEQ] = seq
            state[LAST_END] = end
            state[LAST_WIN] = win
            if index == SYN_SET and direction == 0:
                options = _read_options(packet, offset)
                state[LAST_WSCALE], state[LAST_FLAGS] = options or (0, 0)
                if old == LAST_ACK:
                    state[LAST_FLAGS] |= EXP_CHALLENGE_ACK
            if old == SYN_SENT and index == ACK_SET and direction == 1:
                state[LAST_ACK_NO] = ack  # perhaps a challenge ACK in answer to the SYN
            tracker.note(
                packet, f"packet (index {index}) in dir {direction} ignored, state {STATES[old]}", entry
            )
            return _ACCEPT
    elif new == INVALID:
        return tracker.invalid(
            packet, f"packet (index {index}) in dir {direction} invalid, state {STATES[old]}"
        )
    elif new == TIME_WAIT:
        if (
            old == LAST_ACK
            and index == ACK_SET
            and state[LAST_DIR] != direction
            and state[LAST_INDEX] == SYN_SET
            and state[LAST_FLAGS] & EXP_CHALLENGE_ACK
        ):
            state[LAST_FLAGS] &= ~EXP_CHALLENGE_ACK
            tracker.note(packet, "challenge-ack ignored", entry)
            return _ACCEPT
    elif new == SYN_SENT2:
        state[LAST_FLAGS] |= SIMULTANEOUS_OPEN
    elif new == SYN_RECV and direction and index == ACK_SET and state[LAST_FLAGS] & SIMULTANEOUS_OPEN:
        new = ESTABLISHED

    fits = False
    if new == CLOSE and index == RST_SET:
        verdict, new, fits = _reset(tracker, entry, packet, direction, seq, ack, old)
        if not verdict:
            return tracker.invalid(packet, "invalid rst")
    if not fits:
        found = _in_window(tracker, entry, direction, index, packet, seq, ack, offset, flags, win, end)
        if found == IGNORED:
            return _ACCEPT
        if found == OUT_OF_WINDOW:
            _closing_out_of_window(tracker, entry, direction, index, packet, now)
            return _INVALID

    state[LAST_INDEX] = index
    state[LAST_DIR] = direction
    state[STATE] = new
    if old != new and new == FIN_WAIT:
        state[SEEN[direction] + FLAGS] |= CLOSE_INIT

    settings = tracker.settings
    timeouts = settings.tcp_timeouts if entry.extra is None else tracker.timeouts(entry, "tcp_timeouts")
    timeout = timeouts[new]
    if state[RETRANS] >= settings.tcp_max_retrans and timeout > timeouts[TCP_RETRANS]:
        timeout = timeouts[TCP_RETRANS]
    elif index == RST_SET:
        timeout = timeouts[TCP_CLOSE]
    elif (state[10 + FLAGS] | state[16 + FLAGS]) & DATA_UNACKNOWLEDGED and timeout > timeouts[TCP_UNACK]:
        timeout = timeouts[TCP_UNACK]
    elif state[LAST_WIN] == 0 and timeout > timeouts[TCP_RETRANS]:
        timeout = timeouts[TCP_RETRANS]

    if not status & SEEN_REPLY:
        if flags & RST:
            # The only answer is a RST: there is no connection.
            tracker.count(entry, packet, direction)
            tracker.kill(entry, now)
            return _ACCEPT
        if index == SYN_SET and old == SYN_SENT:
            return _ACCEPT  # a SYN sent again renews nothing
        if new == ESTABLISHED and timeout > timeouts[TCP_UNACK]:
            timeout = timeouts[TCP_UNACK]
    elif not status & ASSURED and new == ESTABLISHED and old in (SYN_RECV, ESTABLISHED):
        entry.status |= ASSURED
    tracker.refresh(entry, packet, direction, timeout, now)
    return _ACCEPT


def _reset(
    tracker: Tracker, entry: Entry, packet: Packet, direction: int, seq: int, ack: int, old: int
) -> tuple[bool, int, bool]:
    """A RST: is it valid, what state follows, and may the window check be left out?"""
    state: array[int] = entry.state
    status = entry.status
    new = CLOSE
    if old in _CLOSING:
        # Closing already: the ports may be in use again, so nothing known can be held against it.
        return True, new, True
    if state[SEEN[1 - direction] + FLAGS] & MAXACK_SET and state[LAST_INDEX] != SYN_SET:
        established = state[STATE] == ESTABLISHED and status & ASSURED
        if seq == 0 and not established:
            return True, new, False
        maxack = state[SEEN[1 - direction] + MAXACK]
        if (seq - maxack) & _SIGN and not tracker.settings.tcp_ignore_invalid_rst:
            return False, new, False
        if not established or seq == maxack:
            return True, new, False
        if state[LAST_INDEX] == ACK_SET and state[LAST_DIR] == direction and seq == state[LAST_END]:
            return True, new, False  # it closes a train of this side's own data
        new = old  # not exactly the number that is awaited: a challenge ACK may follow
    answers = ack == state[LAST_END]
    if answers and (
        (status & SEEN_REPLY and state[LAST_INDEX] == SYN_SET and state[LAST_DIR] != direction)
        or (not status & ASSURED and state[LAST_INDEX] == ACK_SET)
    ):
        return True, new, True  # it answers a SYN or ACK that was let through
    if (
        old == SYN_SENT
        and state[LAST_INDEX] == ACK_SET
        and state[LAST_DIR] == 1
        and seq == state[LAST_ACK_NO]
    ):
        return True, new, True  # it answers a challenge ACK that was let through
    return True, new, False


def set_closing(tracker: Tracker, entry: Entry, now: float) -> None:
    """REJECT reset the connection: it is CLOSE from now on (nf_conntrack_tcp_set_closing)."""
    if not entry.status & CONFIRMED:
        return
    was = entry.state[STATE]
    entry.state[STATE] = CLOSE
    if was != CLOSE and not entry.status & FIXED_TIMEOUT:
        entry.deadline = now + tracker.timeouts(entry, "tcp_timeouts")[TCP_CLOSE]
