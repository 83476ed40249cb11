"""Policies of several elements: printed, read again, and through the kernel's struct."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iptkit import api
from iptkit.extensions.matches.policy import Element, Policy
from iptkit.extensions.spec import Given
from iptkit.ruleset.binding import Binder
from iptkit.values.context import Context

if TYPE_CHECKING:
    from iptkit.values.context import Family

BINDERS = {4: Binder(4), 6: Binder(6)}
NUMBERS = st.integers(0, 0xFFFFFFFF)
BYTES = st.integers(0, 255)
LENGTHS = st.integers(0, 32)


def read(options: str, family: Family = 4) -> Policy:
    rule = f"*filter\n-A FORWARD -m policy {options}\nCOMMIT\n"
    outcome = api.interpret(api.parse(rule), family, binder=BINDERS[family])
    assert not outcome.status, outcome.diagnostics
    (match,) = outcome.ruleset.tables["filter"].chains["FORWARD"].rules[0].matches
    assert isinstance(match, Policy)
    return match


@st.composite
def elements(draw: st.DrawFn) -> str:
    """The options of one element, in any order; at least the protocol."""

    def bang() -> str:
        return draw(st.sampled_from(("", "! ")))

    words = [f"{bang()}--proto {draw(st.sampled_from(('esp', 'ah', 'ipcomp', '50')))}"]
    if draw(st.booleans()):
        words.append(f"{bang()}--reqid {draw(NUMBERS)}")
    if draw(st.booleans()):
        words.append(f"{bang()}--spi {draw(NUMBERS):#x}")
    if draw(st.booleans()):
        words.append("--mode tunnel")
        ends = [end for end in ("src", "dst") if draw(st.booleans())]
        words += [f"{bang()}--tunnel-{end} 192.0.2.{draw(BYTES)}/{draw(LENGTHS)}" for end in ends]
    return " ".join(draw(st.permutations(words)))


@settings(deadline=None, max_examples=50)  # the first rule imports and binds
@given(st.lists(elements(), min_size=1, max_size=4), st.sampled_from(("in", "out")))
def test_a_policy_comes_back(described: list[str], direction: str) -> None:
    policy = read(f"--strict --dir {direction} " + " --next ".join(described))
    assert len(policy.elements()) == len(described)
    assert read(policy.text().removeprefix("policy ")) == policy
    assert Policy.decode(policy.encode(4), Context(4)) == policy


def test_elements_in_order() -> None:
    policy = read("--strict --spi 1 --next ! --reqid 2 --next --reqid 3 --proto ah --dir in")
    assert policy.elements() == (
        Element(spi=Given(1, False)),
        Element(reqid=Given(2, True)),
        Element(reqid=Given(3, False), proto=Given(51, False)),
    )
    assert policy.text() == (
        "policy --dir in --pol ipsec --strict --spi 0x1 --next ! --reqid 2 --next --reqid 3 --proto ah"
    )


def test_a_policy_without_elements_has_an_empty_one() -> None:
    assert read("--dir out --pol none").elements() == (Element(),)
    assert read("--dir out --pol none --reqid 5") == read("--dir out --pol none")


def test_what_the_kernel_cannot_have_is_refused() -> None:
    good = read("--dir in --proto esp").encode(4)
    with pytest.raises(ValueError, match="bytes from the kernel"):
        Policy.decode(good[:-8], Context(4))
    with pytest.raises(ValueError, match="without direction"):
        Policy.decode(bytes(len(good)), Context(4))
    with pytest.raises(ValueError, match="has no name"):
        Policy.decode(good.replace(b"\x32\x00\x04", b"\x06\x00\x04"), Context(4))
