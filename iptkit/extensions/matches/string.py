"""Match bytes anywhere in a packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.labels import Label, in_quotes
from iptkit.extensions.layout import Bits, Layout, Number, Pad, Reading, String
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Extension, Flag, Given, Match, Option, Problem, RuleFacts
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT16_MAX
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

LIMIT = 128  # XT_STRING_MAX_PATTERN_SIZE
_HEX = "0123456789abcdefABCDEF"
# The algorithms of the kernel's textsearch that take a plain pattern.
_ALGORITHMS = ("bm", "kmp")


class Pattern:
    """The bytes themselves, up to 128."""

    metavar = "text"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> str:
        if len(text) > LIMIT:
            raise BadValue(f"takes at most {LIMIT} bytes, this is {len(text)}")
        return text

    def show(self, value: str) -> str:
        return in_quotes(value)


class HexPattern:
    """Bytes, between `|` in hexadecimal: `GET|20 2f|`; outside of these `\\` takes the next one as it is."""

    metavar = "text|hex|..."
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> str:
        if not text:
            raise BadValue("must hold at least one byte")
        out = []
        at = 0
        in_hex = False
        while at < len(text):
            literal = False
            if text[at] == "\\":
                if in_hex:
                    raise BadValue("a \\ cannot stand between | and |")
                literal = True
            elif text[at] == "|":
                in_hex = not in_hex
                if in_hex:
                    while text[at + 1 : at + 2] == " ":
                        at += 1
                at += 1
                if at == len(text):
                    break
            # What follows a | is never one itself: the tool takes `|61||62|` for `a|62`.
            if literal:
                if at + 1 == len(text):
                    raise BadValue("nothing follows the last \\")
                out.append(text[at + 1])
                at += 2
            elif in_hex:
                pair = text[at : at + 2]
                if at + 2 >= len(text) or pair[0] not in _HEX or pair[1] not in _HEX:
                    raise BadValue(
                        f"between | and | stand pairs of hexadecimal digits, not {quote(text[at:])}",
                        hint="as in |0d 0a|",
                    )
                out.append(chr(int(pair, 16)))
                at += 3 if text[at + 2] == " " else 2
            else:
                out.append(text[at])
                at += 1
            if len(out) > LIMIT:
                raise BadValue(f"takes at most {LIMIT} bytes")
        return "".join(out)

    def show(self, value: str) -> str:
        return '"|' + value.encode("latin-1").hex() + '|"'


class _PatternField:
    """pattern[128] and patlen."""

    size = LIMIT + 1

    def __init__(self, field: str) -> None:
        self.field = field

    def write(self, use: Extension, family: Family) -> bytes:
        pattern: str = getattr(use, self.field) or ""
        return pattern.encode("latin-1").ljust(LIMIT, b"\0") + bytes([len(pattern)])

    def read(self, piece: bytes, into: Reading) -> None:
        into.values[self.field] = piece[: min(piece[LIMIT], LIMIT)].decode("latin-1")


# The kernel's toupper(), whose letters are those of Latin-1 (lib/ctype.c)
_UPPER = bytes(
    byte - 32 if 0x61 <= byte <= 0x7A or (byte >= 0xDF and byte != 0xF7) else byte for byte in range(256)
)


class StringMatch(Match, name="string"):
    """Match packets that hold a run of bytes, from `--from` to `--to` of the packet.

    Offsets count from the IP header.  The pattern must lie within one packet:
    text split over two segments is not seen, nor is anything encrypted.
    `bm` (Boyer-Moore) is quick for long patterns but does not look across the
    pieces of a packet that is not in one block of memory; `kmp` does.
    """

    revision = 1
    string = Option(
        "--string", type=Pattern(), invert=True, excludes=("hex_string",), doc="the bytes, up to 128"
    )
    hex_string = Option(
        "--hex-string",
        type=HexPattern(),
        invert=True,
        excludes=("string",),
        doc="the bytes, with |hexadecimal| in it",
    )
    algo = Option("--algo", type=Label(15), required=True, doc="bm or kmp")
    start = Option("--from", type=UInt(UINT16_MAX), doc="offset to search from; 0 if not given")
    end = Option("--to", type=UInt(UINT16_MAX), doc="offset to search to; 65535 if not given")
    icase = Flag("--icase", doc="upper and lower case are the same")
    at_least_one = ("string", "hex_string")
    # struct xt_string_info, linux/netfilter/xt_string.h
    layout = Layout(
        Number("start", "H"),
        Number("end", "H", UINT16_MAX),
        String("algo", 16, always=True),
        _PatternField("string"),
        Bits("B", given={2: "icase"}, inverted={1: "string"}),
        Pad(10),
    )
    certain = True
    rewritable = True
    example = '-p udp -m udp --dport 53 -m string --string "test" --algo bm --from 40 --to 100 -j DROP'

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = dict(given)
        if "hex_string" in out:
            out["string"] = out.pop("hex_string")
        for field, default in (("start", 0), ("end", UINT16_MAX)):
            if field in out and out[field].value == default:
                del out[field]
        return out

    def save(self) -> Iterator[str]:
        pattern = self.string or ""
        if self.is_inverted("string"):
            yield "!"
        # A backslash at the end would escape the quote.
        if all(" " <= char <= "~" for char in pattern) and pattern[-1:] != "\\":
            yield "--string"
            yield Pattern().show(pattern)
        else:
            yield "--hex-string"
            yield HexPattern().show(pattern)
        for option, value in zip(self.options[2:], self.values[2:], strict=True):
            if value is not None:
                yield option.flag
                if option.type is not None:
                    yield option.type.show(value)

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        if not self.string:
            yield Problem("an empty pattern", "string")
        if self.algo not in _ALGORITHMS:
            yield Problem(f"the kernel searches with {' or '.join(_ALGORITHMS)}", "algo")
        if (self.start or 0) > (UINT16_MAX if self.end is None else self.end):
            yield Problem("--from lies behind --to", "start", "IPT127")

    def matches(self, packet: Packet, world: World) -> bool | None:
        # skb_find_text, net/core/skbuff.c: the first place from `start` on must end at or before `end`.
        text, _, algorithm, given_start, given_end, any_case = self.values
        data, pattern = packet.data, text.encode("latin-1")
        start = given_start or 0
        end = UINT16_MAX if given_end is None else given_end
        if any_case:
            pattern, data = pattern.translate(_UPPER), data.translate(_UPPER)
        if start >= end:
            place = -1
        elif algorithm == "bm" and len(packet.fragment_sizes) > 1:
            place = _place_in_pieces(packet, data, pattern, start)
        else:
            place = data.find(pattern, start)
        return (0 <= place <= end - len(pattern)) is not bool(self.inverted & 1)


def _place_in_pieces(packet: Packet, data: bytearray, pattern: bytes, start: int) -> int:
    """Where the pattern is, -1 for nowhere, in a packet put together from fragments.

    It is in pieces, and Boyer-Moore looks into each for itself.
    """
    before, end = 0, packet.l4
    for size in packet.fragment_sizes:
        end += size
        place = data.find(pattern, max(before, start), end)
        if place >= 0:
            return place
        before = end
    return -1


EXTENSIONS: tuple[Any, ...] = (StringMatch,)
