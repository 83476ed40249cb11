"""Match DCCP packets: ports, types, options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from iptkit.extensions.layout import Bits, Layout, Number, Pad, Pair
from iptkit.extensions.numbers import UInt
from iptkit.extensions.ports import UdpPorts, asked_of_one
from iptkit.extensions.spec import Match, Option
from iptkit.extensions.tcp_options import has_option
from iptkit.extensions.world import CountedDrop, HotDrop
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT8_MAX
from iptkit.values.wording import choices, quote

if TYPE_CHECKING:
    from iptkit.extensions.spec import PortsAsked
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

# By their number in the header (RFC 4340, section 5.1). Numbers 10 to 15 mean nothing: all are INVALID.
TYPES = (
    "REQUEST",
    "RESPONSE",
    "DATA",
    "ACK",
    "DATAACK",
    "CLOSEREQ",
    "CLOSE",
    "RESET",
    "SYNC",
    "SYNCACK",
    "INVALID",
)
_BITS = {name: 1 << number for number, name in enumerate(TYPES)} | {"INVALID": 0xFC00}


class DccpTypes:
    """`type[,...]`, kept as one bit for each."""

    metavar = "type[,...]"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        bits = 0
        # strtok() reads the list: commas in a row are one.
        for name in filter(None, text.split(",")):
            bit = _BITS.get(name.upper())
            if bit is None:
                raise BadValue(f"no DCCP type is called {quote(name)}", hint=choices(name, TYPES))
            bits |= bit
        return bits

    def show(self, value: int) -> str:
        return ",".join(name for name, bit in _BITS.items() if value & bit)


# How long what follows the basic header is, by type; RESET and unknown ones have 12 bytes.
_MORE = {0: 4, 1: 12, 2: 0, 3: 8, 4: 8, 5: 8, 6: 8, 8: 8, 9: 8}


def _has_option(packet: Packet, wanted: int) -> bool:
    """Is the option in the header?  Raises HotDrop for a header of a wrong length."""
    data, at = packet.data, packet.l4
    end = at + data[at + 4] * 4
    at += 12 + (4 if data[at + 8] & 1 else 0) + _MORE.get(data[at + 8] >> 1 & 15, 12)
    return has_option(data, at, end, wanted)


class Dccp(Match, name="dccp"):
    """Match DCCP packets by port, type and option.

    Needs `-p dccp`, which loads it by itself when one of its options is met.
    Ports are read as `-m udp` reads them. A packet matches `--dccp-types`
    when its type is one of those listed.
    """

    protocols = (33,)
    revision = 0
    sport = Option("--sport", "--source-port", type=UdpPorts(), invert=True, doc="source port or range")
    dport = Option(
        "--dport", "--destination-port", type=UdpPorts(), invert=True, doc="destination port or range"
    )
    dccp_types = Option("--dccp-types", type=DccpTypes(), invert=True, doc="packet types")
    dccp_option = Option("--dccp-option", type=UInt(UINT8_MAX, 1), invert=True, doc="a DCCP option by number")
    _flags: ClassVar = {1: "sport", 2: "dport", 4: "dccp_types", 8: "dccp_option"}
    # struct xt_dccp_info, linux/netfilter/xt_dccp.h
    layout = Layout(
        Pair("dport", "H", (0, 0), always=True),
        Pair("sport", "H", (0, 0), always=True),
        Bits("H", given=_flags),
        Bits("H", inverted=_flags),
        Number("dccp_types", "H", always=True),
        Number("dccp_option", "B", always=True),
        Pad(1),
    )
    certain = True
    example = "-p dccp -m dccp --dport 5001 --dccp-types REQUEST -j ACCEPT"

    def asked_ports(self) -> dict[str, PortsAsked] | None:
        return asked_of_one(self)

    def matches(self, packet: Packet, world: World) -> bool | None:
        # dccp_mt, net/netfilter/xt_dccp.c
        if packet.fragment_offset:
            return False
        data, at = packet.data, packet.l4
        if len(data) < at + 12:
            raise HotDrop
        for field, port in (("sport", packet.sport), ("dport", packet.dport)):
            ports = getattr(self, field)
            if ports is not None and (ports[0] <= port <= ports[1]) is self.is_inverted(field):
                return False
        kind = data[at + 8] >> 1 & 15
        if self.dccp_types is not None and bool(self.dccp_types >> kind & 1) is self.is_inverted(
            "dccp_types"
        ):
            return False
        if self.dccp_option is not None:
            inverted = self.is_inverted("dccp_option")
            try:
                return _has_option(packet, self.dccp_option) is not inverted
            except HotDrop:
                raise (CountedDrop if inverted else HotDrop) from None
        return True


EXTENSIONS: tuple[Any, ...] = (Dccp,)
