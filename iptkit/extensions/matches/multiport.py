"""Match a list of ports."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.spec import Match, Option, PortsAsked, Problem
from iptkit.extensions.world import HotDrop
from iptkit.text.pattern import Pattern
from iptkit.values.faults import BadValue
from iptkit.values.names import service_port
from iptkit.values.numbers import UINT16_MAX, parse_uint
from iptkit.values.ports import parse_port
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from iptkit.extensions.spec import RuleFacts
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

SLOTS = 15  # XT_MULTI_PORTS; a port takes one, a range two
PROTOCOLS = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}

Port = int | str  # a service stays a name until the protocol is known
Item = tuple[Port, Port]  # lowest and highest

# struct xt_multiport_v1, linux/netfilter/xt_multiport.h: which ports, slots used, slots,
# for each slot whether a range begins there, inverted
_STRUCT = struct.Struct(f"=BB{SLOTS}H{SLOTS}BB")


_PLAIN = Pattern(r"(?:0|[1-9][0-9]{0,4})(?:,(?:0|[1-9][0-9]{0,4}))*")  # numbers, none of them octal


_USUAL = Pattern("(?:[1-9][0-9]{0,3}|[1-5][0-9]{4})(?:,(?:[1-9][0-9]{0,3}|[1-5][0-9]{4})){0,14}")


class Named(tuple[Item, ...]):
    """A list with services in it that are still names."""

    __slots__ = ()


class PortList:
    """`port[:port][,...]`, at most 15 slots."""

    metavar = "port[:port][,...]"
    words = 1
    code = "IPT126"

    def parse(self, text: str, context: Context) -> tuple[Item, ...]:
        if _PLAIN.fullmatch(text):
            ports = [int(piece) for piece in text.split(",")]
            if len(ports) <= SLOTS and max(ports) <= UINT16_MAX:
                return tuple([(port, port) for port in ports])
        return self._parse(text)

    def _parse(self, text: str) -> tuple[Item, ...]:
        items = []
        slots = 0
        for piece in text.split(","):
            low, colon, high = piece.partition(":")
            if colon:
                slots += 2
                item = _port(low), _port(high)
                _ordered(item, piece)
            else:
                slots += 1
                item = (_port(low),) * 2
            items.append(item)
        if slots > SLOTS:
            raise BadValue(
                f"takes {SLOTS} ports, a range counting as two, not {slots}",
                "IPT122",
                "make two rules of it, or a set",
            )
        return Named(items) if any(isinstance(port, str) for item in items for port in item) else tuple(items)

    def usual(self, context: Context) -> Callable[[str], object]:
        """As spec.ValueType.usual."""
        return _USUAL.fullmatch

    def show(self, value: tuple[Item, ...]) -> str:
        return ",".join(str(low) if low == high else f"{low}:{high}" for low, high in value)


def _port(text: str) -> Port:
    if not text:
        raise BadValue("a port is missing", hint="a range has both ends, and a port follows each comma")
    try:
        return parse_uint(text, 0, UINT16_MAX)
    except ValueError:
        parse_port(text, None)  # a service of some protocol, or refused
        return text


def _ordered(item: Item, text: str) -> None:
    low, high = item
    if isinstance(low, int) and isinstance(high, int) and low >= high:
        code = "IPT127" if low > high else ""
        raise BadValue(f"the range {quote(text)} must go from a lower to a higher port", code)


class Multiport(Match, name="multiport"):
    """Match up to 15 ports; a range `low:high` counts as two.

    Needs `-p tcp`, `udp`, `udplite`, `sctp` or `dccp` before it.  `--ports`
    matches when the source or the destination port is in the list.
    """

    protocols = tuple(PROTOCOLS)
    revision = 1
    at_least_one = ("sports", "dports", "ports")
    usual_alike = True
    sports = Option(
        "--sports",
        "--source-ports",
        type=PortList(),
        invert=True,
        excludes=("dports", "ports"),
        doc="source ports",
    )
    dports = Option(
        "--dports",
        "--destination-ports",
        type=PortList(),
        invert=True,
        excludes=("sports", "ports"),
        doc="destination ports",
    )
    ports = Option(
        "--ports",
        type=PortList(),
        invert=True,
        excludes=("sports", "dports"),
        doc="source or destination ports",
    )
    facts = ("header",)
    certain = True
    example = "-p tcp -m multiport --dports 80,443,8000:8099 -j ACCEPT"

    def within(self, rule: RuleFacts) -> Self:
        """Services by name are looked up for the protocol of the rule; check() tells which it lacks."""
        protocol = PROTOCOLS.get(rule.protocol_then & 0xFF)
        if protocol is None or not any(isinstance(items, Named) for items in self.values):
            return self
        try:
            resolved = tuple(items and tuple(_resolved(i, protocol) for i in items) for items in self.values)
        except ValueError:
            return self
        return type(self)(resolved, self.inverted)

    def check(self, rule: RuleFacts) -> Iterator[Problem]:
        # Looked at when the option is read, so -p must stand before it; and cut to 8 bits, so that
        # `-p mptcp`, 262, passes for tcp here and is left to the kernel to refuse.
        protocol = rule.protocol_then
        names = ", ".join(PROTOCOLS.values())
        if rule.protocol_then_inverted:
            yield Problem("multiport needs one protocol, not all but one", "", "IPT120", f"-p one of {names}")
        elif not protocol and rule.protocol & 0xFF in PROTOCOLS:
            yield Problem("-p stands after the ports of multiport", "", "IPT134", "put -p first")
        elif protocol & 0xFF not in PROTOCOLS:
            yield Problem("multiport needs a protocol with ports", "", "IPT120", f"-p one of {names}")
        elif any(isinstance(items, Named) for items in self.values):
            yield from self._unknown(PROTOCOLS[protocol & 0xFF])

    def _unknown(self, protocol: str) -> Iterator[Problem]:
        """What is wrong with services by name, now that the protocol is known."""
        for option, items in zip(self.options, self.values, strict=True):
            try:
                for item in items or ():
                    _resolved(item, protocol)
            except BadValue as error:
                yield Problem(str(error), option.field, error.code or PortList.code, error.hint)

    def encode(self, family: Family) -> bytes:
        kind, items = next((k, items) for k, items in enumerate(self.values) if items)
        ports: list[int] = []
        begins: list[int] = []
        for low, high in items:
            ports += (low,) if low == high else (low, high)
            begins += (0,) if low == high else (1, 0)
        spare = [0] * (SLOTS - len(ports))
        return _STRUCT.pack(kind, len(ports), *ports, *spare, *begins, *spare, bool(self.inverted))

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _STRUCT.size:
            raise BadValue(f"multiport: {len(payload)} bytes from the kernel, {_STRUCT.size} expected")
        kind, count, *rest = _STRUCT.unpack_from(payload)
        if kind >= len(cls.options) or count > SLOTS:
            raise BadValue(f"multiport: kind {kind} with {count} ports from the kernel")
        ports, begins = rest[:count], rest[SLOTS : SLOTS + count]
        items: list[Item] = []
        slots = iter(zip(ports, begins, strict=True))
        for low, begin in slots:
            items.append((low, next(slots, (low, 0))[0] if begin else low))
        field = cls.options[kind].field
        return cls.of(inverted=(field,) if rest[-1] else (), **{field: tuple(items)})

    def asked_ports(self) -> dict[str, PortsAsked] | None:
        sports, dports, both = self.values
        if both is not None:
            return None
        field, ranges = ("sport", sports) if dports is None else ("dport", dports)
        return {field: PortsAsked(tuple(ranges), bool(self.inverted))}

    def matches(self, packet: Packet, world: World) -> bool | None:
        # multiport_mt, net/netfilter/xt_multiport.c
        if packet.fragment_offset:
            return False
        if len(packet.data) < packet.l4 + 4:
            raise HotDrop
        sports, dports, both = self.values
        inverted = bool(self.inverted)
        if dports is not None:
            port = packet.dport
            for low, high in dports:
                if low <= port <= high:
                    return not inverted
            return inverted
        port = packet.sport
        for low, high in sports if both is None else both:
            if low <= port <= high or (both is not None and low <= packet.dport <= high):
                return not inverted
        return inverted


def _resolved(item: Item, protocol: str) -> Item:
    low, high = (service_port(port, protocol) if isinstance(port, str) else port for port in item)
    if item[0] != item[1]:
        _ordered((low, high), f"{item[0]}:{item[1]}")
    return low, high


EXTENSIONS: tuple[Any, ...] = (Multiport,)
