"""Packets written on one line, as people read them.

    client tcp 10.0.1.2:1024 > 10.0.2.2:80 S ttl=3 payload="GET /"

First where it comes from, then the protocol, the two ends, and what else is
to be said, in any order: flags of TCP, the type of an ICMP message, and
fields with their values, which are those of iptkit.evaluator.wire.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from iptkit.evaluator.wire import (
    FIELDS,
    FLAG_LETTERS,
    ICMP_TYPES,
    ICMPV6_TYPES,
    PROTOCOLS,
    address_bytes,
    address_text,
    suggestion,
)
from iptkit.text.diagnostic import IptkitError
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from iptkit.values.context import Family

WITH_PORTS = frozenset(("tcp", "udp", "udplite", "sctp", "dccp"))
# Fields that say what goes with a packet, and are not in its bytes.
BESIDE = ("mark", "uid", "gid", "mac")
_SWITCHES = ("df", "mf", "zero_csum")
_HIDDEN = frozenset(("src", "dst", "sport", "dport", "proto", "flags", "inner", "frag", "chunks", "exthdrs"))
_TEXTS = frozenset(("ipopts", "rest", "bad_csum", "gateway", "target", "raw", "type"))
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_WORD = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*"?)+')


class BadLine(IptkitError):
    """A line that cannot be read: where in it, and why.

    `line` counts from 1, `start` and `end` from 0; `hint` tells what may stand there.
    """

    def __init__(self, message: str, start: int, end: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = 1
        self.start = start
        self.end = end
        self.hint = hint


class Word(NamedTuple):
    """A word and where it stands."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    def bad(self, message: str, hint: str = "") -> BadLine:
        return BadLine(message, self.start, self.end, hint)


class PacketLine(NamedTuple):
    """A packet that was read.

    source  where it comes from: an interface, or "" for the machine itself
    packet  its description, for iptkit.evaluator.wire.build
    beside  mark, uid, gid and mac, where they were given
    """

    source: str
    packet: dict[str, Any]
    beside: dict[str, Any]


def words_of(text: str, start: int = 0, end: int | None = None) -> list[Word]:
    """The words of a line; blanks within double quotes part none."""
    return [
        Word(found.group(), found.start())
        for found in _WORD.finditer(text, start, len(text) if end is None else end)
    ]


def parse_packet(words: list[Word], family: Family, sources: Mapping[str, str]) -> PacketLine:
    """A packet from words.

    `sources` are the words for where packets come from, and what they mean:
    an interface, "" for the machine itself.  Raises BadLine.
    """
    reader = _Words(words)
    origin = reader.take("where the packet comes from", sorted(sources))
    if origin.text not in sources:
        raise origin.bad(
            f"{origin.text!r} is nowhere a packet comes from{suggestion(origin.text, sources)}",
            "one of " + ", ".join(sources),
        )
    source = sources[origin.text]
    packet, beside = _described(reader, family)
    return PacketLine(source, packet, beside)


class _Words:
    """Words, to be taken one after another."""

    def __init__(self, words: list[Word]) -> None:
        self.words = words
        self.at = 0

    def take(self, what: str, known: Iterable[str] = ()) -> Word:
        if self.at < len(self.words):
            self.at += 1
            return self.words[self.at - 1]
        end = self.words[-1].end if self.words else 0
        raise BadLine(f"the line ends before {what}", end, end + 1, _one_of(known))

    def rest(self) -> Iterator[Word]:
        while self.at < len(self.words):
            self.at += 1
            yield self.words[self.at - 1]


def _one_of(known: Iterable[str]) -> str:
    listed = list(known)
    return "one of " + ", ".join(listed) if listed else ""


def _described(reader: _Words, family: Family) -> tuple[dict[str, Any], dict[str, Any]]:
    proto = reader.take("the protocol", PROTOCOLS)
    name: str | int = int(proto.text) if proto.text.isdecimal() else proto.text
    if isinstance(name, str) and name not in PROTOCOLS:
        raise proto.bad(
            f"{proto.text!r} is no protocol{suggestion(proto.text, PROTOCOLS)}",
            f"one of {', '.join(PROTOCOLS)}, or a number",
        )
    if isinstance(name, int) and name > 255:
        raise proto.bad("a protocol's number is at most 255")
    packet: dict[str, Any] = {"proto": name}
    ported = name in WITH_PORTS or name in {6, 17, 33, 132, 136}
    _end(reader.take("the source address"), packet, family, ported, "src", "sport")
    arrow = reader.take("'>'")
    if arrow.text != ">":
        raise arrow.bad("here '>' must stand, between source and destination")
    _end(reader.take("the destination address"), packet, family, ported, "dst", "dport")
    beside: dict[str, Any] = {}
    for word in reader.rest():
        _say(word, packet, beside, family)
    if packet.get("type") is None and name in ("icmp", "icmpv6"):
        packet.pop("type", None)
    return packet, beside


def _end(word: Word, packet: dict[str, Any], family: Family, ported: bool, address: str, port: str) -> None:
    text, number = word.text, ""
    if text.startswith("["):
        text, closed, number = text[1:].partition("]")
        if not closed or (number and number[0] != ":"):
            raise word.bad("an IPv6 address with a port is written [ADDRESS]:PORT")
        number = number[1:]
    elif family == 4:
        text, _, number = text.partition(":")
    try:
        packet[address] = address_text(address_bytes(text, family))
    except ValueError:
        raise word.bad(
            f"{text!r} is no IPv{family} address",
            "such as 10.0.1.2:1024" if family == 4 else "such as fd00:1::2, or [fd00:1::2]:1024",
        ) from None
    if not number:
        return
    if not ported:
        raise word.bad(f"{packet['proto']} has no ports")
    if not number.isdecimal() or int(number) > 65535:
        raise word.bad(f"{number!r} is no port", "a number up to 65535")
    packet[port] = int(number)


def _say(word: Word, packet: dict[str, Any], beside: dict[str, Any], family: Family) -> None:
    """One of the words after the destination."""
    name, equals, value = word.text.partition("=")
    proto = packet["proto"]
    if not equals:
        if name in _SWITCHES:
            packet[name] = True
        elif proto in ("tcp", 6) and all(letter in FLAG_LETTERS for letter in name):
            packet["flags"] = name
        elif proto in ("icmp", "icmpv6", 1, 58) and _message(name, packet, family):
            pass
        else:
            raise word.bad(f"{name!r} says nothing about a packet", _allowed(proto))
        return
    where = Word(value, word.start + len(name) + 1)
    if name in ("mark", "uid", "gid"):
        beside[name] = _number(where)
    elif name == "mac":
        if not re.fullmatch(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", value):
            raise where.bad(f"{value!r} is no MAC address")
        beside[name] = value
    elif name == "flags":
        packet["flags"] = "" if value == "none" else value
    elif name == "payload":
        packet["payload"] = _payload(where)
    elif name == "options":
        packet["options"] = [_option(each, where) for each in value.split(",")]
    elif name == "inner":
        inner = words_of(_unquoted(where))
        packet["inner"] = _described(_Words(inner), family)[0] if inner else {}
    elif name == "frag":
        packet["frag"] = {"sizes": [_number(Word(each, where.start)) for each in value.split(",")]}
    elif name == "chunks":
        packet["chunks"] = [{"type": each} for each in value.split(",")]
    elif name not in FIELDS or name in _HIDDEN:
        raise Word(name, word.start).bad(
            f"there is no field {name!r}{suggestion(name, FIELDS - _HIDDEN)}", _allowed(proto)
        )
    elif name in _TEXTS and not (name == "type" and value.isdecimal()):
        packet[name] = _unquoted(where)
    else:
        packet[name] = _number(where)


def _allowed(proto: object) -> str:
    if proto in ("tcp", 6):
        return f"flags (letters of {FLAG_LETTERS}), or fields such as seq=1 ack=1 window=500 ttl=3"
    if proto in ("icmp", "icmpv6", 1, 58):
        return "a type such as echo-request or 3/1, or fields such as id=1 ttl=3"
    return "fields such as ttl=3 tos=0x10 payload=100 mark=1"


def _message(name: str, packet: dict[str, Any], family: Family) -> bool:
    """`echo-request`, or `3/1`: type and code of an ICMP message."""
    kind, slash, code = name.partition("/")
    known = ICMP_TYPES if family == 4 else ICMPV6_TYPES
    if kind.isdecimal() and int(kind) < 256:
        packet["type"] = int(kind)
    elif kind in known:
        packet["type"] = kind
    else:
        return False
    if slash:
        if not code.isdecimal() or int(code) > 255:
            return False
        packet["code"] = int(code)
    return True


def _number(word: Word) -> int:
    try:
        return int(word.text, 0)
    except ValueError:
        raise word.bad(f"{word.text!r} is no number", "decimal, or hexadecimal with 0x") from None


def _unquoted(word: Word) -> str:
    text = word.text
    if not text.startswith('"'):
        return text
    if len(text) < 2 or not text.endswith('"'):
        raise word.bad("the quote is not closed")
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found.group(1), found.group(1)), text[1:-1])


def _payload(word: Word) -> object:
    text = word.text
    if text.startswith('"'):
        return _unquoted(word)
    if text.startswith("hex:"):
        try:
            bytes.fromhex(text[4:])
        except ValueError:
            raise word.bad(f"{text[4:]!r} are no hexadecimal bytes") from None
        return {"hex": text[4:]}
    if text.isdecimal() and int(text) <= 65535:
        return {"len": int(text)}
    raise word.bad(f"{text!r} is no payload", 'a "text", a number of bytes, or hex:DIGITS')


def _option(text: str, word: Word) -> dict[str, Any]:
    name, _, value = text.partition(":")
    if name in ("sackok", "nop", "eol") and not value:
        return {name: 1}
    if name in ("mss", "wscale") and value.isdecimal():
        return {name: int(value)}
    numbers = value.split(":")
    if name == "ts" and len(numbers) == 2 and all(each.isdecimal() for each in numbers):
        return {"ts": [int(each) for each in numbers]}
    raise word.bad(f"{text!r} is no TCP option", "mss:N, wscale:N, sackok, ts:VALUE:ECHO, nop or eol")


# -- and back


def shown(packet: Mapping[str, Any]) -> str:
    """A described packet on one line: protocol, ends, and what is most to be known."""
    proto = packet.get("proto", "?")

    def end(address: str, port: str) -> str:
        text = str(packet.get(address, "?"))
        if port not in packet:
            return text
        return f"[{text}]:{packet[port]}" if ":" in text else f"{text}:{packet[port]}"

    pieces = [f"{proto} {end('src', 'sport')} > {end('dst', 'dport')}"]
    if "flags" in packet:
        pieces.append(str(packet["flags"]) or "flags=none")
    if "type" in packet:
        table = ICMP_TYPES if proto == "icmp" else ICMPV6_TYPES
        names = {number: name for name, number in table.items()}
        kind = names.get(packet["type"], packet["type"])
        pieces.append(f"{kind}/{packet['code']}" if packet.get("code") else str(kind))
    pieces += [
        f"{name}={packet[name]}"
        for name in ("id", "seq", "ack", "ttl", "tos", "mtu", "frag_off")
        if packet.get(name) and not (name == "ttl" and packet[name] == 64)
    ]
    pieces += [name for name in ("df", "mf") if packet.get(name)]
    if "inner" in packet:
        pieces.append(f'inner="{shown(packet["inner"])}"')
    elif packet.get("payload_len"):
        pieces.append(f"payload={packet['payload_len']}")
    return " ".join(pieces)
