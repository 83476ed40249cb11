"""Match the operating system that a TCP connection seems to come from."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Number, String
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Match, Option, Place

if TYPE_CHECKING:
    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

LIMIT = 31  # bytes; MAXGENRELEN less the NUL


class Genre:
    """Any text; what is over 31 bytes is cut off without a word."""

    metavar = "genre"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> str:
        return text[:LIMIT]

    def show(self, value: str) -> str:
        # Without quotes, even around a blank: so iptables prints it.
        return value


class _Length:
    """How many bytes the genre has."""

    size = 4

    def write(self, use: Extension, family: Family) -> bytes:
        genre: str | None = getattr(use, "genre")  # noqa: B009  # no attribute of every extension
        return struct.pack("=I", len(genre or ""))

    def read(self, piece: bytes, into: Reading) -> None:
        pass


class Osf(Match, name="osf", families=(4,)):
    """Match TCP SYN packets that look as if they came from a system of this genre, such as Linux or Windows.

    Needs `-p tcp` for the kernel.  The fingerprints are loaded with nfnl_osf;
    without them nothing matches.  In PREROUTING, INPUT and FORWARD.
    """

    protocols = (6,)
    where = Place(hooks=("PREROUTING", "INPUT", "FORWARD"))
    genre = Option(
        "--genre", type=Genre(), invert=True, required=True, doc="genre, as the fingerprints name it"
    )
    ttl = Option(
        "--ttl",
        type=UInt(2),
        doc="0: the TTL is just the fingerprint's (for a LAN); 1: it is less; 2: do not look at it",
    )
    log = Option(
        "--log", type=UInt(2), doc="log 0: all packets, known or not; 1: the first that fits; 2: all that fit"
    )
    # struct xt_osf_info, linux/netfilter/xt_osf.h; XT_OSF_*
    layout = Layout(
        String("genre", 32, always=True),
        _Length(),
        Bits("I", given={2: "ttl", 4: "log"}, inverted={8: "genre"}),
        Number("log", "I", always=True),
        Number("ttl", "I", always=True),
    )
    example = "-p tcp -m osf --genre Linux --ttl 1 -j ACCEPT"

    def matches(self, packet: Packet, world: World) -> bool | None:
        return None  # the fingerprints are the machine's


EXTENSIONS: tuple[Any, ...] = (Osf,)
