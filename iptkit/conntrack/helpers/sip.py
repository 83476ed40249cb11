"""SIP: REGISTER announces calls to come, session descriptions announce media streams.

Three parts: how messages are taken apart, what their requests and answers
announce, and how NAT rewrites them.  Places in a message are offsets into its
bytes; what is looked for and not found is -1, or None.

Facts: net/netfilter/nf_conntrack_sip.c and nf_nat_sip.c, Linux 6.18; RFC 3261,
RFC 4566.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from iptkit.conntrack import seqadj
from iptkit.conntrack.expect import ADDED, ALREADY, BUSY, INACTIVE, PERMANENT, Expectation, Policy
from iptkit.conntrack.helpers.reading import (
    NATTED,
    dropped,
    established,
    find_port,
    mangle_tcp,
    mangle_udp,
    number,
    quad,
    refresh,
    sequence,
    tcp_data,
    udp_data,
)
from iptkit.extensions.world import ACCEPT, DROP, EXPECTED, NatRange
from iptkit.values.packet import TCP, UDP
from iptkit.values.tuples import ORIGINAL, Tuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat
    from iptkit.values.packet import Packet

TIMEOUT = 3600  # of the signalling connection, seconds; the module's sip_timeout
PORT = 5060
SIGNALLING, AUDIO, VIDEO, IMAGE = range(4)
POLICIES = (
    Policy(1, 180, "signalling"),
    Policy(4, 180, "audio"),
    Policy(4, 180, "video"),
    Policy(2, 180, "image"),
)
_SHORTEST = len(b"SIP/2.0 200")
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


# -- taking apart: lengths of what stands at a place, 0 where it is not there


def _letters(data: bytes, at: int, end: int) -> int:
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
    length = _letters(data, at, end)
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
        at = _letters(data, 0, end)
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
                and not _letters(data, at + 1, at + 2)
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


# -- what messages announce


def read(nat: Nat, packet: Packet, entry: Entry, direction: int, now: float) -> str:
    """Read a datagram, or the messages of a segment."""
    if packet.proto == TCP:
        return _read_tcp(nat, packet, entry, direction, now)
    start = udp_data(packet)
    if start < 0:
        return ACCEPT
    refresh(entry, TIMEOUT, now)
    data = bytes(packet.data[start:])
    if len(data) < _SHORTEST:
        return ACCEPT
    return _process(Message(nat, packet, entry, direction, 0, data, now))


def _read_tcp(nat: Nat, packet: Packet, entry: Entry, direction: int, now: float) -> str:
    start = tcp_data(packet) if established(packet) else -1
    if start < 0:
        return ACCEPT
    refresh(entry, TIMEOUT, now)
    rest = bytes(packet.data[start:])
    if len(rest) < _SHORTEST:
        return ACCEPT
    base = change = 0
    verdict = ACCEPT
    seq = sequence(packet)
    while True:
        message = Message(nat, packet, entry, direction, base, rest, now)
        found, at, _ = message.header("content-length")
        if found <= 0:
            break
        length, end = number(rest, at)
        if end == at or length > len(rest):
            break
        end = rest.find(b"\r\n\r\n", end)
        if end < 0:
            break
        end += 4 + length
        if end > len(rest):
            return ACCEPT
        message.data = rest[:end]
        verdict = _process(message)
        if verdict != ACCEPT:
            break
        change += len(message.data) - end
        base += len(message.data)
        rest = rest[end:]
    if verdict == ACCEPT and entry.status & NATTED:
        seqadj.shift(entry, direction, seq, change)
    return verdict


def _process(message: Message) -> str:
    answer = message.data[:8].lower() == b"sip/2.0 "
    verdict = _answer(message) if answer else _request(message)
    if verdict == ACCEPT and message.natted:
        verdict = _translate(message)
        if verdict != ACCEPT:
            return message.dropped("cannot NAT SIP message")
    return verdict


def _sequence_number(message: Message) -> tuple[int, int] | str:
    """The CSeq, and where its method begins; or the verdict."""
    found, at, length = message.header("cseq")
    if found <= 0:
        return message.dropped("cannot parse cseq")
    cseq = message.number_at(at)
    if not cseq and message.data[at] != 48:
        return message.dropped("cannot get cseq")
    return cseq, at + length + 1


def _request(message: Message) -> str:
    own, data = message.own, message.data
    via = message.uri("via-udp")
    # Some phones send from a high port, but listen at the one they name.
    if via is not None and via.port != own.source and via.address == own.src:
        message.state.forced_port = via.port
    for method, (request, _) in _METHODS.items():
        size = len(method)
        if request is None or len(data) < size + 2 or data[:size].upper() != method:
            continue
        if data[size] != 32 or not _letters(data, size + 1, size + 2):
            continue
        said = _sequence_number(message)
        return said if isinstance(said, str) else request(message, said[0])
    return ACCEPT


def _answer(message: Message) -> str:
    code = message.number_at(len(b"SIP/2.0 "))
    if not code:
        return message.dropped("cannot get code")
    said = _sequence_number(message)
    if isinstance(said, str):
        return said
    cseq, at = said
    for method, (_, answer) in _METHODS.items():
        if answer is not None and message.data[at : at + len(method)].upper() == method:
            return answer(message, cseq, code)
    return ACCEPT


def _media_answer(message: Message, cseq: int, code: int) -> str:
    if 100 <= code <= 299:
        return _description(message, cseq)
    if message.state.invite == cseq:
        _forget(message, media=True)
    return ACCEPT


def _invite(message: Message, cseq: int) -> str:
    _forget(message, media=True)
    verdict = _description(message, cseq)
    if verdict == ACCEPT:
        message.state.invite = cseq
    return verdict


def _bye(message: Message, cseq: int) -> str:
    _forget(message, media=True)
    return ACCEPT


def _forget(message: Message, *, media: bool) -> None:
    """No longer expect media streams, or the last registration (flush_expectations)."""
    expectations = message.nat.expectations
    for expectation in list(expectations.of(message.entry)):
        if (expectation.class_ != SIGNALLING) != media:
            continue
        if expectations.remove(expectation) and not media:
            break


def _register(message: Message, cseq: int) -> str:
    """Expect calls to who registers, as soon as the registrar agrees."""
    if message.entry.status & EXPECTED:
        return ACCEPT
    expires = 0
    found, at, _ = message.header("expires")
    if found > 0:
        expires = message.number_at(at)
    contacts = message.uris("contact")
    contact = contacts.next()
    if contact is None:
        return message.dropped("cannot parse contact") if contacts.odd else ACCEPT
    own, other = message.own, message.other
    if contact.address != own.src:
        return ACCEPT  # for somebody else
    behind = contact.at + contact.length
    proto = message.transport(behind)
    if not proto:
        return ACCEPT
    said, _, _, value = message.numeric_parameter(b"expires=", behind)
    if said < 0:
        return message.dropped("cannot parse expires")
    if said:
        expires = value
    verdict = ACCEPT
    if expires:
        expectation = Expectation(
            message.entry,
            Tuple(own.family, other.src, 0, contact.address, contact.port, proto),
            POLICIES[SIGNALLING],
            class_=SIGNALLING,
            flags=PERMANENT | INACTIVE,
        )
        expectation.helper = "sip"
        if message.natted:
            verdict = _announce_translated(message, expectation, contact)
        elif message.nat.expectations.add(expectation, message.now) != ADDED:
            verdict = message.dropped("cannot add expectation")
    if verdict == ACCEPT:
        message.state.register = cseq
    return verdict


def _register_answer(message: Message, cseq: int, code: int) -> str:
    if message.state.register != cseq or 100 <= code <= 199:
        return ACCEPT
    if 200 <= code <= 299:
        expires = 0
        found, at, _ = message.header("expires")
        if found > 0:
            expires = message.number_at(at)
        contacts = message.uris("contact")
        while True:
            contact = contacts.next()
            if contact is None:
                if contacts.odd:
                    return message.dropped("cannot parse contact")
                break
            if contact.address != message.own.dst:
                continue
            behind = contact.at + contact.length
            proto = message.transport(behind)
            if not proto:
                continue
            said, _, _, value = message.numeric_parameter(b"expires=", behind)
            if said < 0:
                return message.dropped("cannot parse expires")
            lasting = value if said else expires
            if not lasting:
                break
            if _renew(message, contact, proto, lasting):
                return ACCEPT
    _forget(message, media=False)
    return ACCEPT


def _renew(message: Message, contact: Found, proto: int, seconds: int) -> bool:
    """The registrar agrees: the announced calls are in force (refresh_signalling_expectation)."""
    for expectation in message.nat.expectations.of(message.entry):
        tuple_ = expectation.tuple_
        if expectation.class_ == SIGNALLING and (tuple_.dst, tuple_.proto, tuple_.destination) == (
            contact.address,
            proto,
            contact.port,
        ):
            expectation.deadline = message.now + seconds
            expectation.flags &= ~INACTIVE
            return True
    return False


_MEDIA = ((b"audio ", AUDIO), (b"video ", VIDEO), (b"image ", IMAGE))


def _description(message: Message, cseq: int) -> str:
    """Expect the media streams that a session description announces (process_sdp)."""
    found, start, _ = message.description("v", 0)
    if found <= 0:
        return ACCEPT
    session = message.described_address(start)
    target: int | None = session.address if session else None
    at, count = start, 0
    while count < len(_MEDIA):
        found, at, length = message.description("m", at)
        if found <= 0:
            break
        kind = next(
            (
                each
                for each in _MEDIA
                if message.data[at : at + len(each[0])] == each[0] and length >= len(each[0])
            ),
            None,
        )
        if kind is None:
            at += length
            continue
        at += len(kind[0])
        length -= len(kind[0])
        port = message.number_at(at)
        if not port:
            continue
        if not 1024 <= port <= 65535:
            return message.dropped(f"wrong port {port}")
        medium = message.described_address(at)
        if medium is not None:
            target = medium.address
        elif session is not None:
            target = session.address
        else:
            return message.dropped("cannot parse SDP message")
        verdict, target = _expect_media(message, target, port, kind[1], at, length)
        if verdict != ACCEPT:
            message.dropped("cannot add expectation for voice")
            return verdict
        if medium is not None and message.natted and not _set_described(message, at, "c", target):
            return message.dropped("cannot mangle SDP")
        count += 1
    if message.natted and target is not None and not _set_session(message, start, target):
        return DROP
    return ACCEPT


def _expect_media(
    message: Message, target: int, port: int, class_: int, at: int, length: int
) -> tuple[str, int]:
    """Expect RTP and RTCP of one stream; the verdict, and the address that is to be announced."""
    entry, expectations, now = message.entry, message.nat.expectations, message.now
    own, other = message.own, message.other
    if target != own.src:
        return ACCEPT, target  # only between the two that talk: the module's sip_direct_media
    tuple_ = Tuple(own.family, other.src, 0, target, port, UDP)
    direct = skip = False
    while not skip:
        known = expectations.find(tuple_, entry.zones[0] or entry.zones[1])
        if (
            known is None
            or known.master is entry
            or known.master_helper != entry.helper
            or known.class_ != class_
        ):
            break
        moved = (known.saved_address, known.saved_port) != (known.tuple_.dst, known.tuple_.destination)
        if not direct and moved and message.natted:
            # Both are behind the same NAT: they can talk to each other directly.
            target = known.saved_address
            tuple_ = tuple_._replace(dst=target, destination=known.saved_port)
            direct = True
        else:
            skip = True
    port = tuple_.destination & ~1
    if direct and not _set_port(message, at, length, port):
        return DROP, target
    if skip:
        return ACCEPT, target
    pair = [
        Expectation(
            entry,
            Tuple(own.family, other.src, 0, target, each, UDP),
            POLICIES[class_],
            class_=class_,
        )
        for each in (port, port + 1)
    ]
    if message.natted and not direct:
        return _announce_media(message, pair, at, length)
    first = expectations.add(pair[0], now, any_master=True)
    if first in (ADDED, ALREADY):
        if expectations.add(pair[1], now, any_master=True) in (ADDED, ALREADY):
            return ACCEPT, target
        if first == ADDED:
            expectations.remove(pair[0])
    return DROP, target


_METHODS: dict[
    bytes, tuple[Callable[[Message, int], str] | None, Callable[[Message, int, int], str] | None]
] = {
    b"INVITE": (_invite, _media_answer),
    b"UPDATE": (_description, _media_answer),
    b"ACK": (_description, None),
    b"PRACK": (_description, _media_answer),
    b"BYE": (_bye, None),
    b"REGISTER": (_register, _register_answer),
}


# -- NAT


def _written(family: int, address: int, *, brackets: bool = False) -> str:
    if family == 4:
        return quad(address)
    import ipaddress  # only for SIP over IPv6

    text = str(ipaddress.IPv6Address(address))
    return f"[{text}]" if brackets else text


def _map(message: Message, found: Found) -> bool:
    """Rewrite an address and port that is one of the connection's ends (map_addr)."""
    own, other = message.own, message.other
    if (found.address, found.port) == (own.src, own.source):
        address, port = other.dst, other.destination
    elif (found.address, found.port) == (own.dst, own.destination):
        address, port = other.src, message.state.forced_port or other.source
    else:
        return True
    if (address, port) == (found.address, found.port):
        return True
    return message.mangle(
        found.at, found.length, f"{_written(message.family, address, brackets=True)}:{port}"
    )


def _translate(message: Message) -> str:
    """Rewrite the addresses in the headers (nf_nat_sip)."""
    request = message.data[:7].lower() != b"sip/2.0"
    if request:
        target = message.request_uri()
        if target is not None and not _map(message, target):
            return message.dropped("cannot mangle SIP message")
    verdict = _translate_via(message, request)
    if verdict != ACCEPT:
        return verdict
    contacts = message.uris("contact")
    while (contact := contacts.next()) is not None:
        if not _map(message, contact):
            return message.dropped("cannot mangle contact")
    for kind in ("from", "to"):
        party = message.uri(kind)
        if party is not None and not _map(message, party):
            return message.dropped("cannot mangle SIP from/to")
    forced = message.state.forced_port
    if message.direction and forced:
        packet = message.packet
        packet.set_destination_port(forced)
        if not mangle_udp(packet, 0, 0, b""):
            return message.dropped("cannot mangle packet")
    return ACCEPT


def _translate_via(message: Message, request: bool) -> str:
    """Rewrite the topmost Via header."""
    own, other = message.own, message.other
    via = message.uri("via-tcp" if message.packet.proto == TCP else "via-udp")
    if via is None:
        return ACCEPT
    end = (own.src, own.source) if request else (own.dst, own.destination)
    if (via.address, via.port) != end:
        return ACCEPT
    length = len(message.data)
    if not _map(message, via):
        return message.dropped("cannot mangle Via header")
    behind = via.at + via.length + len(message.data) - length
    maddr = message.address_parameter(b"maddr=", behind, brackets=True)
    if (
        maddr is not None
        and own.src == maddr.address != other.dst
        and not message.mangle(maddr.at, maddr.length, _written(message.family, other.dst, brackets=True))
    ):
        return message.dropped("cannot mangle maddr")
    received = message.address_parameter(b"received=", behind, brackets=False)
    if (
        received is not None
        and own.dst == received.address != other.src
        and not message.mangle(received.at, received.length, _written(message.family, other.src))
    ):
        return message.dropped("cannot mangle received")
    said, at, size, value = message.numeric_parameter(b"rport=", behind)
    if (
        said > 0
        and own.destination == value & 0xFFFF != other.source
        and not message.mangle(at, size, str(other.source))
    ):
        return message.dropped("cannot mangle rport")
    return ACCEPT


def _outside(message: Message, address: int) -> int:
    """Where the other side reaches who said it: his own address, or the one NAT gave him."""
    return address if message.own.src == message.other.dst else message.other.dst


def _announce_translated(message: Message, expectation: Expectation, contact: Found) -> str:
    """Announce a registered contact as the other side sees it (nf_nat_sip_expect)."""
    own, other, tuple_ = message.own, message.other, expectation.tuple_
    address = _outside(message, tuple_.dst)
    port = tuple_.destination
    expectation.saved_address, expectation.saved_port = tuple_.dst, port
    if port == (message.state.forced_port or own.source):
        port = other.destination
    expectation.tuple_ = tuple_._replace(dst=address)
    expectation.direction = int(not message.direction)
    expectation.on_arrival = _arrived
    port = find_port(message.nat, expectation, port, message.now)
    if not port:
        return message.dropped("all ports in use for SIP")
    if (address, port) != (expectation.saved_address, expectation.saved_port) and not message.mangle(
        contact.at, contact.length, f"{_written(message.family, address, brackets=True)}:{port}"
    ):
        message.nat.expectations.remove(expectation)
        return message.dropped("cannot mangle packet")
    return ACCEPT


def _announce_media(message: Message, pair: list[Expectation], at: int, length: int) -> tuple[str, int]:
    """Announce a media stream as the other side sees it (nf_nat_sdp_media)."""
    nat, now = message.nat, message.now
    address = _outside(message, pair[0].tuple_.dst)
    for each in pair:
        each.saved_address, each.saved_port = each.tuple_.dst, each.tuple_.destination
        each.tuple_ = each.tuple_._replace(dst=address)
        each.direction = int(not message.direction)
        each.on_arrival = _arrived
    rtp, rtcp = pair
    port = rtp.tuple_.destination
    while port < 65536:
        rtp.tuple_ = rtp.tuple_._replace(destination=port)
        said = nat.expectations.add(rtp, now, any_master=True)
        if said == ADDED:
            rtcp.tuple_ = rtcp.tuple_._replace(destination=port + 1)
            said = nat.expectations.add(rtcp, now, any_master=True)
            if said == ADDED:
                break
            nat.expectations.remove(rtp)
        if said != BUSY:
            port = 65536
            break
        port += 2
    if port >= 65536:
        message.dropped("all ports in use for SDP media")
        return DROP, address
    if port != rtp.saved_port and not _set_port(message, at, length, port):
        nat.expectations.remove(rtp)
        nat.expectations.remove(rtcp)
        message.dropped("cannot mangle SDP message")
        return DROP, address
    return ACCEPT, address


def _set_port(message: Message, at: int, length: int, port: int) -> bool:
    return message.mangle(at, length, str(port)) and _set_length(message)


def _set_length(message: Message) -> bool:
    """Say how long the session description has become (mangle_content_len)."""
    found, start, _ = message.description("v", 0)
    if found <= 0:
        return False
    size = len(message.data) - start + len(b"v=")
    found, at, length = message.header("content-length")
    return found > 0 and message.mangle(at, length, str(size))


def _set_described(message: Message, at: int, kind: str, address: int) -> bool:
    found, place, length = message.description(kind, at, "m")
    if found <= 0 or not message.mangle(place, length, _written(message.family, address)):
        return False
    return _set_length(message)


def _set_session(message: Message, at: int, address: int) -> bool:
    """Rewrite the owner's and the session's address (nf_nat_sdp_session)."""
    text = _written(message.family, address)
    found, place, length = message.description("o", at, "m")
    if found <= 0 or not message.mangle(place, length, text):
        return False
    found, place, length = message.description("c", at, "m")
    if found > 0 and not message.mangle(place, length, text):
        return False
    return _set_length(message)


def _arrived(nat: Nat, entry: Entry, expectation: Expectation, now: float) -> None:
    """NAT of an announced call or stream (nf_nat_sip_expected)."""
    port = expectation.saved_port
    address = expectation.saved_address
    nat.setup(entry, NatRange((address, address), (port, port)), "DNAT", now)
    own, master = entry.tuple(ORIGINAL), expectation.master
    source: NatRange | None = None
    if expectation.class_ != SIGNALLING:
        for other in nat.expectations.of(master):
            if (other.tuple_.family, other.tuple_.proto, other.saved_address, other.saved_port) == (
                own.family,
                own.proto,
                own.src,
                own.source,
            ):
                seen = other.tuple_
                source = NatRange((seen.dst, seen.dst), (seen.destination, seen.destination))
                break
    if source is None and own.src == master.tuple(expectation.direction).src:
        outside = master.tuple(not expectation.direction).dst
        source = NatRange((outside, outside))
    if source is not None:
        nat.setup(entry, source, "SNAT", now)
