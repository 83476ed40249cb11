"""Entries as text: /proc/net/nf_conntrack, `conntrack -L`, and back.

Facts: net/netfilter/nf_conntrack_standalone.c (ct_seq_show), Linux 6.18, and
libnetfilter_conntrack 1.0.9 (`conntrack -L` of conntrack-tools 1.4.7).  The two
differ: /proc begins with the network layer, names zone 0, writes IPv6 addresses
in full and GRE's timeouts; `conntrack -L` names the helper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack import sctp, tcp
from iptkit.conntrack.entry import STATUS_NAMES, Entry
from iptkit.conntrack.icmp import full_address6
from iptkit.conntrack.tracker import NO_ACCOUNT, TRACKED_PORTS, invert
from iptkit.extensions.world import (
    ASSURED,
    CONFIRMED,
    DST_NAT,
    DST_NAT_DONE,
    HELPER,
    HW_OFFLOAD,
    OFFLOAD,
    SEEN_REPLY,
    SEQ_ADJUST,
    SRC_NAT,
    SRC_NAT_DONE,
)
from iptkit.values.addresses import parse_address4, parse_address6, show_address4, show_address6
from iptkit.values.packet import GRE, ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

PROTOCOLS = {
    ICMP: "icmp",
    TCP: "tcp",
    UDP: "udp",
    GRE: "gre",
    ICMPV6: "icmpv6",
    SCTP: "sctp",
    UDPLITE: "udplite",
}
_FAMILIES = {"ipv4": 4, "ipv6": 6}
_FLAGS = {"UNREPLIED", "ASSURED", "OFFLOAD", "HW_OFFLOAD"}


class BadLine(ValueError):
    """A line that is no entry of a dump; the message says why."""


# -- printing


def state_name(entry: Entry) -> str:
    """The protocol's state as dumps name it; "" for protocols without one."""
    proto = entry.original.proto
    if proto == TCP and entry.state is not None:
        return tcp.STATES[entry.state[tcp.STATE]]
    if proto == SCTP and entry.state is not None:
        return sctp.STATES[entry.state.state]
    return ""


def _tuple_text(tuple_: Tuple, show: Callable[[int], str]) -> str:
    text = f"src={show(tuple_.src)} dst={show(tuple_.dst)} "
    proto = tuple_.proto
    if proto in TRACKED_PORTS:
        return f"{text}sport={tuple_.source} dport={tuple_.destination} "
    if proto in (ICMP, ICMPV6):
        kind, code = tuple_.destination >> 8, tuple_.destination & 0xFF
        return f"{text}type={kind} code={code} id={tuple_.source} "
    if proto == GRE:
        return f"{text}srckey={tuple_.source:#x} dstkey={tuple_.destination:#x} "
    return text


def _body(entry: Entry, show: Callable[[int], str]) -> str:
    """Both tuples with what goes along, the same in either format."""
    original, reply = entry.zones
    status = entry.status
    text = _tuple_text(entry.original, show)
    if original and original != reply:
        text += f"zone-orig={original} "
    if entry.packets:
        text += f"packets={entry.packets[0]} bytes={entry.bytes[0]} "
    if not status & SEEN_REPLY:
        text += "[UNREPLIED] "
    text += _tuple_text(entry.reply, show)
    if reply and original != reply:
        text += f"zone-reply={reply} "
    if entry.packets:
        text += f"packets={entry.packets[1]} bytes={entry.bytes[1]} "
    if status & HW_OFFLOAD:
        text += "[HW_OFFLOAD] "
    elif status & OFFLOAD:
        text += "[OFFLOAD] "
    elif status & ASSURED:
        text += "[ASSURED] "
    return f"{text}mark={entry.mark} "


def _show(entry: Entry, show6: Callable[[int], str]) -> Callable[[int], str]:
    return show_address4 if entry.original.family == 4 else show6


def proc_line(entry: Entry, now: float, use: int = 2, *, timestamp: bool = False) -> str:
    """The entry's line in /proc/net/nf_conntrack, without its newline.

    `use` is the kernel's count of references, which a reader sees as one more;
    `timestamp` is the sysctl.
    """
    proto, family = entry.original.proto, entry.original.family
    name = PROTOCOLS.get(proto, "unknown")
    text = "ipv4     2" if family == 4 else "ipv6     10"
    text = f"{text} {name:<8} {proto} "
    if not entry.status & OFFLOAD:
        text += f"{entry.remaining(now)} "
    state = state_name(entry)
    if state:
        text += f"{state} "
    elif proto == GRE:
        timeout, stream = entry.state or (0, 0)
        text += f"timeout={timeout}, stream_timeout={stream} "
    text += _body(entry, _show(entry, full_address6))
    if entry.zones[0] == entry.zones[1]:
        text += f"zone={entry.zones[0]} "
    if timestamp:
        text += f"delta-time={max(0, int(now - entry.started))} "
    return f"{text}use={use}"


def conntrack_line(
    entry: Entry, now: float, use: int = 1, *, extended: bool = False, timestamp: bool = False
) -> str:
    """The entry's line of `conntrack -L` (`-o extended`: with the network layer), without its newline."""
    proto, family = entry.original.proto, entry.original.family
    name = PROTOCOLS.get(proto, "unknown")
    text = f"{name:<8} {proto} "
    if extended:
        text = ("ipv4     2 " if family == 4 else "ipv6     10 ") + text
    if not entry.status & OFFLOAD:
        text += f"{entry.remaining(now)} "
    state = state_name(entry)
    if state:
        text += f"{state} "
    text += _body(entry, _show(entry, show_address6))
    if entry.zones[0] == entry.zones[1] != 0:
        text += f"zone={entry.zones[0]} "
    if timestamp:
        text += f"delta-time={max(0, int(now - entry.started))} "
    if entry.helper:
        text += f"helper={entry.helper} "
    return f"{text}use={use}"


def sort_key(entry: Entry) -> tuple[Any, ...]:
    """An order for tables, whose own order in the kernel is chance: by protocol, addresses and ports."""
    one = entry.original
    code = one.destination if one.proto in (ICMP, ICMPV6) else 0
    zones = entry.zones
    both = zones[0] if zones[0] == zones[1] else 0
    if code:
        return (one.family, one.proto, one.src, one.dst, 0, 0, code, one.source, both, *zones)
    return (one.family, one.proto, one.src, one.dst, one.source, one.destination, 0, 0, both, *zones)


def _tuple_record(tuple_: Tuple, show: Callable[[int], str]) -> dict[str, Any]:
    record: dict[str, Any] = {"src": show(tuple_.src), "dst": show(tuple_.dst)}
    proto = tuple_.proto
    if proto in TRACKED_PORTS:
        record["sport"], record["dport"] = tuple_.source, tuple_.destination
    elif proto in (ICMP, ICMPV6):
        record["type"], record["code"] = tuple_.destination >> 8, tuple_.destination & 0xFF
        record["id"] = tuple_.source
    elif proto == GRE:
        record["srckey"], record["dstkey"] = tuple_.source, tuple_.destination
    return record


def record(entry: Entry, now: float, use: int = 2, *, timestamp: bool = False) -> dict[str, Any]:
    """The entry as one JSON object, with the names of its line and of ctnetlink."""
    proto, family = entry.original.proto, entry.original.family
    show = _show(entry, _canonical_address6)
    found: dict[str, Any] = {
        "l3": f"ipv{family}",
        "l4": PROTOCOLS.get(proto, "unknown"),
        "l4num": proto,
        "timeout": entry.remaining(now),
    }
    state = state_name(entry)
    if state:
        found["state"] = state
    elif proto == GRE:
        found["gre_timeout"], found["gre_stream_timeout"] = entry.state or (0, 0)
    original, reply = entry.zones
    found["mark"] = entry.mark
    if original == reply:
        found["zone"] = original
    else:
        if original:
            found["zone-orig"] = original
        if reply:
            found["zone-reply"] = reply
    found["use"] = use
    for direction, name in ((0, "orig"), (1, "reply")):
        side = found[name] = _tuple_record(entry.tuple(direction), show)
        if entry.packets:
            side["packets"], side["bytes"] = entry.packets[direction], entry.bytes[direction]
    status = entry.status
    found["flags"] = [] if status & SEEN_REPLY else ["UNREPLIED"]
    if status & ASSURED:
        found["flags"].append("ASSURED")
    found["status"] = [name for bit, name in STATUS_NAMES if status & bit]
    if entry.helper:
        found["helper"] = entry.helper
    if proto == TCP and entry.state is not None:
        found["tcp"] = _tcp_record(entry)
    elif proto == SCTP and entry.state is not None:
        tags = [max(tag, 0) for tag in entry.state.tags]
        found["sctp"] = {"vtag_orig": tags[0], "vtag_reply": tags[1]}
    if entry.labels:
        found["labels"] = [bit for bit in range(128) if entry.labels >> bit & 1]
    if entry.master is not None:
        one = entry.master.original
        master = _tuple_record(one, show)
        found["master"] = {
            "src": master.pop("src"),
            "dst": master.pop("dst"),
            "proto": one.proto,
            **master,
        }
    shifts = entry.extra.get("seqadj") if entry.extra and status & SEQ_ADJUST else None
    if shifts is not None:
        for shift, name in zip(shifts.directions, ("seqadj_orig", "seqadj_reply"), strict=True):
            found[name] = {
                "correction_pos": shift.position,
                "offset_before": shift.before,
                "offset_after": shift.after,
            }
    found["line"] = proc_line(entry, now, use, timestamp=timestamp)
    return found


def _canonical_address6(address: int) -> str:
    """RFC 5952, without the dotted form that inet_ntop uses for some addresses."""
    from ipaddress import IPv6Address

    return str(IPv6Address(address))


def _tcp_record(entry: Entry) -> dict[str, Any]:
    state = entry.state
    found: dict[str, Any] = {}
    for direction, name in ((0, "orig"), (1, "reply")):
        found[f"wscale_{name}"] = state[tcp.SEEN[direction] + tcp.SCALE]
    for direction, name in ((0, "orig"), (1, "reply")):
        flags = state[tcp.SEEN[direction] + tcp.FLAGS]
        found[f"flags_{name}"] = [flag for bit, flag in tcp.FLAG_NAMES if flags & bit]
    return found


# -- reading


def read(lines: Iterable[str], now: float) -> Iterator[Entry]:
    """The entries of a dump in either format, confirmed, as they stood at `now`.

    Empty lines are passed over.  Raises BadLine, which says in which line.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield parse(line, now)
        except BadLine as bad:
            raise BadLine(f"line {number}: {bad}") from None


class _Words:
    """The words of one line, to be taken one after another."""

    __slots__ = ("at", "words")

    def __init__(self, line: str) -> None:
        self.words = line.split()
        self.at = 0

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self) -> str:
        word = self.peek()
        if not word:
            raise BadLine("it ends too early")
        self.at += 1
        return word

    def number(self, what: str, most: int) -> int:
        return _number(self.take(), what, most)


def _number(word: str, what: str, most: int, base: int = 10) -> int:
    try:
        value = int(word, base)
    except ValueError:
        raise BadLine(f"{what} must be a number, not '{word}'") from None
    if not 0 <= value <= most:
        raise BadLine(f"{what} must be at most {most}, not {word}")
    return value


_WORD, _SHORT, _BYTE, _COUNT = 0xFFFFFFFF, 0xFFFF, 0xFF, 2**64 - 1
# What belongs to the tuple that was named last, with the highest value and the base
_OF_TUPLE = {
    "sport": (_SHORT, 10),
    "dport": (_SHORT, 10),
    "type": (_BYTE, 10),
    "code": (_BYTE, 10),
    "id": (_SHORT, 10),
    "srckey": (_SHORT, 0),
    "dstkey": (_SHORT, 0),
    "packets": (_COUNT, 10),
    "bytes": (_COUNT, 10),
}
_OF_ENTRY = {
    "mark": (_WORD, 10),
    "zone": (_SHORT, 10),
    "zone-orig": (_SHORT, 10),
    "zone-reply": (_SHORT, 10),
    "use": (_WORD, 10),
    "delta-time": (_COUNT, 10),
    "stream_timeout": (_WORD, 10),
}


def parse(line: str, now: float) -> Entry:
    """Read one line of /proc/net/nf_conntrack or `conntrack -L`.  Raises BadLine.

    What a line does not tell is guessed: NAT is set up on both sides, TCP's
    windows are not known and are taken from the next packets.
    """
    words = _Words(line)
    family = 0
    if words.peek() in _FAMILIES:
        family = _FAMILIES[words.take()]
        words.number("the network layer's number", 10)
    words.take()
    proto = words.number("the protocol", 255)
    timeout = words.number("the timeout", _WORD) if words.peek().isdigit() else 0
    state = ""
    if "=" not in words.peek() and not words.peek().startswith("["):
        state = words.take()

    tuples: list[dict[str, Any]] = []
    rest: dict[str, int] = {}
    flags: set[str] = set()
    helper = ""
    while words.peek():
        word = words.take()
        if word.startswith("["):
            flag = word.strip("[]")
            if flag not in _FLAGS:
                raise BadLine(f"'{word}' is no flag of a connection")
            flags.add(flag)
            continue
        key, equals, value = word.partition("=")
        if key == "src" and equals:
            tuples.append({"src": _address(value, family)})
        elif key == "dst" and tuples:
            tuples[-1]["dst"] = _address(value, family)
        elif key == "id" and ((len(tuples) == 2 and "id" in tuples[1]) or "use" in rest):
            pass  # the entry's own id, of `conntrack -L -o id`
        elif key in _OF_TUPLE and tuples:
            most, base = _OF_TUPLE[key]
            tuples[-1][key] = _number(value, key, most, base)
        elif key == "timeout" and proto == GRE:
            rest[key] = _number(value.rstrip(","), key, _WORD)
        elif key in _OF_ENTRY:
            rest[key] = _number(value, key, *_OF_ENTRY[key])
        elif key == "helper":
            helper = value
        elif key not in ("secctx", "labels", "secmark"):
            raise BadLine(f"'{word}' is no part of a connection")
    if len(tuples) != 2:
        raise BadLine("a connection has two tuples, each with src= and dst=")
    return _entry(proto, state, timeout, tuples, rest, flags, helper, now)


def _address(text: str, family: int) -> tuple[int, int]:
    """(family, number) of an address."""
    try:
        if ":" in text:
            if family == 4:
                raise BadLine(f"'{text}' is no IPv4 address")
            return 6, parse_address6(text)
        if family == 6:
            raise BadLine(f"'{text}' is no IPv6 address")
        return 4, parse_address4(text)
    except BadLine:
        raise
    except ValueError:
        raise BadLine(f"'{text}' is no address") from None


def _tuple(proto: int, side: dict[str, Any]) -> Tuple:
    if "dst" not in side:
        raise BadLine("dst= is missing")
    family, src = side["src"]
    other, dst = side["dst"]
    if family != other:
        raise BadLine("src= and dst= are of different families")
    try:
        if proto in TRACKED_PORTS:
            source, destination = side["sport"], side["dport"]
        elif proto in (ICMP, ICMPV6):
            source, destination = side["id"], side["type"] << 8 | side["code"]
        elif proto == GRE:
            source, destination = side["srckey"], side["dstkey"]
        else:
            source = destination = 0
    except KeyError as missing:
        raise BadLine(f"{missing.args[0]}= is missing") from None
    return Tuple(family, src, source, dst, destination, proto)


def _entry(
    proto: int,
    state: str,
    timeout: int,
    tuples: list[dict[str, Any]],
    rest: dict[str, int],
    flags: set[str],
    helper: str,
    now: float,
) -> Entry:
    original, reply = (_tuple(proto, side) for side in tuples)
    zone = rest.get("zone", 0)
    entry = Entry(original, reply, (rest.get("zone-orig", zone), rest.get("zone-reply", zone)))
    entry.status = CONFIRMED | SRC_NAT_DONE | DST_NAT_DONE
    if "UNREPLIED" not in flags:
        entry.status |= SEEN_REPLY
    if "ASSURED" in flags:
        entry.status |= ASSURED
    if "OFFLOAD" in flags:
        entry.status |= OFFLOAD
    if "HW_OFFLOAD" in flags:
        entry.status |= OFFLOAD | HW_OFFLOAD
    unturned = invert(reply) or original
    if (unturned.src, unturned.source) != (original.src, original.source):
        entry.status |= SRC_NAT
    if (unturned.dst, unturned.destination) != (original.dst, original.destination):
        entry.status |= DST_NAT
    entry.mark = rest.get("mark", 0)
    # A line shows whole seconds rounded down: the middle of them errs least, and prints the same again.
    entry.deadline = now + timeout + 0.5
    entry.started = now - rest.get("delta-time", 0)
    if helper:
        entry.helper = helper
        entry.status |= HELPER
    if "packets" in tuples[0] and "packets" in tuples[1]:
        entry.packets = [side["packets"] for side in tuples]
        entry.bytes = [side.get("bytes", 0) for side in tuples]
    else:
        entry.packets = entry.bytes = NO_ACCOUNT
    if proto == TCP:
        if state not in tcp.STATES:
            raise BadLine(f"'{state}' is no TCP state")
        entry.state = tcp.new_state()
        entry.state[tcp.STATE] = tcp.STATES.index(state)
        entry.state[tcp.LAST_INDEX] = tcp.NONE_SET
    elif proto == SCTP:
        if state not in sctp.STATES:
            raise BadLine(f"'{state}' is no SCTP state")
        entry.state = sctp.Association()
        entry.state.state = sctp.STATES.index(state)
        entry.state.tags = [sctp.ANY_TAG, sctp.ANY_TAG]
    elif state:
        raise BadLine(f"'{state}' stands where src= should")
    elif proto == GRE:
        entry.state = (rest.get("timeout", 0), rest.get("stream_timeout", 0))
    return entry
