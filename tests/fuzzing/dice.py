"""Where choices come from: a seed, or hypothesis."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


class Dice:
    """Choices, all made with one function: `number(low, high)`, both ends among them."""

    def __init__(self, number: Callable[[int, int], int]) -> None:
        self.number = number

    @classmethod
    def of_seed(cls, seed: int) -> Dice:
        return cls(random.Random(seed).randint)  # noqa: S311  # nothing secret about it

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.number(0, len(choices) - 1)]

    def chance(self, percent: int) -> bool:
        return self.number(1, 100) > 100 - percent

    def some(self, choices: Sequence[T], percent: int) -> list[T]:
        """Each of them with that chance, in their order."""
        return [each for each in choices if self.chance(percent)]
