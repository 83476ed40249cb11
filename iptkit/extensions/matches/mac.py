"""Match the sender's Ethernet address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Pad, Raw
from iptkit.extensions.spec import Match, Option, Place
from iptkit.values.faults import BadValue
from iptkit.values.interfaces import LOOPBACK
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

# xtopt_parse_ethermac (libxtables/xtoptions.c) reads each byte with strtoul,
# which takes a blank and a sign, and nothing at all for 0.
_BYTE = re.compile(r"(?:[ \t\n\v\f\r]?[+-]?[0-9A-Fa-f]{1,2})?")


class MacAddress:
    """Six bytes in hexadecimal, joined by colons, one or two digits each; the value is the bytes."""

    metavar = "XX:XX:XX:XX:XX:XX"
    words = 1
    code = "IPT125"

    def parse(self, text: str, context: Context) -> bytes:
        pieces = text.split(":")
        if len(pieces) != 6 or not all(len(p) <= 2 and _BYTE.fullmatch(p) for p in pieces):
            hint = "put colons between the bytes" if re.fullmatch(r"[0-9A-Fa-f.-]{12,17}", text) else ""
            raise BadValue(f"must be a MAC address like 00:00:5e:00:53:01, not {quote(text)}", "IPT125", hint)
        return bytes((int(piece, 16) if piece else 0) & 0xFF for piece in pieces)

    def show(self, value: bytes) -> str:
        return value.hex(":")


class Mac(Match, name="mac"):
    """Match the source address of the Ethernet frame a packet came in.

    It is the last hop's, not the sender's beyond a router.  A packet that did
    not come in by Ethernet never matches, also with `!`.  Not in OUTPUT and
    POSTROUTING.
    """

    where = Place(hooks=("PREROUTING", "INPUT", "FORWARD"))
    mac_source = Option(
        "--mac-source", type=MacAddress(), invert=True, required=True, doc="source MAC address"
    )
    # struct xt_mac_info, linux/netfilter/xt_mac.h
    layout = Layout(Raw("mac_source", 6), Pad(2), Bits("i", inverted={1: "mac_source"}))
    facts = ("source_mac",)
    example = "-i eth0 -m mac --mac-source 00:00:5e:00:53:01 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        if packet.in_interface == LOOPBACK:
            return False  # no Ethernet
        if packet.source_mac is None:
            return None
        return (packet.source_mac == self.mac_source) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (Mac,)
