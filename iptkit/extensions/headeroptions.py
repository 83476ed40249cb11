"""What `-m dst` and `-m hbh` share: IPv6 headers that carry options.

Facts: linux/netfilter_ipv6/ip6t_opts.h.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from iptkit.extensions.headers6 import header_at
from iptkit.extensions.layout import Bits, Layout, Number
from iptkit.extensions.world import HotDrop
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT64_MAX, parse_uint
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

HeaderOption = tuple[int, int]  # type and length of one option; the length ANY is not looked at
ANY = 0xFF
LIMIT = 16  # IP6T_OPTS_OPTSNR
_NEGATIVE = re.compile(r"\A[ \t\n\v\f\r]*-(?=\d)")


def options_match(
    packet: Packet, kind: int, length: int | None, inverted: bool, wanted: tuple[HeaderOption, ...] | None
) -> bool:
    """What `-m hbh` and `-m dst` say of a packet (hbh_mt6, net/ipv6/netfilter/ip6t_hbh.c).

    Raises HotDrop for headers that are cut off.
    """
    at = header_at(packet, kind)
    if at < 0:
        return False
    data = packet.data
    if len(data) < at + 2:
        raise HotDrop
    left = (data[at + 1] + 1) * 8
    if len(data) - at < left:
        raise HotDrop
    result = length is None or (left == length) is not inverted
    if wanted is None:
        return result
    at, left = at + 2, left - 2
    for number, (option, size) in enumerate(wanted, 1):
        if left < 1 or at >= len(data) or data[at] != option:
            return False
        step = 1
        if option:
            if left < 2 or at + 1 >= len(data) or size not in (ANY, data[at + 1]):
                return False
            step = data[at + 1] + 2
        if number < len(wanted) and (at > len(data) - step or left < step):
            return False
        at, left = at + step, left - step
    return result


class HeaderOptions:
    """`type[:length],...`, sixteen at most.

    Numbers are cut to their lowest byte, and may be negative, so that the
    length 256 is 0 and 255, like none, stands for any.  Type 0, the padding
    of one byte, has no length.
    """

    metavar = "type[:length][,...]"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> tuple[HeaderOption, ...]:
        items = text.split(",")
        if len(items) > LIMIT:
            raise BadValue(f"{len(items)} options are too many, {LIMIT} is the most")
        return tuple(self._option(item) for item in items)

    def _option(self, item: str) -> HeaderOption:
        kind_text, colon, length_text = item.partition(":")
        kind = self._byte(kind_text, item)
        if not colon:
            return kind, ANY
        if kind == 0:
            raise BadValue("option 0 is a single byte of padding and has no length")
        return kind, self._byte(length_text, item)

    def _byte(self, text: str, item: str) -> int:
        """A number as C's strtoul reads it, its lowest byte."""
        unsigned, negative = _NEGATIVE.subn("", text)
        try:
            number = parse_uint(unsigned, 0, UINT64_MAX)
        except ValueError:
            raise BadValue(f"must be TYPE or TYPE:LENGTH in numbers, not {quote(item)}") from None
        return (-number if negative else number) & 0xFF

    def show(self, value: tuple[HeaderOption, ...]) -> str:
        return ",".join(str(kind) if length == ANY else f"{kind}:{length}" for kind, length in value)


class _OptionList:
    """The options, each a number of 16 bits, and how many there are."""

    __slots__ = ("field", "size")
    _struct = struct.Struct(f"={LIMIT}HB")

    def __init__(self, field: str) -> None:
        self.field = field
        self.size = self._struct.size

    def write(self, use: Extension, family: Family) -> bytes:
        options: tuple[HeaderOption, ...] = getattr(use, self.field) or ()
        numbers = [kind << 8 | length for kind, length in options]
        return self._struct.pack(*numbers, *(0,) * (LIMIT - len(options)), len(options))

    def read(self, piece: bytes, into: Reading) -> None:
        *numbers, count = self._struct.unpack(piece)
        if count > LIMIT:
            raise BadValue(f"{count} options from the kernel, {LIMIT} is the most")
        into.values[self.field] = tuple((number >> 8, number & 0xFF) for number in numbers[:count])


def options_layout(length: str, options: str) -> Layout:
    """struct ip6t_opts, with the fields of the length's and the options' option."""
    return Layout(
        Number(length, "I", always=True),
        Bits("B", given={1: length, 2: options}),
        Bits("B", inverted={1: length}),
        _OptionList(options),
        size=40,
    )


__all__ = ["HeaderOptions", "options_layout"]
