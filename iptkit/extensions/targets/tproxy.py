"""Hand packets to a local socket unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.hosts import HostAddress, HostBytes
from iptkit.extensions.layout import Layout, Number, Pair
from iptkit.extensions.numbers import MarkAndMask
from iptkit.extensions.spec import Given, Option, Place, Target
from iptkit.extensions.world import ACCEPT, DROP, Unknown
from iptkit.values.faults import BadValue
from iptkit.values.ports import parse_port_range_udp
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet


class ProxyPort:
    """One port, or a service's name, of whatever protocol; numbers are decimal and wrap at 65536."""

    metavar = "port"
    words = 1
    code = "IPT126"

    def parse(self, text: str, context: Context) -> int:
        if ":" in text:
            raise BadValue(f"must be one port, not {quote(text)}")
        return parse_port_range_udp(text)[0]

    def show(self, value: int) -> str:
        return str(value)


class MaskThenMark(Pair):
    """A mark and its mask, which stand the other way round in the struct."""

    __slots__ = ()

    def write(self, use: Extension, family: Family) -> bytes:
        mark, mask = getattr(use, self.field) or self.default
        return self.struct.pack(mask, mark)

    def read(self, piece: bytes, into: Reading) -> None:
        mask, mark = self.struct.unpack(piece)
        into.values[self.field] = mark, mask


class Tproxy(Target, name="TPROXY"):
    """Hand the packet to a local socket without changing it.

    The socket needs the option IP_TRANSPARENT, and the packet a route to this
    machine, for which it can be marked.  Without --on-ip the socket is one on
    the interface's own address.  Needs `-p tcp` or `-p udp`.
    """

    where = Place(tables=("mangle",), hooks=("PREROUTING",))
    protocols = (6, 17)
    revision = 1
    on_port = Option(
        "--on-port", type=ProxyPort(), required=True, doc="port of the socket; 0 for the packet's own"
    )
    on_ip = Option("--on-ip", type=HostAddress(), doc="address of the socket")
    tproxy_mark = Option("--tproxy-mark", type=MarkAndMask(), doc="clear mask, XOR value")
    # struct xt_tproxy_target_info_v1, linux/netfilter/xt_TPROXY.h
    layout = Layout(
        MaskThenMark("tproxy_mark", "I", (0, 0)),
        HostBytes("on_ip"),
        Number("on_port", ">H", always=True),
        size=28,
    )
    decides = True
    example = "-p tcp -m tcp --dport 80 -j TPROXY --on-port 3129 --on-ip 127.0.0.1 --tproxy-mark 0x1/0x1"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        # Save prints all three.
        out = {"on_ip": Given((context.family, 0), False), "tproxy_mark": Given((0, 0), False)}
        return {**out, **given}

    def act(self, packet: Packet, world: World) -> str | None:
        # tproxy_tg4 and tproxy_tg6, net/netfilter/xt_TPROXY.c
        if packet.dport < 0 or len(packet.data) < packet.l4 + 8:
            return DROP
        address = self.on_ip[1] if self.on_ip is not None else 0
        address = address or world.interface_address(packet) or packet.dst
        found = world.deliver_locally(packet, address, self.on_port or packet.dport)
        if found is None:
            raise Unknown("whether a transparent socket waits for the packet")
        if not found:
            return DROP
        value, mask = self.tproxy_mark or (0, 0)
        packet.mark = packet.mark & ~mask ^ value
        return ACCEPT


EXTENSIONS: tuple[Any, ...] = (Tproxy,)
