"""Rules as the kernel's entries, and back.

An entry is the rule's conditions (struct ipt_entry or ip6t_entry), its
matches, and one target, each a header and the extension's own struct
(linux/netfilter/x_tables.h).  Entries are made in libiptc's form: the target
of a verdict or jump carries its name, and libiptc puts in the number.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from iptkit.extensions.core import Conditions, Jump, Verdict
from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target
from iptkit.extensions.spec import Opaque
from iptkit.kernel.errors import KernelError
from iptkit.kernel.sockopt import VERDICT_NAMES, layout_of
from iptkit.values.context import Context
from iptkit.values.faults import BadValue
from iptkit.values.interfaces import interface_mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.extensions.spec import Extension
    from iptkit.ruleset.binding import Placed
    from iptkit.ruleset.model import Rule
    from iptkit.values.context import Family

_HEADER = struct.Struct("@H29sB")  # size, name, revision
_STANDARD = struct.Struct("@H29sBi4x")
# struct ipt_entry: addresses and masks, interfaces and masks, protocol, flags, invflags,
# nfcache, target_offset, next_offset, comefrom, counters
_ENTRY4 = struct.Struct(">4I"), struct.Struct("@64sHBBIHHIQQ")
_ENTRY6_TAIL = struct.Struct("@64sHBBB3xIHHI4xQQ")
_NO_INTERFACES = bytes(64)

_INV_IN, _INV_OUT, _INV_SOURCE, _INV_DESTINATION, _INV_FRAGMENT, _INV_PROTOCOL = 1, 2, 8, 16, 32, 64
_F4_FRAGMENT, _F4_GOTO = 1, 2
_F6_PROTOCOL, _F6_GOTO = 1, 4
_CACHE_LIMIT = 4096  # distinct uses of one segment whose bytes are kept

Encode = "Callable[[Extension, Family], bytes]"


class Unencodable(KernelError):
    """A rule with an extension whose struct iptkit does not know."""


def encode_use(use: Extension, family: Family) -> bytes:
    """A match or target with its header, rounded up as the kernel wants it.  Raises BadValue."""
    payload = use.encode(family)
    size = _HEADER.size + (len(payload) + 7 & ~7)
    head = _HEADER.pack(size, use.kernel_name.encode("ascii"), use.revision)
    return (head + payload).ljust(size, b"\0")


class Encoder:
    """Makes entries of rules.  Remembers the bytes of uses it met, so one Encoder serves a whole file.

    `encode` turns one extension into bytes with header; the default needs no
    machine.  A backend gives its own where the machine must be asked (ipset
    indices, plugins iptkit does not know).
    """

    def __init__(self, family: Family, encode: Callable[[Extension, Family], bytes] = encode_use) -> None:
        self.family: Family = family
        self._encode = encode
        self._uses: dict[int, dict[Any, bytes]] = {}
        self._interfaces: dict[tuple[str, str], bytes] = {}

    def entry(self, rule: Rule) -> bytes:
        """The entry of a rule, counters in it.  Raises BadValue or Unencodable."""
        body = b""
        bound = rule.bound
        if bound.opaque:
            body = b"".join(self._encode(match, self.family) for match in rule.matches)
        else:
            for placed in bound.matches:
                body += self._placed(placed, rule)
        if bound.target is not None and not bound.opaque:
            target = self._placed(bound.target, rule)
        else:
            target = self._target(rule)
        return self._head(rule, len(body), len(target)) + body + target

    def _placed(self, placed: Placed, rule: Rule) -> bytes:
        segment = placed.segment
        key = placed.key(rule.values)
        cache = self._uses.get(id(segment))
        if cache is None:
            cache = self._uses[id(segment)] = {}
        found = cache.get(key)
        if found is None:
            use = segment.use(key, rule.context)
            found = self._encode(use, self.family)
            if len(cache) < _CACHE_LIMIT:
                cache[key] = found
        return found

    def _target(self, rule: Rule) -> bytes:
        target = rule.target
        if target is None:
            return standard_target("")
        if isinstance(target, Jump):
            return standard_target(target.chain)
        if isinstance(target, Verdict):
            return standard_target(target.name)
        return self._encode(target, self.family)

    def _head(self, rule: Rule, matches: int, target: int) -> bytes:
        # One tuple of 13 is taken apart here for each rule: see Conditions for the names.
        (
            _, source, source_inverted, destination, destination_inverted,
            in_interface, in_inverted, out_interface, out_inverted,
            protocol, protocol_inverted, fragment, fragment_inverted,
        ) = rule.conditions  # fmt: skip
        inverted = (
            in_inverted * _INV_IN
            | out_inverted * _INV_OUT
            | source_inverted * _INV_SOURCE
            | destination_inverted * _INV_DESTINATION
            | fragment_inverted * _INV_FRAGMENT
            | protocol_inverted * _INV_PROTOCOL
        )
        interfaces = _NO_INTERFACES
        if in_interface or out_interface:
            key = (in_interface, out_interface)
            interfaces = self._interfaces.get(key) or self._pack_interfaces(key)
        source_address, source_mask = source or (0, 0)
        destination_address, destination_mask = destination or (0, 0)
        packets, octets = rule.counters
        goto = rule.bound.goto
        if self.family == 4:
            addresses, tail = _ENTRY4
            target_at = 112 + matches
            return addresses.pack(
                source_address, destination_address, source_mask, destination_mask
            ) + tail.pack(
                interfaces, protocol, fragment * _F4_FRAGMENT | goto * _F4_GOTO, inverted,
                0, target_at, target_at + target, 0, packets, octets,
            )  # fmt: skip
        target_at = 168 + matches
        # -p sets the flag, also -p all, which then is a condition to the kernel.
        flags = ("p" in rule.bound.where) * _F6_PROTOCOL | goto * _F6_GOTO
        return (
            source_address.to_bytes(16, "big")
            + destination_address.to_bytes(16, "big")
            + source_mask.to_bytes(16, "big")
            + destination_mask.to_bytes(16, "big")
            + _ENTRY6_TAIL.pack(
                interfaces, protocol, 0, flags, inverted, 0, target_at, target_at + target, 0, packets, octets
            )
        )

    def _pack_interfaces(self, key: tuple[str, str]) -> bytes:
        names, masks = zip(*(interface_mask(name) for name in key), strict=True)
        packed = self._interfaces[key] = b"".join((*names, *masks))
        return packed


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
    ) -> None:
        self.family: Family = family
        self.context = Context(family)
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
            source, destination, source_mask, destination_mask = _ENTRY4[0].unpack_from(entry)
            interfaces, protocol, flags, inverted = _ENTRY4[1].unpack_from(entry, 16)[:4]
            fragment, goto = bool(flags & _F4_FRAGMENT), bool(flags & _F4_GOTO)
        else:
            source, destination, source_mask, destination_mask = (
                int.from_bytes(entry[at : at + 16], "big") for at in (0, 16, 32, 48)
            )
            interfaces, protocol, _, flags, inverted = _ENTRY6_TAIL.unpack_from(entry, 64)[:5]
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


def decode_use(kind: str, name: str, revision: int, payload: bytes, context: Context) -> Extension:
    """The use of an extension that a header and struct stand for.  Raises Unencodable."""
    names, find = (MATCHES, find_match) if kind == "match" else (TARGETS, find_target)
    for candidate in _by_kernel_name(kind, name, names):
        cls = find(candidate, context.family)
        if cls is None or cls.revision != revision or cls.kernel_name != name:
            continue
        try:
            return cls.decode(payload, context)
        except BadValue:
            continue
    raise Unencodable(f"the kernel holds a {kind} {name!r}, revision {revision}, that iptkit cannot read")


def _by_kernel_name(kind: str, name: str, names: dict[str, str]) -> list[str]:
    """Which extensions may be behind a kernel name: the one called so first."""
    others = {"conntrack": ["state"], "CT": ["NOTRACK"]}.get(name, [])
    return ([name] if name in names else []) + others
