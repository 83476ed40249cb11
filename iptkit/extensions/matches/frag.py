"""Match the IPv6 fragment header."""

from __future__ import annotations

from typing import Any, ClassVar

from iptkit.extensions.layout import Bits, Layout, Number, Pair
from iptkit.extensions.numbers import UInt
from iptkit.extensions.ranges import NumberRange, Range, Ranged
from iptkit.extensions.spec import Flag, Option
from iptkit.values.numbers import UINT32_MAX


class Frag(Ranged, name="frag", families=(6,)):
    """Match packets with a fragment header (RFC 8200, 4.5), by its fields.

    Where connection tracking is on, fragments are put together before the
    rules see them, and this matches only what is left in one piece.  A range
    of ids that is reversed is taken and matches no packet.
    """

    whole: ClassVar[dict[str, Range]] = {"fragid": (0, UINT32_MAX)}
    fragid = Option("--fragid", type=NumberRange(), invert=True, doc="identification, or a range of them")
    fraglen = Option("--fraglen", type=UInt(), invert=True, doc="length of the header in bytes, always 8")
    fragres = Flag("--fragres", doc="the reserved fields are zero")
    fragfirst = Flag("--fragfirst", doc="first fragment")
    fragmore = Flag("--fragmore", excludes=("fraglast",), doc="more fragments follow")
    fraglast = Flag("--fraglast", excludes=("fragmore",), doc="last fragment")
    # struct ip6t_frag, linux/netfilter_ipv6/ip6t_frag.h
    layout = Layout(
        Pair("fragid", "I", (0, UINT32_MAX)),
        Number("fraglen", "I", always=True),
        Bits(
            "B",
            given={2: "fraglen", 4: "fragres", 8: "fragfirst", 16: "fragmore", 32: "fraglast"},
            echoed={1: "fragid"},
        ),
        Bits("B", inverted={1: "fragid", 2: "fraglen"}),
        size=16,
    )
    example = "-m frag --fragfirst -j ACCEPT"


EXTENSIONS: tuple[Any, ...] = (Frag,)
