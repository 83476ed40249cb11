"""Rules as the kernel's entries, and back.

An entry is the rule's conditions (struct ipt_entry or ip6t_entry), its
matches, and one target, each a header and the extension's own struct
(linux/netfilter/x_tables.h).  Entries are made in libiptc's form: the target
of a verdict or jump carries its name, and libiptc puts in the number.
"""

from __future__ import annotations

import struct
from _socket import AF_INET, inet_pton
from typing import TYPE_CHECKING, Any, TypeAlias

from iptkit.extensions.core import Conditions, Jump, Verdict
from iptkit.extensions.ipset import SetUse
from iptkit.extensions.layout import Layout, Number, Pair, Raw, String
from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target
from iptkit.extensions.spec import Extension
from iptkit.kernel.backend import CommitError
from iptkit.kernel.errors import KernelError
from iptkit.kernel.sockopt import VERDICT_NAMES, layout_of
from iptkit.ruleset.bound import Memo
from iptkit.syntax.words import unquote
from iptkit.text.record import NamedTuple
from iptkit.values.context import Context
from iptkit.values.faults import BadValue
from iptkit.values.interfaces import interface_mask

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from iptkit.ruleset.bound import Bound, Placed, Segment
    from iptkit.ruleset.model import Rule
    from iptkit.values.context import Family

_HEADER = struct.Struct("@H29sB")  # size, name, revision
_STANDARD = struct.Struct("@H29sBi4x")
# struct ipt_entry and ip6t_entry (<linux/netfilter_ipv4/ip_tables.h>, <linux/netfilter_ipv6/ip6_tables.h>) in
# pieces: addresses and masks; interfaces and their masks; protocol, (tos,) flags, invflags and nfcache;
# target_offset and next_offset; comefrom and counters.
_ADDRESSES4 = struct.Struct(">4I")
_NUMBER4 = struct.Struct(">I")
_KIND4 = struct.Struct("@HBBI")
_KIND6 = struct.Struct("@HBBB3xI")
_OFFSETS = struct.Struct("@HH")
_COUNTS4 = struct.Struct("=IQQ")
_COUNTS6 = struct.Struct("=I4xQQ")
_SIZES: dict[Family, int] = {4: 112, 6: 168}
FRONTS: dict[Family, int] = {4: 92, 6: 144}
"""Bytes of an entry before comefrom, which only the kernel writes, and the counters."""
_NO_INTERFACES = bytes(64)

# The usual masks of IPv4, with how many bytes of an address they leave.
_MASKS4 = {"/32": (b"\xff\xff\xff\xff", 4), "/24": (b"\xff\xff\xff\0", 3), "/16": (b"\xff\xff\0\0", 2)}

_INV_IN, _INV_OUT, _INV_SOURCE, _INV_DESTINATION, _INV_FRAGMENT, _INV_PROTOCOL = 1, 2, 8, 16, 32, 64
_F4_FRAGMENT, _F4_GOTO = 1, 2
_F6_PROTOCOL, _F6_GOTO = 1, 4
_CACHE_LIMIT = 4096  # distinct uses of one segment whose bytes are kept


class Unencodable(KernelError):
    """A rule with an extension whose struct iptkit does not know."""


def encode_use(use: Extension, family: Family) -> bytes:
    """A match or target with its header, rounded up as the kernel wants it.  Raises BadValue."""
    return with_header(use, use.encode(family))


def with_header(use: Extension, payload: bytes) -> bytes:
    """A use's struct with struct xt_entry_match or xt_entry_target before it."""
    size = _HEADER.size + (len(payload) + 7 & ~7)
    head = _heads.get((use.kernel_name, use.revision, size))
    if head is None:
        head = _HEADER.pack(size, use.kernel_name.encode("ascii"), use.revision)
        _heads[use.kernel_name, use.revision, size] = head
    return (head + payload).ljust(size, b"\0")


_heads: dict[tuple[str, int, int], bytes] = {}


# A match or target of a shape: how to get its words out of a rule's, the bytes of its uses so far by these,
# where it is made from, and how, if it needs nothing but one text.
_Use: TypeAlias = (
    "tuple[Callable[[Sequence[str]], Any], dict[Any, bytes], Placed, tuple[Any, Callable[..., bytes]] | None]"
)

# What of an entry its shape decides.  By its head: which of the words are source, destination, in- and
# out-interface; flags of these, which tell kinds apart; what reads addresses.  By the rest: protocol and
# flags, by those of the head (with the interfaces, where there are none); matches; target; which word is the
# name to jump to; that name where it is in the shape.
_Place: TypeAlias = "int | None"
_Front: TypeAlias = "tuple[_Place, _Place, _Place, _Place, int, Mapping[str, Any]]"
_Rest: TypeAlias = "tuple[dict[int, bytes], tuple[_Use, ...], _Use | None, _Place, str]"
_HAS_INTERFACES = 1 << 8  # besides the inverse flags


class Piece(NamedTuple):
    """An entry in pieces.

    `front` is what stands before the target: before comefrom and counters, in
    their place, and the matches.  `target` is the target in bytes; or, of the standard target,
    the name: a verdict, the chain to jump to, "" where the rule only counts.
    `size` is that of all the entry.
    """

    rule: Rule
    front: tuple[bytes, ...]
    target: bytes | str
    size: int


class Encoder:
    """Makes entries of rules.  Remembers the bytes of uses it met, so one Encoder serves a whole file.

    `encode` turns one extension into bytes with header; the default needs no
    machine.  A backend gives its own where the machine must be asked (ipset
    indices, plugins iptkit does not know).  Without `keep` the binder's memory
    of what extensions read is used up.

    The mark of a rule is a hash of its entry, counters aside, with the name of
    the chain it jumps to; iptkit.kernel.readback makes the same of a table that
    was read.  Marks mean something within one process only.
    """

    def __init__(
        self,
        family: Family,
        encode: Callable[[Extension, Family], bytes] = encode_use,
        *,
        keep: bool = True,
    ) -> None:
        self.family: Family = family
        self._encode = encode
        self._keep = keep
        # By the parts of shapes; None where rules are better made one by one.
        self._fronts: dict[Bound, _Front | None] = {}
        self._rests: dict[Bound, _Rest | None] = {}
        self._makers: dict[Segment, Callable[[str], bytes | None] | None] = {}
        self._caches: dict[Segment, dict[Any, bytes]] = {}
        self._texts: dict[Segment, tuple[Any, Callable[..., bytes]] | None] = {}
        self._bare: dict[type[Any], bytes] = {}
        self._interfaces: dict[tuple[str, str], bytes] = {}
        self._packed_interfaces: dict[tuple[str, str], bytes] = {}

    def entry(self, rule: Rule) -> bytes:
        """The entry of a rule in libiptc's form, counters in it.  Raises BadValue or Unencodable."""
        counts = (_COUNTS4 if self.family == 4 else _COUNTS6).pack(0, *rule.counters)
        _, front, target, _ = self._piece(rule, counts)
        return b"".join((*front, standard_target(target) if isinstance(target, str) else target))

    def entries(self, rules: Iterable[Rule], marks: array[int]) -> Iterator[bytes]:
        """The entries of many rules, one at a time, as `entry` makes them; adds their marks to `marks`."""
        pack = (_COUNTS4 if self.family == 4 else _COUNTS6).pack
        join = b"".join
        for rule, front, target, _ in self.pieces(rules):
            last = standard_target(target) if isinstance(target, str) else target
            marks.append(hash(join((*front, last))))
            *before, _, body = front
            yield join((*before, pack(0, *rule.counters), body, last))

    def mark(self, rule: Rule) -> int:
        """The mark of a rule.  Raises as `entry`."""
        _, front, target, _ = self._piece(rule)
        last = standard_target(target) if isinstance(target, str) else target
        return hash(b"".join((*front, last)))

    def pieces(
        self, rules: Iterable[Rule], gap: bytes = b""
    ) -> Iterator[tuple[Rule, tuple[bytes, ...], bytes | str, int]]:
        """The entries of many rules, one at a time, each a plain tuple like `Piece`.

        `gap` is what to put in the place of comefrom and counters.
        Raises CommitError for a rule that cannot be encoded.
        """
        # 100,000 rules pass here.  What their shapes decide is worked out once a shape, and what their words
        # say mostly once a word: words are looked at as they are written.
        fronts, rests = self._fronts, self._rests
        size = _SIZES[self.family]
        network = _network4 if self.family == 4 else _network6
        nothing = bytes(4 if self.family == 4 else 16)
        everything = nothing, nothing
        pack_offsets = _OFFSETS.pack
        standard_size = _STANDARD.size
        interfaces = self._interfaces
        last: bytes | str
        try:
            for rule in rules:
                bound = rule.bound
                later = bound.later or bound
                try:
                    front, rest = fronts[bound.earlier or bound], rests[later]
                except KeyError:
                    front, rest = self._plan(bound, rule)
                if front is None or rest is None or rule.renamed is not None:
                    yield self._piece(rule, gap)
                    continue
                source, destination, in_at, out_at, flags, networks = front
                kinds, matches, target, jump, last = rest
                kind = kinds.get(flags) or self._kind_of(later, kinds, flags)
                words = rule.line.values
                if source is not None:
                    found = network(words[source], networks)
                    if found is None:
                        yield self._piece(rule, gap)
                        continue
                    source_address, source_mask = found
                else:
                    source_address, source_mask = everything
                if destination is not None:
                    found = network(words[destination], networks)
                    if found is None:
                        yield self._piece(rule, gap)
                        continue
                    destination_address, destination_mask = found
                else:
                    destination_address, destination_mask = everything
                if in_at is not None or out_at is not None:
                    names = (
                        "" if in_at is None else words[in_at],
                        "" if out_at is None else words[out_at],
                    )
                    kind = (interfaces.get(names) or self._read_interfaces(names, rule)) + kind
                body = b""
                for key, cache, placed, text in matches:
                    wanted = key(words)
                    if text is not None:
                        read, pack = text
                        if wanted[0] == '"':
                            wanted = unquote(wanted)
                        body += pack(read(wanted, None).encode("latin-1"))
                    else:
                        body += cache.get(wanted) or self._use(placed, wanted, cache, rule)
                target_at = target_end = size + len(body)
                if target is not None:
                    key, cache, placed, _ = target
                    wanted = key(words)
                    last = cache.get(wanted) or self._use(placed, wanted, cache, rule)
                    target_end += len(last)
                else:
                    if jump is not None:
                        last = words[jump]
                        if last in TARGETS or last[:1] == '"':
                            last = self._named_target(rule)
                    target_end += standard_size if last.__class__ is str else len(last)
                yield (
                    rule,
                    (
                        source_address,
                        destination_address,
                        source_mask,
                        destination_mask,
                        kind,
                        pack_offsets(target_at, target_end),
                        gap,
                        body,
                    ),
                    last,
                    target_end,
                )
        except (BadValue, KernelError) as error:
            raise CommitError(str(error), line=rule.line.number) from error

    def _plan(self, bound: Bound, rule: Rule) -> tuple[_Front | None, _Rest | None]:
        """What follows from the parts of a shape, worked out once for each."""
        earlier, later = bound.earlier or bound, bound.part
        if earlier not in self._fronts:
            self._fronts[earlier] = _front(earlier)
        if later not in self._rests:
            self._rests[later] = self._rest(later, rule.context)
        return self._fronts[earlier], self._rests[later]

    def _rest(self, part: Bound, context: Context) -> _Rest | None:
        if part.opaque:
            return None
        target = None if part.target is None else self._placed(part.target, part, context)
        jump = part.jump
        return (
            {},
            tuple([self._placed(placed, part, context) for placed in part.matches]),
            target,
            jump if isinstance(jump, int) and target is None else None,
            jump if isinstance(jump, str) else "",
        )

    def _kind_of(self, part: Bound, kinds: dict[int, bytes], flags: int) -> bytes:
        """Protocol and flags of a shape; all but `flags` follows from its later part."""
        kind = self._kind(part, flags & ~_HAS_INTERFACES)
        kinds[flags] = kind if flags & _HAS_INTERFACES else _NO_INTERFACES + kind
        return kinds[flags]

    def _placed(self, placed: Placed, part: Bound, context: Context) -> _Use:
        segment = placed.segment
        cache = self._caches.get(segment)
        if cache is None:
            cache = self._caches[segment] = {}
            self._texts[segment] = self._text(segment, context)
            self._makers[segment] = self._maker(placed, part, context)
        return placed.key, cache, placed, self._texts[segment]

    def _use(self, placed: Placed, words: Any, cache: dict[Any, bytes], rule: Rule) -> bytes:
        """The bytes of a use with words not met before."""
        segment = placed.segment
        make = self._makers[segment]
        found = None if make is None else make(words)
        if found is None:
            memos, raws = rule.bound.memos, rule.line.values
            key: Any
            if len(placed.holes) == 1:
                at = placed.holes[0]
                key = memos[at][raws[at]]
            else:
                key = tuple([memos[hole][raws[hole]] for hole in placed.holes])
            read = segment.use if self._keep else segment.take
            found = self._encode(read(key, rule.context), self.family)
        if len(cache) < _CACHE_LIMIT:
            cache[words] = found
        return found

    def _maker(self, placed: Placed, part: Bound, context: Context) -> Callable[[str], bytes | None] | None:
        """Can the struct be made of a usual value (see spec.ValueType) without reading the use in full?

        Extensions treat usual values all alike.  So one use, read in full, shows
        whether a value is kept as it is, and what of the struct is not the value.
        """
        segment = placed.segment
        if segment.holes != 1 or len(segment.fields) != 1:
            return None
        option, refs, inverted, _ = segment.fields[0]
        memo = part.memos[placed.holes[0]]
        if len(refs) != 1 or not isinstance(memo, Memo) or option.type is None:
            return None
        usual = memo.usual()
        if usual is None:
            return None
        cls, parse, encode, family = segment.cls, option.type.parse, self._encode, self.family
        index, blank, bit = option.index, (None,) * len(cls.options), inverted << option.index
        field = _own_field(cls, option.field)
        kept: bool | None = None
        before = after = b""

        def make(word: str) -> bytes | None:
            nonlocal kept, before, after
            if kept is False or not usual(word):
                return None
            value = parse(word, context)
            if kept and field is not None:
                return before + field[1](value) + after
            use = cls((*blank[:index], value, *blank[index + 1 :]), bit)
            if kept is None:
                full = (segment.use if self._keep else segment.take)(value, context)
                kept = (full.values, full.inverted) == (use.values, use.inverted)
                if not kept:
                    return None
                if field is not None:
                    whole = encode(use, family)
                    at = _HEADER.size + field[0]
                    before, after = whole[:at], whole[at + len(field[1](value)) :]
            return encode(use, family)

        return make

    def _text(self, segment: Segment, context: Context) -> tuple[Any, Callable[..., bytes]] | None:
        """Can the struct be made without a use?  So for comments, nearly all of which are different.

        Then how to read its word, and to pack that.
        """
        cls = segment.cls
        if segment.holes != 1 or len(segment.fields) != 1 or not cls.plain:
            return None
        if cls.encode is not Extension.encode or type(cls.layout) is not Layout:
            return None
        option = segment.fields[0][0]
        if option.type is None or not getattr(option.type, "lazy", False):
            return None
        own = [field for field in cls.layout.fields if getattr(field, "field", "") == option.field]
        if len(own) != 1 or not isinstance(own[0], String):
            return None
        at = _HEADER.size + sum(field.size for field in cls.layout.fields[: cls.layout.fields.index(own[0])])
        whole = self._encode(segment.use("", context), self.family)
        before, after = whole[:at], whole[at + own[0].size :]
        packing = struct.Struct(f"={len(before)}s{own[0].size}s{len(after)}s").pack
        return option.type.parse, lambda raw: packing(before, raw, after)

    def _read_interfaces(self, names: tuple[str, str], rule: Rule) -> bytes:
        conditions = rule.conditions
        key = (conditions.in_interface, conditions.out_interface)
        found = self._interfaces[names] = self._pack_interfaces(key)
        return found

    def _named_target(self, rule: Rule) -> bytes | str:
        """Where -j with a name and no options leads."""
        target = rule.target
        if isinstance(target, Jump):
            return target.chain
        if isinstance(target, Verdict):
            return target.name
        assert target is not None
        found = self._bare.get(type(target))
        if found is None:
            found = self._bare[type(target)] = self._encode(target, self.family)
        return found

    # -- one rule by itself

    def _piece(self, rule: Rule, gap: bytes = b"") -> Piece:
        body = b"".join(self._encode(match, self.family) for match in rule.matches)
        target = rule.target
        last: bytes | str
        if target is None:
            last = ""
        elif isinstance(target, Jump):
            last = target.chain
        elif isinstance(target, Verdict):
            last = target.name
        else:
            last = self._encode(target, self.family)
        conditions = rule.conditions
        source_address, source_mask = conditions.source or (0, 0)
        destination_address, destination_mask = conditions.destination or (0, 0)
        addresses = (source_address, destination_address, source_mask, destination_mask)
        names = (conditions.in_interface, conditions.out_interface)
        target_at = _SIZES[self.family] + len(body)
        target_end = target_at + (_STANDARD.size if isinstance(last, str) else len(last))
        front = (
            (_ADDRESSES4.pack(*addresses) if self.family == 4 else _addresses6(*addresses))
            + self._pack_interfaces(names)
            + self._kind(rule.bound, _inverted(rule.bound))
            + _OFFSETS.pack(target_at, target_end)
        )
        return Piece(rule, (front, gap, body), last, target_end)

    def _kind(self, bound: Bound, inverted: int) -> bytes:
        """Protocol and flags; `inverted` are those of addresses and interfaces."""
        inverted |= bound.fragment_inverted * _INV_FRAGMENT | bound.protocol_inverted * _INV_PROTOCOL
        if self.family == 4:
            flags = bound.fragment * _F4_FRAGMENT | bound.goto * _F4_GOTO
            return _KIND4.pack(bound.protocol, flags, inverted, 0)
        # -p sets the flag, also -p all, which then is a condition to the kernel.
        flags = _names_protocol(bound) * _F6_PROTOCOL | bound.goto * _F6_GOTO
        return _KIND6.pack(bound.protocol, 0, flags, inverted, 0)

    def _pack_interfaces(self, names: tuple[str, str]) -> bytes:
        packed = self._packed_interfaces.get(names)
        if packed is None:
            pairs, masks = zip(*(interface_mask(name) for name in names), strict=True)
            packed = self._packed_interfaces[names] = b"".join((*pairs, *masks))
        return packed


def _front(bound: Bound) -> _Front | None:
    """Where the addresses and interfaces are; None where one is not a value."""
    source, destination, in_at, out_at = (
        bound.source,
        bound.destination,
        bound.in_interface,
        bound.out_interface,
    )
    if (
        isinstance(source, str)
        or isinstance(destination, str)
        or isinstance(in_at, str)
        or isinstance(out_at, str)
    ):
        return None
    flags = _inverted(bound)
    if in_at is not None or out_at is not None:
        flags |= _HAS_INTERFACES
    of = source if source is not None else destination
    return source, destination, in_at, out_at, flags, {} if of is None else bound.memos[of]


def _inverted(bound: Bound) -> int:
    return (
        bound.in_inverted * _INV_IN
        | bound.out_inverted * _INV_OUT
        | bound.source_inverted * _INV_SOURCE
        | bound.destination_inverted * _INV_DESTINATION
    )


def _network4(word: str, memo: Mapping[str, Any]) -> tuple[bytes, bytes] | None:
    """Address and mask of a word as the kernel has them; None for a list."""
    found = _MASKS4.get(word[-3:])
    if found is not None:
        mask, length = found
        try:
            address = inet_pton(AF_INET, word[:-3])
        except OSError:
            pass
        else:
            if length == 4 or not any(address[length:]):
                return address, mask
    networks = memo[word]
    if len(networks) != 1:
        return None
    ((number, bits),) = networks
    return _NUMBER4.pack(number), _NUMBER4.pack(bits)


def _network6(word: str, memo: Mapping[str, Any]) -> tuple[bytes, bytes] | None:
    networks = memo[word]
    if len(networks) != 1:
        return None
    ((number, bits),) = networks
    return number.to_bytes(16, "big"), bits.to_bytes(16, "big")


def _own_field(cls: type[Extension], name: str) -> tuple[int, Callable[[Any], bytes]] | None:
    """Where an option's value stands in the struct, and how it is packed, if in one place and no other."""
    if cls.encode is not Extension.encode or type(cls.layout) is not Layout:
        return None
    at = 0
    found = None
    for field in cls.layout.fields:
        if name in getattr(field, "fields", ()) or (found and getattr(field, "field", "") == name):
            return None
        if getattr(field, "field", "") == name:
            if isinstance(field, Pair):
                found = at, _of_pair(field.struct.pack)
            elif isinstance(field, Number):
                found = at, field.struct.pack
            elif isinstance(field, Raw):
                found = at, bytes
            else:
                return None
        at += field.size
    return found


def _names_protocol(bound: Bound) -> bool:
    if bound.later is None or bound.earlier is None:
        return "p" in bound.where
    return "p" in bound.later.where or "p" in bound.earlier.where


def _of_pair(pack: Callable[..., bytes]) -> Callable[[Any], bytes]:
    return lambda value: pack(*value)


def _addresses6(source: int, destination: int, source_mask: int, destination_mask: int) -> bytes:
    return (
        source.to_bytes(16, "big")
        + destination.to_bytes(16, "big")
        + source_mask.to_bytes(16, "big")
        + destination_mask.to_bytes(16, "big")
    )


def standard_target(name: str) -> bytes:
    """A jump or verdict by name, "" for a rule that only counts: libiptc puts in the number."""
    return _STANDARD.pack(_STANDARD.size, name.encode("latin-1"), 0, 0)


# -- back


class Decoded(NamedTuple):
    """One entry of a table, read."""

    conditions: Conditions
    matches: tuple[Extension, ...]
    target: Extension | Jump | Verdict | None
    counters: tuple[int, int]
    goto: bool

    def text(self) -> str:
        """As iptables-save prints it after `-A CHAIN`, each piece led by a blank."""
        out = self.conditions.save()
        for match in self.matches:
            out += f" -m {match.text()}"
        if self.target is not None:
            out += f" {'-g' if self.goto else '-j'} {self.target.text()}"
        return out


class Decoder:
    """Reads entries as the kernel returns them.  Remembers the uses it met.

    `chain_at` maps the offset of a chain's first entry to its name.
    """

    def __init__(
        self,
        family: Family,
        chain_at: dict[int, str],
        decode: Callable[[str, str, int, bytes, Context], Extension] | None = None,
        context: Context | None = None,
    ) -> None:
        self.family: Family = family
        self.context = context or Context(family)
        self.chain_at = chain_at
        self._layout = layout_of(family)
        self._decode = decode or decode_use
        self._uses: dict[tuple[str, bytes], Extension] = {}

    def entry(self, entry: memoryview, offset: int) -> Decoded:
        """One entry, at `offset` of its table.  Raises Unencodable for an extension nobody knows."""
        target_at = self._layout.target_offset(entry)
        head = self._head(entry)
        matches = []
        at = self._layout.size
        while at < target_at:
            size, _, _ = _HEADER.unpack_from(entry, at)
            matches.append(self._use("match", bytes(entry[at : at + size])))
            at += size
        target: Extension | Jump | Verdict | None
        verdict = self._layout.standard_verdict(entry)
        if verdict is None:
            target = self._use("target", bytes(entry[target_at : self._layout.next_offset(entry)]))
        elif verdict < 0:
            target = Verdict(VERDICT_NAMES[verdict])
        elif verdict == offset + self._layout.next_offset(entry):
            target = None
        else:
            target = Jump(self.chain_at[verdict], head[1])
        return Decoded(head[0], tuple(matches), target, self._layout.counters(entry), head[1])

    def _use(self, kind: str, raw: bytes) -> Extension:
        found = self._uses.get((kind, raw))
        if found is None:
            _, name, revision = _HEADER.unpack_from(raw)
            text = name.partition(b"\0")[0].decode("latin-1")
            found = self._decode(kind, text, revision, raw[_HEADER.size :], self.context)
            if len(self._uses) < 100_000:
                self._uses[kind, raw] = found
        return found

    def _head(self, entry: memoryview) -> tuple[Conditions, bool]:
        if self.family == 4:
            source, destination, source_mask, destination_mask = _ADDRESSES4.unpack_from(entry)
            interfaces = bytes(entry[16:80])
            protocol, flags, inverted, _ = _KIND4.unpack_from(entry, 80)
            fragment, goto = bool(flags & _F4_FRAGMENT), bool(flags & _F4_GOTO)
        else:
            source, destination, source_mask, destination_mask = (
                int.from_bytes(entry[at : at + 16], "big") for at in (0, 16, 32, 48)
            )
            interfaces = bytes(entry[64:128])
            protocol, _, flags, inverted, _ = _KIND6.unpack_from(entry, 128)
            fragment, goto = False, bool(flags & _F6_GOTO)
        in_interface = out_interface = ""
        if interfaces != _NO_INTERFACES:
            in_interface = _interface(interfaces[:16], interfaces[32:48])
            out_interface = _interface(interfaces[16:32], interfaces[48:])
        return (
            Conditions(
                self.family,
                (source, source_mask) if source_mask or inverted & _INV_SOURCE else None,
                bool(inverted & _INV_SOURCE),
                (destination, destination_mask) if destination_mask or inverted & _INV_DESTINATION else None,
                bool(inverted & _INV_DESTINATION),
                in_interface,
                bool(inverted & _INV_IN),
                out_interface,
                bool(inverted & _INV_OUT),
                protocol,
                bool(inverted & _INV_PROTOCOL),
                fragment,
                bool(inverted & _INV_FRAGMENT),
            ),
            goto,
        )


def _interface(name: bytes, mask: bytes) -> str:
    """The name of an interface condition: a mask that ends before the NUL stands for `+`."""
    text = name.partition(b"\0")[0].decode("latin-1")
    length = len(mask.partition(b"\0")[0])
    return text if length > len(text) or (not text and not length) else text[:length] + "+"


def decode_use(
    kind: str,
    name: str,
    revision: int,
    payload: bytes,
    context: Context,
    set_names: Callable[[tuple[int, ...]], Mapping[int, str]] | None = None,
) -> Extension:
    """The use of an extension that a header and struct stand for.  Raises Unencodable.

    `set_names` looks up sets by number; without it extensions with sets cannot be read.
    """
    names, find = (MATCHES, find_match) if kind == "match" else (TARGETS, find_target)
    for candidate in _by_kernel_name(kind, name, names):
        cls = find(candidate, context.family)
        if cls is None or cls.revision != revision or cls.kernel_name != name:
            continue
        try:
            if set_names is not None and issubclass(cls, SetUse):
                return cls.decode_with(payload, context, set_names(cls.set_indices(payload)))
            return cls.decode(payload, context)
        except BadValue:
            continue
    raise Unencodable(f"the kernel holds a {kind} {name!r}, revision {revision}, that iptkit cannot read")


def _by_kernel_name(kind: str, name: str, names: dict[str, str]) -> list[str]:
    """Which extensions may be behind a kernel name: the one called so first."""
    others = {"conntrack": ["state"], "CT": ["NOTRACK"]}.get(name, [])
    return ([name] if name in names else []) + others
