"""What a rule asks of packets, as boxes in a space of everything that can be asked.

Addresses, interfaces, ports, states and the like are dimensions whose values
are known.  Any other condition is a dimension of two values: the same words
are the same condition, `!` its opposite.  Conditions that do not follow from
the packet are left out: what remains is what a rule may match.

Dimensions are taken to be independent of each other.  Where they are not (the
flags of a packet without TCP), boxes may hold packets that cannot be: so what
is proven empty is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import INTERFACE, NETWORKS
from iptkit.extensions.world import ALL_STATES
from iptkit.lint.conditions import STATE_FLAGS
from iptkit.lint.intervals import EMPTY, EVERYTHING, difference, intersection, meet, one, union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from iptkit.extensions.core import Network
    from iptkit.extensions.spec import Extension, Option
    from iptkit.lint.intervals import Box, Dimension, Region, Span
    from iptkit.ruleset.bound import Bound, Placed, Ref
    from iptkit.ruleset.model import Rule
    from iptkit.values.context import Family

SRC, DST, IN, OUT = "src", "dst", "in", "out"
PROTO, FRAGMENT, SPORT, DPORT, ICMP, FLAGS = "proto", "fragment", "sport", "dport", "icmp", "flags"
STATE, LENGTH, HOPS = "state", "length", "hops"
TCP, UDP, ICMP4, ICMP6 = 6, 17, 1, 58
SYN, ACK = 0x02, 0x10
# Bits of xt_conntrack.h, in the order of the values of STATE.
_STATE_BITS = (0x001, 0x008, 0x004, 0x002, 0x100)
INVALID, NEW, RELATED, ESTABLISHED, UNTRACKED = range(5)
_TRANSLATED = {0x040: "snat", 0x080: "dnat"}  # states that stand beside the others
# Matches that without options ask for no more than their protocol.
_OF_PROTOCOLS = frozenset(("tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmp6"))
# Matches of whose options each is a condition by itself.
_SEPARATE = frozenset(("owner", "physdev", "conntrack", "devgroup", "ecn", "tcp", "dccp", "sctp", "udp"))
# Matches with one option that may be inverted, the others saying how to look.
_ONE_ASKS = frozenset(("string",))
_NAME = 16  # bytes the kernel compares of the name of an interface
_DOMAINS: dict[str, tuple[int, int]] = {
    IN: (0, 2 ** (8 * _NAME) - 1),
    OUT: (0, 2 ** (8 * _NAME) - 1),
    PROTO: (0, 0xFFFF),
    FRAGMENT: (0, 1),
    SPORT: (0, 0xFFFF),
    DPORT: (0, 0xFFFF),
    ICMP: (0, 0xFFFF),
    FLAGS: (0, 0x3F),
    STATE: (0, 4),
    HOPS: (0, 0xFF),
}
_SHORTEST = {4: 20, 6: 40}  # bytes of an IP header
MARKS = ("mark", "connmark")


def domain(family: Family) -> Callable[[Dimension], Span]:
    """The function that gives all there is in a dimension."""
    spans: dict[Dimension, Span] = {name: (interval,) for name, interval in _DOMAINS.items()}
    spans[SRC] = spans[DST] = ((0, 2 ** (32 if family == 4 else 128) - 1),)
    spans[LENGTH] = ((_SHORTEST[family], 0xFFFF),)

    def of(dimension: Dimension) -> Span:
        found = spans.get(dimension)
        if found is None:
            if dimension[0] == "then":
                found = of(dimension[1])
            elif dimension[0] in MARKS:
                found = ((0, (1 << dimension[1].bit_count()) - 1),)
            else:
                found = ((0, 1),)  # a condition that is met or not
            spans[dimension] = found
        return found

    return of


def interface(name: str) -> Span:
    """The names that the value of -i or -o stands for, as numbers.  No interface at all is 0."""
    raw = name.encode("latin-1")
    if raw[-1:] != b"+":
        return one(int.from_bytes(raw.ljust(_NAME, b"\0"), "big"))
    prefix = raw[:-1]
    low = int.from_bytes(prefix.ljust(_NAME, b"\0"), "big")
    return ((low, low | (1 << 8 * (_NAME - len(prefix))) - 1),)


SOME_INTERFACE: Span = ((1, 2 ** (8 * _NAME) - 1),)
NO_INTERFACE: Span = one(0)
LOOPBACK: Span = interface("lo")
NOT_LOOPBACK: Span = difference(SOME_INTERFACE, LOOPBACK)


def network(address: int, mask: int, bits: int) -> Span | None:
    """The addresses of a network; None where the mask is no prefix."""
    rest = mask ^ (1 << bits) - 1
    if rest & rest + 1:
        return None
    return ((address, address | rest),)


class Asked:
    """Reads rules; remembers what it read of extensions.

    `masks` are the masks under which marks are looked at, by match: a mark is
    taken apart into the bits that they tell from each other.
    """

    def __init__(self, family: Family, masks: Mapping[str, Iterable[int]] | None = None) -> None:
        self.family = family
        self.domain = domain(family)
        self._bits = 32 if family == 4 else 128
        self._known: dict[Extension, Region] = {}
        self._uses: dict[Bound, list[Placed]] = {}  # of a part of shapes those that ask something
        self._of_words: dict[tuple[Any, ...], Region] = {}
        self._ports: dict[tuple[Any, ...], list[tuple[bool, Span]]] = {}
        self._masks = {name: _atoms(found) for name, found in (masks or {}).items()}

    def region(self, rule: Rule) -> Region:
        """The packets that may meet a rule's conditions; [] when none can."""
        box = self._core(rule)
        if box is None:
            return []
        bound = rule.bound
        if bound.opaque:
            asked = self._by_meaning(rule)
        elif bound.part.matches:
            asked = self._by_words(rule)
        else:
            return [box]
        return meet([box], asked) if box else asked

    def _by_words(self, rule: Rule) -> Region:
        """What a rule's matches ask.  The same words of the same shape ask the same."""
        part = rule.bound.part
        uses = self._uses.get(part)
        if uses is None:
            uses = self._uses[part] = [
                placed
                for placed in part.matches
                if placed.segment.cls.name != "comment" and not placed.segment.cls.changing
            ]
        line = rule.line.values
        words = (part, *[placed.key(line) for placed in uses])
        found = self._of_words.get(words)
        if found is None:
            found = EVERYTHING
            for placed in uses:
                use = placed.segment.use(placed.key(rule.values), rule.context)
                if not is_changing(use):
                    found = self._meet(found, use)
            self._of_words[words] = found
        return found

    def _by_meaning(self, rule: Rule) -> Region:
        """The same, where one of them is a match that iptkit does not know."""
        found = EVERYTHING
        for use in rule.matches:
            if use.name != "comment" and not is_changing(use):
                found = self._meet(found, use)
        return found

    def _meet(self, region: Region, use: Extension) -> Region:
        known = self._known.get(use)
        if known is None:
            known = self._known[use] = self._use(use)
        return region if known == EVERYTHING else meet(region, known)

    def _core(self, rule: Rule) -> Box | None:
        """The conditions that belong to no match."""
        # Asked of its parts, which many shapes have in common, and not of the shape.
        head, tail = rule.bound.earlier or rule.bound, rule.bound.part
        box: Box = {}
        if head.lists:
            sources = _networks(rule, head, head.source)
            destinations = _networks(rule, head, head.destination)
            at_source, at_destination = divmod(rule.pick, len(destinations))
            self._address(box, SRC, sources[at_source], head.source_inverted)
            self._address(box, DST, destinations[at_destination], head.destination_inverted)
        if head.hooked:
            for dimension, ref, inverted in (
                (IN, head.in_interface, head.in_inverted),
                (OUT, head.out_interface, head.out_inverted),
            ):
                name = "" if ref is None else rule.value(ref, INTERFACE)
                if name and (name != "+" or inverted):
                    self._narrow(box, dimension, interface(name), inverted)
        if tail.protocol:
            self._narrow(box, PROTO, one(tail.protocol), tail.protocol_inverted)
        if tail.fragment:
            box[FRAGMENT] = one(int(not tail.fragment_inverted))
        return None if EMPTY in box.values() else box

    def _address(self, box: Box, dimension: Dimension, net: Network | None, inverted: bool) -> None:
        if net is not None and (net[1] or inverted):
            span = network(*net, self._bits)
            if span is None:
                box[(dimension, net)] = one(int(not inverted))
            else:
                self._narrow(box, dimension, span, inverted)

    def _narrow(self, box: Box, dimension: Dimension, span: Span, inverted: bool) -> None:
        box[dimension] = difference(self.domain(dimension), span) if inverted else span

    def named_ports(self, rule: Rule, flags: tuple[str, ...]) -> list[tuple[bool, Span]]:
        """The ports that a rule names with some options, each with whether it is negated."""
        out: list[tuple[bool, Span]] = []
        for placed in rule.bound.part.matches:
            segment = placed.segment
            if not any(option.flag in flags for option, _, _, _ in segment.fields):
                continue
            key = segment, flags, placed.key(rule.line.values)
            found = self._ports.get(key)
            if found is None:
                use = segment.use(placed.key(rule.values), rule.context)
                found = self._ports[key] = list(_ports_of(use, flags))
            out += found
        return out

    # -- matches

    def _use(self, use: Extension) -> Region:
        """What one use of a match asks."""
        if use.kind == "opaque":
            return [{("opaque", use): one(1)}]
        region: Region = [{}]
        unread: list[Option[Any]] = []
        for option, value in zip(use.options, use.values, strict=True):
            if value is None:
                continue
            inverted = bool(use.inverted >> option.index & 1)
            part = self._option(use, option.flag, value, inverted)
            if part is not None:
                region = meet(region, part)
            elif use.name in _SEPARATE:
                dimension = (use.kernel_name, option.flag, value)
                region = meet(region, [{dimension: one(int(not inverted))}])
            else:
                unread.append(option)
        if unread or (use.name not in _OF_PROTOCOLS and use.values.count(None) == len(use.values)):
            region = meet(region, [self._unread(use, unread)])
        return [
            {dimension: span for dimension, span in box.items() if span != self.domain(dimension)}
            for box in region
            if EMPTY not in box.values()
        ]

    def _unread(self, use: Extension, unread: list[Option[Any]]) -> Box:
        """Options whose meaning is not looked at: together a condition that is met or not."""
        inverted = [option for option in unread if use.inverted >> option.index & 1]
        # A condition that is inverted asks the opposite of the same one that is not.
        opposite = len(inverted) == 1 and (len(unread) == 1 or use.name in _ONE_ASKS)
        words = tuple(
            (option.flag, use.values[option.index], option in inverted and not opposite) for option in unread
        )
        return {(use.kernel_name, words): one(int(not opposite))}

    def _option(self, use: Extension, flag: str, value: Any, inverted: bool) -> Region | None:
        """What one option asks; None where that is not known."""
        if flag in STATE_FLAGS:
            return self._states(value, inverted)
        if flag == "--ports" and _are_numbers(value):
            span = union(map(_range, value))
            if inverted:
                left = difference(self.domain(SPORT), span)
                return [{SPORT: left, DPORT: left}] if left else []
            return [{SPORT: span}, {DPORT: span}]
        if flag == "--mark" and use.name in MARKS:
            return self._mark(use.name, value[0], value[1], inverted)
        found = self._single(use.name, flag, value)
        if found is None:
            return None
        dimension, span = found
        whole = self.domain(dimension)
        span = difference(whole, span) if inverted else intersection(whole, span)
        return [{dimension: span}] if span else []

    def _single(self, name: str, flag: str, value: Any) -> tuple[Dimension, Span] | None:
        if name in ("tcp", "udp", "sctp", "dccp", "udplite"):
            if flag in ("--sport", "--dport"):
                return (SPORT if flag == "--sport" else DPORT), _range(value)
            if flag == "--tcp-flags":
                mask, wanted = value
                return FLAGS, union(one(bits) for bits in range(0x40) if bits & mask == wanted)
        elif name == "multiport":
            if _are_numbers(value):
                return (SPORT if flag == "--sports" else DPORT), union(map(_range, value))
        elif flag in ("--icmp-type", "--icmpv6-type"):
            kind, low, high = value
            if kind == 255 and flag == "--icmp-type":
                return ICMP, self.domain(ICMP)
            return ICMP, ((kind << 8 | low, kind << 8 | high),)
        elif name == "iprange":
            return (SRC if flag == "--src-range" else DST), _range(value)
        elif name == "length":
            return LENGTH, _range(value)
        elif name in ("ttl", "hl"):
            return HOPS, _hops(flag, value)
        return None

    def _states(self, value: int, inverted: bool) -> Region:
        """Connection states.  SNAT and DNAT stand beside the others, and may be met whatever these are."""
        span = union(one(at) for at, bit in enumerate(_STATE_BITS) if value & bit)
        beside = [("ct", name) for bit, name in _TRANSLATED.items() if value & bit]
        left = difference(self.domain(STATE), span)
        if inverted:
            if not left:
                return []
            box: Box = {STATE: left} if value & ALL_STATES else {}
            box.update((dimension, one(0)) for dimension in beside)
            return [box]
        region: Region = [{STATE: span}] if span else []
        region += [{dimension: one(1)} for dimension in beside]
        return region

    def _mark(self, name: str, mark: int, mask: int, inverted: bool) -> Region:
        """A mark under a mask, taken apart into groups of bits."""
        if mark & ~mask:
            return [{}] if inverted else []
        groups = [bits for bits in self._masks.get(name, [mask]) if bits & mask]
        whole: Box = {(name, bits): one(_packed(mark, bits)) for bits in groups}
        if not inverted:
            return [whole]
        out: Region = []
        same: Box = {}
        for dimension, span in whole.items():
            out.append({**same, dimension: difference(self.domain(dimension), span)})
            same[dimension] = span
        return out


def is_changing(use: Extension) -> bool:
    """Does whether a match matches not follow from the packet?  Some matches do something themselves."""
    if use.changing:
        return True
    if use.name == "connlabel":
        return any(o.flag == "--set" and v for o, v in zip(use.options, use.values, strict=True))
    return False


def _networks(rule: Rule, head: Bound, ref: Ref | None) -> tuple[Network | None, ...]:
    """The values of -s or -d, read without the other words of the rule."""
    if ref is None:
        return (None,)
    if isinstance(ref, int):
        found: tuple[Network, ...] = head.memos[ref][rule.line.values[ref]]
        return found
    return rule.value(ref, NETWORKS) or (None,)


def _ports_of(use: Extension, flags: tuple[str, ...]) -> Iterator[tuple[bool, Span]]:
    for option, value in zip(use.options, use.values, strict=True):
        if option.flag in flags and value is not None:
            items = value if use.name == "multiport" else (value,)
            if _are_numbers(items):
                yield bool(use.inverted >> option.index & 1), union(map(_range, items))


def _atoms(masks: Iterable[int]) -> list[int]:
    """Groups of bits that no mask tells from each other; together all bits of all masks."""
    out: list[int] = []
    for mask in masks:
        new = mask
        split = []
        for bits in out:
            split += [part for part in (bits & mask, bits & ~mask) if part]
            new &= ~bits
        out = [*split, new] if new else split
    return out


def _packed(value: int, bits: int) -> int:
    """The bits of a value that a mask picks, moved together."""
    out = at = 0
    while bits:
        lowest = bits & -bits
        out |= bool(value & lowest) << at
        at += 1
        bits ^= lowest
    return out


def _are_numbers(items: Any) -> bool:
    """Has a list of ports no service in it that is still a name?"""
    return all(isinstance(low, int) and isinstance(high, int) for low, high in items)


def _range(value: tuple[int, int]) -> Span:
    low, high = value
    return ((low, high),) if low <= high else EMPTY


def _hops(flag: str, value: int) -> Span:
    if flag.endswith("-lt"):
        return ((0, value - 1),) if value else EMPTY
    if flag.endswith("-gt"):
        return ((value + 1, 0xFF),) if value < 0xFF else EMPTY
    return one(value)
