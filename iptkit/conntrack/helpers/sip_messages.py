"""SIP messages taken apart: headers, the addresses in them, and session descriptions.

Places in a message are offsets into its bytes; what is looked for and not
found is -1, or None.

Facts: net/netfilter/nf_conntrack_sip.c, Linux 6.18; RFC 3261, RFC 4566.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.helpers.reading import NATTED, dropped, mangle_tcp, mangle_udp, number
from iptkit.text.record import NamedTuple
from iptkit.values.packet import TCP, UDP

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat
    from iptkit.values.packet import Packet
    from iptkit.values.tuples import Tuple

PORT = 5060
_NEWLINES = b"\r\n"
_BLANKS = b" \t"
_WORD_CHARS = frozenset(b"!\"%()*+:<>?[\\]_`{}~-./'") | frozenset(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)


class State:
    """What is known of a signalling connection."""

    __slots__ = ("forced_port", "invite", "register")

    def __init__(self) -> None:
        self.register = self.invite = 0  # CSeq of the last one
        self.forced_port = 0  # where the phone wants its answers, 0: where it sends from


class Found(NamedTuple):
    """An address in a message: where it stands, with its port."""

    at: int
    length: int
    address: int
    port: int


# -- lengths of what stands at a place, 0 where it is not there


def letters(data: bytes, at: int, end: int) -> int:
    start = at
    while at < end and (65 <= data[at] <= 90 or 97 <= data[at] <= 122):
        at += 1
    return at - start


def _digits(data: bytes, at: int, end: int) -> int:
    start = at
    while at < end and 48 <= data[at] <= 57:
        at += 1
    return at - start


def _word(data: bytes, at: int, end: int) -> int:
    start = at
    while at < end and data[at] in _WORD_CHARS:
        at += 1
    return at - start


def _call_id(data: bytes, at: int, end: int) -> int:
    length = _word(data, at, end)
    after = at + length
    if not length or after == end or data[after : after + 1] != b"@":
        return length
    domain = _word(data, after + 1, end)
    return length + 1 + domain if domain else 0


def _media(data: bytes, at: int, end: int) -> int:
    """The media's kind and port."""
    length = letters(data, at, end)
    if at + length >= end or data[at + length] != 32:
        return 0
    return length + 1 + _digits(data, at + length + 1, end)


def address4(data: bytes, at: int, end: int) -> tuple[int, int]:
    """An IPv4 address and where it ends; end 0: there is none (in4_pton)."""
    value = count = 0
    part = -1
    while True:
        char = data[at] if at < end else 0
        if 48 <= char <= 57:
            part = max(part, 0) * 10 + char - 48
            if part > 255:
                return 0, 0
        elif 65 <= char <= 70 or 97 <= char <= 102 or part < 0:
            return 0, 0
        else:
            value = value << 8 | part
            part = -1
            count += 1
            if char != 46:
                return (value, at) if count == 4 else (0, 0)
        if count >= 4:
            return 0, 0
        at += 1


def address6(data: bytes, at: int, end: int) -> tuple[int, int]:
    """An IPv6 address and where it ends; end 0: there is none (in6_pton)."""
    import ipaddress  # only for SIP over IPv6

    stop = at
    while stop < end and data[stop] in b"0123456789abcdefABCDEF:.":
        stop += 1
    try:
        return int(ipaddress.IPv6Address(data[at:stop].decode("ascii"))), stop
    except ValueError:
        return 0, 0


class Message:
    """One message, as it stands in a packet.

    base     where it begins within the packet's payload
    data     its bytes, kept in step when they are rewritten
    """

    __slots__ = ("base", "data", "direction", "entry", "family", "nat", "now", "packet")

    def __init__(
        self, nat: Nat, packet: Packet, entry: Entry, direction: int, base: int, data: bytes, now: float
    ) -> None:
        self.nat, self.packet, self.entry, self.direction = nat, packet, entry, direction
        self.base, self.data, self.now = base, data, now
        self.family = entry.original.family

    @property
    def state(self) -> State:
        if self.entry.extra is None:
            self.entry.extra = {}
        found: State = self.entry.extra.setdefault("sip", State())
        return found

    @property
    def natted(self) -> bool:
        return bool(self.entry.status & NATTED)

    @property
    def own(self) -> Tuple:
        """The tuple of this packet's direction."""
        return self.entry.tuple(self.direction)

    @property
    def other(self) -> Tuple:
        """The tuple of the other direction."""
        return self.entry.tuple(not self.direction)

    def dropped(self, why: str) -> str:
        """Drop it, and say why."""
        return dropped(self.nat, self.entry, why)

    def mangle(self, at: int, length: int, new: str) -> bool:
        """Say something else in it."""
        said = new.encode("latin-1")
        start = self.base + at
        if self.packet.proto == TCP:
            done = mangle_tcp(self.packet, self.entry, self.direction, start, length, said, shift=False)
        else:
            done = mangle_udp(self.packet, start, length, said)
        if done:
            self.data = self.data[:at] + said + self.data[at + length :]
        return done

    # -- addresses

    def address(self, at: int, end: int, *, brackets: bool) -> tuple[int, int]:
        """An address and where it ends; end 0: there is none (sip_parse_addr)."""
        if self.family == 4:
            return address4(self.data, at, end)
        bracketed = at < end and self.data[at : at + 1] == b"["
        if not bracketed and brackets:
            return 0, 0
        address, stop = address6(self.data, at + bracketed, end)
        if not stop:
            return 0, 0
        if stop < end and self.data[stop : stop + 1] == b"]":
            return address, stop + 1
        return (0, 0) if brackets else (address, stop)

    def plain_address(self, at: int, end: int) -> tuple[int, int]:
        """An address of a session description: without brackets."""
        return (address4 if self.family == 4 else address6)(self.data, at, end)

    def _with_port(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        """An address with a port: bytes to skip before it, and its length."""
        _, stop = self.address(at, end, brackets=True)
        if not stop:
            return 0, 0
        if data[stop : stop + 1] == b":":
            stop += 1
            stop += _digits(data, stop, end)
        return 0, stop - at

    def _with_user(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        """The same after "user@"."""
        start = at
        while at < end and data[at] not in b"@\r\n":
            at += 1
        if at < end and data[at] == 64:
            at += 1
        else:
            at = start
        _, length = self._with_port(data, at, end)
        return at - start, length

    def _and_port(self, at: int, end: int) -> Found | None:
        """The address at a place, with its port, or SIP's; None: that is none."""
        address, stop = self.address(at, end, brackets=True)
        if not stop:
            return None
        port = PORT
        if stop < end and self.data[stop] == 58:
            port, stop = number(self.data, stop + 1)
            if not 1024 <= port <= 65535:
                return None
        return Found(at, stop - at, address, port)

    # -- headers

    def request_uri(self) -> Found | None:
        """The address in the request line (ct_sip_parse_request)."""
        data, end = self.data, len(self.data)
        at = letters(data, 0, end)
        if not at:
            return None
        at += 1
        if at >= end:
            return None
        while at < end - 4:
            if data[at] in _NEWLINES:
                return None
            if data[at : at + 4].lower() == b"sip:":
                at += 4
                break
            at += 1
        skipped, length = self._with_user(data, at, end)
        if not length:
            return None
        return self._and_port(at + skipped, end)

    def header(self, kind: str, at: int = 0) -> tuple[int, int, int]:
        """The next header of a kind (ct_sip_get_header).

        Gives 1, its place and length; 0: there is none; -1: it says nothing,
        with the place to go on from.
        """
        name, short, needle, measure = _HEADERS[kind]
        data, end = self.data, len(self.data)
        while at < end:
            if data[at] not in _NEWLINES:
                at += 1
                continue
            at += 1
            if at >= end:
                break
            if data[at - 1] == 13 and data[at] == 10:
                at += 1
                if at >= end:
                    break
            if data[at] in _BLANKS:  # a continued line
                at += 1
                continue
            if data[at : at + len(name)].lower() == name:
                at += len(name)
            elif (
                short
                and end - at >= 2
                and data[at : at + 1].lower() == short
                and not letters(data, at + 1, at + 2)
            ):
                at += 1
            else:
                at += 1
                continue
            at = _skip_blanks(data, at, end)
            if at < 0 or at >= end or data[at] != 58:
                break
            at += 1
            if at >= end:
                break
            at = _skip_blanks(data, at, end)
            if at < 0:
                break
            place = at
            if needle:
                at = _search(data, at, end, needle)
                if at < 0:
                    return -1, place, 0
                at += len(needle)
            skipped, length = measure(self, data, at, end)
            if not length:
                return -1, place, 0
            return 1, at + skipped, length
        return 0, 0, 0

    def _next_value(self, kind: str, at: int) -> tuple[int, int, int]:
        """The next of a list of values, which commas part (ct_sip_next_header)."""
        _, _, needle, measure = _HEADERS[kind]
        data, end = self.data, len(self.data)
        at = _search(data, at, end, b",")
        if at < 0:
            return 0, 0, 0
        at = _search(data, at, end, needle)
        if at < 0:
            return 0, 0, 0
        at += len(needle)
        skipped, length = measure(self, data, at, end)
        if not length:
            return -1, at, 0
        return 1, at + skipped, length

    def uris(self, kind: str) -> Uris:
        """The addresses of all headers of a kind, one after the other."""
        return Uris(self, kind)

    def uri(self, kind: str) -> Found | None:
        """The address of the first header of a kind that has one; None: there is none, or it is odd."""
        return self.uris(kind).next()

    def parameter(self, name: bytes, at: int) -> tuple[int, int]:
        """Where a parameter's value begins, and where its header's value ends; -1: there is none."""
        end = len(self.data)
        limit = _search(self.data, at, end, b",")
        if limit < 0:
            limit = end
        start = _search(self.data, at, limit, name)
        return (start + len(name) if start >= 0 else -1), limit

    def address_parameter(self, name: bytes, at: int, *, brackets: bool) -> Found | None:
        """A parameter that is an address (ct_sip_parse_address_param)."""
        start, limit = self.parameter(name, at)
        if start < 0:
            return None
        address, stop = self.address(start, limit, brackets=brackets)
        return Found(start, stop - start, address, 0) if stop else None

    def numeric_parameter(self, name: bytes, at: int) -> tuple[int, int, int, int]:
        """A parameter that is a number: 1, place, length, value; 0: there is none; -1: it is not one."""
        start, _ = self.parameter(name, at)
        if start < 0:
            return 0, 0, 0, 0
        value, stop = number(self.data, start, 0)
        if stop == start:
            return -1, 0, 0, 0
        return 1, start, stop - start, value & 0xFFFFFFFF

    def transport(self, at: int) -> int:
        """The protocol a contact asks for; 0: another than this connection's."""
        proto = self.packet.proto
        start, _ = self.parameter(b"transport=", at)
        if start < 0:
            return proto
        said = {b"tcp": TCP, b"udp": UDP}.get(self.data[start : start + 3].lower(), 0)
        return said if said == proto else 0

    def number_at(self, at: int) -> int:
        """The number at a place."""
        return number(self.data, at)[0] & 0xFFFFFFFF

    # -- session descriptions

    def description(self, kind: str, at: int, stop_at: str = "") -> tuple[int, int, int]:
        """The next line of a kind in the session description (ct_sip_get_sdp_header).

        `stop_at`: not behind a line of this kind.  Answers as header() does.
        """
        name = kind.encode() + b"="
        stop = stop_at.encode() + b"=" if stop_at else b""
        data, end = self.data, len(self.data)
        while at < end:
            if data[at] not in _NEWLINES:
                at += 1
                continue
            at += 1
            if at >= end:
                break
            if data[at - 1] == 13 and data[at] == 10:
                at += 1
                if at >= end:
                    break
            if stop and data[at : at + 2].lower() == stop:
                break
            if data[at : at + 2].lower() != name:
                at += 1
                continue
            at += 2
            place = at
            if kind in "oc":
                needle = b"IN IP4 " if self.family == 4 else b"IN IP6 "
                line_end = at
                while line_end < end and data[line_end] not in _NEWLINES:
                    line_end += 1
                found = data.find(needle, at, min(line_end + len(needle) - 1, end - 1))
                if found < 0 or found >= min(line_end, end - len(needle)):
                    return -1, place, 0
                at = found + len(needle)
                _, stop_place = self.plain_address(at, end)
                length = stop_place - at if stop_place else 0
            elif kind == "m":
                length = _media(data, at, end)
            else:
                length = _digits(data, at, end)
            if not length:
                return -1, place, 0
            return 1, at, length
        return 0, 0, 0

    def described_address(self, at: int) -> Found | None:
        """The connection's address, before the next medium."""
        found, place, length = self.description("c", at, "m")
        if found <= 0:
            return None
        address, stop = self.plain_address(place, place + length)
        return Found(place, length, address, 0) if stop else None


def _skip_blanks(data: bytes, at: int, end: int) -> int:
    while at < end:
        if data[at] in _BLANKS:
            at += 1
            continue
        if data[at] in _NEWLINES:
            at = _continued(data, at, end)
        break
    return at


def _continued(data: bytes, at: int, end: int) -> int:
    """Behind a newline and the blanks that continue the line; -1: the line ends."""
    at += 1
    if at >= end:
        return -1
    if data[at - 1] == 13 and data[at] == 10:
        at += 1
        if at >= end:
            return -1
    if data[at] not in _BLANKS:
        return -1
    while at < end and data[at] in _BLANKS:
        at += 1
    return at


def _search(data: bytes, at: int, end: int, needle: bytes) -> int:
    """Where a header's value says something, whatever the case; -1: nowhere (ct_sip_header_search)."""
    limit = end - len(needle)
    needle = needle.lower()
    while at < limit:
        if data[at] in _NEWLINES:
            at = _continued(data, at, limit)
            if at < 0:
                return -1
            at += 1
            continue
        if data[at : at + len(needle)].lower() == needle:
            return at
        at += 1
    return -1


def _plainly(
    length: Callable[[bytes, int, int], int],
) -> Callable[[Message, bytes, int, int], tuple[int, int]]:
    return lambda message, data, at, end: (0, length(data, at, end))


# Name, short name, what comes before what counts, and how that is measured.
_HEADERS: dict[str, tuple[bytes, bytes, bytes, Callable[[Message, bytes, int, int], tuple[int, int]]]] = {
    "cseq": (b"cseq", b"", b"", _plainly(_digits)),
    "from": (b"from", b"f", b"sip:", Message._with_user),
    "to": (b"to", b"t", b"sip:", Message._with_user),
    "contact": (b"contact", b"m", b"sip:", Message._with_user),
    "via-udp": (b"via", b"v", b"UDP ", Message._with_port),
    "via-tcp": (b"via", b"v", b"TCP ", Message._with_port),
    "expires": (b"expires", b"", b"", _plainly(_digits)),
    "content-length": (b"content-length", b"l", b"", _plainly(_digits)),
    "call-id": (b"call-id", b"i", b"", _plainly(_call_id)),
}


class Uris:
    """A walk over the addresses of all headers of a kind (ct_sip_parse_header_uri)."""

    __slots__ = ("at", "in_header", "kind", "message", "odd")

    def __init__(self, message: Message, kind: str) -> None:
        self.message, self.kind = message, kind
        self.at = 0
        self.in_header = False
        self.odd = False  # the last one could not be read

    def next(self) -> Found | None:
        """The next one; None: there is none, or it is `odd`."""
        message, at = self.message, self.at
        said = place = 0
        if self.in_header:
            while True:
                said, place, _ = message._next_value(self.kind, at)
                if said >= 0:
                    break
                at = place
            self.in_header = said > 0
        if said <= 0:
            while True:
                said, place, _ = message.header(self.kind, at)
                if said >= 0:
                    break
                at = place
            if not said:
                return None
        self.in_header = True
        found = message._and_port(place, len(message.data))
        if found is None:
            self.odd = True
            return None
        self.at = found.at + found.length
        return found
