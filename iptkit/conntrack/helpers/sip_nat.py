"""SIP through NAT: addresses in headers and session descriptions are rewritten, and announced as rewritten.

Facts: net/netfilter/nf_nat_sip.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.expect import ADDED, BUSY, Expectation
from iptkit.conntrack.helpers.reading import find_port, mangle_udp, quad
from iptkit.extensions.world import ACCEPT, DROP, NatRange
from iptkit.values.packet import TCP
from iptkit.values.tuples import ORIGINAL

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.helpers.sip_messages import Found, Message
    from iptkit.conntrack.nat import Nat

SIGNALLING, AUDIO, VIDEO, IMAGE = range(4)  # classes of what is announced


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


def translate(message: Message) -> str:
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


def announce_contact(message: Message, expectation: Expectation, contact: Found) -> str:
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


def announce_media(message: Message, pair: list[Expectation], at: int, length: int) -> tuple[str, int]:
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
    if port != rtp.saved_port and not set_port(message, at, length, port):
        nat.expectations.remove(rtp)
        nat.expectations.remove(rtcp)
        message.dropped("cannot mangle SDP message")
        return DROP, address
    return ACCEPT, address


def set_port(message: Message, at: int, length: int, port: int) -> bool:
    return message.mangle(at, length, str(port)) and _set_length(message)


def _set_length(message: Message) -> bool:
    """Say how long the session description has become (mangle_content_len)."""
    found, start, _ = message.description("v", 0)
    if found <= 0:
        return False
    size = len(message.data) - start + len(b"v=")
    found, at, length = message.header("content-length")
    return found > 0 and message.mangle(at, length, str(size))


def set_described(message: Message, at: int, kind: str, address: int) -> bool:
    found, place, length = message.description(kind, at, "m")
    if found <= 0 or not message.mangle(place, length, _written(message.family, address)):
        return False
    return _set_length(message)


def set_session(message: Message, at: int, address: int) -> bool:
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
