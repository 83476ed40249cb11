"""Set the packet's mark to a hash over its addresses and ports."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.connections import NameSet
from iptkit.extensions.hosts import PrefixLength, pack_host, prefix_length, prefix_mask, unpack_host
from iptkit.extensions.numbers import Hex, UInt
from iptkit.extensions.spec import Given, Option, Problem, Target
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT16_MAX, UINT32_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.spec import RuleFacts
    from iptkit.values.context import Context, Family

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


def _pack_ports(source: int | None, destination: int | None, spi: int | None) -> bytes:
    if spi is not None:
        return spi.to_bytes(4, "big")
    return ((source or 0) << 16 | (destination or 0)).to_bytes(4, "big")


EXTENSIONS: tuple[Any, ...] = (Hmark,)
