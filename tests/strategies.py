"""Hypothesis strategies for rules, made from the declarations of the extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.fuzzing.dice import Dice
from tests.fuzzing.rules import EDGE, GOOD, WILD, Made, make

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

    from iptkit.values.context import Family


def _dice(draw: DrawFn) -> Dice:
    return Dice(lambda low, high: draw(st.integers(low, high)))


@st.composite
def good_rules(draw: DrawFn, family: Family, only: str = "") -> Made:
    """A rule made of good words, which iptables mostly takes; with `only` one that uses this extension."""
    return make(_dice(draw), family, only, GOOD)


@st.composite
def any_rules(draw: DrawFn, family: Family, only: str = "") -> Made:
    """A rule that may be wrong in any way."""
    return make(_dice(draw), family, only, draw(st.sampled_from((GOOD, EDGE, EDGE, WILD))))
