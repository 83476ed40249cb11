"""Align two sequences of numbers, each number a rule's identity.

What stays is a longest common subsequence (Hunt and Szymanski's reduction to a
longest increasing one, CACM 20(5), 1977).  Its cost grows with the number of
equal pairs, so numbers that occur often wait until the others are placed, and
the gaps left between those are looked at by themselves.  Where a gap holds
nothing else, they are only tried against occurrences of about the same rank,
counted from the front and from the back.  For rules that occur a few times at
most, as nearly all do, the result is exact; it always is correct.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Pair = tuple[int, int]  # an index of the old sequence, an index of the new one

_FULL = 64  # equal pairs of one number up to which all are tried
_REACH = 3  # beyond that, so many ranks to either side
_DEPTH = 24  # how often a gap within a gap is looked at: each time costs the length of the whole at most


def stays(old: Sequence[int], new: Sequence[int]) -> list[Pair]:
    """Pairs of equal elements, ascending on both sides: what may be called unchanged."""
    found: list[Pair] = []
    # Each piece of work is a range of both sides, between pairs already found.
    work = [(0, len(old), 0, len(new), 0)]
    while work:
        low, high, left, right, depth = work.pop()
        while low < high and left < right and old[low] == new[left]:
            found.append((low, left))
            low += 1
            left += 1
        while low < high and left < right and old[high - 1] == new[right - 1]:
            high -= 1
            right -= 1
            found.append((high, right))
        if low == high or left == right:
            continue
        pairs, exact = _common(old, new, low, high, left, right)
        found += pairs
        if exact or not pairs or depth == _DEPTH:
            continue
        for i, j in [*pairs, (high, right)]:
            if low < i and left < j:
                work.append((low, i, left, j, depth + 1))
            low, left = i + 1, j + 1
    found.sort()
    return found


def _common(
    old: Sequence[int], new: Sequence[int], low: int, high: int, left: int, right: int
) -> tuple[list[Pair], bool]:
    """A common subsequence of two ranges, and whether it is surely a longest one."""
    there: dict[int, list[int]] = {}
    for j in range(left, right):
        there.setdefault(new[j], []).append(j)
    here: dict[int, int] = {}
    for i in range(low, high):
        number = old[i]
        if number in there:
            here[number] = here.get(number, 0) + 1
    often = {
        n for n, times in here.items() if min(times, len(there[n])) > 1 and times * len(there[n]) > _FULL
    }
    rarely = len(often) < len(here)
    ranks: dict[int, int] = {}
    tails: list[int] = []  # per length, the smallest end in new of a chain of that length
    ends: list[int] = []  # per length, the node that ends there
    nodes: list[tuple[int, int, int]] = []  # old index, new index, node before
    for i in range(low, high):
        number = old[i]
        candidates = there.get(number)
        if candidates is None:
            continue
        if number in often:
            if rarely:
                continue
            rank = ranks.get(number, 0)
            ranks[number] = rank + 1
            candidates = _near(candidates, rank, rank + len(candidates) - here[number])
        # Backwards, so that no two of them build on each other.
        for j in reversed(candidates):
            at = bisect_left(tails, j)
            if at == len(tails):
                tails.append(j)
                ends.append(len(nodes))
            elif tails[at] == j:
                continue
            else:
                tails[at] = j
                ends[at] = len(nodes)
            nodes.append((i, j, ends[at - 1] if at else -1))
    pairs: list[Pair] = []
    node = ends[-1] if ends else -1
    while node >= 0:
        i, j, node = nodes[node]
        pairs.append((i, j))
    pairs.reverse()
    return pairs, not often


def _near(places: list[int], front: int, back: int) -> list[int]:
    first = max(0, min(front, back) - _REACH)
    last = max(front, back) + _REACH + 1
    if last - first <= 4 * _REACH + 2:
        return places[first:last]
    low, high = min(front, back), max(front, back)
    return places[first : max(0, low + _REACH + 1)] + places[max(0, high - _REACH) : last]


def moves(old: Sequence[int], new: Sequence[int], kept: list[Pair]) -> list[Pair]:
    """Equal elements that did not stay, paired in order: the same thing elsewhere.  Ascending in `old`."""
    kept_new = {j for _, j in kept}
    there: dict[int, list[int]] = {}
    for j in range(len(new) - 1, -1, -1):
        if j not in kept_new:
            there.setdefault(new[j], []).append(j)
    if not there:
        return []
    kept_old = {i for i, _ in kept}
    found = []
    for i, number in enumerate(old):
        if i not in kept_old:
            places = there.get(number)
            if places:
                found.append((i, places.pop()))
    return found
