"""Match packets by the IPsec policy they came or will leave under."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.choices import OneOf
from iptkit.extensions.hosts import HostMask, pack_host, prefix_length, prefix_mask, unpack_host
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Flag, Given, Match, Option, Place
from iptkit.text.record import NamedTuple
from iptkit.values.faults import BadValue
from iptkit.values.names import parse_protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

LIMIT = 4  # elements; XT_POLICY_MAX_ELEM
_PROTOCOLS = {50: "esp", 51: "ah", 108: "ipcomp"}
_MODES = ("transport", "tunnel")
# The options of an element in the order they are printed, and their bits in struct xt_policy_spec
# (linux/netfilter/xt_policy.h)
_BITS = {"reqid": 0x20, "spi": 0x10, "proto": 0x04, "mode": 0x08, "tunnel_dst": 0x02, "tunnel_src": 0x01}
# XT_POLICY_MATCH_*
_DIRECTIONS = {"in": 0x1, "out": 0x2}
_WITHOUT, _STRICT = 0x4, 0x8
# struct xt_policy_elem: source, mask, destination, mask, spi, reqid, proto, mode, given, inverted
_ELEMENT = struct.Struct("=16s16s16s16sIIBBBB")
_INFO = struct.Struct(f"={LIMIT * _ELEMENT.size}sHH")  # struct xt_policy_info: elements, flags, length


class IpsecProtocol:
    """esp, ah or ipcomp, by name (or an alias in its own spelling) or number."""

    metavar = "{esp|ah|ipcomp}"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        number = parse_protocol(text)
        if number not in _PROTOCOLS:
            raise BadValue(f"must be esp, ah or ipcomp, not {text}")
        return number

    def show(self, value: int) -> str:
        return _PROTOCOLS[value]


class Element(NamedTuple):
    """One element of a policy: of each option its value and whether `!` stands before it, or None."""

    reqid: Given | None = None
    spi: Given | None = None
    proto: Given | None = None
    mode: Given | None = None
    tunnel_dst: Given | None = None
    tunnel_src: Given | None = None


_TUNNEL = HostMask()


class Policy(Match, name="policy"):
    """Match packets by the IPsec policy that decapsulated them (--dir in) or that will encapsulate them.

    --pol none matches packets without IPsec, ipsec (when not said) those with
    it.  --reqid and on describe one transformation, which any of the
    packet's may meet; with --strict the rule describes all of them in order,
    up to four, with --next between them.  Addresses of tunnels are for --mode
    tunnel and keep their host bits.  --pol none ignores such a description.

    The fields reqid to tunnel_src are the first element's; `following` is
    not True but a tuple of `Element`.

    --dir in works in PREROUTING, INPUT and FORWARD, --dir out in FORWARD,
    OUTPUT and POSTROUTING.
    """

    dir = Option("--dir", type=OneOf(_DIRECTIONS), required=True, doc="in: decapsulated; out: to be")
    pol = Option("--pol", type=OneOf(("ipsec", "none")), doc="with IPsec (ipsec) or without (none)")
    strict = Flag("--strict", doc="describe the whole policy, not any one element of it")
    reqid = Option("--reqid", type=UInt(), invert=True, multi=True, doc="reqid of the policy rule")
    spi = Option("--spi", type=UInt(hexadecimal=True), invert=True, multi=True, doc="SPI of the association")
    proto = Option("--proto", type=IpsecProtocol(), invert=True, multi=True, doc="esp, ah or ipcomp")
    mode = Option("--mode", type=OneOf(_MODES), invert=True, multi=True, doc="tunnel or transport")
    tunnel_dst = Option("--tunnel-dst", type=_TUNNEL, invert=True, multi=True, doc="the tunnel's far end")
    tunnel_src = Option("--tunnel-src", type=_TUNNEL, invert=True, multi=True, doc="the tunnel's near end")
    following: Option[tuple[Element, ...]] = Option(
        "--next", multi=True, needs=("strict",), doc="the next element follows"
    )
    example = "-m policy --dir in --pol ipsec --mode tunnel -j ACCEPT"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = {field: found for field, found in given.items() if field not in _BITS and field != "following"}
        pol = out.setdefault("pol", Given("ipsec", False)).value
        first, *rest = cls._elements(given)
        if pol == "none":
            if "strict" in out:
                raise BadValue("--pol none and --strict exclude each other", "IPT136")
            return out
        for number, element in enumerate((first, *rest), 1):
            cls._check(element, number, "strict" in out)
        out.update((field, found) for field, found in first._asdict().items() if found is not None)
        if rest:
            out["following"] = Given(tuple(rest), False)
        return out

    @classmethod
    def _elements(cls, given: dict[str, Given]) -> list[Element]:
        """The options as written, divided at each --next."""
        written = [
            (each.place, field, each)
            for field, found in given.items()
            if field in _BITS or field == "following"
            for each in (*found.earlier, found)
        ]
        elements: list[dict[str, Given]] = [{}]
        for _, field, found in sorted(written):
            if field == "following":
                elements.append({})
                if len(elements) > LIMIT:
                    raise BadValue(f"a policy has at most {LIMIT} elements")
            elif field in elements[-1]:
                raise BadValue(f"{getattr(cls, field).flag} is given twice for one element", "IPT135")
            else:
                elements[-1][field] = Given(found.value, found.inverted)
        return [Element(**element) for element in elements]

    @staticmethod
    def _check(element: Element, number: int, strict: bool) -> None:
        if strict and element == Element():
            flags = "--reqid, --spi, --proto, --mode, --tunnel-src and --tunnel-dst"
            raise BadValue(f"element {number} of the policy needs one of {flags}", "IPT133")
        if element.tunnel_src or element.tunnel_dst:
            mode = element.mode or Given("transport", False)
            if (mode.value == "tunnel") == mode.inverted:
                raise BadValue("--tunnel-src and --tunnel-dst need --mode tunnel", "IPT133")

    def elements(self) -> tuple[Element, ...]:
        """All elements in order; one at least, which is empty when none is described."""
        first = {}
        for field in _BITS:
            value = getattr(self, field)
            if value is not None:
                first[field] = Given(value, self.is_inverted(field))
        return (Element(**first), *(self.following or ()))

    def place(self) -> Place:
        if self.dir == "in":
            return Place(hooks=("PREROUTING", "INPUT", "FORWARD"), nft_user_chains=False)
        return Place(hooks=("FORWARD", "OUTPUT", "POSTROUTING"), nft_user_chains=False)

    def save(self) -> Iterator[str]:
        yield f"--dir {self.dir} --pol {self.pol}"
        if self.strict:
            yield "--strict"
        for number, element in enumerate(self.elements()):
            if number:
                yield "--next"
            for field, found in element._asdict().items():
                if found is not None:
                    option: Option[Any] = getattr(Policy, field)
                    assert option.type is not None
                    if found.inverted:
                        yield "!"
                    yield option.flag
                    yield option.type.show(found.value)

    def encode(self, family: Family) -> bytes:
        flags = _DIRECTIONS[self.dir or "in"]
        if self.strict:
            flags |= _STRICT
        if self.pol == "none":
            return _INFO.pack(b"", flags | _WITHOUT, 0)
        elements = self.elements()
        packed = b"".join(_pack(element, family) for element in elements)
        return _INFO.pack(packed, flags, len(elements))

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"policy: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        packed, flags, length = _INFO.unpack_from(payload)
        direction = next((name for name, bit in _DIRECTIONS.items() if flags & bit), None)
        if direction is None or length > LIMIT:
            raise BadValue("policy: from the kernel comes a policy without direction, or too long a one")
        values: dict[str, Any] = {"dir": direction, "pol": "none" if flags & _WITHOUT else "ipsec"}
        inverted: list[str] = []
        if flags & _STRICT:
            values["strict"] = True
        if length and not flags & _WITHOUT:
            first, *rest = (
                _unpack(packed[_ELEMENT.size * number :], context.family) for number in range(length)
            )
            for field, found in first._asdict().items():
                if found is not None:
                    values[field] = found.value
                    if found.inverted:
                        inverted.append(field)
            if rest:
                values["following"] = tuple(rest)
        return cls.of(inverted=tuple(inverted), **values)

    def matches(self, packet: Packet, world: World) -> bool | None:
        # What is injected has not come out of IPsec, and routes here lead into none.
        return self.pol == "none"


def _pack(element: Element, family: Family) -> bytes:
    given = inverted = 0
    for field, found in element._asdict().items():
        if found is not None:
            given |= _BITS[field]
            inverted |= _BITS[field] if found.inverted else 0
    return _ELEMENT.pack(
        *_pack_tunnel(element.tunnel_src, family),
        *_pack_tunnel(element.tunnel_dst, family),
        element.spi.value if element.spi else 0,
        element.reqid.value if element.reqid else 0,
        element.proto.value if element.proto else 0,
        _MODES.index(element.mode.value) if element.mode else 0,
        given,
        inverted,
    )


def _pack_tunnel(found: Given | None, family: Family) -> tuple[bytes, bytes]:
    if found is None:
        return b"", b""
    bits = 32 if family == 4 else 128
    _, address, length = found.value
    # A mask of all ones fills the whole union, whatever the family.
    mask = b"\xff" * 16 if length == bits else pack_host(prefix_mask(length, bits), family)
    return pack_host(address, family), mask


def _unpack(piece: bytes, family: Family) -> Element:
    bits = 32 if family == 4 else 128
    source, source_mask, destination, destination_mask, spi, reqid, proto, mode, given, inverted = (
        _ELEMENT.unpack_from(piece)
    )
    if mode >= len(_MODES) or (given & _BITS["proto"] and proto not in _PROTOCOLS):
        raise BadValue(f"policy: the kernel's protocol {proto} in mode {mode} has no name")
    values = {
        "reqid": reqid,
        "spi": spi,
        "proto": proto,
        "mode": _MODES[mode],
        "tunnel_dst": (
            family,
            unpack_host(destination, family),
            prefix_length(unpack_host(destination_mask, family), bits),
        ),
        "tunnel_src": (
            family,
            unpack_host(source, family),
            prefix_length(unpack_host(source_mask, family), bits),
        ),
    }
    return Element(
        **{
            field: Given(value, bool(inverted & _BITS[field]))
            for field, value in values.items()
            if given & _BITS[field]
        }
    )


EXTENSIONS: tuple[Any, ...] = (Policy,)
