"""What value types call usual is good, saved as it is written, and nothing to checks of single values."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iptkit.extensions.core import NETWORKS
from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target
from iptkit.lint.check import ValueCheck
from iptkit.lint.checks.impossible import ImpossibleMatch
from iptkit.lint.optionvalues import OptionValue, odd_words
from iptkit.lint.registry import checks
from iptkit.lint.savedform import _UNSAVED
from iptkit.ruleset.bound import Memo
from iptkit.values.context import Context, Family

NUMBER = st.one_of(st.integers(0, 300), st.integers(0, 70000)).map(str)
OCTET = st.integers(0, 260).map(str)
ADDRESS = st.lists(OCTET, min_size=4, max_size=4).map(".".join)
HEX = st.one_of(st.just(2**32 - 1), st.integers(0, 2**33)).map(hex)
WORDS = st.one_of(
    NUMBER,
    st.lists(NUMBER, min_size=1, max_size=17).map(",".join),
    st.lists(NUMBER, min_size=1, max_size=3).map(":".join),
    st.lists(HEX, min_size=1, max_size=2).map("/".join),
    st.tuples(HEX, st.integers(0, 2**32 - 1)).map(
        lambda both: f"{int(both[0], 16) & both[1]:#x}/{both[1]:#x}"
    ),
    st.tuples(ADDRESS, st.sampled_from(["32", "24", "0"])).map("/".join),
    st.tuples(OCTET, OCTET, st.sampled_from(["0.0/16", "0.0/8", "0.0/15"])).map(".".join),
    st.lists(ADDRESS, min_size=1, max_size=2).map("-".join),
    st.tuples(ADDRESS, NUMBER).map(":".join),
    st.tuples(ADDRESS, OCTET).map(lambda both: f"{both[0]}-{both[0].rpartition('.')[0]}.{both[1]}"),
    st.tuples(
        st.lists(st.sampled_from(["0", "1", "9", "10", "255"]), min_size=4, max_size=4), st.integers(0, 33)
    ).map(lambda both: f"{'.'.join(both[0])}/{both[1]}"),
)

USUAL = [
    "10.0.0.0/8",
    "1.2.3.4/32",
    "80",
    "1000:2000",
    "80,443",
    "0x1/0xff",
    "10.0.0.1-10.0.0.9",
    "1.2.3.4:80",
]


def types() -> list[tuple[str, str, Any, Any, Family]]:
    """Extension, option, its type, its class, family: of types with a `usual`."""
    found: list[tuple[str, str, Any, Any, Family]] = []
    families: tuple[Family, ...] = (4, 6)
    for family in families:
        found += [("", flag, NETWORKS, None, family) for flag in ("-s", "-d")]
        classes = [find_match(name, family) for name in MATCHES] + [find_target(n, family) for n in TARGETS]
        for cls in filter(None, classes):
            for option in cls.options:
                if hasattr(option.type, "usual"):
                    found.append((cls.name, option.flag, option.type, cls, family))
    return found


TYPES = types()
CHECKS = [each for each in [*checks(), ImpossibleMatch.Values()] if isinstance(each, ValueCheck)]


def test_there_are_some() -> None:
    assert {flag for _, flag, *_ in TYPES} >= {
        "-s",
        "-d",
        "--dport",
        "--dports",
        "--mark",
        "--set-xmark",
        "--src-range",
    }


@pytest.mark.parametrize(
    ("name", "flag", "type_", "cls", "family"),
    TYPES,
    ids=[f"{name}{flag}-{family}" for name, flag, *_, family in TYPES],
)
def test_usual(name: str, flag: str, type_: Any, cls: Any, family: Family) -> None:
    context = Context(family)

    @settings(max_examples=150, deadline=None)
    @given(WORDS)
    def look(word: str) -> None:
        memo = Memo(type_, context)
        usual = memo.usual()
        if usual is None or not usual(word):
            return
        value = memo[word]
        assert not [*odd_words(memo, family)]
        if type_ is NETWORKS:
            assert len(value) == 1
        for inverted in (False, True):
            given_value = OptionValue(flag, word, word, value, inverted, cls, family)
            for check in CHECKS:
                if flag in check.options:
                    assert not [*check.look(given_value)], (check.code, word)
        if name in _UNSAVED:
            assert not re.search(_UNSAVED[name], word)

    look()
    usual = Memo(type_, context).usual()
    assert family == 6 or (usual is not None and [word for word in USUAL if usual(word)])
