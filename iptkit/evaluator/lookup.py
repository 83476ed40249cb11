"""Which rules a packet may meet, found by its addresses, interfaces, protocol and ports.

The plain way is to ask each rule in turn.  Here every rule says beforehand
which values it asks of these seven fields (`demands`), and an `Index` turns
that around: for each field, from a packet's value to the set of rules that
take it, as the bits of a whole number.  The rules that all fields admit, in
order, are the candidates; what else these ask is then asked of them alone.

Rules are left out only where their conditions surely fail, so that a walk over
the candidates is a walk over all rules: tests/evaluator/test_lookup.py holds
the two against each other.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from iptkit.extensions.core import Conditions
    from iptkit.extensions.spec import PortsAsked
    from iptkit.values.packet import Packet

# What is asked of a packet: in and out interface, source, destination, protocol, ports.
Key = tuple[str, str, int, int, int, int, int]

_MEMO_LIMIT = 1 << 16  # values of one field whose rules are remembered
_MEMO_BYTES = 1 << 23  # of different sets of rules among them


class Demands(NamedTuple):
    """What a rule asks of the indexed fields; None where it asks nothing."""

    in_interface: tuple[str, bool] | None = None  # name or name+, inverted
    out_interface: tuple[str, bool] | None = None
    source: tuple[int, int, bool] | None = None  # address, mask, inverted
    destination: tuple[int, int, bool] | None = None
    protocol: tuple[int, bool] | None = None
    sports: PortsAsked | None = None
    dports: PortsAsked | None = None


def key_of(packet: Packet) -> Key:
    """The fields of a packet that are indexed."""
    return (
        packet.in_interface,
        packet.out_interface,
        packet.src,
        packet.dst,
        packet.proto,
        packet.sport,
        packet.dport,
    )


def demands(conditions: Conditions, matches: Iterable[Any]) -> Demands:
    """What a rule with these conditions and matches asks of the indexed fields.

    Of several demands on one field the first counts; the rest is asked later.
    A match that may keep state or drop packets, which is one without declared
    facts, sees all that comes to it: what stands behind it is not indexed.
    """
    sports: PortsAsked | None = None
    dports: PortsAsked | None = None
    for match in matches:
        asked = match.asked_ports()
        if asked is not None:
            sports = sports or asked.get("sport")
            dports = dports or asked.get("dport")
        elif match.facts is None:
            break
    return Demands(
        _interface(conditions.in_interface, conditions.in_inverted),
        _interface(conditions.out_interface, conditions.out_inverted),
        _network(conditions.source, conditions.source_inverted),
        _network(conditions.destination, conditions.destination_inverted),
        (conditions.protocol, conditions.protocol_inverted) if conditions.protocol else None,
        sports,
        dports,
    )


class Left(NamedTuple):
    """What a rule still asks of a packet that the index admits.

    early      places of matches that the indexed fields alone decide, though the index does not hold them:
               they may be asked before everything else
    late       places of the other matches that have something left to say
    by_header  do the late ones look at indexed fields, too?
    """

    early: tuple[int, ...]
    late: tuple[int, ...]
    by_header: bool


def left(matches: Sequence[Any]) -> Left:
    """What is left of a rule's matches, see `demands`."""
    sports = dports = stateful = by_header = False
    early: list[int] = []
    late: list[int] = []
    for place, match in enumerate(matches):
        header = match.facts is not None and "header" in match.facts
        asked = match.asked_ports()
        if asked is not None and not stateful:
            header = (sports and "sport" in asked) or (dports and "dport" in asked)
            sports = sports or "sport" in asked
            dports = dports or "dport" in asked
            if asked and not header and len(asked) == sum(value is not None for value in match.values):
                continue
        elif match.facts is None:
            stateful = True
        if header and not stateful and match.facts == ("header",):
            early.append(place)
        else:
            late.append(place)
            by_header = by_header or header
    return Left(tuple(early), tuple(late), by_header)


def _interface(name: str, inverted: bool) -> tuple[str, bool] | None:
    return (name, inverted) if name and (name != "+" or inverted) else None


def _network(network: tuple[int, int] | None, inverted: bool) -> tuple[int, int, bool] | None:
    if network is None or (not network[1] and not inverted):
        return None
    return network[0] & network[1], network[1], inverted


class _Field:
    """One field: from a value to the rules that admit it, as bits.

    `unasked` are the rules that ask nothing of it; `inverted` those that take
    all values but the ones they name.
    """

    __slots__ = ("_found", "_inverted", "_memo", "_room", "_same", "_unasked")

    def __init__(self, unasked: int, inverted: int, found: Callable[[Any], Iterable[int]]) -> None:
        self._unasked = unasked
        self._inverted = inverted
        self._found = found  # numbers of the rules that name a value
        self._memo: dict[Any, int] = {}
        self._same: dict[tuple[int, ...], int] = {}  # many values are named by the same rules
        self._room = max(64, _MEMO_BYTES // (unasked.bit_length() // 8 + 1))

    def rules(self, value: Any) -> int:
        bits = self._memo.get(value)
        if bits is None:
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            bits = self._memo[value] = self._look_up(value)
        return bits

    def _look_up(self, value: Any) -> int:
        numbers = tuple(self._found(value))
        bits = self._same.get(numbers)
        if bits is None:
            named = _bits(numbers)
            bits = self._unasked | (named & ~self._inverted) | (self._inverted & ~named)
            if len(self._same) >= self._room:
                self._same.clear()
                self._memo.clear()
            self._same[numbers] = bits
        return bits


def _bits(numbers: Iterable[int]) -> int:
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits


def members(bits: int) -> tuple[int, ...]:
    """The numbers of the bits that are set, lowest first."""
    out = []
    while bits:
        lowest = bits & -bits
        out.append(lowest.bit_length() - 1)
        bits ^= lowest
    return tuple(out)


class Index:
    """Rules by what they ask of the indexed fields."""

    __slots__ = ("_everything", "_fields")

    def __init__(self, asked: Sequence[Demands]) -> None:
        count = len(asked)
        everything = self._everything = (1 << count) - 1
        self._fields: list[tuple[int, _Field]] = []
        for at, build in enumerate(_BUILDERS):
            column = [(number, demand[at]) for number, demand in enumerate(asked) if demand[at] is not None]
            if not column:
                continue
            asking = mask(count, (number for number, _ in column))
            inverted = mask(count, (number for number, demand in column if demand and demand[-1]))
            self._fields.append((at, _Field(everything & ~asking, inverted, build(column))))

    def admitted(self, key: Key) -> int:
        """The rules that may match a packet, as bits.  Only for packets that are whole."""
        bits = self._everything
        for at, field in self._fields:
            bits &= field.rules(key[at])
            if not bits:
                break
        return bits


def mask(count: int, numbers: Iterable[int]) -> int:
    """Bits of many numbers at once."""
    out = bytearray(count // 8 + 1)
    for number in numbers:
        out[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(out, "little")


def _by_interface(column: Any) -> Callable[[Any], Iterator[int]]:
    exact: dict[str, list[int]] = {}
    prefixes: dict[str, list[int]] = {}
    for number, (name, _) in column:
        if name.endswith("+"):
            prefixes.setdefault(name[:-1], []).append(number)
        else:
            exact.setdefault(name, []).append(number)

    def found(value: str) -> Iterator[int]:
        yield from exact.get(value, ())
        for prefix, numbers in prefixes.items():
            if value.startswith(prefix):
                yield from numbers

    return found


def _by_address(column: Any) -> Callable[[Any], Iterator[int]]:
    by_mask: dict[int, dict[int, list[int]]] = {}
    for number, (address, mask, _) in column:
        by_mask.setdefault(mask, {}).setdefault(address, []).append(number)

    def found(value: int) -> Iterator[int]:
        for mask, networks in by_mask.items():
            yield from networks.get(value & mask, ())

    return found


def _by_number(column: Any) -> Callable[[Any], Iterator[int]]:
    numbers: dict[int, list[int]] = {}
    for number, (value, _) in column:
        numbers.setdefault(value, []).append(number)

    def found(value: int) -> Iterator[int]:
        yield from numbers.get(value, ())

    return found


def _by_port(column: Any) -> Callable[[Any], Iterable[int]]:
    asking = [(number, inverted) for number, (_, inverted) in column]
    spans = [(low, high, number) for number, (ranges, _) in column for low, high in ranges]
    # Between two ends of ranges all ports are alike.
    starts = sorted({0, *(low for low, _, _ in spans), *(high + 1 for _, high, _ in spans)})
    memo: dict[int, tuple[int, ...]] = {}

    def found(value: int) -> Iterable[int]:
        if value < 0:
            # Nothing to compare: a rule that asks for ports fails, inverted or not.
            return [number for number, inverted in asking if inverted]
        place = bisect_right(starts, value) - 1
        if place not in memo:
            start = starts[place]
            memo[place] = tuple([number for low, high, number in spans if low <= start <= high])
        return memo[place]

    return found


# In the order of Demands and Key.
_BUILDERS: tuple[Callable[[Any], Callable[[Any], Iterable[int]]], ...] = (
    _by_interface,
    _by_interface,
    _by_address,
    _by_address,
    _by_number,
    _by_port,
    _by_port,
)
