"""What `-m conntrack` and `-m state` share: for the kernel they are one match, told apart by a flag.

Facts: linux/netfilter/xt_conntrack.h, linux/netfilter/nf_conntrack_common.h.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.choices import OneOf
from iptkit.extensions.hosts import HostMask, pack_host, prefix_length, prefix_mask, unpack_host
from iptkit.extensions.ports import UdpPorts
from iptkit.extensions.ranges import NumberRange
from iptkit.extensions.spec import Match, Option
from iptkit.extensions.world import ALL_STATES, CONFIRMED, DST_NAT, SRC_NAT
from iptkit.values.faults import BadValue
from iptkit.values.names import parse_protocol
from iptkit.values.numbers import UINT8_MAX
from iptkit.values.packet import CT_UNTRACKED
from iptkit.values.wording import choices, quote

if TYPE_CHECKING:
    from typing import Self

    from iptkit.extensions.world import Connection, World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# XT_CONNTRACK_STATE_*, in the order iptables-save prints them
CT_STATES = {
    "INVALID": 0x001,
    "NEW": 0x008,
    "RELATED": 0x004,
    "ESTABLISHED": 0x002,
    "UNTRACKED": 0x100,
    "SNAT": 0x040,
    "DNAT": 0x080,
}
STATES = {name: bit for name, bit in CT_STATES.items() if name not in ("SNAT", "DNAT")}
# IPS_*; the empty set is printed as NONE
CT_STATUSES = {"NONE": 0x00, "EXPECTED": 0x01, "SEEN_REPLY": 0x02, "ASSURED": 0x04, "CONFIRMED": 0x08}

# match_flags
_STATE = 0x0001
_STATE_ALIAS = 0x2000
_DIRECTION = 0x1000


class NameSet:
    """A comma list of names, each of which may be cut short and in any case; the value is their bits.

    A name that several begin with is the first of them.
    """

    words = 1

    def __init__(self, names: dict[str, int], metavar: str, kind: str, code: str = "IPT129") -> None:
        self.names = names
        self.metavar = metavar
        self.kind = kind
        self.code = code

    def parse(self, text: str, context: Context) -> int:
        bits = 0
        for word in text.split(","):
            bits |= self._bit(word)
        return bits

    def _bit(self, word: str) -> int:
        upper = word.upper()
        if upper and upper.isascii():
            for name, bit in self.names.items():
                if name.upper().startswith(upper):
                    return bit
        blank = word != word.strip()
        raise BadValue(
            f"no {self.kind} is called {quote(word)}",
            hint="commas only, no blanks between names" if blank or not word else choices(word, self.names),
        )

    def show(self, value: int) -> str:
        return ",".join(name for name, bit in self.names.items() if value & bit) or "NONE"


class CtProtocol:
    """A protocol by name or number; unlike -p it may be 0."""

    metavar = "protocol"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        return parse_protocol(text) & UINT8_MAX

    def show(self, value: int) -> str:
        return str(value)


_ADDRESS = HostMask()
_PORTS = UdpPorts()
_ADDRESSES = ("ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst")
_PORT_FIELDS = ("ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport")
_FLAGS = {
    "ctstate": _STATE,
    "ctproto": 0x0002,
    "ctorigsrc": 0x0004,
    "ctorigdst": 0x0008,
    "ctreplsrc": 0x0010,
    "ctrepldst": 0x0020,
    "ctstatus": 0x0040,
    "ctexpire": 0x0080,
    "ctorigsrcport": 0x0100,
    "ctorigdstport": 0x0200,
    "ctreplsrcport": 0x0400,
    "ctrepldstport": 0x0800,
    "ctdir": _DIRECTION,
}
# struct xt_conntrack_mtinfo3: addresses and masks; expiry; protocol; low ports; flags; sets; high ports
_INFO = struct.Struct("=128sIIH4HHHHH4H2x")


FIRST_REPLY = 3  # IP_CT_IS_REPLY: what ctinfo is from here on is the reply direction's
_INVALID_BIT, _UNTRACKED_BIT = 0x001, 0x100
_STATE_BITS = tuple(1 << number % FIRST_REPLY + 1 for number in range(7))


def state_bits(packet: Packet) -> int:
    """XT_CONNTRACK_STATE_* of a packet."""
    connection = packet.connection
    if connection is None:
        return _UNTRACKED_BIT if packet.ctinfo == CT_UNTRACKED else _INVALID_BIT
    bits = _STATE_BITS[packet.ctinfo]
    status = connection.status
    if status & (SRC_NAT | DST_NAT):
        if status & SRC_NAT:
            bits |= CT_STATES["SNAT"]
        if status & DST_NAT:
            bits |= CT_STATES["DNAT"]
    return bits


class Conntrack(Match, name="conntrack"):
    """Match what connection tracking knows of the packet and its connection.

    States: NEW starts a connection (or has seen no packet in the other
    direction yet), ESTABLISHED has seen packets both ways, RELATED starts a
    connection that belongs to a known one (FTP data, ICMP errors), INVALID
    belongs to none, UNTRACKED was exempted by `-j CT --notrack` in raw; SNAT
    and DNAT are set beside these where the source or destination has been
    rewritten.

    Statuses: EXPECTED was announced by a helper, SEEN_REPLY has packets both
    ways, ASSURED is not dropped early when the table is full, CONFIRMED has
    had its first packet leave the machine, NONE none of these.

    Addresses keep their host bits; the kernel compares under the mask.  Ports
    are those of the tracked protocol (for GRE, keys), and are read as -m udp
    reads them.  In raw before tracking there is no state yet.
    """

    revision = 3
    ctstate = Option(
        "--ctstate",
        type=NameSet(CT_STATES, "state[,...]", "state", "IPT123"),
        invert=True,
        doc="state of the connection: INVALID, NEW, RELATED, ESTABLISHED, UNTRACKED, SNAT, DNAT",
    )
    ctproto = Option("--ctproto", type=CtProtocol(), invert=True, doc="layer-4 protocol tracked")
    ctorigsrc = Option("--ctorigsrc", type=_ADDRESS, invert=True, doc="original source address")
    ctorigdst = Option("--ctorigdst", type=_ADDRESS, invert=True, doc="original destination address")
    ctreplsrc = Option("--ctreplsrc", type=_ADDRESS, invert=True, doc="source address of replies")
    ctrepldst = Option("--ctrepldst", type=_ADDRESS, invert=True, doc="destination address of replies")
    ctorigsrcport = Option("--ctorigsrcport", type=_PORTS, invert=True, doc="original source port or range")
    ctorigdstport = Option(
        "--ctorigdstport", type=_PORTS, invert=True, doc="original destination port or range"
    )
    ctreplsrcport = Option("--ctreplsrcport", type=_PORTS, invert=True, doc="source port or range of replies")
    ctrepldstport = Option(
        "--ctrepldstport", type=_PORTS, invert=True, doc="destination port or range of replies"
    )
    ctstatus = Option(
        "--ctstatus",
        type=NameSet(CT_STATUSES, "status[,...]", "status"),
        invert=True,
        doc="status of the connection: NONE, EXPECTED, SEEN_REPLY, ASSURED, CONFIRMED",
    )
    ctexpire = Option(
        "--ctexpire", type=NumberRange(metavar="seconds[:seconds]"), invert=True, doc="seconds left"
    )
    ctdir = Option(
        "--ctdir",
        type=OneOf(("ORIGINAL", "REPLY"), any_case=True),
        doc="direction of the packet: ORIGINAL or REPLY",
    )
    at_least_one = tuple(_FLAGS)
    certain = True
    example = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"

    def encode(self, family: Family) -> bytes:
        bits = 32 if family == 4 else 128
        addresses = b""
        flags = inverted = 0
        for option, value in zip(self.options, self.values, strict=True):
            if value is not None:
                flags |= _FLAGS[option.field]
                if self.inverted >> option.index & 1:
                    inverted |= _FLAGS[option.field]
        for field in _ADDRESSES:
            found = getattr(self, field)
            if found is None:
                addresses += bytes(32)
            else:
                mask = prefix_mask(found[2], bits)
                # A mask of all ones fills the whole union, whatever the family.
                packed = b"\xff" * 16 if found[2] == bits else pack_host(mask, family)
                addresses += pack_host(found[1], family) + packed
        if self.ctdir == "REPLY":
            inverted |= _DIRECTION
        ports = [getattr(self, field) or (0, 0) for field in _PORT_FIELDS]
        return _INFO.pack(
            addresses,
            *(self.ctexpire or (0, 0)),
            self.ctproto or 0,
            *(low for low, _ in ports),
            flags,
            inverted,
            self.ctstate or 0,
            self.ctstatus or 0,
            *(high for _, high in ports),
        )

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        info = _unpack(payload)
        addresses: bytes = info[0]
        flags, inverted, states, statuses = info[8:12]
        if flags & _STATE_ALIAS:
            raise BadValue("conntrack: made by -m state")
        values: dict[str, Any] = {
            "ctstate": states,
            "ctstatus": statuses,
            "ctexpire": (info[1], info[2]),
            "ctproto": info[3],
            "ctdir": "REPLY" if inverted & _DIRECTION else "ORIGINAL",
        }
        bits = 32 if context.family == 4 else 128
        for index, field in enumerate(_ADDRESSES):
            piece = addresses[index * 32 : index * 32 + 32]
            mask = unpack_host(piece[16:], context.family)
            address = unpack_host(piece, context.family)
            values[field] = (context.family, address, prefix_length(mask, bits))
        for index, field in enumerate(_PORT_FIELDS):
            values[field] = (info[4 + index], info[12 + index])
        return cls.of(
            inverted=tuple(f for f, bit in _FLAGS.items() if inverted & flags & bit and f != "ctdir"),
            **{field: value for field, value in values.items() if flags & _FLAGS[field]},
        )

    @property
    def facts(self) -> tuple[str, ...] | None:  # type: ignore[override]  # of each use
        return (
            ("state",)
            if self.values.count(None) == len(self.values) - 1 and self.ctstate is not None
            else None
        )

    def says_nothing(self) -> bool:
        states = self.ctstate
        alone = self.values.count(None) == len(self.values) - 1
        return states is not None and alone and _is_any(states) and not self.inverted

    def matches(self, packet: Packet, world: World) -> bool | None:
        # conntrack_mt, net/netfilter/xt_conntrack.c
        states = self.values[0]
        if states is not None and bool(state_bits(packet) & states) is bool(self.inverted & 1):
            return False
        connection = packet.connection
        if connection is None or (states is not None and self.values.count(None) == len(self.values) - 1):
            return states is not None
        return self._meets(packet, connection, world)

    def _meets(self, packet: Packet, connection: Connection, world: World) -> bool:
        """The conditions besides the state."""
        if self.ctdir is not None and (packet.ctinfo >= FIRST_REPLY) is not (self.ctdir == "REPLY"):
            return False
        original, reply = connection.original, connection.reply
        found: tuple[tuple[str, Any, int], ...] = (
            ("ctorigsrc", self.ctorigsrc, original.src),
            ("ctorigdst", self.ctorigdst, original.dst),
            ("ctreplsrc", self.ctreplsrc, reply.src),
            ("ctrepldst", self.ctrepldst, reply.dst),
        )
        for field, host, address in found:
            if host is not None:
                family, wanted, length = host
                differs = (address ^ wanted) & prefix_mask(length, 32 if family == 4 else 128)
                if bool(differs) is not self.is_inverted(field):
                    return False
        if self.ctproto is not None and (original.proto == self.ctproto) is self.is_inverted("ctproto"):
            return False
        found = (
            ("ctorigsrcport", self.ctorigsrcport, original.source),
            ("ctorigdstport", self.ctorigdstport, original.destination),
            ("ctreplsrcport", self.ctreplsrcport, reply.source),
            ("ctrepldstport", self.ctrepldstport, reply.destination),
        )
        for field, ports, port in found:
            if ports is not None and (ports[0] <= port <= ports[1]) is self.is_inverted(field):
                return False
        # No status at all is never found, NONE alone matches nothing.
        if self.ctstatus is not None:
            status = bool(connection.status & self.ctstatus)
            if status is self.is_inverted("ctstatus"):
                return False
        if self.ctexpire is not None:
            low, high = self.ctexpire
            # An unconfirmed connection keeps a span where the kernel expects a time, long past.
            left = connection.remaining(world.now) if connection.status & CONFIRMED else 0
            return (low <= left <= high) is not self.is_inverted("ctexpire")
        return True


def _is_any(states: int) -> bool:
    return states & ALL_STATES == ALL_STATES


class State(Match, name="state"):
    """Match the connection tracking state of a packet: the older form of `-m conntrack --ctstate`.

    The kernel keeps it as a conntrack match with a mark on it, so that it is
    saved as it was written.
    """

    revision = 3
    kernel_name = "conntrack"
    state = Option(
        "--state",
        type=NameSet(STATES, "state[,...]", "state", "IPT123"),
        invert=True,
        required=True,
        doc="state of the connection: INVALID, NEW, RELATED, ESTABLISHED, UNTRACKED",
    )
    facts = ("state",)
    certain = True
    example = "-m state --state RELATED,ESTABLISHED -j ACCEPT"

    def says_nothing(self) -> bool:
        return self.state is not None and _is_any(self.state) and not self.inverted

    def encode(self, family: Family) -> bytes:
        flags = _STATE | _STATE_ALIAS
        inverted = _STATE if self.inverted else 0
        return _INFO.pack(bytes(128), 0, 0, 0, 0, 0, 0, 0, flags, inverted, self.state or 0, 0, 0, 0, 0, 0)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        flags, inverted, states, _ = _unpack(payload)[8:12]
        if not flags & _STATE_ALIAS:
            raise BadValue("state: made by -m conntrack")
        return cls.of(state=states, inverted=("state",) if inverted & _STATE else ())

    def matches(self, packet: Packet, world: World) -> bool | None:
        return bool(state_bits(packet) & self.values[0]) is not bool(self.inverted)


def _unpack(payload: bytes) -> tuple[Any, ...]:
    if len(payload) < _INFO.size:
        raise BadValue(f"conntrack: {len(payload)} bytes from the kernel, {_INFO.size} expected")
    return _INFO.unpack_from(payload)
