"""Rules as the kernel's entries, and back.

An entry is the rule's conditions (struct ipt_entry or ip6t_entry), its
matches, and one target, each a header and the extension's own struct
(linux/netfilter/x_tables.h).  Entries are made in libiptc's form: the target
of a verdict or jump carries its name, and libiptc puts in the number.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from iptkit.extensions.core import Conditions, Jump, Verdict
from iptkit.extensions.ipset import SetUse
from iptkit.extensions.layout import Layout, String
from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target
from iptkit.extensions.spec import Extension
from iptkit.kernel.errors import KernelError
from iptkit.kernel.sockopt import VERDICT_NAMES, layout_of
from iptkit.syntax.words import unquote
from iptkit.values.context import Context
from iptkit.values.faults import BadValue
from iptkit.values.interfaces import interface_mask

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from iptkit.ruleset.bound import Bound, Placed, Ref, Segment
    from iptkit.ruleset.model import Rule
    from iptkit.values.context import Family

_HEADER = struct.Struct("@H29sB")  # size, name, revision
_STANDARD = struct.Struct("@H29sBi4x")
# struct ipt_entry and ip6t_entry (<linux/netfilter_ipv4/ip_tables.h>, <linux/netfilter_ipv6/ip6_tables.h>) in
# pieces: addresses and masks; interfaces and their masks; protocol, (tos,) flags, invflags and nfcache;
# target_offset and next_offset; comefrom and counters.
_ADDRESSES4 = struct.Struct(">4I")
_KIND4 = struct.Struct("@HBBI")
_KIND6 = struct.Struct("@HBBB3xI")
_OFFSETS = struct.Struct("@HH")
_COUNTS4 = struct.Struct("=IQQ")
_COUNTS6 = struct.Struct("=I4xQQ")
_SIZES: dict[Family, int] = {4: 112, 6: 168}
_NO_INTERFACES = bytes(64)
_ANY = ((0, 0),)

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
    head = _HEADER.pack(size, use.kernel_name.encode("ascii"), use.revision)
    return (head + payload).ljust(size, b"\0")


# A match or target of a shape, how to get its values out of a rule's, and the bytes of its uses so far.
_Use: TypeAlias = "tuple[Segment, Callable[[tuple[Any, ...]], Any], dict[Any, bytes]]"

# What of an entry its shape decides: where among the values source, destination, in- and out-interface are
# (-1: nowhere); protocol and flags (with the interfaces, where there are none); at which value those of the
# uses begin; matches; target; where the name to jump to is; that name where it is in the shape.
_Plan: TypeAlias = "tuple[int, int, int, int, bytes, int, tuple[_Use, ...], _Use | None, int, str]"


class Piece(NamedTuple):
    """An entry in pieces.

    `front` is what stands before comefrom and counters, `body` the matches
    after them.  `target` is the target in bytes; or, of the standard target,
    the name: a verdict, the chain to jump to, "" where the rule only counts.
    """

    rule: Rule
    front: bytes
    body: bytes
    target: bytes | str


class _Text(NamedTuple):
    """A struct in which nothing depends on values but one string."""

    type: Any
    before: bytes
    size: int
    after: bytes


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
        self._plans: dict[Bound, _Plan | None] = {}
        self._parts: dict[Bound, tuple[tuple[_Use, ...], _Use | None]] = {}
        self._kinds: dict[bytes, bytes] = {}
        self._caches: dict[Segment, dict[Any, bytes]] = {}
        self._texts: dict[Segment, _Text | None] = {}
        self._bare: dict[type[Any], bytes] = {}
        self._interfaces: dict[tuple[str, str], bytes] = {}

    def entry(self, rule: Rule) -> bytes:
        """The entry of a rule in libiptc's form, counters in it.  Raises BadValue or Unencodable."""
        _, front, body, target = self._piece(rule)
        counts = (_COUNTS4 if self.family == 4 else _COUNTS6).pack(0, *rule.counters)
        return front + counts + body + (standard_target(target) if isinstance(target, str) else target)

    def entries(self, rules: Iterable[Rule], marks: array[int]) -> Iterator[bytes]:
        """The entries of many rules, one at a time, as `entry` makes them; adds their marks to `marks`."""
        pack = (_COUNTS4 if self.family == 4 else _COUNTS6).pack
        for rule, front, body, target in self.pieces(rules):
            last = standard_target(target) if isinstance(target, str) else target
            marks.append(hash(front + body + last))
            yield front + pack(0, *rule.counters) + body + last

    def mark(self, rule: Rule) -> int:
        """The mark of a rule.  Raises as `entry`."""
        _, front, body, target = self._piece(rule)
        return hash(front + body + (standard_target(target) if isinstance(target, str) else target))

    def pieces(self, rules: Iterable[Rule]) -> Iterator[tuple[Rule, bytes, bytes, bytes | str]]:
        """The entries of many rules, one at a time, each a plain tuple like `Piece`.  Raises as `entry`."""
        # 100,000 rules pass here: what their shapes decide is worked out once a shape.
        plans = self._plans
        size = _SIZES[self.family]
        pack_addresses = _ADDRESSES4.pack if self.family == 4 else _addresses6
        pack_offsets = _OFFSETS.pack
        standard_size = _STANDARD.size
        interfaces = self._interfaces
        last: bytes | str
        for rule in rules:
            bound = rule.bound
            try:
                plan = plans[bound]
            except KeyError:
                plan = plans[bound] = self._plan(bound)
            if plan is None or rule.renamed is not None:
                yield self._piece(rule)
                continue
            source, destination, in_at, out_at, kind, holes, matches, target, jump, last = plan
            values = rule.values
            sources = _ANY if source < 0 else values[source]
            destinations = _ANY if destination < 0 else values[destination]
            if len(sources) == 1 == len(destinations):
                ((source_address, source_mask),) = sources
                ((destination_address, destination_mask),) = destinations
            else:
                at_source, at_destination = divmod(rule.pick, len(destinations))
                source_address, source_mask = sources[at_source]
                destination_address, destination_mask = destinations[at_destination]
            if in_at >= 0 or out_at >= 0:
                names = values[in_at] if in_at >= 0 else "", values[out_at] if out_at >= 0 else ""
                kind = (interfaces.get(names) or self._pack_interfaces(names)) + kind
            words = values[holes:] if holes else values
            body = b""
            for segment, key, cache in matches:
                wanted = key(words)
                body += cache.get(wanted) or self._use(segment, wanted, cache, rule)
            target_at = target_end = size + len(body)
            if target is not None:
                segment, key, cache = target
                wanted = key(words)
                last = cache.get(wanted) or self._use(segment, wanted, cache, rule)
                target_end += len(last)
            else:
                if jump >= 0:
                    to = values[jump]
                    if to.__class__ is Jump:
                        last = to.chain
                    elif to.__class__ is Verdict:
                        last = to.name
                    else:
                        last = self._bare_target(to)
                target_end += standard_size if last.__class__ is str else len(last)
            yield (
                rule,
                pack_addresses(source_address, destination_address, source_mask, destination_mask)
                + kind
                + pack_offsets(target_at, target_end),
                body,
                last,
            )

    def _plan(self, bound: Bound) -> _Plan | None:
        """The plan of a shape; None where its rules are better made one by one."""
        refs = (bound.source, bound.destination, bound.in_interface, bound.out_interface)
        if bound.opaque or str in map(type, refs):
            return None
        kind = self._kind(bound)
        if bound.in_interface is None and bound.out_interface is None:
            kind = _NO_INTERFACES + kind
        # Shapes put together from two parts share the later one, which has the matches and the target.
        part, holes, _ = bound.later or (bound, 0, 0)
        uses = self._parts.get(part)
        if uses is None:
            uses = self._parts[part] = (
                tuple(map(self._placed, part.matches)),
                None if part.target is None else self._placed(part.target),
            )
        jump = bound.jump
        return (
            _hole(bound.source),
            _hole(bound.destination),
            _hole(bound.in_interface),
            _hole(bound.out_interface),
            self._kinds.setdefault(kind, kind),
            holes,
            *uses,
            _hole(jump) if uses[1] is None else -1,
            jump if isinstance(jump, str) else "",
        )

    def _placed(self, placed: Placed) -> _Use:
        segment = placed.segment
        cache = self._caches.get(segment)
        if cache is None:
            cache = self._caches[segment] = {}
        return segment, placed.key, cache

    def _use(self, segment: Segment, key: Any, cache: dict[Any, bytes], rule: Rule) -> bytes:
        """The bytes of a use not met before."""
        try:
            text = self._texts[segment]
        except KeyError:
            text = self._texts[segment] = self._text(segment, rule.context)
        if text is not None:
            # Not kept: hardly ever is a comment met again.
            value = text.type.parse(unquote(key) if '"' in key else key, rule.context)
            raw: bytes = value.encode("latin-1")[: text.size].ljust(text.size, b"\0")
            return text.before + raw + text.after
        use = segment.use if self._keep else segment.take
        found = self._encode(use(key, rule.context), self.family)
        if len(cache) < _CACHE_LIMIT:
            cache[key] = found
        return found

    def _text(self, segment: Segment, context: Context) -> _Text | None:
        """Can the struct be made without a use?  So for comments, nearly all of which are different."""
        cls = segment.cls
        if (
            segment.holes != 1
            or len(segment.fields) != 1
            or not cls.plain
            or cls.encode is not Extension.encode
        ):
            return None
        option = segment.fields[0][0]
        if cls.layout is None or type(cls.layout) is not Layout or not getattr(option.type, "lazy", False):
            return None
        at = 0
        for field in cls.layout.fields:
            if isinstance(field, String) and field.field == option.field:
                break
            at += field.size
        else:
            return None
        if sum(getattr(each, "field", "") == option.field for each in cls.layout.fields) != 1:
            return None
        whole = self._encode(segment.use("", context), self.family)
        at += _HEADER.size
        return _Text(option.type, whole[:at], field.size, whole[at + field.size :])

    def _bare_target(self, target: Extension) -> bytes:
        """The target of -j with a name and no options."""
        found = self._bare.get(type(target))
        if found is None:
            found = self._bare[type(target)] = self._encode(target, self.family)
        return found

    # -- one rule by itself

    def _piece(self, rule: Rule) -> Piece:
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
        front = (
            (_ADDRESSES4.pack(*addresses) if self.family == 4 else _addresses6(*addresses))
            + (self._interfaces.get(names) or self._pack_interfaces(names))
            + self._kind(rule.bound)
            + _OFFSETS.pack(target_at, target_at + (_STANDARD.size if isinstance(last, str) else len(last)))
        )
        return Piece(rule, front, body, last)

    def _kind(self, bound: Bound) -> bytes:
        inverted = (
            bound.in_inverted * _INV_IN
            | bound.out_inverted * _INV_OUT
            | bound.source_inverted * _INV_SOURCE
            | bound.destination_inverted * _INV_DESTINATION
            | bound.fragment_inverted * _INV_FRAGMENT
            | bound.protocol_inverted * _INV_PROTOCOL
        )
        if self.family == 4:
            flags = bound.fragment * _F4_FRAGMENT | bound.goto * _F4_GOTO
            return _KIND4.pack(bound.protocol, flags, inverted, 0)
        # -p sets the flag, also -p all, which then is a condition to the kernel.
        flags = _names_protocol(bound) * _F6_PROTOCOL | bound.goto * _F6_GOTO
        return _KIND6.pack(bound.protocol, 0, flags, inverted, 0)

    def _pack_interfaces(self, key: tuple[str, str]) -> bytes:
        names, masks = zip(*(interface_mask(name) for name in key), strict=True)
        packed = self._interfaces[key] = b"".join((*names, *masks))
        return packed


def _hole(ref: Ref | None) -> int:
    return ref if isinstance(ref, int) else -1


def _names_protocol(bound: Bound) -> bool:
    if bound.later is None or bound.earlier is None:
        return "p" in bound.where
    return "p" in bound.later[0].where or "p" in bound.earlier.where


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
