"""What a rule asks of packets, as boxes in a space of everything that can be asked.

Addresses, interfaces, ports, states and the like are dimensions whose values
are known.  Any other condition is a dimension of two values: the same words
are the same condition, `!` its opposite.  A condition that does not follow
from the packet is a dimension of its own for each rule, and so is one on a
mark after a rule that may have changed it.

Dimensions are taken to be independent of each other.  Where they are not (a
mark under two masks, the flags of a packet without TCP), boxes may hold
packets that cannot be: so what is proven empty is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.lint.conditions import ALL_STATES, CHANGING, REWRITABLE, STATE_FLAGS
from iptkit.lint.intervals import EMPTY, box_intersection, difference, intersection, one, union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iptkit.extensions.spec import Extension, Option
    from iptkit.lint.intervals import Box, Dimension, Region, Span
    from iptkit.ruleset.model import Rule
    from iptkit.values.context import Family

SRC, DST, IN, OUT = "src", "dst", "in", "out"
PROTO, FRAGMENT, SPORT, DPORT, ICMP, FLAGS = "proto", "fragment", "sport", "dport", "icmp", "flags"
STATE, LENGTH, HOPS = "state", "length", "hops"
TCP, UDP, ICMP4, ICMP6 = 6, 17, 1, 58
SYN, ACK = 0x02, 0x10
# Matches that without options ask for no more than their protocol.
_OF_PROTOCOLS = frozenset(("tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmp6"))
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
    LENGTH: (0, 0xFFFF),
    HOPS: (0, 0xFF),
}
# Bits of xt_conntrack.h, in the order of the values of STATE.
_STATE_BITS = (0x001, 0x008, 0x004, 0x002, 0x100)
INVALID, NEW, RELATED, ESTABLISHED, UNTRACKED = range(5)


def domain(family: Family) -> Callable[[Dimension], Span]:
    """The function that gives all there is in a dimension."""
    address = ((0, 2 ** (32 if family == 4 else 128) - 1),)
    spans: dict[Dimension, Span] = {name: (interval,) for name, interval in _DOMAINS.items()}
    spans[SRC] = spans[DST] = address

    def of(dimension: Dimension) -> Span:
        found = spans.get(dimension)
        if found is None:
            kind = dimension[0]
            if kind == "then":
                found = of(dimension[1])
            elif kind in ("mark", "connmark"):
                found = ((0, dimension[1]),)
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


def network(address: int, mask: int, bits: int) -> Span | None:
    """The addresses of a network; None where the mask is no prefix."""
    rest = mask ^ (1 << bits) - 1
    if rest & rest + 1:
        return None
    return ((address, address | rest),)


class Asked:
    """Reads rules; remembers what it read of extensions."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.domain = domain(family)
        self._bits = 32 if family == 4 else 128
        self._known: dict[Extension, Region] = {}

    def region(self, rule: Rule, epoch: int = 0) -> Region:
        """The packets that meet a rule's conditions; [] when none can.

        `epoch` counts the rules before it that may have changed marks and the
        like: what is asked about these in two epochs is not the same thing.
        """
        region: Region = [{}]
        for part in self.parts(rule, epoch):
            region = [both for a in region for b in part if (both := box_intersection(a, b)) is not None]
            if not region:
                break
        return region

    def parts(self, rule: Rule, epoch: int = 0) -> Iterator[Region]:
        """What the rule's own conditions ask, and what each of its matches does."""
        core = self._core(rule)
        yield [core] if core is not None else []
        for use in rule.matches:
            if use.name in CHANGING:
                yield [{("once", id(rule), use): one(1)}]
                continue
            known = self._known.get(use)
            if known is None:
                known = self._known[use] = list(self._use(use))
            if use.name in REWRITABLE and epoch:
                known = [
                    {_in_epoch(dimension, epoch): span for dimension, span in box.items()} for box in known
                ]
            yield known

    def _core(self, rule: Rule) -> Box | None:
        """The conditions that belong to no match."""
        given = rule.conditions
        box: Box = {}
        for dimension, net, inverted in (
            (SRC, given.source, given.source_inverted),
            (DST, given.destination, given.destination_inverted),
        ):
            if net is not None and (net != (0, 0) or inverted):
                span = network(*net, self._bits)
                if span is None:
                    box[(dimension, net)] = one(int(not inverted))
                else:
                    self._narrow(box, dimension, span, inverted)
        for dimension, name, inverted in (
            (IN, given.in_interface, given.in_inverted),
            (OUT, given.out_interface, given.out_inverted),
        ):
            if name:
                self._narrow(box, dimension, interface(name), inverted)
        if given.protocol:
            self._narrow(box, PROTO, one(given.protocol), given.protocol_inverted)
        if given.fragment:
            box[FRAGMENT] = one(int(not given.fragment_inverted))
        return None if EMPTY in box.values() else box

    def _narrow(self, box: Box, dimension: Dimension, span: Span, inverted: bool) -> None:
        if inverted:
            span = difference(self.domain(dimension), span)
        box[dimension] = intersection(box[dimension], span) if dimension in box else span

    # -- matches

    def _use(self, use: Extension) -> Region:
        """What one use of a match asks."""
        if use.name == "comment":
            return [{}]
        region: Region = [{}]
        unread: list[Option[Any]] = []
        for option, value in zip(use.options, use.values, strict=True):
            if value is None:
                continue
            inverted = bool(use.inverted >> option.index & 1)
            part = self._option(use, option.flag, value, inverted)
            if part is None:
                unread.append(option)
            else:
                region = [both for a in region for b in part if (both := box_intersection(a, b)) is not None]
        if unread or (use.name not in _OF_PROTOCOLS and use.values.count(None) == len(use.values)):
            self._unread(use, unread, region)
        return [box for box in region if EMPTY not in box.values()]

    def _unread(self, use: Extension, unread: list[Option[Any]], region: Region) -> None:
        """Options whose meaning is not looked at: together a condition that is met or not."""
        inverted = [option for option in unread if use.inverted >> option.index & 1]
        # A single option that is inverted asks the opposite of the same one that is not.
        opposite = len(unread) == 1 and bool(inverted)
        words = tuple(
            (option.flag, use.values[option.index], option in inverted and not opposite) for option in unread
        )
        dimension = (use.kernel_name, words)
        for box in region:
            box[dimension] = one(int(not opposite))

    def _option(self, use: Extension, flag: str, value: Any, inverted: bool) -> Region | None:
        """What one option asks; None where that is not known."""
        name = use.name
        if flag == "--ports":
            span = union(_ports(item) for item in value)
            if inverted:
                left = difference(self.domain(SPORT), span)
                return [{SPORT: left, DPORT: left}]
            return [{SPORT: span}, {DPORT: span}]
        found = self._single(name, flag, value)
        if found is None:
            return None
        dimension, span = found
        if inverted:
            span = difference(self.domain(dimension), span)
        return [{dimension: span}]

    def _single(self, name: str, flag: str, value: Any) -> tuple[Dimension, Span] | None:
        if name in ("tcp", "udp", "sctp", "dccp", "udplite"):
            if flag in ("--sport", "--dport"):
                return (SPORT if flag == "--sport" else DPORT), _range(value)
            if flag == "--tcp-flags":
                mask, wanted = value
                return FLAGS, union(one(bits) for bits in range(0x40) if bits & mask == wanted)
        elif name == "multiport":
            return (SPORT if flag == "--sports" else DPORT), union(_ports(item) for item in value)
        elif flag in STATE_FLAGS:
            if value & ALL_STATES == value:
                return STATE, union(one(at) for at, bit in enumerate(_STATE_BITS) if value & bit)
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
        elif name in ("mark", "connmark") and flag == "--mark":
            mark, mask = value
            return (name, mask, 0), one(mark) if mark & mask == mark else EMPTY
        return None


def _in_epoch(dimension: Dimension, epoch: int) -> Dimension:
    """The same dimension at another time, where it is one that rules may change."""
    if isinstance(dimension, str) and dimension not in (HOPS, LENGTH):
        return dimension
    return ("then", dimension, epoch)


def _range(value: tuple[int, int]) -> Span:
    low, high = value
    return ((low, high),) if low <= high else EMPTY


def _ports(item: Any) -> Span:
    """One item of a multiport list: a port, or a range of two."""
    return _range(item) if isinstance(item, tuple) else one(item)


def _hops(flag: str, value: int) -> Span:
    if flag.endswith("-lt"):
        return ((0, value - 1),) if value else EMPTY
    if flag.endswith("-gt"):
        return ((value + 1, 0xFF),) if value < 0xFF else EMPTY
    return one(value)
