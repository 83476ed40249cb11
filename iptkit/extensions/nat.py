"""What DNAT, SNAT, MASQUERADE, REDIRECT and NETMAP share: ranges of addresses and ports to translate to."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.spec import Problem, Target
from iptkit.extensions.world import NatRange
from iptkit.text.pattern import Pattern
from iptkit.text.record import NamedTuple
from iptkit.values.addresses import (
    HostName,
    parse_address4,
    parse_address6,
    parse_host4,
    parse_host6,
    show_address4,
    show_address6,
)
from iptkit.values.faults import BadValue
from iptkit.values.names import service_port
from iptkit.values.numbers import UINT16_MAX, parse_uint_prefix
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension, RuleFacts
    from iptkit.values.context import Context, Family

# NF_NAT_RANGE_*, linux/netfilter/nf_nat.h
MAP_IPS = 0x01
PROTO_SPECIFIED = 0x02
PROTO_OFFSET = 0x20
FLAGS = {0x04: "random", 0x08: "persistent", 0x10: "random_fully"}

# icmp among them for its query id; in IPv6 too, where icmp is no protocol one meets.
PROTOCOLS_WITH_PORTS = (6, 17, 132, 33, 1)


class Ports(NamedTuple):
    """Ports from `low` to `high`; with `base`, the port of the original range that `low` stands for."""

    low: int
    high: int
    base: int | None = None


class Range(NamedTuple):
    """Addresses from the first to the last, and ports; None for what stays as it is.

    The last address may be below the first: iptables takes that too.
    """

    addresses: tuple[int, int] | None
    ports: Ports | None


def parse_ports(text: str) -> Ports:
    """Return the ports of `port`, `low-high`, `low-high/base`, or a service's name (not in a range).

    Numbers are decimal, 0x hexadecimal or 0 octal; what follows those of a
    base is not looked at.  Raises BadValue.
    """
    try:
        low, rest = parse_uint_prefix(text, 0, UINT16_MAX)
    except ValueError:
        port = _service(text, text)
        return Ports(port, port)
    if not rest:
        return Ports(low, low)
    if rest[0] == ":":
        raise BadValue(f"a range is LOW-HIGH here, not {quote(text)}", "IPT126", text.replace(":", "-", 1))
    if rest[0] != "-":
        raise BadValue(f"must be PORT or LOW-HIGH, not {quote(text)}", "IPT126")
    try:
        high, rest = parse_uint_prefix(rest[1:], 0, UINT16_MAX)
    except ValueError:
        raise BadValue(f"{quote(rest[1:])} is no port from 0 to 65535", "IPT126") from None
    if high < low:
        raise BadValue(f"range {quote(text)} is reversed: {low} is above {high}", "IPT127")
    if not rest:
        return Ports(low, high)
    if rest[0] != "/":
        raise BadValue(f"must be PORT, LOW-HIGH or LOW-HIGH/BASE, not {quote(text)}", "IPT126")
    base_text = rest[1:]
    try:
        base, _ = parse_uint_prefix(base_text, 1, UINT16_MAX)
    except ValueError:
        base = _service(base_text, text)
    return Ports(low, high, base)


def _service(name: str, text: str) -> int:
    try:
        return service_port(name, None)
    except ValueError:
        raise BadValue(f"{quote(name)} in {quote(text)} is no port from 0 to 65535", "IPT126") from None


def show_ports(ports: Ports) -> str:
    """Return the ports as iptables-save prints them."""
    text = str(ports.low) if ports.low == ports.high else f"{ports.low}-{ports.high}"
    return text if ports.base is None else f"{text}/{ports.base}"


def shifted(ports: Ports, shift: str) -> Ports:
    """Return the ports with what becomes of their base.

    `shift` says which: "kept"; "lost" where it is taken and then forgotten,
    so that save prints /0; "refused", which raises BadValue.
    """
    if ports.base is None or shift == "kept":
        return ports
    if shift == "refused":
        raise BadValue("a range cannot have a base here", "IPT126", f"write {ports.low}-{ports.high}")
    return ports._replace(base=0)


class PortsValue:
    """`port[-port]`, as MASQUERADE and REDIRECT take it; `shift` as in `shifted`."""

    metavar = "port[-port]"
    words = 1
    code = "IPT126"

    def __init__(self, shift: str) -> None:
        self.shift = shift

    def parse(self, text: str, context: Context) -> Ports:
        return shifted(parse_ports(text), self.shift)

    def show(self, value: Ports) -> str:
        return show_ports(value)


_USUAL = Pattern(r"([0-9.]+)(?::(0|[1-9][0-9]{0,4}))?")


_OCTET = "(?:[1-9]?[0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"
_WITH_PORT = Pattern(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}:(?:[1-9][0-9]{{0,3}}|[1-5][0-9]{{4}})")


class RangeValue:
    """`[address[-address]][:port[-port]]`, as DNAT and SNAT take it.

    IPv6 addresses that ports follow stand in brackets.
    """

    metavar = "[address[-address]][:port[-port]]"
    words = 1
    code = "IPT125"

    def __init__(self, family: Family, shift: str) -> None:
        self.family = family
        self.shift = shift

    def parse(self, text: str, context: Context) -> Range:
        usual = _USUAL.fullmatch(text) if self.family == 4 else None
        if usual is not None:
            # One address, with or without one port: of large files nearly all.
            with contextlib.suppress(ValueError):
                address = parse_address4(usual[1])
                port = usual[2]
                if port is None:
                    return Range((address, address), None)
                number = int(port)
                if number <= UINT16_MAX:
                    return Range((address, address), Ports(number, number))
        return self._parse(text)

    def usual(self, context: Context) -> Callable[[str], object] | None:
        """As spec.ValueType.usual: one address of IPv4 and one port, both always there."""
        return _WITH_PORT.fullmatch if self.family == 4 else None

    def _parse(self, text: str) -> Range:
        _, bracket, rest = text.partition("[")
        if bracket:
            # What stands before the bracket is not looked at.
            addresses, closing, rest = rest.partition("]")
            if self.family == 4 or not closing:
                raise BadValue(f"{quote(text)} is not an address range of IPv{self.family}")
            colon = text.find(":", len(text) - len(rest))
        else:
            addresses = text
            # Two colons or more make an IPv6 address.
            colon = text.find(":") if text.count(":") == 1 else -1
            if colon >= 0:
                addresses = text[:colon]
        ports = None
        if colon >= 0:
            ports = shifted(parse_ports(text[colon + 1 :]), self.shift)
            # Two bytes count as no address: iptables looks for `[]`, and not at what they are.
            if colon in (0, 2):
                return Range(None, ports)
        first_text, dash, last_text = addresses.partition("-")
        first = self._address(first_text)
        last = self._address(last_text) if dash else first
        return Range((first, last), ports)

    def _address(self, text: str) -> int:
        four = self.family == 4
        try:
            return parse_address4(text) if four else parse_address6(text)
        except ValueError as error:
            refused = str(error)
        try:
            (parse_host4 if four else parse_host6)(text)
        except HostName:
            raise BadValue(f"{quote(text)} is a host name, which is never looked up here", "IPT218") from None
        except ValueError:
            pass
        raise BadValue(refused, "IPT125")

    def show(self, value: Range) -> str:
        show = show_address4 if self.family == 4 else show_address6
        text = ""
        if value.addresses is not None:
            first, last = value.addresses
            text = show(first) if first == last else f"{show(first)}-{show(last)}"
        if value.ports is None:
            return text
        if self.family == 6 and text:
            text = f"[{text}]"
        return f"{text}:{show_ports(value.ports)}"


class RangeStruct:
    """The struct that holds a range, and the flags besides.

    kind    "compat": struct nf_nat_ipv4_multi_range_compat; "range": struct
            nf_nat_range; "range2": struct nf_nat_range2 (linux/netfilter/nf_nat.h)
    field   the option with the range, or the ports alone
    """

    __slots__ = ("field", "flags", "kind", "size", "struct", "whole")

    def __init__(self, kind: str, field: str, flags: tuple[str, ...], *, whole: bool = False) -> None:
        self.kind = kind
        self.field = field
        self.flags = {bit: flag for bit, flag in FLAGS.items() if flag in flags}
        # A Range, not just Ports?
        self.whole = whole
        # Native numbers for the flags; addresses and ports are bytes in network order.
        self.struct = struct.Struct(
            {"compat": "=II4s4s4s", "range": "=I16s16s4s", "range2": "=I16s16s6s2x"}[kind]
        )
        self.size = self.struct.size

    def write(self, use: Extension, family: Family) -> bytes:
        value: Any = getattr(use, self.field)
        addresses, ports = (value if self.whole else (None, value)) if value is not None else (None, None)
        word = sum(bit for bit, flag in self.flags.items() if getattr(use, flag))
        first = last = b""
        if addresses is not None:
            word |= MAP_IPS
            length = 4 if family == 4 else 16
            first, last = (address.to_bytes(length, "big") for address in addresses)
        packed = b""
        if ports is not None:
            word |= PROTO_SPECIFIED
            if ports.base is not None:
                word |= PROTO_OFFSET
            packed = struct.pack(">HHH", ports.low, ports.high, ports.base or 0)
        if self.kind == "range2":
            return self.struct.pack(word, first, last, packed)
        if self.kind == "range":
            return self.struct.pack(word, first, last, packed[:4])
        return self.struct.pack(1, word, first, last, packed[:4])

    def read(self, piece: bytes, into: Reading) -> None:
        if self.kind == "compat":
            count, word, first, last, packed = self.struct.unpack(piece)
            if count != 1:
                raise BadValue(f"{count} NAT ranges in one rule, where kernels take one")
        else:
            word, first, last, packed = self.struct.unpack(piece)
        addresses = None
        if word & MAP_IPS:
            length = 4 if into.context.family == 4 else 16
            addresses = int.from_bytes(first[:length], "big"), int.from_bytes(last[:length], "big")
        ports = None
        if word & PROTO_SPECIFIED:
            low, high, base = struct.unpack(">HHH", packed.ljust(6, b"\0"))
            ports = Ports(low, high, base if word & PROTO_OFFSET else None)
        if self.whole:
            if addresses is None and ports is None:
                raise BadValue("a NAT range with neither addresses nor ports")
            into.values[self.field] = Range(addresses, ports)
        elif ports is not None:
            into.values[self.field] = ports
        for bit, flag in self.flags.items():
            if word & bit:
                into.values[flag] = True


class Translation(Target):
    """A target that translates ports, too, and then wants a protocol that has them."""

    range_field = ""
    decides = True
    usual_alike = True

    def check(self, rule: RuleFacts) -> Iterator[Problem]:
        value: Any = getattr(self, self.range_field)
        ports = value.ports if isinstance(value, Range) else value
        # Inverted protocols count: iptables does not look.
        if ports is not None and rule.protocol_then not in PROTOCOLS_WITH_PORTS:
            yield Problem(
                f"{self.name}: ports need a protocol that has them",
                self.range_field,
                "IPT120",
                "put -p tcp (or udp, sctp, dccp) before it",
            )

    def nat_range(self) -> NatRange:
        """The range as the kernel is told it; the addresses of MASQUERADE and REDIRECT are added later."""
        value: Any = getattr(self, self.range_field)
        addresses, ports = value if isinstance(value, Range) else (None, value)
        return NatRange(
            addresses,
            None if ports is None else (ports.low, ports.high),
            None if ports is None else ports.base,
            bool(getattr(self, "random", None)),
            bool(getattr(self, "random_fully", None)),
            bool(getattr(self, "persistent", None)),
        )
