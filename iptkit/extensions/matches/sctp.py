"""Match SCTP packets: ports and chunks."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.ports import TcpPorts, asked_of_one
from iptkit.extensions.spec import Match, Option
from iptkit.extensions.world import CountedDrop, HotDrop
from iptkit.text.record import NamedTuple
from iptkit.values.faults import BadValue
from iptkit.values.wording import choices, quote

if TYPE_CHECKING:
    from typing import Self

    from iptkit.extensions.spec import PortsAsked
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# Chunk types by number (RFC 9260, 3758, 4820, 5061, 6525, 8260), as iptables spells them.
CHUNKS = {
    "DATA": 0,
    "INIT": 1,
    "INIT_ACK": 2,
    "SACK": 3,
    "HEARTBEAT": 4,
    "HEARTBEAT_ACK": 5,
    "ABORT": 6,
    "SHUTDOWN": 7,
    "SHUTDOWN_ACK": 8,
    "ERROR": 9,
    "COOKIE_ECHO": 10,
    "COOKIE_ACK": 11,
    "ECN_ECNE": 12,
    "ECN_CWR": 13,
    "SHUTDOWN_COMPLETE": 14,
    "I_DATA": 64,
    "ASCONF_ACK": 128,
    "RE_CONFIG": 130,
    "PAD": 132,
    "FORWARD_TSN": 192,
    "ASCONF": 193,
    "I_FORWARD_TSN": 194,
}
# `ALL` fills the kernel's map, which is eight times as long as its 256 types need.
ALL_CHUNKS = (1 << 32 * 64) - 1
# The flags of a chunk that can be asked for, bit 3 to bit 0.
_DATA_FLAGS = {"I": 8, "U": 4, "B": 2, "E": 1}
FLAGS = {0: _DATA_FLAGS, 6: {"T": 1}, 14: {"T": 1}, 64: _DATA_FLAGS}
# With flags iptables 1.8.9 hands the kernel a chunk's place in its own list for its type. For I_DATA
# that is 15, a type that cannot be asked for, so its flags are neither looked at nor saved.
_TYPE_OF_FLAGS = {64: 15}
KINDS = {"any": 1, "all": 2, "only": 4}  # SCTP_CHUNK_MATCH_*

# struct xt_sctp_info, linux/netfilter/xt_sctp.h: destination ports, source ports, a bit for each chunk type
# (in the first 8 words of 64), kind; four times chunk type, flags set, flags looked at; how many of these;
# options given, options inverted
_WORDS = 64
_STRUCT = struct.Struct(f"=4H{_WORDS}II12siII")
_NO_FLAGS = (0xFF, 0, 0)
_BITS = {"sport": 1, "dport": 2, "chunk_types": 4}


class Chunks(NamedTuple):
    """Which chunks a packet must hold."""

    kind: str  # any, all or only
    types: int  # a bit for each chunk type
    flags: tuple[tuple[int, int, int], ...]  # chunk type, flags set, flags looked at


class ChunkTypes:
    """`any|all|only chunk[:flags][,...]`; a flag in lower case must not be set."""

    metavar = "any|all|only chunk[:flags][,...]"
    words = 2
    code = "IPT129"

    def parse(self, text: tuple[str, str], context: Context) -> Chunks:
        kind, listed = text[0].lower(), text[1]
        if kind not in KINDS:
            raise BadValue(f"must begin with all, any or only, not {quote(text[0])}")
        if listed.upper() == "ALL":
            return Chunks(kind, ALL_CHUNKS, ())
        if listed.upper() == "NONE":
            return Chunks(kind, 0, ())
        types = 0
        flags: dict[int, tuple[int, int]] = {}
        # strtok() reads the list: commas in a row are one.
        for piece in filter(None, listed.split(",")):
            name, _, letters = piece.partition(":")
            number = CHUNKS.get(name.upper())
            if number is None:
                raise BadValue(f"no SCTP chunk is called {quote(name)}", hint=choices(name, CHUNKS), word=1)
            types |= 1 << number
            for letter in letters:
                bit = FLAGS.get(number, {}).get(letter.upper())
                if bit is None:
                    known = "".join(FLAGS.get(number, ())) or "none"
                    raise BadValue(f"{name} has no flag {quote(letter)}", hint=f"its flags: {known}", word=1)
                kept_as = _TYPE_OF_FLAGS.get(number, number)
                is_set, looked_at = flags.get(kept_as, (0, 0))
                flags[kept_as] = (is_set | bit if letter.isupper() else is_set, looked_at | bit)
        return Chunks(kind, types, tuple((number, *bits) for number, bits in sorted(flags.items())))

    def show(self, value: Chunks) -> str:
        if not value.types:
            return f"{value.kind} NONE"
        if value.types == ALL_CHUNKS:
            return f"{value.kind} ALL"
        flags = {number: bits for number, *bits in value.flags}
        names = [
            f"{name}:{_letters(number, *flags[number])}" if number in flags else name
            for name, number in CHUNKS.items()
            if value.types >> number & 1
        ]
        return f"{value.kind} {','.join(names)}"


def _letters(number: int, is_set: int, looked_at: int) -> str:
    return "".join(
        letter if is_set & bit else letter.lower()
        for letter, bit in FLAGS.get(number, {}).items()
        if looked_at & bit
    )


def _chunks_match(packet: Packet, wanted: Chunks) -> bool:
    """Are the packet's chunks of those types?  Raises HotDrop for a chunk that is cut off."""
    data, at = packet.data, packet.l4 + 12
    missing = wanted.types
    while True:
        if len(data) < at + 4 or not (data[at + 2] or data[at + 3]):
            raise HotDrop
        kind, flags = data[at], data[at + 1]
        at += (data[at + 2] << 8 | data[at + 3]) + 3 & ~3
        fits = wanted.types >> kind & 1 and _flags_match(wanted, kind, flags)
        if fits and wanted.kind == "any":
            return True
        if fits:
            missing &= ~(1 << kind)
        elif wanted.kind == "only":
            return False
        if at >= len(data):
            break
    if wanted.kind == "all":
        return not missing
    return wanted.kind == "only"


def _flags_match(wanted: Chunks, kind: int, flags: int) -> bool:
    for of, are_set, looked_at in wanted.flags:
        if of == kind:
            return flags & looked_at == are_set
    return True


class Sctp(Match, name="sctp"):
    """Match SCTP packets by port and by the chunks in them.

    Needs `-p sctp`, which loads it by itself when one of its options is met.
    `--chunk-types` asks for `any` of the chunks listed, for `all` of them, or
    for `only` them. After a chunk's name and `:` its flags may stand: I, U, B,
    E for DATA and I_DATA, T for ABORT and SHUTDOWN_COMPLETE, in upper case if
    they must be set, in lower case if not; those of I_DATA are taken, but
    neither looked at nor saved. `ALL` and `NONE` stand alone.
    """

    protocols = (132,)
    revision = 0
    sport = Option("--sport", "--source-port", type=TcpPorts("sctp"), invert=True, doc="source port or range")
    dport = Option(
        "--dport", "--destination-port", type=TcpPorts("sctp"), invert=True, doc="destination port or range"
    )
    chunk_types = Option("--chunk-types", type=ChunkTypes(), invert=True, doc="the chunks of a packet")
    certain = True
    example = "-p sctp -m sctp --dport 36412 --chunk-types any INIT,DATA:I -j ACCEPT"

    def encode(self, family: Family) -> bytes:
        given = inverted = 0
        for field, bit in _BITS.items():
            if getattr(self, field) is not None:
                given |= bit
                inverted |= bit if self.is_inverted(field) else 0
        chunks = self.chunk_types
        kind, types, flags = (KINDS[chunks.kind], chunks.types, chunks.flags) if chunks else (0, 0, ())
        spare = (_NO_FLAGS,) * (len(FLAGS) - len(flags))
        return _STRUCT.pack(
            *(self.dport or (0, 0)),
            *(self.sport or (0, 0)),
            *(types >> 32 * word & 0xFFFFFFFF for word in range(_WORDS)),
            kind,
            bytes(byte for info in (*flags, *spare) for byte in info),
            len(flags),
            given,
            inverted,
        )

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _STRUCT.size:
            raise BadValue(f"sctp: {len(payload)} bytes from the kernel, {_STRUCT.size} expected")
        *numbers, kind, infos, count, given, inverted = _STRUCT.unpack_from(payload)
        values: dict[str, Any] = {}
        if given & 1:
            values["sport"] = tuple(numbers[2:4])
        if given & 2:
            values["dport"] = tuple(numbers[:2])
        if given & 4:
            kinds = {number: name for name, number in KINDS.items()}
            if kind not in kinds or not 0 <= count <= len(FLAGS):
                raise BadValue(f"sctp: chunk match {kind} with {count} flags from the kernel")
            flags = tuple(sorted(tuple(infos[3 * i : 3 * i + 3]) for i in range(count)))
            types = sum(word << 32 * at for at, word in enumerate(numbers[4:]))
            values["chunk_types"] = Chunks(kinds[kind], types, flags)
        return cls.of(
            inverted=tuple(f for f, bit in _BITS.items() if inverted & bit and f in values), **values
        )

    def asked_ports(self) -> dict[str, PortsAsked] | None:
        return asked_of_one(self)

    def matches(self, packet: Packet, world: World) -> bool | None:
        # sctp_mt, net/netfilter/xt_sctp.c
        if packet.fragment_offset:
            return False
        if len(packet.data) < packet.l4 + 12:
            raise HotDrop
        for field, port in (("sport", packet.sport), ("dport", packet.dport)):
            ports = getattr(self, field)
            if ports is not None and (ports[0] <= port <= ports[1]) is self.is_inverted(field):
                return False
        if self.chunk_types is None:
            return True
        inverted = self.is_inverted("chunk_types")
        try:
            return _chunks_match(packet, self.chunk_types) is not inverted
        except HotDrop:
            raise (CountedDrop if inverted else HotDrop) from None


EXTENSIONS: tuple[Any, ...] = (Sctp,)
