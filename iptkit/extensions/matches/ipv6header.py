"""Match the extension headers that an IPv6 packet has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Number
from iptkit.extensions.spec import Flag, Match, Option
from iptkit.values.faults import BadValue
from iptkit.values.packet import AH, ESP, FRAGMENT, NO_NEXT
from iptkit.values.wording import choices, quote

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

# MASK_*, linux/netfilter_ipv6/ip6t_ipv6header.h: the name printed, its bit, and the other names,
# of which some come from /etc/protocols
_HEADERS = (
    ("hop-by-hop", 0x80, "hop 0 ip IP hopopt HOPOPT"),
    ("ipv6-opts", 0x40, "dst 60 IPv6-Opts"),
    ("ipv6-route", 0x20, "route 43 IPv6-Route"),
    ("ipv6-frag", 0x10, "frag 44 IPv6-Frag"),
    ("ah", 0x08, "auth 51 IPSEC-AH"),
    ("esp", 0x04, "50 IPSEC-ESP"),
    ("ipv6-nonxt", 0x02, "none 59 IPv6-NoNxt"),
    ("protocol", 0x01, "prot 255"),
)
_BITS = {name: bit for first, bit, others in _HEADERS for name in (first, *others.split())}


class Headers:
    """Names or numbers between commas, spelt exactly so; the value is their bits."""

    metavar = "header[,...]"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        bits = 0
        # Commas in a row are one, and those at the ends none.
        for name in filter(None, text.split(",")):
            if name not in _BITS:
                known = (first for first, _, _ in _HEADERS)
                raise BadValue(f"no IPv6 header is called {quote(name)}", hint=choices(name, known))
            bits |= _BITS[name]
        if not bits:
            raise BadValue("must name a header")
        return bits

    def show(self, value: int) -> str:
        return ",".join(name for name, bit, _ in _HEADERS if value & bit)


_BY_NUMBER = {0: 0x80, 60: 0x40, 43: 0x20, 44: 0x10, 51: 0x08, 50: 0x04, 59: 0x02}


class IPv6Header(Match, name="ipv6header", families=(6,)):
    """Match packets that have just these extension headers, or with --soft at least these.

    hop-by-hop, ipv6-opts (destination options), ipv6-route, ipv6-frag, ah and
    esp are headers; ipv6-nonxt is a packet that ends after its headers,
    protocol one with an upper-layer protocol after them.
    """

    header = Option("--header", type=Headers(), invert=True, required=True, doc="headers, by name or number")
    soft = Flag("--soft", doc="the packet has these, and may have others")
    # struct ip6t_ipv6header_info; all bits of the last two bytes are set, or none
    layout = Layout(
        Number("header", "B", always=True),
        Bits("B", inverted={0xFF: "header"}),
        Bits("B", given={0xFF: "soft"}),
    )
    certain = True
    example = "-m ipv6header --header frag --soft -j DROP"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # ipv6header_mt6, net/ipv6/netfilter/ip6t_ipv6header.c, which goes on behind later fragments, too
        data = packet.data
        kind, at = data[6], 40
        found = 0
        while kind in _BY_NUMBER:
            if kind == NO_NEXT:
                found |= _BITS["ipv6-nonxt"]
                break
            if len(data) - at < 2:
                return False
            found |= _BY_NUMBER[kind]
            if kind == ESP:
                break
            size = (data[at + 1] + 1) * 8
            if kind == FRAGMENT:
                size = 8
            elif kind == AH:
                size = (data[at + 1] + 2) * 4
            kind = data[at]
            at += size
            if at > len(data):
                break
        if kind not in (NO_NEXT, ESP):
            found |= _BITS["protocol"]
        wanted = self.header or 0
        if self.soft:
            return not (found ^ wanted ^ (0xFF if self.inverted else 0)) & wanted
        return (found == wanted) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (IPv6Header,)
