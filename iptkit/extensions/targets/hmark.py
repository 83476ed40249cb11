"""Set the packet's mark to a hash over its addresses and ports."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.connections import NameSet
from iptkit.extensions.hosts import PrefixLength, pack_host, prefix_length, prefix_mask, unpack_host
from iptkit.extensions.numbers import Hex, UInt
from iptkit.extensions.spec import Given, Option, Problem, Target
from iptkit.values.faults import BadValue
from iptkit.values.jhash import jhash_3words, reciprocal_scale
from iptkit.values.numbers import UINT16_MAX, UINT32_MAX
from iptkit.values.packet import (
    AH,
    DCCP,
    DESTINATION,
    ESP,
    FRAGMENT,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    ROUTING,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.spec import RuleFacts
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# Members of a tuple; a word cut short is the first of these that begins so.
TUPLE = {"ct": 1, "src": 2, "dst": 4, "sport": 8, "dport": 16, "proto": 32, "spi": 64}
_CT = TUPLE["ct"]
# What a member of a tuple stands for, None being the family's longest prefix.
_MEANS: dict[str, tuple[str, int | None]] = {
    "src": ("src_prefix", None),
    "dst": ("dst_prefix", None),
    "sport": ("sport_mask", UINT16_MAX),
    "dport": ("dport_mask", UINT16_MAX),
    "proto": ("proto_mask", UINT16_MAX),
    "spi": ("spi_mask", UINT32_MAX),
}
# XT_HMARK_*: the bit that says a field is given
_FLAGS = {
    "src_prefix": 1 << 0,
    "dst_prefix": 1 << 1,
    "spi": 1 << 2,
    "spi_mask": 1 << 3,
    "sport": 1 << 4,
    "dport": 1 << 5,
    "sport_mask": 1 << 6,
    "dport_mask": 1 << 7,
    "proto_mask": 1 << 8,
    "rnd": 1 << 9,
    "mod": 1 << 10,
    "offset": 1 << 11,
    "tuple": 1 << 12,
}
# struct xt_hmark_info, linux/netfilter/xt_HMARK.h: address masks; port masks and ports in network order,
# where an SPI takes the room of both ports; flags, protocol mask, seed, modulus, offset
_INFO = struct.Struct("=16s16s4s4sIH2xIII")


_Flow = tuple[int, int, int, int]  # source, destination, both ports, protocol
_Ends = tuple[int, int]
_ERRORS = (3, 4, 5, 11, 12)  # ICMP errors, which quote a packet
# Where the ports stand, or the SPI that counts as them (proto_ports_offset, include/linux/in.h)
_PORTS_AT = {TCP: 0, UDP: 0, DCCP: 0, ESP: 0, SCTP: 0, UDPLITE: 0, AH: 4}


class Hmark(Target, name="HMARK"):
    """Set the packet's mark to `offset + hash % mod`, the hash being over what the tuple names.

    Packets of one flow get the same mark, and flows are spread evenly.
    --hmark-tuple names what counts: src, dst, sport, dport, proto, spi (of AH
    and ESP), and ct to take them from the connection's original direction
    instead of the packet.  In its place prefixes and masks can be given.
    SPIs and ports exclude each other.
    """

    src_prefix = Option("--hmark-src-prefix", type=PrefixLength(), doc="prefix length of the source address")
    dst_prefix = Option(
        "--hmark-dst-prefix", type=PrefixLength(), doc="prefix length of the destination address"
    )
    sport_mask = Option(
        "--hmark-sport-mask",
        type=Hex(UINT16_MAX, digits=4),
        excludes=("spi_mask",),
        doc="mask of source ports",
    )
    dport_mask = Option(
        "--hmark-dport-mask",
        type=Hex(UINT16_MAX, digits=4),
        excludes=("spi_mask",),
        doc="mask of destination ports",
    )
    spi_mask = Option(
        "--hmark-spi-mask", type=Hex(), excludes=("sport_mask", "dport_mask"), doc="mask of the SPI"
    )
    sport = Option("--hmark-sport", type=Hex(UINT16_MAX, digits=4), doc="bits to set in the source port")
    dport = Option("--hmark-dport", type=Hex(UINT16_MAX, digits=4), doc="bits to set in the destination port")
    spi = Option("--hmark-spi", type=Hex(), doc="bits to set in the SPI")
    proto_mask = Option("--hmark-proto-mask", type=Hex(UINT16_MAX, digits=2), doc="mask of the protocol")
    rnd = Option("--hmark-rnd", type=Hex(), required=True, doc="seed of the hash")
    mod = Option("--hmark-mod", type=UInt(low=1), required=True, doc="how many marks there are")
    offset = Option("--hmark-offset", type=UInt(), doc="the lowest mark")
    tuple = Option(
        "--hmark-tuple", type=NameSet(TUPLE, "member[,...]", "member of the tuple"), doc="what counts"
    )
    at_least_one = (
        "tuple",
        "src_prefix",
        "dst_prefix",
        "sport_mask",
        "dport_mask",
        "spi_mask",
        "sport",
        "dport",
        "spi",
        "proto_mask",
    )
    rewrites = ("mark",)
    example = "-j HMARK --hmark-tuple src,dst,sport,dport,proto --hmark-mod 10 --hmark-rnd 0xfeedcafe"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out: dict[str, Given] = {}
        whole = 32 if context.family == 4 else 128
        for field, found in given.items():
            if field == "tuple":
                for name, (meant, value) in _MEANS.items():
                    if found.value & TUPLE[name]:
                        out[meant] = Given(whole if value is None else value, False)
                if found.value & _CT:
                    out["tuple"] = Given(_CT, False)
            elif field in out:
                flag = getattr(cls, field).flag
                raise BadValue(f"--hmark-tuple before it has set {flag} already", "IPT135")
            else:
                out[field] = found
        if "spi_mask" in out and ("sport_mask" in out or "dport_mask" in out):
            raise BadValue("--hmark-tuple: spi and ports exclude each other", "IPT136")
        if "spi" in out:
            # One after the other, each into the same 32 bits.
            ports = 0
            for field, found in given.items():
                if field == "spi":
                    ports = found.value
                elif field == "sport":
                    ports = ports & UINT16_MAX | found.value << 16
                elif field == "dport":
                    ports = ports & ~UINT16_MAX | found.value
            for field, value in (("spi", ports), ("sport", ports >> 16), ("dport", ports & UINT16_MAX)):
                if field in out:
                    out[field] = Given(value, False)
        return out

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        # hmark_tg_check, net/netfilter/xt_HMARK.c
        if self.spi is not None and (self.sport is not None or self.dport is not None):
            yield Problem("--hmark-spi and --hmark-sport, --hmark-dport exclude each other", "spi", "IPT136")

    def encode(self, family: Family) -> bytes:
        bits = 32 if family == 4 else 128
        flags = 0
        for option, value in zip(self.options, self.values, strict=True):
            if value is not None:
                flags |= _FLAGS[option.field]
        return _INFO.pack(
            pack_host(prefix_mask(self.src_prefix or 0, bits), family),
            pack_host(prefix_mask(self.dst_prefix or 0, bits), family),
            _pack_ports(self.sport_mask, self.dport_mask, self.spi_mask),
            _pack_ports(self.sport, self.dport, self.spi),
            flags,
            self.proto_mask or 0,
            self.rnd or 0,
            self.mod or 0,
            self.offset or 0,
        )

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"HMARK: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        source, destination, masks, ports, flags, proto_mask, rnd, mod, offset = _INFO.unpack_from(payload)
        bits = 32 if context.family == 4 else 128
        values = {
            "src_prefix": prefix_length(unpack_host(source, context.family), bits),
            "dst_prefix": prefix_length(unpack_host(destination, context.family), bits),
            "sport_mask": int.from_bytes(masks[:2], "big"),
            "dport_mask": int.from_bytes(masks[2:], "big"),
            "spi_mask": int.from_bytes(masks, "big"),
            "sport": int.from_bytes(ports[:2], "big"),
            "dport": int.from_bytes(ports[2:], "big"),
            "spi": int.from_bytes(ports, "big"),
            "proto_mask": proto_mask,
            "rnd": rnd,
            "mod": mod,
            "offset": offset,
            "tuple": _CT,
        }
        return cls.of(**{field: value for field, value in values.items() if flags & _FLAGS[field]})

    def act(self, packet: Packet, world: World) -> str | None:
        # hmark_tg_v4 and hmark_tg_v6, net/netfilter/xt_HMARK.c
        found = self._of_connection(packet) if self.tuple else self._of_packet(packet)
        if found is None:
            return None
        source, destination, ports, proto = found
        low, high = sorted((source, destination))
        number = jhash_3words(low, high, ports, self.rnd or 0) ^ (proto & (self.proto_mask or 0))
        packet.mark = reciprocal_scale(number, self.mod or 1) + (self.offset or 0) & UINT32_MAX
        return None

    def _of_connection(self, packet: Packet) -> _Flow | None:
        connection = packet.connection
        if connection is None:
            return None
        original, reply = connection.original, connection.reply
        ports = 0
        if original.proto != ICMP:
            ports = self._ports(original.source << 16 | reply.source)
        return (*self._addresses(packet.family, original.src, reply.src), ports, original.proto)

    def _of_packet(self, packet: Packet) -> _Flow | None:
        data, at, proto = packet.data, packet.l4, packet.proto
        source, destination = packet.src, packet.dst
        fragment = packet.is_fragment or any(header.type == FRAGMENT for header in packet.headers)
        if packet.family == 4 and proto == ICMP and len(data) >= at + 8 and data[at] in _ERRORS:
            at += 8
            if len(data) < at + 20:
                return None
            source, destination = (int.from_bytes(data[at + n : at + n + 4], "big") for n in (12, 16))
            proto = data[at + 9]
            fragment = bool((data[at + 6] << 8 | data[at + 7]) & 0x3FFF)
            at += (packet.data[0] & 15) * 4
        elif (
            packet.family == 6 and proto == ICMPV6 and not fragment and len(data) >= at + 8 and data[at] < 128
        ):
            at += 8
            if len(data) < at + 40:
                return None
            source, destination = (int.from_bytes(data[at + n : at + n + 16], "big") for n in (8, 24))
            proto, at = data[at + 6], at + 40
            while proto in (HOP_BY_HOP, ROUTING, DESTINATION):
                if len(data) < at + 2:
                    return None
                proto, at = data[at], at + (data[at + 1] + 1) * 8
            fragment = proto == FRAGMENT
        for header in packet.headers:
            if header.type == AH and at == packet.l4:
                proto, at = AH, header.at
        ports = 0
        offset = _PORTS_AT.get(proto)
        if (
            proto not in (ICMP, ICMPV6)
            and not fragment
            and offset is not None
            and len(data) >= at + offset + 4
        ):
            ports = self._ports(int.from_bytes(data[at + offset : at + offset + 4], "big"))
        return (*self._addresses(packet.family, source, destination), ports, proto)

    def _addresses(self, family: int, source: int, destination: int) -> _Ends:
        """The two addresses under their masks; the words of an IPv6 address are XORed into one."""
        bits = 32 if family == 4 else 128
        source &= prefix_mask(self.src_prefix or 0, bits)
        destination &= prefix_mask(self.dst_prefix or 0, bits)
        if family == 6:
            source = source >> 96 ^ source >> 64 ^ source >> 32 ^ source
            destination = destination >> 96 ^ destination >> 64 ^ destination >> 32 ^ destination
        return source & UINT32_MAX, destination & UINT32_MAX

    def _ports(self, both: int) -> int:
        """Masked and set, the higher one first, so that both directions are alike."""
        mask = int.from_bytes(_pack_ports(self.sport_mask, self.dport_mask, self.spi_mask), "big")
        given = int.from_bytes(_pack_ports(self.sport, self.dport, self.spi), "big")
        both = both & mask | given
        source, destination = both >> 16, both & UINT16_MAX
        return max(source, destination) << 16 | min(source, destination)


def _pack_ports(source: int | None, destination: int | None, spi: int | None) -> bytes:
    if spi is not None:
        return spi.to_bytes(4, "big")
    return ((source or 0) << 16 | (destination or 0)).to_bytes(4, "big")


EXTENSIONS: tuple[Any, ...] = (Hmark,)
