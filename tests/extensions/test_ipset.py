"""Uses of sets, whose structs need the machine's numbers."""

from __future__ import annotations

import sys

import pytest

from iptkit.extensions.ipset import NO_SET, NeedsSet, SetRef, SetValue
from iptkit.extensions.targets.set import Set
from iptkit.values.context import Context

USE = Set.of(add_set=SetRef("a", (True, False)), del_set=SetRef("b", (False,)), exist=True)
NUMBERS = {"a": 7, "b": 0}
NAMES = {7: "a", 0: "b"}


def test_without_numbers_the_sets_are_named() -> None:
    with pytest.raises(NeedsSet, match='the set "a", "b"') as found:
        USE.encode(4)
    assert found.value.names == USE.set_names() == ("a", "b")
    with pytest.raises(NeedsSet) as missing:
        USE.encode_with(4, {"b": 3})
    assert missing.value.names == ("a",)


def test_without_names_the_numbers_are_told() -> None:
    payload = USE.encode_with(4, NUMBERS)
    with pytest.raises(NeedsSet, match="set 7, 0") as found:
        Set.decode(payload, Context(4))
    assert found.value.indices == Set.set_indices(payload) == (7, 0)
    with pytest.raises(NeedsSet) as missing:
        Set.decode_with(payload, Context(4), {7: "a"})
    assert missing.value.indices == (0,)


def test_with_them_it_comes_back() -> None:
    assert Set.decode_with(USE.encode_with(4, NUMBERS), Context(4), NAMES) == USE


def test_an_absent_set_has_the_number_of_none() -> None:
    payload = USE.encode_with(4, NUMBERS)
    assert int.from_bytes(payload[8:10], sys.byteorder) == NO_SET


def test_flags_are_src_or_dst_up_to_six_times() -> None:
    type_ = SetValue()
    assert type_.parse(("x", "src,dst"), Context(4)) == SetRef("x", (True, False))
    assert type_.show(SetRef("odd name;", (False, False))) == "odd name; dst,dst"
    for flags in ("", "src,", "both", ",src", "src,src,src,src,src,src,src"):
        with pytest.raises(ValueError, match="src"):
            type_.parse(("x", flags), Context(4))
    with pytest.raises(ValueError, match="1 to 31 bytes, not 32"):
        type_.parse(("x" * 32, "src"), Context(4))
