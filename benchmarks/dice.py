"""Random numbers that are the same everywhere for the same seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Dice:
    """Draws from `random()` alone: of the module's functions, it is the one that promises never to change."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # rules to measure with, no secrets

    def chance(self, share: float) -> bool:
        """True in so many cases of one."""
        return self._random.random() < share

    def number(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self._random.random() * len(choices))]

    def weighed(self, choices: Sequence[tuple[int, T]]) -> T:
        """One of `(weight, choice)`."""
        left = self._random.random() * sum(weight for weight, _ in choices)
        for weight, choice in choices:
            left -= weight
            if left < 0:
                return choice
        return choices[-1][1]
