"""FTP: PORT and EPRT of the client, the server's answers to PASV and EPSV.

A command counts only right after a line of the same direction that ended with
a newline: at a sequence number that is remembered.

Facts: net/netfilter/nf_conntrack_ftp.c and nf_nat_ftp.c, Linux 6.18; RFC 959,
RFC 1123, RFC 2428.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.expect import ADDED, Expectation, Policy
from iptkit.conntrack.helpers.reading import (
    NATTED,
    dropped,
    established,
    find_port,
    full6,
    mangle_tcp,
    quad,
    sequence,
    tcp_data,
)
from iptkit.conntrack.nat import follow_master
from iptkit.conntrack.seqadj import after
from iptkit.extensions.world import ACCEPT
from iptkit.text.record import NamedTuple
from iptkit.values.packet import TCP
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat
    from iptkit.values.packet import Packet

POLICY = Policy(1, 300)
_MASK = 0xFFFFFFFF
_REMEMBERED = 2  # places after a newline that are kept for each direction


class Announced(NamedTuple):
    """What a command says: an address (None: the sender's own), a port, and how long that text is."""

    address: int | None
    port: int
    length: int
    skipped: int = 0  # bytes before the text


class State:
    """Where lines ended, by direction."""

    __slots__ = ("ends",)

    def __init__(self) -> None:
        self.ends: tuple[list[int], list[int]] = ([], [])

    def ended(self, direction: int, seq: int) -> None:
        """A line ended just before this sequence number."""
        ends = self.ends[direction]
        if seq in ends:
            return
        if len(ends) < _REMEMBERED:
            ends.append(seq)
            return
        oldest = 0 if after(ends[1], ends[0]) else 1
        if after(seq, ends[oldest]):
            ends[oldest] = seq


def _numbers(data: bytes, count: int, separator: int, end: int) -> tuple[list[int], int]:
    """So many decimal numbers up to `end` (0: up to anything); none where they are not there."""
    values = [0] * count
    index = 0
    for place, char in enumerate(data):
        if index >= count:
            break
        if 48 <= char <= 57:
            values[index] = values[index] * 10 + char - 48 & _MASK
        elif char == separator:
            index += 1
        else:
            return (values, place) if end in (char, 0) and index == count - 1 else ([], 0)
    return [], 0


def _rfc959(data: bytes, end: int) -> Announced | None:
    values, length = _numbers(data, 6, ord(","), end)
    if not length:
        return None
    address = (values[0] << 24 | values[1] << 16 | values[2] << 8 | values[3]) & _MASK
    return Announced(address, (values[4] << 8 | values[5]) & 0xFFFF, length)


def _port(data: bytes, family: int) -> Announced | None:
    return _rfc959(data, ord("\r"))


def _pasv(data: bytes, family: int) -> Announced | None:
    for place, char in enumerate(data):
        if 48 <= char <= 57:
            found = _rfc959(data[place:], 0)
            return found._replace(skipped=place) if found else None
    return None


def _number_up_to(data: bytes, start: int, end: int) -> tuple[int, int]:
    """A port, and the place after the delimiter; 0 where it is none."""
    port = 0
    for place in range(start, len(data)):
        char = data[place]
        if char == end:
            return (port, place + 1) if port else (0, 0)
        if not 48 <= char <= 57:
            break
        port = port * 10 + char - 48 & 0xFFFF
    return 0, 0


def _delimiter(data: bytes) -> int:
    """The delimiter of EPRT and of EPSV's answer; 0: it is not one."""
    if len(data) <= 3:
        return 0
    char = data[0]
    return 0 if 48 <= char <= 57 or not 33 <= char <= 126 else char


def _eprt(data: bytes, family: int) -> Announced | None:
    mark = _delimiter(data)
    if not mark or data[2] != mark or data[1] != ord("1" if family == 4 else "2"):
        return None
    if family == 4:
        values, length = _numbers(data[3:], 4, ord("."), mark)
        if not length:
            return None
        address = (values[0] << 24 | values[1] << 16 | values[2] << 8 | values[3]) & _MASK
    else:
        length = data.find(mark, 3) - 3
        read = _address6(data[3 : 3 + length]) if length > 0 else None
        if read is None:
            return None
        address = read
    port, end = _number_up_to(data, 3 + length + 1, mark)
    return Announced(address, port, end) if end else None


def _address6(text: bytes) -> int | None:
    import ipaddress  # only for EPRT over IPv6

    try:
        return int(ipaddress.IPv6Address(text.decode("latin-1")))
    except ValueError:
        return None


def _epsv(data: bytes, family: int) -> Announced | None:
    mark = _delimiter(data)
    if not mark or data[1] != mark or data[2] != mark:
        return None
    port, end = _number_up_to(data, 3, mark)
    return Announced(None, port, end) if end else None


class Command(NamedTuple):
    """One that announces: its word, the character before what it says (0: none), and its reader."""

    word: bytes
    skip: int
    read: Callable[[bytes, int], Announced | None]
    written: str


_COMMANDS = (
    (Command(b"PORT", ord(" "), _port, "rfc959"), Command(b"EPRT", ord(" "), _eprt, "eprt")),
    (Command(b"227 ", 0, _pasv, "rfc959"), Command(b"229 ", ord("("), _epsv, "epsv")),
)
_PARTIAL = object()


def _search(command: Command, data: bytes, family: int) -> tuple[int, Announced] | object | None:
    """Where it says what; None: it is another command; _PARTIAL: it is cut."""
    word = command.word
    if len(data) <= len(word):
        return _PARTIAL if word.lower().startswith(data.lower()) else None
    if data[: len(word)].lower() != word.lower():
        return None
    at = len(word)
    if command.skip:
        at = data.find(command.skip, at)
        if at < 0 or at == len(data):
            return _PARTIAL
        at += 1
    found = command.read(data[at:], family)
    if found is None:
        return _PARTIAL
    return at + found.skipped, found


def read(nat: Nat, packet: Packet, entry: Entry, direction: int, now: float) -> str:
    """Read a segment of a control connection."""
    start = tcp_data(packet) if established(packet) else -1
    if start < 0:
        return ACCEPT
    if entry.extra is None:
        entry.extra = {}
    state: State = entry.extra.setdefault("ftp", State())
    data = bytes(packet.data[start:])
    seq = sequence(packet)
    verdict = ACCEPT
    if seq in state.ends[direction]:
        for command in _COMMANDS[direction]:
            found = _search(command, data, entry.original.family)
            if found is _PARTIAL:
                return dropped(nat, entry, f"partial matching of `{command.word.decode()}'")
            if isinstance(found, tuple):
                verdict = _announced(nat, packet, entry, direction, command, found[0], found[1], now)
                break
    if data.endswith(b"\n"):
        state.ended(direction, seq + len(data) & _MASK)
    return verdict


def _announced(
    nat: Nat,
    packet: Packet,
    entry: Entry,
    direction: int,
    command: Command,
    at: int,
    found: Announced,
    now: float,
) -> str:
    own, other = entry.tuple(direction), entry.tuple(not direction)
    if found.address is not None and found.address != own.src:
        return ACCEPT  # somebody else's address, and the module's `loose` is off
    expectation = Expectation(entry, Tuple(own.family, other.src, 0, other.dst, found.port, TCP), POLICY)
    if not entry.status & NATTED:
        if nat.expectations.add(expectation, now) != ADDED:
            return dropped(nat, entry, "cannot add expectation")
        return ACCEPT
    expectation.saved_port = found.port
    expectation.direction = int(not direction)
    expectation.on_arrival = follow_master
    port = find_port(nat, expectation, found.port, now)
    if not port:
        return dropped(nat, entry, "all ports in use")
    text = _written(command.written, own.family, other.dst, port)
    if not mangle_tcp(packet, entry, direction, at, found.length, text.encode()):
        nat.expectations.remove(expectation)
        return dropped(nat, entry, "cannot mangle packet")
    return ACCEPT


def _written(kind: str, family: int, address: int, port: int) -> str:
    if kind == "epsv":
        return f"|||{port}|"
    if kind == "eprt":
        return f"|1|{quad(address)}|{port}|" if family == 4 else f"|2|{full6(address)}|{port}|"
    return f"{quad(address).replace('.', ',')},{port >> 8},{port & 255}"
