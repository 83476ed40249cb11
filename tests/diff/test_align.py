"""Alignment of plain sequences, held against the textbook table for the longest common subsequence."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iptkit.diff.align import moves, stays

if TYPE_CHECKING:
    from collections.abc import Sequence


def longest(old: Sequence[int], new: Sequence[int]) -> int:
    """Length of a longest common subsequence, by the quadratic table."""
    row = [0] * (len(new) + 1)
    for one in old:
        before = 0
        for j, other in enumerate(new):
            here = row[j + 1]
            row[j + 1] = before + 1 if one == other else max(here, row[j])
            before = here
    return row[-1]


numbers = st.lists(st.integers(0, 12), max_size=25)


@given(numbers, numbers)
def test_what_stays_is_a_longest_common_subsequence(old: list[int], new: list[int]) -> None:
    pairs = stays(old, new)
    assert all(old[i] == new[j] for i, j in pairs)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(pairs))
    assert len(pairs) == longest(old, new)


@given(st.lists(st.integers(0, 3), max_size=80), st.lists(st.integers(0, 3), max_size=80))
def test_with_many_repeats_it_is_still_a_common_subsequence(old: list[int], new: list[int]) -> None:
    pairs = stays(old, new)
    assert all(old[i] == new[j] for i, j in pairs)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(pairs))


@given(numbers, numbers)
def test_moves_pair_all_that_is_left_and_equal(old: list[int], new: list[int]) -> None:
    kept = stays(old, new)
    moved = moves(old, new, kept)
    assert all(old[i] == new[j] for i, j in moved)
    used_old = [i for i, _ in (*kept, *moved)]
    used_new = [j for _, j in (*kept, *moved)]
    assert len(set(used_old)) == len(used_old)
    assert len(set(used_new)) == len(used_new)
    rest_old = {n for i, n in enumerate(old) if i not in used_old}
    rest_new = {n for j, n in enumerate(new) if j not in used_new}
    assert not rest_old & rest_new


def _separated(size: int) -> list[int]:
    """Rules with a RETURN between any two, as in files that were written by a program."""
    return [n for i in range(size) for n in (i + 1, 0)]


@pytest.mark.parametrize(
    "sequence",
    [list(range(20_000)), [0] * 20_000, _separated(10_000), [i % 7 for i in range(20_000)]],
    ids=["distinct", "equal", "separated", "periodic"],
)
def test_time_does_not_grow_with_the_square(sequence: list[int]) -> None:
    source = random.Random(1)  # noqa: S311 - nothing secret about it
    edited = list(sequence)
    for number in range(200):
        place = source.randrange(len(edited))
        if number % 2:
            del edited[place]
        else:
            edited.insert(place, 1_000_000 + number)
    start = time.process_time()
    pairs = stays(sequence, edited)
    assert time.process_time() - start < 2  # the square would be minutes
    assert len(pairs) >= len(sequence) - 400
