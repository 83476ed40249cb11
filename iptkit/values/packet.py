"""One IP packet on its way through a machine.

The bytes are the packet; the header fields beside them are read once and kept
in step by the methods that rewrite.  Checksums are updated incrementally, as
the kernel does: a wrong one stays wrong.

What the kernel keeps beside the bytes (struct sk_buff) is here too: mark,
interfaces, owner, the connection it belongs to.  None stands for what is not
known, where a match would have to answer UNKNOWN.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.text.record import NamedTuple
from iptkit.values.checksum import mend

if TYPE_CHECKING:
    from typing import Self

    from iptkit.values.context import Family

ICMP, IGMP, TCP, UDP, DCCP, GRE, ESP, AH, ICMPV6, SCTP, UDPLITE = 1, 2, 6, 17, 33, 47, 50, 51, 58, 132, 136
# Protocols whose header begins with two ports, and its least length in bytes.
PORTS = {TCP: 20, UDP: 8, UDPLITE: 8, SCTP: 12, DCCP: 12}
HOP_BY_HOP, ROUTING, FRAGMENT, NO_NEXT, DESTINATION, MOBILITY = 0, 43, 44, 59, 60, 135
# Headers that ipv6_ext_hdr() takes for extensions; ESP ends the walk (net/ipv6/exthdrs_core.c).
EXTENSIONS6 = frozenset((HOP_BY_HOP, ROUTING, FRAGMENT, AH, NO_NEXT, DESTINATION))
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80

# ctinfo, linux/netfilter/nf_conntrack_common.h
CT_ESTABLISHED, CT_RELATED, CT_NEW, CT_ESTABLISHED_REPLY, CT_RELATED_REPLY, CT_UNTRACKED = 0, 1, 2, 3, 4, 7

_IPV4 = struct.Struct("!BBHHHBBHII")
_IPV6 = struct.Struct("!IHBB16s16s")
_PORTS = struct.Struct("!HH")


class Malformed(ValueError):
    """Bytes that are no IP packet: the stack drops them before any hook."""


class Header(NamedTuple):
    """An IPv6 extension header: its type and where it begins."""

    type: int
    at: int


class Packet:
    """One IP packet and what goes with it.

    family, src, dst     addresses as whole numbers
    proto                of the upper layer, extension headers passed over
    l4                   where the upper layer begins in `data`
    length               of the whole packet, as its header says, in bytes
    fragment_offset      in bytes; 0 also for what is no fragment
    sport, dport         -1 where there are none: other protocols, later fragments, too short
    headers              IPv6 extension headers
    whole                is no fragment but a first one, and not cut within the header of a protocol with
                         ports: rules that ask for ports look at them, and no match drops it for want of them

    mark, priority, secmark      skb->mark and the like
    in_interface, out_interface  names; "" for none
    source_mac, destination_mac  6 bytes, or None where no link layer is known
    link_type                    "unicast", "broadcast", "multicast", "otherhost", "loopback"; None: not known
    owner                        the local socket that sent it, see iptkit.extensions.world.Owner
    connection, ctinfo           what connection tracking says; None with another ctinfo than
                                 CT_UNTRACKED means INVALID, or not tracked yet
    traced                       TRACE was met
    generated                    made on the way by the machine itself, not injected
    route                        what routing decided (iptkit.evaluator.routing)
    ip_options                   what the stack noted of the options of an IPv4 packet that came in
    checked                      was the upper layer's checksum right, where somebody looked; None: nobody did
    partial                      its checksum is left to the hardware, so that over lo nobody makes it
    fragment_sizes               of the fragments it was put together from, in bytes of upper layer
    """

    __slots__ = (
        "checked",
        "connection",
        "ctinfo",
        "data",
        "destination_mac",
        "dont_fragment",
        "dport",
        "dst",
        "family",
        "fragment_offset",
        "fragment_sizes",
        "generated",
        "headers",
        "in_interface",
        "ip_id",
        "ip_options",
        "l4",
        "length",
        "link_type",
        "mark",
        "more_fragments",
        "out_interface",
        "owner",
        "partial",
        "priority",
        "proto",
        "route",
        "secmark",
        "source_mac",
        "sport",
        "src",
        "tos",
        "traced",
        "ttl",
        "whole",
    )
    data: bytearray
    family: Family
    proto: int
    l4: int
    fragment_offset: int
    more_fragments: bool
    src: int
    dst: int
    headers: tuple[Header, ...]

    def __init__(self, data: bytes | bytearray) -> None:
        """Read a packet.  Raises Malformed."""
        self.data = bytearray(data)
        self.mark = self.priority = self.secmark = 0
        self.in_interface = self.out_interface = ""
        self.source_mac: bytes | None = None
        self.destination_mac: bytes | None = None
        self.link_type: str | None = None
        self.owner: Any = None
        self.connection: Any = None
        self.ctinfo = 0
        self.traced = self.generated = self.partial = False
        self.route: Any = None
        self.ip_options: Any = None
        self.checked: bool | None = None
        self.fragment_sizes: tuple[int, ...] = ()
        self.reread()

    def reread(self) -> None:
        """Read the headers anew, after the bytes were changed by hand.  Raises Malformed."""
        data = self.data
        if not data:
            raise Malformed("no bytes")
        version = data[0] >> 4
        if version == 4:
            self._read4(data)
        elif version == 6:
            self._read6(data)
        else:
            raise Malformed(f"version {version}")
        self.sport = self.dport = -1
        whole = not self.fragment_offset
        least = PORTS.get(self.proto)
        if least is not None:
            at = self.l4
            there = self.length - at
            if there >= 4 and whole:
                self.sport, self.dport = _PORTS.unpack_from(data, at)
            whole = whole and there >= least
        self.whole = whole

    def _read4(self, data: bytearray) -> None:
        if len(data) < 20:
            raise Malformed("shorter than an IPv4 header")
        first, self.tos, length, self.ip_id, fragment, self.ttl, self.proto, _, self.src, self.dst = (
            _IPV4.unpack_from(data)
        )
        header = (first & 15) * 4
        if header < 20 or length < header or len(data) < length:
            raise Malformed("lengths of the IPv4 header do not fit")
        if len(data) > length:
            del data[length:]
        self.family = 4
        self.length, self.l4 = length, header
        self.fragment_offset = (fragment & 0x1FFF) * 8
        self.more_fragments = fragment & 0x2000 != 0
        self.dont_fragment = fragment & 0x4000 != 0
        self.headers = ()

    def _read6(self, data: bytearray) -> None:
        if len(data) < 40:
            raise Malformed("shorter than an IPv6 header")
        first, payload, proto, hops, src, dst = _IPV6.unpack_from(data)
        if len(data) < 40 + payload:
            raise Malformed("length of the IPv6 header does not fit")
        if len(data) > 40 + payload:
            del data[40 + payload :]
        self.family = 6
        self.tos, self.ttl = first >> 20 & 0xFF, hops
        self.length = 40 + payload
        self.src, self.dst = int.from_bytes(src, "big"), int.from_bytes(dst, "big")
        self.ip_id = self.fragment_offset = 0
        self.more_fragments = self.dont_fragment = False
        self._walk6(data, proto)

    def _walk6(self, data: bytearray, proto: int) -> None:
        at = 40
        headers = []
        while proto in EXTENSIONS6 and proto != NO_NEXT:
            if len(data) < at + (4 if proto in (FRAGMENT, ROUTING) else 2):
                break
            headers.append(Header(proto, at))
            if proto == FRAGMENT:
                word = data[at + 2] << 8 | data[at + 3]
                self.ip_id = int.from_bytes(data[at + 4 : at + 8], "big")
                self.fragment_offset = word & 0xFFF8
                self.more_fragments = bool(word & 1)
                proto, at = data[at], at + 8
                if self.fragment_offset:
                    break
            else:
                size = (data[at + 1] + 2) * 4 if proto == AH else (data[at + 1] + 1) * 8
                proto, at = data[at], at + size
        self.proto, self.l4, self.headers = proto, at, tuple(headers)

    # -- questions

    @property
    def is_fragment(self) -> bool:
        return self.more_fragments or self.fragment_offset > 0

    @property
    def payload(self) -> bytearray:
        """The upper layer, header included."""
        return self.data[self.l4 :]

    @property
    def tcp_flags(self) -> int:
        """The eight flag bits; -1 where there is no whole TCP header."""
        at = self.l4 + 13
        if self.proto != TCP or self.fragment_offset or len(self.data) < self.l4 + 20:
            return -1
        return self.data[at]

    @property
    def icmp(self) -> tuple[int, int]:
        """ICMP type and code; (-1, -1) where there are none."""
        if self.proto not in (ICMP, ICMPV6) or self.fragment_offset or len(self.data) < self.l4 + 2:
            return -1, -1
        return self.data[self.l4], self.data[self.l4 + 1]

    # -- rewriting

    @property
    def checksum_at(self) -> int:
        """Where the upper layer's checksum stands, if its sum is RFC 1071's and it is there; else -1."""
        if self.fragment_offset:
            return -1
        at = {TCP: 16, UDP: 6, UDPLITE: 6, DCCP: 6, ICMP: 2, ICMPV6: 2}.get(self.proto, -1)
        if at < 0 or len(self.data) < self.l4 + at + 2:
            return -1
        return self.l4 + at

    def set_source(self, address: int) -> None:
        """Rewrite the source address, checksums with it."""
        self._set_address(12 if self.family == 4 else 8, self.src, address)
        self.src = address

    def set_destination(self, address: int) -> None:
        """Rewrite the destination address, checksums with it."""
        self._set_address(16 if self.family == 4 else 24, self.dst, address)
        self.dst = address

    def replace_source(self, address: int) -> None:
        """Rewrite the source address of IPv6 and no checksum, as prefix translation does."""
        self.data[8:24] = address.to_bytes(16, "big")
        self.src = address

    def replace_destination(self, address: int) -> None:
        """Rewrite the destination address of IPv6 and no checksum."""
        self.data[24:40] = address.to_bytes(16, "big")
        self.dst = address

    def _set_address(self, at: int, was: int, now: int) -> None:
        size = 4 if self.family == 4 else 16
        self.data[at : at + size] = now.to_bytes(size, "big")
        if self.family == 4:
            mend(self.data, 10, was, now)
        if self.proto != ICMP:  # whose checksum has no pseudo header
            self._update_upper(was, now)

    def _update_upper(self, was: int, now: int) -> None:
        at = self.checksum_at
        if at < 0:
            return
        if self.proto == UDP:
            if not self.data[at] and not self.data[at + 1]:
                return  # no checksum was made
            mend(self.data, at, was, now)
            if not self.data[at] and not self.data[at + 1]:
                self.data[at] = self.data[at + 1] = 0xFF  # CSUM_MANGLED_0
            return
        mend(self.data, at, was, now)

    def set_source_port(self, port: int) -> None:
        """Rewrite the source port, the checksum with it (not SCTP's, which is a CRC over all)."""
        self._set_word(self.l4, port)
        self.sport = port

    def set_destination_port(self, port: int) -> None:
        """Rewrite the destination port, the checksum with it (not SCTP's)."""
        self._set_word(self.l4 + 2, port)
        self.dport = port

    def _set_word(self, at: int, now: int) -> None:
        """Rewrite 16 bits of the upper layer, at an even place of it."""
        was = self.data[at] << 8 | self.data[at + 1]
        self.data[at], self.data[at + 1] = now >> 8, now & 0xFF
        self._update_upper(was, now)

    def set_upper_word(self, offset: int, value: int) -> None:
        """Rewrite 16 bits at an even offset of the upper layer, its checksum with it."""
        self._set_word(self.l4 + offset, value)

    def set_ttl(self, ttl: int) -> None:
        """Rewrite TTL or hop limit."""
        if self.family == 4:
            mend(self.data, 10, self.ttl << 8, ttl << 8)
            self.data[8] = ttl
        else:
            self.data[7] = ttl
        self.ttl = ttl

    def lower_ttl(self) -> None:
        """Take one off TTL or hop limit, as a router does."""
        self.set_ttl(self.ttl - 1)

    def set_length(self, length: int) -> None:
        """Rewrite the length in the IP header, after bytes were put into the packet or taken out by hand."""
        if self.family == 4:
            mend(self.data, 10, self.length, length)
            self.data[2:4] = length.to_bytes(2, "big")
        else:
            self.data[4:6] = (length - 40).to_bytes(2, "big")
        self.length = length

    def set_tos(self, tos: int) -> None:
        """Rewrite TOS or traffic class, all eight bits."""
        if self.family == 4:
            mend(self.data, 10, self.tos, tos)
            self.data[1] = tos
        else:
            self.data[0] = self.data[0] & 0xF0 | tos >> 4
            self.data[1] = self.data[1] & 0x0F | (tos & 0x0F) << 4
        self.tos = tos

    def copy(self) -> Self:
        """The same packet, to be changed apart from this one; it shares only the connection."""
        new = type(self).__new__(type(self))
        for name in self.__slots__:
            setattr(new, name, getattr(self, name))
        new.data = bytearray(self.data)
        return new

    def __repr__(self) -> str:
        return f"<packet IPv{self.family} proto {self.proto} {self.length} bytes>"
