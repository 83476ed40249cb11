"""Match by any 32-bit words of the packet."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Pad, Reading
from iptkit.extensions.spec import Extension, Match, Option, Problem, RuleFacts
from iptkit.text.record import NamedTuple
from iptkit.values.faults import BadValue
from iptkit.values.numbers import BLANKS, UINT32_MAX, parse_uint_prefix
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

LIMIT = 10  # XT_U32_MAXSIZE, of tests, of numbers in a location and of ranges in a test
OPERATORS = ("&", "<<", ">>", "@")  # enum xt_u32_ops
# struct xt_u32_test, linux/netfilter/xt_u32.h: 11 locations {number, operator before it}, 11 values
# {min, max}, and how many there are of both
_LOCATION = struct.Struct("=IB3x")
_VALUE = struct.Struct("=II")
_TEST_SIZE = (LIMIT + 1) * (_LOCATION.size + _VALUE.size) + 4


class WordTest(NamedTuple):
    """`start op number ... = range,...`: whether the word found lies in one of the ranges."""

    start: int
    steps: tuple[tuple[str, int], ...]
    ranges: tuple[tuple[int, int], ...]


class _Reader:
    """Reads tests from left to right, as u32_parse of libxt_u32.c."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.rest = text

    def fault(self, what: str) -> BadValue:
        at = len(self.text) - len(self.rest)
        return BadValue(f"{what} at character {at} of {quote(self.text)}")

    def skip(self) -> None:
        self.rest = self.rest.lstrip(BLANKS)

    def take(self, token: str) -> bool:
        if not self.rest.startswith(token):
            return False
        self.rest = self.rest[len(token) :]
        return True

    def number(self) -> int:
        try:
            value, self.rest = parse_uint_prefix(self.rest, 0, UINT32_MAX)
        except ValueError:
            raise self.fault("a number from 0 to 0xffffffff must stand") from None
        return value

    def tests(self) -> Iterator[WordTest]:
        count = 0
        while True:
            count += 1
            if count > LIMIT:
                raise self.fault(f"there can be {LIMIT} tests, and one more stands")
            yield WordTest(*self.location(), self.ranges())
            if not self.rest:
                return
            self.take("&&")

    def location(self) -> tuple[int, tuple[tuple[str, int], ...]]:
        self.skip()
        start = self.number()
        steps: list[tuple[str, int]] = []
        while True:
            self.skip()
            if self.take("="):
                return start, tuple(steps)
            operator = next((each for each in OPERATORS if self.take(each)), "")
            if not operator:
                raise self.fault(f"one of {' '.join(OPERATORS)} = must stand")
            steps.append((operator, self.number()))
            if len(steps) == LIMIT:
                raise self.fault(f"a location has up to {LIMIT} numbers, and one more stands")

    def ranges(self) -> tuple[tuple[int, int], ...]:
        """Up to a `&&` or the end."""
        found: list[tuple[int, int]] = []
        self.skip()
        while True:
            low = self.number()
            self.skip()
            high = self.number() if self.take(":") else low
            found.append((low, high))
            if len(found) > LIMIT:
                raise self.fault(f"a test has up to {LIMIT} ranges, and one more stands")
            self.skip()
            if not self.rest or self.rest.startswith("&&"):
                return tuple(found)
            if not self.take(","):
                raise self.fault("a , or && must stand")


class WordTests:
    """`tests := location=ranges [&& tests]`."""

    metavar = "location=value[:value][,...][&&...]"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> tuple[WordTest, ...]:
        return tuple(_Reader(text).tests())

    def show(self, value: tuple[WordTest, ...]) -> str:
        return '"' + "&&".join(map(_show_test, value)) + '"'


def _show_test(test: WordTest) -> str:
    steps = "".join(f"{operator}{number:#x}" for operator, number in test.steps)
    ranges = ",".join(f"{low:#x}" if low == high else f"{low:#x}:{high:#x}" for low, high in test.ranges)
    return f"{test.start:#x}{steps}={ranges}"


class _TestsField:
    """tests[11] and ntests."""

    size = (LIMIT + 1) * _TEST_SIZE + 1

    def __init__(self, field: str) -> None:
        self.field = field

    def write(self, use: Extension, family: Family) -> bytes:
        tests: tuple[WordTest, ...] = getattr(use, self.field) or ()
        packed = b"".join(map(self._pack, tests))
        return packed.ljust(self.size - 1, b"\0") + bytes([len(tests)])

    def _pack(self, test: WordTest) -> bytes:
        locations = _LOCATION.pack(test.start, 0) + b"".join(
            _LOCATION.pack(number, OPERATORS.index(operator)) for operator, number in test.steps
        )
        values = b"".join(_VALUE.pack(low, high) for low, high in test.ranges)
        return (
            locations.ljust((LIMIT + 1) * _LOCATION.size, b"\0")
            + values.ljust((LIMIT + 1) * _VALUE.size, b"\0")
            + bytes([len(test.steps) + 1, len(test.ranges), 0, 0])
        )

    def read(self, piece: bytes, into: Reading) -> None:
        count = min(piece[-1], LIMIT + 1)
        into.values[self.field] = tuple(self._unpack(piece[at * _TEST_SIZE :]) for at in range(count))

    def _unpack(self, piece: bytes) -> WordTest:
        numbers, ranges = (min(count, LIMIT + 1) for count in piece[_TEST_SIZE - 4 : _TEST_SIZE - 2])
        values_at = (LIMIT + 1) * _LOCATION.size
        locations = [_LOCATION.unpack_from(piece, at * _LOCATION.size) for at in range(numbers)]
        if not locations or any(operator >= len(OPERATORS) for _, operator in locations):
            raise BadValue("u32: a test from the kernel cannot be read")
        return WordTest(
            locations[0][0],
            tuple((OPERATORS[operator], number) for number, operator in locations[1:]),
            tuple(_VALUE.unpack_from(piece, values_at + at * _VALUE.size) for at in range(ranges)),
        )


def _holds(test: WordTest, data: bytearray, length: int) -> bool:
    """u32_match_it, net/netfilter/xt_u32.c: numbers of 32 bits; what would be read behind the end fails."""
    at, place = 0, test.start
    if length < 4 or place > length - 4:
        return False
    value = int.from_bytes(data[place : place + 4], "big")
    for operator, number in test.steps:
        if operator == "&":
            value &= number
        elif operator == "<<":
            value = value << number & UINT32_MAX
        elif operator == ">>":
            value >>= number
        else:
            at += value
            if at > UINT32_MAX - 4 or length < at + 4 or number > length - at - 4:
                return False
            value = int.from_bytes(data[at + number : at + number + 4], "big")
    return any(low <= value <= high for low, high in test.ranges)


class U32(Match, name="u32"):
    """Match packets by 32-bit words taken out of them.

    Each test reads the four bytes at an offset from the IP header, in network
    order, and may mask (`& m`), shift (`<< n`, `>> n`) and go on to other
    offsets (`@ n`: from the number found, read at n behind it).  The word that
    results must lie in one of the ranges after `=`, and all tests joined with
    `&&` must hold.  A test that reads behind the end of the packet fails.
    """

    revision = 0
    u32 = Option("--u32", type=WordTests(), invert=True, required=True, doc="the tests")
    layout = Layout(_TestsField("u32"), Bits("B", inverted={1: "u32"}), Pad(2))
    certain = True
    rewritable = True
    example = '-p icmp -m u32 --u32 "0x0&0xffff=0x100:0xffff" -j DROP'

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        for test in self.u32 or ():
            for operator, number in test.steps:
                if operator in ("<<", ">>") and number > 31:
                    yield Problem(f"a word has 32 bits, so {operator}{number} is refused", "u32")
                    return

    def matches(self, packet: Packet, world: World) -> bool | None:
        data, length = packet.data, len(packet.data)
        return all(_holds(test, data, length) for test in self.u32 or ()) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (U32,)
