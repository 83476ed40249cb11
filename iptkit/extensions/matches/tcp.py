"""Match TCP headers: ports, flags, options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from iptkit.extensions.layout import Bits, Layout, Number, Pair
from iptkit.extensions.numbers import UInt
from iptkit.extensions.ports import TcpPorts, asked_of_one
from iptkit.extensions.ranges import Ranged
from iptkit.extensions.spec import Flag, Given, Option
from iptkit.extensions.tcp_options import has_option
from iptkit.extensions.world import HotDrop
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT8_MAX
from iptkit.values.wording import choices, quote

if TYPE_CHECKING:
    from iptkit.extensions.spec import PortsAsked
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

FLAGS = {"FIN": 0x01, "SYN": 0x02, "RST": 0x04, "PSH": 0x08, "ACK": 0x10, "URG": 0x20}
_ALL = 0x3F


class TcpFlags:
    """`mask comp`: which flags to look at, and which of these must be set."""

    metavar = "mask comp"
    words = 2
    code = "IPT129"

    def parse(self, text: tuple[str, str], context: Context) -> tuple[int, int]:
        return self._set(text[0], 0), self._set(text[1], 1)

    def _set(self, text: str, word: int) -> int:
        bits = 0
        # strtok() reads the list: commas in a row are one.
        for name in filter(None, text.split(",")):
            upper = name.upper()
            if upper == "ALL":
                bits |= _ALL
            elif upper in FLAGS:
                bits |= FLAGS[upper]
            elif upper != "NONE":
                hint = choices(name, (*FLAGS, "ALL", "NONE"))
                raise BadValue(f"no TCP flag is called {quote(name)}", hint=hint, word=word)
        return bits

    def show(self, value: tuple[int, int]) -> str:
        return f"{_names(value[0])} {_names(value[1])}"


def _names(bits: int) -> str:
    return ",".join(name for name, bit in FLAGS.items() if bits & bit) or "NONE"


class Tcp(Ranged, name="tcp"):
    """Match TCP segments by port, flags and options.

    Needs `-p tcp`, which loads it by itself when one of its options is met.
    Ports are numbers (decimal, 0x hexadecimal, 0 octal) or service names.
    Flags are FIN, SYN, RST, PSH, ACK, URG, ALL and NONE, joined by commas;
    ECE and CWR cannot be asked for here, but by `-m ecn`.
    """

    protocols = (6,)
    revision = 0
    whole: ClassVar = {"sport": (0, 0xFFFF), "dport": (0, 0xFFFF)}
    sport = Option("--sport", "--source-port", type=TcpPorts("tcp"), invert=True, doc="source port or range")
    dport = Option(
        "--dport", "--destination-port", type=TcpPorts("tcp"), invert=True, doc="destination port or range"
    )
    tcp_option = Option("--tcp-option", type=UInt(UINT8_MAX, 1), invert=True, doc="a TCP option by number")
    tcp_flags = Option(
        "--tcp-flags", type=TcpFlags(), invert=True, doc="flags looked at, and those set of them"
    )
    syn = Flag(
        "--syn",
        invert=True,
        excludes=("tcp_flags",),
        doc="SYN set, and FIN, RST, ACK not: --tcp-flags FIN,SYN,RST,ACK SYN",
    )
    plain = True  # settle refuses nothing
    # struct xt_tcp, linux/netfilter/xt_tcpudp.h
    layout = Layout(
        Pair("sport", "H", (0, 0xFFFF)),
        Pair("dport", "H", (0, 0xFFFF)),
        Number("tcp_option", "B"),
        Pair("tcp_flags", "B", (0, 0)),
        Bits("B", inverted={1: "sport", 2: "dport", 4: "tcp_flags", 8: "tcp_option"}),
    )
    certain = True
    example = "-p tcp -m tcp --dport 22 --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = dict(given)
        if "syn" in out:
            out["tcp_flags"] = Given((0x17, 0x02), out.pop("syn").inverted)
        flags = out.get("tcp_flags")
        if flags is not None and flags.value == (0, 0) and not flags.inverted:
            del out["tcp_flags"]
        return super().settle(out, context)

    def left_out(self, field: str, value: Any) -> bool:
        # A look at no flags is not printed, though one that asks for some of them matches nothing.
        if field == "tcp_flags":
            return not value[0] and not self.is_inverted(field)
        return super().left_out(field, value)

    @property
    def facts(self) -> tuple[str, ...] | None:  # type: ignore[override]  # of each use
        if self.tcp_option is not None:
            return None
        return ("header",) if self.tcp_flags is None else ("header", "tcp_flags")

    def asked_ports(self) -> dict[str, PortsAsked] | None:
        return asked_of_one(self)

    def matches(self, packet: Packet, world: World) -> bool | None:
        # tcp_mt, net/netfilter/xt_tcpudp.c
        if packet.fragment_offset:
            if packet.family == 4 and packet.fragment_offset == 8:
                raise HotDrop  # a fragment that would overwrite the flags
            return False
        data, at = packet.data, packet.l4
        if len(data) < at + 20:
            raise HotDrop
        sport, dport, option, flags, _ = self.values
        inverted = self.inverted
        if sport is not None and (sport[0] <= packet.sport <= sport[1]) == inverted & 1:
            return False
        if dport is not None and (dport[0] <= packet.dport <= dport[1]) == inverted >> 1 & 1:
            return False
        if flags is not None and (data[at + 13] & flags[0] == flags[1]) == inverted >> 3 & 1:
            return False
        if option is not None:
            end = at + (data[at + 12] >> 4) * 4
            return has_option(data, at + 20, end, option) is not bool(inverted & 4)
        return True


EXTENSIONS: tuple[Any, ...] = (Tcp,)
