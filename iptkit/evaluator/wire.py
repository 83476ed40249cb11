"""Packets as people describe them, and packets as bytes: there and back.

`build` makes the bytes of a description, a mapping such as
`{"proto": "tcp", "dport": 22, "flags": "S"}`; `describe` reads bytes into such
a mapping.  What a field is called and what it is when left out is told in
man/iptkit-eval.1.  A description may be wrong on purpose (lengths, checksums,
cut headers): packets like that are what firewalls are tested with.
"""

from __future__ import annotations

import hashlib
import struct
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from iptkit.text.diagnostic import IptkitError
from iptkit.values.checksum import checksum, crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from iptkit.values.context import Family

PROTOCOLS = {
    "icmp": 1,
    "igmp": 2,
    "ipip": 4,
    "tcp": 6,
    "udp": 17,
    "dccp": 33,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "sctp": 132,
    "udplite": 136,
}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
FLAG_LETTERS = "FSRPAUEC"  # from the lowest bit, as TCP numbers them
CHUNKS = {
    "data": 0,
    "init": 1,
    "init_ack": 2,
    "sack": 3,
    "heartbeat": 4,
    "heartbeat_ack": 5,
    "abort": 6,
    "shutdown": 7,
    "shutdown_ack": 8,
    "error": 9,
    "cookie_echo": 10,
    "cookie_ack": 11,
    "shutdown_complete": 14,
}
CHUNK_NAMES = {number: name for name, number in CHUNKS.items()}
ICMP_TYPES = {
    "echo-reply": 0,
    "destination-unreachable": 3,
    "source-quench": 4,
    "redirect": 5,
    "echo-request": 8,
    "router-advertisement": 9,
    "router-solicitation": 10,
    "time-exceeded": 11,
    "parameter-problem": 12,
    "timestamp-request": 13,
    "timestamp-reply": 14,
    "info-request": 15,
    "info-reply": 16,
    "address-mask-request": 17,
    "address-mask-reply": 18,
}
ICMPV6_TYPES = {
    "destination-unreachable": 1,
    "packet-too-big": 2,
    "time-exceeded": 3,
    "parameter-problem": 4,
    "echo-request": 128,
    "echo-reply": 129,
    "mld-query": 130,
    "mld-report": 131,
    "mld-done": 132,
    "router-solicitation": 133,
    "router-advertisement": 134,
    "neighbour-solicitation": 135,
    "neighbour-advertisement": 136,
    "redirect": 137,
    "mld2-report": 143,
}
QUERIES4 = frozenset((0, 8, 13, 14, 15, 16, 17, 18))  # ICMP messages with id and sequence number
ERRORS4 = frozenset((3, 4, 5, 11, 12))
SHOWN = 400  # a payload longer than this is told by its length and hash
# Extension headers that are looked through when a packet is described.
_EXTENSIONS = frozenset((0, 43, 60, 135, 139, 140))

_COMMON = (
    "src dst proto ttl tos ip_id df mf frag_off frag ipopts ihl tot_len bad_csum payload truncate mark "
    "exthdrs flow raw"
).split()
_OF_PROTOCOL = {
    "tcp": "sport dport flags seq ack window urg options doff reserved pseudo_proto".split(),
    "udp": "sport dport udp_len zero_csum pseudo_proto".split(),
    "udplite": "sport dport coverage zero_csum pseudo_proto".split(),
    "icmp": "type code rest id icmp_seq mtu gateway pointer inner inner_len".split(),
    "icmpv6": "type code rest id icmp_seq mtu pointer na_flags target inner inner_len pseudo_proto".split(),
    "sctp": "sport dport vtag chunks".split(),
    "gre": "gre_version gre_proto gre_seq gre_ack key call_id".split(),
    "dccp": "sport dport dccp_type seq ack service pseudo_proto".split(),
    "esp": "spi esp_seq".split(),
    "ah": "spi ah_seq".split(),
}
FIELDS = frozenset(_COMMON).union(*_OF_PROTOCOL.values())


class BadField(IptkitError):
    """A packet or scenario that makes no sense; `field` is the path of what is wrong in it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.reason = message


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing."""
    close = get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


class Fields:
    """A mapping out of JSON, its values read by type.  Whatever does not fit is a BadField with its path."""

    def __init__(self, given: object, path: str) -> None:
        if not isinstance(given, dict):
            raise BadField(path, f"must be an object, not {_kind(given)}")
        self.given: dict[str, Any] = given
        self.path = path

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def only(self, known: Iterable[str]) -> None:
        """Refuse fields nobody knows: a misspelt one would silently not count."""
        known = set(known)
        for name in self.given:
            if name not in known:
                raise BadField(self.at(name), f"there is no such field{suggestion(name, known)}")

    def number(self, name: str, default: int, low: int = 0, high: int = 0xFFFFFFFF) -> int:
        value = self.given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadField(self.at(name), f"must be a whole number, not {_kind(value)}")
        if not low <= value <= high:
            raise BadField(self.at(name), f"{value} is not between {low} and {high}")
        return value

    def flag(self, name: str) -> bool:
        value = self.given.get(name, False)
        if not isinstance(value, (bool, int)):
            raise BadField(self.at(name), f"must be true or false, not {_kind(value)}")
        return bool(value)

    def text(self, name: str, default: str = "") -> str:
        value = self.given.get(name, default)
        if not isinstance(value, str):
            raise BadField(self.at(name), f"must be text, not {_kind(value)}")
        return value

    def hex(self, name: str, default: str = "") -> bytes:
        text = self.text(name, default)
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise BadField(self.at(name), f"{text!r} are no hexadecimal bytes") from None

    def items(self, name: str) -> list[Any]:
        value = self.given.get(name, [])
        if not isinstance(value, list):
            raise BadField(self.at(name), f"must be a list, not {_kind(value)}")
        return value

    def address(self, name: str, family: Family, default: str = "") -> bytes:
        text = self.text(name, default)
        try:
            return address_bytes(text, family)
        except ValueError:
            raise BadField(self.at(name), f"{text!r} is no IPv{family} address") from None

    def choice(self, name: str, table: Mapping[str, int], default: int | str, high: int = 255) -> int:
        value = self.given.get(name, default)
        if isinstance(value, str):
            if value not in table:
                raise BadField(self.at(name), f"{value!r} is not known{suggestion(value, table)}")
            return table[value]
        return self.number(name, 0, 0, high) if name in self.given else int(default)


def _kind(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    return {dict: "an object", list: "a list", str: "text", int: "a number", float: "a number"}.get(
        type(value), type(value).__name__
    )


def address_bytes(text: str, family: Family) -> bytes:
    """The bytes of an address.  Raises ValueError."""
    import socket

    try:
        return socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, text)
    except OSError:
        raise ValueError(text) from None


def address_text(data: bytes | bytearray) -> str:
    """An address of 4 or 16 bytes as it is written (RFC 5952)."""
    import socket

    if len(data) == 4:
        return socket.inet_ntoa(data)
    text = socket.inet_ntop(socket.AF_INET6, data)
    if "." not in text:
        return text
    # The end of some addresses is shown as IPv4 there; numbers in one base are easier to compare.
    high, low = int.from_bytes(data[12:14], "big"), int.from_bytes(data[14:16], "big")
    return f"{text.rpartition(':')[0]}:{high:x}:{low:x}"


# -- from descriptions to bytes


def build(given: object, family: Family, *, ident: int = 0x4001, path: str = "packet") -> list[bytes]:
    """The packet a description stands for; more than one where it is cut into fragments.

    `ident` is the IP identification where the description has no `ip_id`.
    `src` and `dst` must be there.  Raises BadField.
    """
    fields = Fields(given, path)
    fields.only(FIELDS)
    if "raw" in fields.given:
        return [fields.hex("raw")]
    src = fields.address("src", family)
    dst = fields.address("dst", family)
    ident = fields.number("ip_id", ident)
    number, segment = _segment(fields, src, dst, family)
    write = _write6 if family == 6 else _write4
    if not fields.given.get("frag"):
        return [write(fields, src, dst, number, segment, ident, None)]
    return _fragments(fields, src, dst, number, segment, ident, write)


def _fragments(
    fields: Fields,
    src: bytes,
    dst: bytes,
    number: int,
    segment: bytes,
    ident: int,
    write: Callable[..., bytes],
) -> list[bytes]:
    cut = Fields(fields.given["frag"], fields.at("frag"))
    cut.only(("sizes", "only"))
    pieces: list[tuple[int, bytes]] = []
    at = 0
    for size in _numbers(cut, "sizes"):
        if at < len(segment):
            pieces.append((at, segment[at : at + size]))
            at += size
    if at < len(segment):
        pieces.append((at, segment[at:]))
    last = len(pieces) - 1
    made = [
        write(fields, src, dst, number, piece, ident, (offset, place < last))
        for place, (offset, piece) in enumerate(pieces)
    ]
    if "only" not in cut.given:
        return made
    wanted = _numbers(cut, "only")
    for place in wanted:
        if place >= len(made):
            raise BadField(cut.at("only"), f"there is no piece {place}: the packet is cut into {len(made)}")
    return [made[place] for place in wanted]


def _numbers(fields: Fields, name: str) -> list[int]:
    found = fields.items(name)
    for value in found:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BadField(fields.at(name), f"must be a list of whole numbers, {value!r} is none")
    return found


def _write4(
    fields: Fields,
    src: bytes,
    dst: bytes,
    number: int,
    segment: bytes,
    ident: int,
    piece: tuple[int, bool] | None,
) -> bytes:
    options = fields.hex("ipopts")
    options += bytes(-len(options) % 4)
    if piece is None:
        piece = fields.number("frag_off", 0, 0, 0xFFF8), fields.flag("mf")
    words = fields.number("ihl", 5 + len(options) // 4, 0, 15)
    fragment = piece[0] >> 3 | piece[1] << 13 | fields.flag("df") << 14
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | words,
        fields.number("tos", 0, 0, 255),
        fields.number("tot_len", min(20 + len(options) + len(segment), 0xFFFF), 0, 0xFFFF),
        ident & 0xFFFF,
        fragment,
        fields.number("ttl", 64, 0, 255),
        number,
        0,
        src,
        dst,
    )
    header += options
    found = checksum(header)
    if fields.given.get("bad_csum") == "ip":
        found ^= 0x5555
    return header[:10] + found.to_bytes(2, "big") + header[12:] + segment


def _write6(
    fields: Fields,
    src: bytes,
    dst: bytes,
    number: int,
    segment: bytes,
    ident: int,
    piece: tuple[int, bool] | None,
) -> bytes:
    headers: list[tuple[int, bytes]] = []
    for place, each in enumerate(fields.items("exthdrs")):
        header = Fields(each, f"{fields.at('exthdrs')}[{place}]")
        header.only(("nh", "data"))
        data = header.hex("data", "010400000000")
        headers.append((header.number("nh", 0, 0, 255), data + bytes(-(len(data) + 2) % 8)))
    if piece is None and ("frag_off" in fields.given or "mf" in fields.given):
        piece = fields.number("frag_off", 0, 0, 0xFFF8), fields.flag("mf")
    if piece is not None:
        headers.append((44, struct.pack("!HI", piece[0] & 0xFFF8 | piece[1], ident)))
    body, following = segment, number
    for kind, data in reversed(headers):
        size = 0 if kind == 44 else (len(data) + 2) // 8 - 1
        body = bytes((following, size)) + data + body
        following = kind
    first = 6 << 28 | fields.number("tos", 0, 0, 255) << 20 | fields.number("flow", 0, 0, 0xFFFFF)
    length = fields.number("tot_len", min(len(body), 0xFFFF), 0, 0xFFFF)
    return struct.pack("!IHBB", first, length, following, fields.number("ttl", 64, 0, 255)) + src + dst + body


def _segment(fields: Fields, src: bytes, dst: bytes, family: Family) -> tuple[int, bytes]:
    """Protocol number, and the upper layer."""
    number = fields.choice("proto", PROTOCOLS, 17)
    data = payload_bytes(fields.given.get("payload"), fields.at("payload"))
    write = _WRITERS.get(PROTOCOL_NAMES.get(number, ""))
    sums = _Sums(fields, src, dst, number, family)
    segment = data if write is None else write(fields, data, sums)
    if fields.given.get("truncate") is not None:
        segment = segment[: fields.number("truncate", 0)]
    return number, segment


class _Sums:
    """Checksums over the pseudo header of one packet, or wrong ones where that is asked for."""

    def __init__(self, fields: Fields, src: bytes, dst: bytes, number: int, family: Family) -> None:
        self.family = family
        self.wrong = fields.given.get("bad_csum") in ("l4", True)
        self._addresses = src + dst
        self._number = fields.number("pseudo_proto", number, 0, 255)

    def pseudo(self, length: int) -> bytes:
        layout = "!IHBB" if self.family == 6 else "!BBH"
        if self.family == 6:
            return self._addresses + struct.pack(layout, length, 0, 0, self._number)
        return self._addresses + struct.pack(layout, 0, self._number, length & 0xFFFF)

    def put(self, segment: bytes, at: int, *, pseudo: bool = True, covered: int | None = None) -> bytes:
        found = checksum((self.pseudo(len(segment)) if pseudo else b"") + segment[:covered])
        return self.store(segment, at, found)

    def store(self, segment: bytes, at: int, found: int) -> bytes:
        if self.wrong:
            found ^= 0x5555
        return segment[:at] + found.to_bytes(2, "big") + segment[at + 2 :]


def payload_bytes(value: object, path: str) -> bytes:
    """What `payload` says: text, {"hex": ...} or {"len": n, "byte": 65}."""
    if value is None:
        return b""
    if isinstance(value, str):
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError:
            raise BadField(path, "has a character that is no byte; give it as hex") from None
    fields = Fields(value, path)
    fields.only(("hex", "len", "byte"))
    if "hex" in fields.given:
        return fields.hex("hex")
    return bytes((fields.number("byte", 65, 0, 255),)) * fields.number("len", 0, 0, 65535)


def tcp_options(value: object, path: str) -> bytes:
    """TCP options from hex, or from a list such as [{"mss": 1460}, {"sackok": 1}], padded to a word."""
    if not value:
        return b""
    if isinstance(value, str):
        out = Fields({"options": value}, path.rpartition(".")[0]).hex("options")
    elif isinstance(value, list):
        out = b"".join(_tcp_option(each, f"{path}[{place}]") for place, each in enumerate(value))
    else:
        raise BadField(path, "must be hexadecimal text or a list")
    return out + bytes(-len(out) % 4)


def _tcp_option(value: object, path: str) -> bytes:
    fields = Fields(value, path)
    fields.only(("mss", "wscale", "sackok", "sack", "ts", "nop", "eol", "kind", "data", "raw"))
    given = fields.given
    if "mss" in given:
        return struct.pack("!BBH", 2, 4, fields.number("mss", 0, 0, 0xFFFF))
    if "wscale" in given:
        return bytes((3, 3, fields.number("wscale", 0, 0, 255)))
    if "sackok" in given:
        return b"\4\2"
    if "sack" in given:
        edges = [edge for block in fields.items("sack") for edge in block]
        return bytes((5, 2 + 4 * len(edges))) + struct.pack(f"!{len(edges)}I", *edges)
    if "ts" in given:
        value_, echo = fields.items("ts")
        return struct.pack("!BBII", 8, 10, value_, echo)
    if "nop" in given:
        return b"\1" * (fields.number("nop", 1) or 1)
    if "eol" in given:
        return b"\0"
    if "kind" in given:
        data = fields.hex("data")
        return bytes((fields.number("kind", 0, 0, 255), 2 + len(data))) + data
    return fields.hex("raw")


def flag_bits(value: object, path: str) -> int:
    """TCP flags as letters of FSRPAUEC, or as a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value & 0xFF
    if not isinstance(value, str):
        raise BadField(path, f"must be letters of {FLAG_LETTERS}, not {_kind(value)}")
    bits = 0
    for letter in value:
        if letter not in FLAG_LETTERS:
            raise BadField(path, f"{letter!r} is no TCP flag; they are {', '.join(FLAG_LETTERS)}")
        bits |= 1 << FLAG_LETTERS.index(letter)
    return bits


def flag_letters(bits: int) -> str:
    return "".join(letter for place, letter in enumerate(FLAG_LETTERS) if bits >> place & 1)


def _ports(fields: Fields, dport: int) -> tuple[int, int]:
    return fields.number("sport", 40000, 0, 0xFFFF), fields.number("dport", dport, 0, 0xFFFF)


def _write_tcp(fields: Fields, data: bytes, sums: _Sums) -> bytes:
    options = tcp_options(fields.given.get("options"), fields.at("options"))
    words = fields.number("doff", 5 + len(options) // 4, 0, 15)
    header = struct.pack(
        "!HHIIBBHHH",
        *_ports(fields, 80),
        fields.number("seq", 1000, -(2**31), 2**33) & 0xFFFFFFFF,
        fields.number("ack", 0, -(2**31), 2**33) & 0xFFFFFFFF,
        words << 4 | fields.number("reserved", 0, 0, 15),
        flag_bits(fields.given.get("flags", "S"), fields.at("flags")),
        fields.number("window", 65535, 0, 0xFFFF),
        0,
        fields.number("urg", 0, 0, 0xFFFF),
    )
    return sums.put(header + options + data, 16)


def _write_udp(fields: Fields, data: bytes, sums: _Sums) -> bytes:
    length = fields.number("udp_len", min(8 + len(data), 0xFFFF), 0, 0xFFFF)
    return _finish_udp(fields, struct.pack("!HHHH", *_ports(fields, 53), length, 0) + data, sums, None)


def _write_udplite(fields: Fields, data: bytes, sums: _Sums) -> bytes:
    coverage = fields.number("coverage", min(8 + len(data), 0xFFFF), 0, 0xFFFF)
    segment = struct.pack("!HHHH", *_ports(fields, 53), coverage, 0) + data
    return _finish_udp(fields, segment, sums, coverage if coverage >= 8 else None)


def _finish_udp(fields: Fields, segment: bytes, sums: _Sums, covered: int | None) -> bytes:
    if fields.flag("zero_csum"):
        return segment
    found = checksum(sums.pseudo(len(segment)) + segment[:covered]) or 0xFFFF
    return sums.store(segment, 6, found)


def _quoted(fields: Fields, family: Family) -> bytes | None:
    """The packet an ICMP error speaks of, as much of it as is quoted."""
    if "inner" not in fields.given:
        return None
    inner = build(fields.given["inner"], family, path=fields.at("inner"))[0]
    if fields.given.get("inner_len") is not None:
        return inner[: fields.number("inner_len", 0)]
    return inner[: (inner[0] & 15) * 4 + 8] if family == 4 else inner


def _write_icmp(fields: Fields, data: bytes, sums: _Sums) -> bytes:
    kind = fields.choice("type", ICMP_TYPES, 8)
    if "rest" in fields.given:
        rest = fields.hex("rest")
    elif kind in QUERIES4:
        rest = _id_and_sequence(fields)
    elif kind == 3:
        rest = struct.pack("!HH", 0, fields.number("mtu", 0, 0, 0xFFFF))
    elif kind == 5:
        rest = fields.address("gateway", 4, "0.0.0.0")  # noqa: S104  # the field's default, nothing is bound
    elif kind == 12:
        rest = bytes((fields.number("pointer", 0, 0, 255), 0, 0, 0))
    else:
        rest = bytes(4)
    quoted = _quoted(fields, sums.family)
    if quoted is not None:
        data = quoted + data
    elif kind in (13, 14) and not data:
        data = struct.pack("!III", 1000, *((0, 0) if kind == 13 else (2000, 3000)))
    elif kind in (17, 18) and not data:
        data = b"\xff\xff\xff\0" if kind == 18 else bytes(4)
    code = fields.number("code", 0, 0, 255)
    return sums.put(bytes((kind, code, 0, 0)) + rest + data, 2, pseudo=False)


def _id_and_sequence(fields: Fields) -> bytes:
    return struct.pack("!HH", fields.number("id", 1, 0, 0xFFFF), fields.number("icmp_seq", 1, 0, 0xFFFF))


def _write_icmpv6(fields: Fields, data: bytes, sums: _Sums) -> bytes:
    kind = fields.choice("type", ICMPV6_TYPES, 128)
    if "rest" in fields.given:
        rest = fields.hex("rest")
    elif kind in (128, 129):
        rest = _id_and_sequence(fields)
    elif kind in (2, 4, 136):
        name, default = {2: ("mtu", 1280), 4: ("pointer", 0), 136: ("na_flags", 0x60000000)}[kind]
        rest = fields.number(name, default).to_bytes(4, "big")
    else:
        rest = bytes(4)
    quoted = _quoted(fields, sums.family)
    if quoted is not None:
        data = quoted + data
    elif kind in (135, 136):
        data = fields.address("target", 6) + data
    code = fields.number("code", 0, 0, 255)
    return sums.put(bytes((kind, code, 0, 0)) + rest + data, 2)


def _write_gre(fields: Fields, data: bytes, sums: _Sums) -> bytes:
    given = fields.given
    if fields.number("gre_version", 0, 0, 7) != 1:
        flags = 0x2000 if "key" in given else 0
        key = fields.number("key", 0).to_bytes(4, "big") if "key" in given else b""
        return struct.pack("!HH", flags, fields.number("gre_proto", 0x0800, 0, 0xFFFF)) + key + data
    flags = 0x2001 | (0x1000 if "gre_seq" in given else 0) | (0x80 if "gre_ack" in given else 0)
    header = struct.pack(
        "!HHHH",
        flags,
        fields.number("gre_proto", 0x880B, 0, 0xFFFF),
        len(data),
        fields.number("call_id", 0, 0, 0xFFFF),
    )
    for name in ("gre_seq", "gre_ack"):
        if name in given:
            header += fields.number(name, 0).to_bytes(4, "big")
    return header + data


def _write_sctp(fields: Fields, data: bytes, sums: _Sums) -> bytes:
    chunks = b"".join(
        _chunk(Fields(each, f"{fields.at('chunks')}[{place}]"))
        for place, each in enumerate(fields.items("chunks"))
    )
    segment = struct.pack("!HHII", *_ports(fields, 80), fields.number("vtag", 0), 0) + chunks + data
    found = crc32c(segment)
    if sums.wrong:
        found ^= 0x55555555
    return segment[:8] + found.to_bytes(4, "little") + segment[12:]


def _chunk(fields: Fields) -> bytes:
    fields.only(("type", "flags", "data", "itag"))
    kind = fields.choice("type", CHUNKS, 0)
    value = fields.hex("data")
    if not value:  # something that fits the type
        if kind in (1, 2):
            value = struct.pack("!IIHHI", fields.number("itag", 0x1111), 65535, 10, 10, 1)
        else:
            value = {
                0: struct.pack("!IHHI", 1, 0, 0, 0) + b"DATA",
                3: struct.pack("!IIHH", 1, 65535, 0, 0),
                4: struct.pack("!HH", 1, 8) + b"beat",
                5: struct.pack("!HH", 1, 8) + b"beat",
                7: struct.pack("!I", 1),
                10: b"cookie01",
            }.get(kind, b"")
    flags = fields.number("flags", 0 if kind else 3, 0, 255)
    return struct.pack("!BBH", kind, flags, 4 + len(value)) + value + bytes(-len(value) % 4)


def _write_dccp(fields: Fields, data: bytes, sums: _Sums) -> bytes:
    kind = fields.number("dccp_type", 0, 0, 15)
    header = struct.pack("!HHBBHBBH", *_ports(fields, 80), 4, 0, 0, kind << 1 | 1, 0, 0)
    header += struct.pack("!I", fields.number("seq", 1))
    if kind:
        header += struct.pack("!II", 0, fields.number("ack", 0))
    else:
        header += struct.pack("!I", fields.number("service", 0))
    segment = header + data
    found = checksum(sums.pseudo(len(segment)) + segment)
    return segment[:6] + found.to_bytes(2, "big") + segment[8:]


def _write_esp(fields: Fields, data: bytes, sums: _Sums) -> bytes:
    return struct.pack("!II", fields.number("spi", 0x100), fields.number("esp_seq", 1)) + (data or bytes(16))


def _write_ah(fields: Fields, data: bytes, sums: _Sums) -> bytes:
    spi, sequence = fields.number("spi", 0x100), fields.number("ah_seq", 1)
    return struct.pack("!BBHII", 59, 4, 0, spi, sequence) + bytes(12) + data


_WRITERS: dict[str, Callable[[Fields, bytes, _Sums], bytes]] = {
    "tcp": _write_tcp,
    "udp": _write_udp,
    "udplite": _write_udplite,
    "icmp": _write_icmp,
    "icmpv6": _write_icmpv6,
    "gre": _write_gre,
    "sctp": _write_sctp,
    "dccp": _write_dccp,
    "esp": _write_esp,
    "ah": _write_ah,
}


# -- from bytes to descriptions


def describe(data: bytes | bytearray, *, quoted: bool = False) -> dict[str, Any]:
    """What a packet says.  Never raises: `truncated` tells that it ends in the middle of a header.

    `quoted` is for the packet inside an ICMP error, which is cut and whose
    checksums cannot be looked at.
    """
    out: dict[str, Any] = {}
    data = bytes(data)
    try:
        _Reader(data, out, quoted).read()
    except (struct.error, IndexError, ValueError):
        out["truncated"] = True
    return {name: value for name, value in out.items() if value is not None}


def shown_payload(data: bytes) -> object:
    """A payload for people: text where it is text, else hex; a long one's length and SHA-1."""
    if not data:
        return None
    if len(data) > SHOWN:
        return {"len": len(data), "sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest()}
    if all(32 <= byte < 127 or byte in (9, 10, 13) for byte in data):
        return data.decode("ascii")
    return {"hex": data.hex()}


class _Reader:
    """Reads one packet into `out`, field by field, so that what comes before a cut is kept."""

    def __init__(self, data: bytes, out: dict[str, Any], quoted: bool) -> None:
        self.data = data
        self.out = out
        self.quoted = quoted
        self.fragment = False
        self.pseudo = b""
        self.number = 0
        self.family = 4

    def read(self) -> None:
        self.family = 4 if self.data[0] >> 4 == 4 else 6
        upper = self._header4() if self.family == 4 else self._header6()
        out = self.out
        out["proto"] = name = PROTOCOL_NAMES.get(self.number, self.number)
        if out.get("frag_off"):
            out["payload_len"] = len(upper)
            out["payload"] = shown_payload(upper)
            return
        reader = _READERS.get(str(name))
        if reader is not None:
            reader(self, upper)
            return
        out["payload_len"] = len(upper)
        if upper:
            out["payload"] = {"hex": upper.hex()} if len(upper) <= 200 else shown_payload(upper)

    def _header4(self) -> bytes:
        data, out = self.data, self.out
        header = (data[0] & 15) * 4
        tos, length, ident, fragment, ttl, self.number, _ = struct.unpack("!BHHHBBH", data[1:12])
        if len(data) < 20:
            raise ValueError("cut in the addresses")
        out.update(family="ipv4", src=address_text(data[12:16]), dst=address_text(data[16:20]))
        out.update(ttl=ttl, tos=tos, ip_id=ident, len=length)
        if fragment & 0x4000:
            out["df"] = True
        if fragment & 0x2000:
            out["mf"] = True
        offset = (fragment & 0x1FFF) * 8
        if offset:
            out["frag_off"] = offset
        if header > 20:
            out["ipopts"] = data[20:header].hex()
        if not self.quoted and checksum(data[:header]):
            out["ip_csum_bad"] = True
        self.fragment = bool(offset or fragment & 0x2000)
        self.pseudo = data[12:20]
        return data[header:] if self.quoted else data[header:length]

    def _header6(self) -> bytes:
        data, out = self.data, self.out
        first, length, kind, hops = struct.unpack("!IHBB", data[:8])
        if len(data) < 40:
            raise ValueError("cut in the addresses")
        out.update(family="ipv6", src=address_text(data[8:24]), dst=address_text(data[24:40]))
        out.update(ttl=hops, tos=first >> 20 & 255, len=length + 40)
        upper = data[40:] if self.quoted else data[40 : 40 + length]
        headers = []
        while (kind in _EXTENSIONS or kind == 44) and len(upper) >= 8:
            headers.append(kind)
            if kind != 44:
                size = (upper[1] + 1) * 8
                kind, upper = upper[0], upper[size:]
                continue
            word, out["ip_id"] = struct.unpack("!HI", upper[2:8])
            if word & 1:
                out["mf"] = True
            if word & 0xFFF8:
                out["frag_off"] = word & 0xFFF8
            self.fragment = bool(word & 0xFFF9)
            kind, upper = upper[0], upper[8:]
            if word & 0xFFF8:
                break
        if headers:
            out["exthdrs"] = headers
        self.number = kind
        self.pseudo = data[8:40]
        return upper

    def check(self, upper: bytes, *, pseudo: bool = True) -> None:
        if self.fragment or self.quoted:
            return
        head = b""
        if pseudo:
            layout = "!BBH" if self.family == 4 else "!IHBB"
            words = (0, self.number, len(upper)) if self.family == 4 else (len(upper), 0, 0, self.number)
            head = self.pseudo + struct.pack(layout, *words)
        if checksum(head + upper):
            self.out["csum_bad"] = True

    def tcp(self, upper: bytes) -> None:
        out = self.out
        out["sport"], out["dport"] = struct.unpack("!HH", upper[:4])
        if len(upper) >= 8:
            out["seq"] = int.from_bytes(upper[4:8], "big")
        if len(upper) < 20:
            return
        out["ack"], words, bits, out["window"], _, urgent = struct.unpack("!IBBHHH", upper[8:20])
        out["flags"] = flag_letters(bits)
        if urgent:
            out["urg"] = urgent
        header = (words >> 4) * 4
        if header > 20:
            out["options"] = described_options(upper[20:header])
        data = upper[header:]
        out["payload_len"] = len(data)
        if data:
            out["payload"] = shown_payload(data)
        self.check(upper)

    def udp(self, upper: bytes) -> None:
        out = self.out
        out["sport"], out["dport"], _, sum_ = struct.unpack("!HHHH", upper[:8])
        out["payload_len"] = len(upper) - 8
        if len(upper) > 8:
            out["payload"] = shown_payload(upper[8:])
        if self.number == 17 and sum_:
            self.check(upper)

    def icmp(self, upper: bytes) -> None:
        out = self.out
        kind, code = upper[0], upper[1]
        out.update(type=kind, code=code)
        rest = upper[4:8]
        if self.number == 1:
            error = kind in ERRORS4
            if kind in QUERIES4:
                out["id"], out["icmp_seq"] = struct.unpack("!HH", rest)
            elif kind == 3:
                out["mtu"] = struct.unpack("!H", rest[2:])[0]
            elif kind == 5:
                if len(rest) < 4:
                    raise ValueError("cut in the gateway")
                out["gateway"] = address_text(rest)
            elif kind == 12:
                out["pointer"] = rest[0]
        else:
            error = kind < 128
            if kind in (128, 129):
                out["id"], out["icmp_seq"] = struct.unpack("!HH", rest)
            elif kind == 2:
                out["mtu"] = struct.unpack("!I", rest)[0]
            elif kind in (135, 136):
                if len(upper) < 24:
                    raise ValueError("cut in the target")
                out["target"] = address_text(upper[8:24])
        out["payload_len"] = len(upper) - 8
        if len(upper) > 8:
            if error and not self.quoted:
                out["inner"] = describe(upper[8:], quoted=True)
            else:
                out["payload"] = shown_payload(upper[8:])
        self.check(upper, pseudo=self.number != 1)

    def sctp(self, upper: bytes) -> None:
        out = self.out
        out["sport"], out["dport"], out["vtag"] = struct.unpack("!HHI", upper[:8])
        if len(upper) < 12 or self.quoted:
            return
        if int.from_bytes(upper[8:12], "little") != crc32c(upper[:8] + bytes(4) + upper[12:]):
            out["csum_bad"] = True
        out["chunks"] = chunks = []
        at = 12
        while at + 4 <= len(upper):
            kind, _, length = struct.unpack_from("!BBH", upper, at)
            chunks.append(CHUNK_NAMES.get(kind, kind))
            if length < 4:
                break
            at += (length + 3) & ~3

    def dccp(self, upper: bytes) -> None:
        self.out["sport"], self.out["dport"] = struct.unpack("!HH", upper[:4])


_READERS: dict[str, Callable[[_Reader, bytes], None]] = {
    "tcp": _Reader.tcp,
    "udp": _Reader.udp,
    "udplite": _Reader.udp,
    "icmp": _Reader.icmp,
    "icmpv6": _Reader.icmp,
    "sctp": _Reader.sctp,
    "dccp": _Reader.dccp,
}


def described_options(data: bytes) -> list[dict[str, Any]]:
    """TCP options as a list of small mappings; what does not parse is the last one's `raw`."""
    out: list[dict[str, Any]] = []
    at = 0
    while at < len(data) and data[at]:
        kind = data[at]
        if kind == 1:
            out.append({"nop": 1})
            at += 1
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        if size < 2 or at + size > len(data):
            out.append({"raw": data[at:].hex()})
            break
        out.append(_described_option(kind, data[at + 2 : at + size]))
        at += size
    return out


def _described_option(kind: int, value: bytes) -> dict[str, Any]:
    if kind == 2 and len(value) == 2:
        return {"mss": int.from_bytes(value, "big")}
    if kind == 3 and len(value) == 1:
        return {"wscale": value[0]}
    if kind == 4 and not value:
        return {"sackok": 1}
    if kind == 5 and not len(value) % 8:
        edges = struct.unpack(f"!{len(value) // 4}I", value)
        return {"sack": [list(pair) for pair in zip(edges[::2], edges[1::2], strict=True)]}
    if kind == 8 and len(value) == 8:
        return {"ts": list(struct.unpack("!II", value))}
    return {"kind": kind, "data": value.hex()}
