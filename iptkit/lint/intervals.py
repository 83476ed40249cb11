"""Sets of whole numbers as intervals, products of such sets, and what is left of one without others.

A `Span` is a sorted tuple of disjoint intervals (low, high), both ends in it.
A `Box` gives a span for some dimensions; in a dimension it does not name it
is everything.  A `Region` is a list of boxes, which may overlap.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Span = tuple[tuple[int, int], ...]
Dimension = Any  # hashable
Box = dict[Dimension, Span]
Region = list[Box]

_LOW = itemgetter(0)
EMPTY: Span = ()
EVERYTHING: Region = [{}]


class TooMuch(Exception):
    """A question takes more work than it may.  That is no error: the answer is not worth its price."""


def one(value: int) -> Span:
    return ((value, value),)


def union(spans: Iterable[Span]) -> Span:
    """All that is in any of the spans."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(interval for span in spans for interval in span):
        if out and low <= out[-1][1] + 1:
            if high > out[-1][1]:
                out[-1] = out[-1][0], high
        else:
            out.append((low, high))
    return tuple(out)


def intersection(a: Span, b: Span) -> Span:
    if a == b:
        return a
    out = []
    i = j = 0
    while i < len(a) and j < len(b):
        low = max(a[i][0], b[j][0])
        high = min(a[i][1], b[j][1])
        if low <= high:
            out.append((low, high))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return tuple(out)


def difference(a: Span, b: Span) -> Span:
    """What is in `a` and not in `b`."""
    out = []
    j = 0
    for low, high in a:
        at = low
        while j < len(b) and b[j][1] < at:
            j += 1
        k = j
        while k < len(b) and b[k][0] <= high:
            if b[k][0] > at:
                out.append((at, b[k][0] - 1))
            at = b[k][1] + 1
            k += 1
        if at <= high:
            out.append((at, high))
    return tuple(out)


def is_within(a: Span, b: Span) -> bool:
    """Is all of `a` in `b`?"""
    j = 0
    for low, high in a:
        while j < len(b) and b[j][1] < low:
            j += 1
        if j == len(b) or b[j][0] > low or b[j][1] < high:
            return False
    return True


def share(a: Span, b: Span) -> bool:
    """Have two spans a number in common?"""
    if len(a) > len(b):
        a, b = b, a
    if len(b) == 1:
        return a[0][0] <= b[0][1] and b[0][0] <= a[0][1]
    for low, high in a:
        # The last interval that begins at or before `high` is the one to ask.
        at = bisect_right(b, high, key=_LOW) - 1
        if at >= 0 and b[at][1] >= low:
            return True
    return False


def box_intersection(a: Box, b: Box) -> Box | None:
    """What is in both; None when nothing is."""
    out = dict(a)
    for dimension, span in b.items():
        mine = out.get(dimension)
        if mine is None:
            out[dimension] = span
        elif mine is not span:
            both = intersection(mine, span)
            if not both:
                return None
            out[dimension] = both
    return out


def are_disjoint(a: Box, b: Box) -> bool:
    for dimension, span in b.items():
        mine = a.get(dimension)
        if mine is not None and mine is not span and not share(mine, span):
            return True
    return False


def box_within(a: Box, b: Box) -> bool:
    """Is all of `a` in `b`?"""
    for dimension, span in b.items():
        mine = a.get(dimension)
        if mine is None or (mine is not span and not is_within(mine, span)):
            return False
    return True


def box_difference(a: Box, b: Box, domain: Callable[[Dimension], Span]) -> Iterator[Box]:
    """What is in `a` and not in `b`, in pieces that do not overlap.

    `domain` gives all there is in a dimension.
    """
    if are_disjoint(a, b):
        yield a
        return
    rest = dict(a)
    for dimension, span in b.items():
        mine = rest.get(dimension) or domain(dimension)
        outside = difference(mine, span)
        if outside:
            yield {**rest, dimension: outside}
            rest[dimension] = intersection(mine, span)


def merged(region: Region) -> Region:
    """The same in fewer boxes, where some differ in one dimension alone, one of those with many values."""
    for dimension in dict.fromkeys([d for box in region for d in box if isinstance(d, str)]):
        groups: dict[Any, list[Box]] = {}
        out = []
        for box in region:
            if dimension in box:
                key = frozenset([item for item in box.items() if item[0] != dimension])
                groups.setdefault(key, []).append(box)
            else:
                out.append(box)
        for boxes in groups.values():
            if len(boxes) == 1:
                out += boxes
            else:
                out.append({**boxes[0], dimension: union([box[dimension] for box in boxes])})
        region = out
    return region


def meet(a: Region, b: Region) -> Region:
    """What is in both."""
    return [both for x in a for y in b if (both := box_intersection(x, y)) is not None]


def meets(a: Region, b: Region) -> bool:
    """Is anything in both?"""
    return any(not are_disjoint(x, y) for x in a for y in b)


FOR_A_QUESTION = 10_000  # comparisons of boxes, beside looking at each once


_MANY = 8  # boxes, that it is worth to look for some that can be one


class Work:
    """How many boxes may be compared; `spend` raises TooMuch when all is spent."""

    __slots__ = ("left",)

    def __init__(self, amount: int) -> None:
        self.left = amount

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise TooMuch


class Remains:
    """What is left of regions without others."""

    __slots__ = ("_domain", "_work")

    def __init__(self, domain: Callable[[Dimension], Span], work: Work) -> None:
        self._domain = domain
        self._work = work

    def pieces(self, box: Box, taken: Region) -> Iterator[Box]:
        """The pieces of a box that are in none of the boxes of `taken`, one after the other.

        Ask for the first alone, and that is found without looking for all.
        Raises TooMuch.
        """
        taken = [other for other in taken if not are_disjoint(box, other)]
        if len(taken) > _MANY:
            self._work.spend(2 * len(taken))
            taken = merged(taken)
        stack = [(box, taken)]
        spent = -len(taken)
        while stack:
            piece, others = stack.pop()
            spent += len(others) + 1
            if spent > FOR_A_QUESTION:
                raise TooMuch
            self._work.spend(len(others) + 1)
            others = [other for other in others if not are_disjoint(piece, other)]
            if not others:
                yield piece
                continue
            if any(box_within(piece, other) for other in others):
                continue
            # The box that stands out of the fewest sides leaves the fewest pieces.
            first = min(others, key=len)
            rest = [other for other in others if other is not first]
            stack += [(each, rest) for each in box_difference(piece, first, self._domain)]
