"""Match connections of the kernel's load balancer, IPVS."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.choices import OneOf
from iptkit.extensions.connections import CtProtocol
from iptkit.extensions.hosts import HostMask, pack_host, prefix_length, prefix_mask, unpack_host
from iptkit.extensions.spec import Flag, Match, Option
from iptkit.values.faults import BadValue
from iptkit.values.ports import parse_port_range_udp
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from typing import Self

    from iptkit.extensions.spec import Given
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# IP_VS_CONN_F_MASQ, _TUNNEL and _DROUTE, linux/ip_vs.h
_METHODS = {"GATE": 3, "IPIP": 2, "MASQ": 0}
# XT_IPVS_*, linux/netfilter/xt_ipvs.h
_FLAGS = {
    "ipvs": 0x01,
    "vproto": 0x02,
    "vaddr": 0x04,
    "vport": 0x08,
    "vdir": 0x10,
    "vmethod": 0x20,
    "vportctl": 0x40,
}
# struct xt_ipvs_mtinfo, all of it bytes or in network order: address and mask, port, protocol,
# forwarding method, control port, inverted, given
_INFO = struct.Struct(">16s16sHBBHBB")


class Port:
    """One port, as -m udp reads it: by number, which wraps at 65536, or as a service."""

    metavar = "port"
    words = 1
    code = "IPT126"

    def parse(self, text: str, context: Context) -> int:
        if ":" in text:
            raise BadValue(f"must be a single port, not {quote(text)}")
        return parse_port_range_udp(text)[0]

    def show(self, value: int) -> str:
        return str(value)


class Ipvs(Match, name="ipvs"):
    """Match packets of connections that IPVS balances, by its virtual service.

    Every option but `! --ipvs` also means --ipvs, which is printed only where
    it stands alone.  An address keeps its host bits; the kernel compares under
    the mask.
    """

    at_least_one = tuple(_FLAGS)
    ipvs = Flag("--ipvs", invert=True, doc="the packet belongs to an IPVS connection")
    vproto = Option("--vproto", type=CtProtocol(), invert=True, doc="protocol of the virtual service")
    vaddr = Option("--vaddr", type=HostMask(), invert=True, doc="address of the virtual service")
    vport = Option("--vport", type=Port(), invert=True, doc="port of the virtual service")
    vdir = Option("--vdir", type=OneOf(("ORIGINAL", "REPLY"), any_case=True), doc="direction of the packet")
    vmethod = Option(
        "--vmethod", type=OneOf(_METHODS, any_case=True), invert=True, doc="how packets are forwarded"
    )
    vportctl = Option(
        "--vportctl", type=Port(), invert=True, doc="port of the controlling connection (21 for FTP)"
    )
    example = "-m ipvs --vproto tcp --vport 80 -j ACCEPT"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = dict(given)
        if "ipvs" in out and len(out) > 1:
            if out["ipvs"].inverted:
                raise BadValue("! --ipvs and other options exclude each other", "IPT136")
            del out["ipvs"]
        return out

    def encode(self, family: Family) -> bytes:
        bits = 32 if family == 4 else 128
        given = _FLAGS["ipvs"]
        inverted = _FLAGS["vdir"] if self.vdir == "REPLY" else 0
        for field, bit in _FLAGS.items():
            if getattr(self, field) is not None:
                given |= bit
                inverted |= bit if self.is_inverted(field) else 0
        address = mask = b""
        if self.vaddr is not None:
            address = pack_host(self.vaddr[1], family)
            # A mask of all ones fills the whole union, whatever the family.
            full = self.vaddr[2] == bits
            mask = b"\xff" * 16 if full else pack_host(prefix_mask(self.vaddr[2], bits), family)
        method = _METHODS[self.vmethod] if self.vmethod else 0
        return _INFO.pack(
            address,
            mask,
            self.vport or 0,
            self.vproto or 0,
            method,
            self.vportctl or 0,
            inverted,
            given,
        )

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"ipvs: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        address, mask, port, protocol, method, control, inverted, given = _INFO.unpack_from(payload)
        family = context.family
        length = prefix_length(unpack_host(mask, family), 32 if family == 4 else 128)
        names = {number: name for name, number in _METHODS.items()}
        values = {
            "ipvs": True,
            "vproto": protocol,
            "vaddr": (family, unpack_host(address, family), length),
            "vport": port,
            "vdir": "REPLY" if inverted & _FLAGS["vdir"] else "ORIGINAL",
            "vmethod": names.get(method),
            "vportctl": control,
        }
        present = [field for field, bit in _FLAGS.items() if given & bit]
        if "vmethod" in present and values["vmethod"] is None:
            raise BadValue(f"ipvs: the kernel's forwarding method {method} has no name")
        if len(present) > 1 and "ipvs" in present:
            present.remove("ipvs")
        return cls.of(
            inverted=tuple(f for f in present if inverted & _FLAGS[f] and f != "vdir"),
            **{field: values[field] for field in present},
        )

    def matches(self, packet: Packet, world: World) -> bool | None:
        return None  # what IPVS balances is not known


EXTENSIONS: tuple[Any, ...] = (Ipvs,)
