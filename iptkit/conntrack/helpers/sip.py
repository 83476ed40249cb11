"""SIP: REGISTER announces calls to come, session descriptions announce media streams.

Facts: net/netfilter/nf_conntrack_sip.c, Linux 6.18; RFC 3261, RFC 4566.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack import seqadj
from iptkit.conntrack.expect import ADDED, ALREADY, INACTIVE, PERMANENT, Expectation, Policy
from iptkit.conntrack.helpers.reading import (
    NATTED,
    established,
    number,
    refresh,
    sequence,
    tcp_data,
    udp_data,
)
from iptkit.conntrack.helpers.sip_messages import Found, Message, letters
from iptkit.conntrack.helpers.sip_nat import (
    AUDIO,
    IMAGE,
    SIGNALLING,
    VIDEO,
    announce_contact,
    announce_media,
    set_described,
    set_port,
    set_session,
    translate,
)
from iptkit.extensions.world import ACCEPT, DROP, EXPECTED
from iptkit.values.packet import TCP, UDP
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat
    from iptkit.values.packet import Packet

TIMEOUT = 3600  # of the signalling connection, seconds; the module's sip_timeout
POLICIES = (
    Policy(1, 180, "signalling"),
    Policy(4, 180, "audio"),
    Policy(4, 180, "video"),
    Policy(2, 180, "image"),
)
_SHORTEST = len(b"SIP/2.0 200")


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
        verdict = translate(message)
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
        if data[size] != 32 or not letters(data, size + 1, size + 2):
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
            verdict = announce_contact(message, expectation, contact)
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
        if medium is not None and message.natted and not set_described(message, at, "c", target):
            return message.dropped("cannot mangle SDP")
        count += 1
    if message.natted and target is not None and not set_session(message, start, target):
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
    if direct and not set_port(message, at, length, port):
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
        return announce_media(message, pair, at, length)
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
