"""Take options out of TCP headers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout
from iptkit.extensions.spec import BYTES, Option, Place, Target
from iptkit.extensions.tcp_options import option_length, set_upper_bytes
from iptkit.extensions.world import DROP
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT8_MAX, parse_uint
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# As iptables calls them; the numbers are IANA's TCP option kinds.
NAMES = {"wscale": 3, "mss": 2, "sack-permitted": 4, "sack": 5, "timestamp": 8, "md5": 19}


class OptionList:
    """TCP options by number (2 to 255) or name, between commas; the value is the numbers in order."""

    metavar = "option[,option...]"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> tuple[int, ...]:
        numbers: set[int] = set()
        for word in text.split(","):
            number = NAMES.get(word)
            if number is None:
                try:
                    number = parse_uint(word, 2, UINT8_MAX)
                except ValueError:
                    raise BadValue(
                        f"{quote(word)} is no TCP option from 2 to 255 and no name of one",
                        hint=", ".join(NAMES),
                    ) from None
            if number in numbers:
                raise BadValue(f"option {quote(word)} is there twice")
            numbers.add(number)
        return tuple(sorted(numbers))

    def show(self, value: tuple[int, ...]) -> str:
        return ",".join(map(str, value))


class OptionBits:
    """256 bits, one for each option, in eight words."""

    __slots__ = ("field", "size", "struct")

    def __init__(self, field: str) -> None:
        self.field = field
        self.struct = struct.Struct("=8I")
        self.size = self.struct.size

    def write(self, use: Extension, family: Family) -> bytes:
        words = [0] * 8
        for number in getattr(use, self.field) or ():
            words[number >> 5] |= 1 << (number & 31)
        return self.struct.pack(*words)

    def read(self, piece: bytes, into: Reading) -> None:
        words = self.struct.unpack(piece)
        numbers = tuple(number for number in range(256) if words[number >> 5] >> (number & 31) & 1)
        if numbers:
            into.values[self.field] = numbers


class Tcpoptstrip(Target, name="TCPOPTSTRIP"):
    """Overwrite options of the TCP header with no-operations.

    Needs `-p tcp`.  Without --strip-options nothing is overwritten.
    """

    where = Place(tables=("mangle",))
    protocols = (6,)
    revision = 0
    strip_options = Option(
        "--strip-options", type=OptionList(), doc=f"the options: numbers from 2 to 255, or {', '.join(NAMES)}"
    )
    layout = Layout(
        OptionBits("strip_options")
    )  # struct xt_tcpoptstrip_target_info, linux/netfilter/xt_TCPOPTSTRIP.h
    rewrites = ("tcpmss", "tcp", *BYTES)
    example = "-p tcp -j TCPOPTSTRIP --strip-options timestamp"

    def act(self, packet: Packet, world: World) -> str | None:
        # tcpoptstrip_mangle_packet, net/netfilter/xt_TCPOPTSTRIP.c
        if packet.fragment_offset:
            return None
        data, at = packet.data, packet.l4
        length = len(data) - at
        if length < 20 or length < (data[at + 12] >> 4) * 4:
            return DROP
        header = (data[at + 12] >> 4) * 4
        kinds = self.strip_options or ()
        offset = 20
        while offset < header - 1:
            size = option_length(data, at + offset)
            if offset + size > header:
                break
            if data[at + offset] in kinds:
                set_upper_bytes(packet, offset, b"\x01" * size)
            offset += size
        return None


EXTENSIONS: tuple[Any, ...] = (Tcpoptstrip,)
