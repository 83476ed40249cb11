"""Match whom a frame was sent to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Choice, Layout
from iptkit.extensions.spec import Match, Option
from iptkit.values.faults import BadValue
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from iptkit.values.context import Context

# PACKET_HOST and on, linux/if_packet.h
_TYPES = {"unicast": 0, "broadcast": 1, "multicast": 2, "otherhost": 3}
_ALIASES = {"host": "unicast", "bcast": "broadcast", "mcast": "multicast"}


class PacketType:
    """One of the types, in any case, or its alias."""

    metavar = "{unicast|broadcast|multicast|otherhost}"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> str:
        lower = text.lower()
        name = _ALIASES.get(lower, lower)
        if name not in _TYPES:
            raise BadValue(f"no packet type is called {quote(text)}", hint=", ".join((*_TYPES, *_ALIASES)))
        return name

    def show(self, value: str) -> str:
        return value


class PktType(Match, name="pkttype"):
    """Match packets by whom their frame was sent to: this machine, everyone, a group, or another machine.

    It is the link layer's kind of frame; what the machine sends itself counts
    as unicast.
    """

    pkt_type = Option(
        "--pkt-type",
        type=PacketType(),
        invert=True,
        required=True,
        doc="unicast (host), broadcast (bcast), multicast (mcast), otherhost",
    )
    # struct xt_pkttype_info, linux/netfilter/xt_pkttype.h
    layout = Layout(Choice("pkt_type", "i", _TYPES), Bits("i", inverted={1: "pkt_type"}))
    example = "-m pkttype --pkt-type broadcast -j DROP"


EXTENSIONS: tuple[Any, ...] = (PktType,)
