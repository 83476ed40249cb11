"""Numbers, against what iptables 1.8.9 answered for `-m ttl --ttl-eq`, `-j MARK` and `-m mark`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT64_MAX, parse_mark_mask, parse_uint, parse_uint_prefix

TAKEN = {
    "7": 7,
    "+7": 7,
    " 7": 7,
    "\t7": 7,
    "\v7": 7,
    "\f7": 7,
    " +7": 7,
    "0x10": 16,
    "0X1f": 31,
    "+0x10": 16,
    "010": 8,
    "007": 7,
    "0": 0,
    "00": 0,
    "4294967295": 0xFFFFFFFF,
    "0xffffffff": 0xFFFFFFFF,
    "0" * 900 + "7": 7,
}

# fmt: off
REFUSED = [
    "", "  ", "+", "+ 7", "-7", " -7", "-0", "+-7", "-+7", "++7",
    "0x", "0xg", "0x+1", "0x 1", "08", "09", "0b1", "0o7", "1e3", "1_0", "7x", "7 ", "7,",
    "4294967296", "0x100000000", str(1 << 64), "9" * 900, "0x" + "f" * 900,
    "\xb2", "\xa07", "\x857", "\x1c7", "\x1f7",
]
# fmt: on


@pytest.mark.parametrize(("text", "value"), TAKEN.items())
def test_taken(text: str, value: int) -> None:
    assert parse_uint(text) == value


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a number from 0 to 4294967295, not "):
        parse_uint(text)


@pytest.mark.parametrize("text", ["0", "4", "0x4", "100"])
def test_outside_of_range(text: str) -> None:
    with pytest.raises(ValueError, match="from 5 to 63"):
        parse_uint(text, 5, 63)


def test_hint_at_octal() -> None:
    with pytest.raises(BadValue) as caught:
        parse_uint("08")
    assert "octal" in caught.value.hint


def test_64_bits() -> None:
    assert parse_uint("18446744073709551615", 0, UINT64_MAX) == UINT64_MAX
    assert parse_uint("01777777777777777777777", 0, UINT64_MAX) == UINT64_MAX
    with pytest.raises(ValueError, match="18446744073709551616"):
        parse_uint("18446744073709551616", 0, UINT64_MAX)


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [("1/2", 1, "/2"), ("0x", 0, "x"), ("08", 0, "8"), ("0x1g", 1, "g"), (" 12 3", 12, " 3"), ("5", 5, "")],
)
def test_prefix(text: str, value: int, rest: str) -> None:
    assert parse_uint_prefix(text) == (value, rest)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("1", (1, 0xFFFFFFFF)),
        ("1/2", (1, 2)),
        ("0x1ff/0xff", (0x1FF, 0xFF)),
        ("1/ 2", (1, 2)),
        ("1/+2", (1, 2)),
        ("010/010", (8, 8)),
    ],
)
def test_mark(text: str, pair: tuple[int, int]) -> None:
    assert parse_mark_mask(text) == pair


@pytest.mark.parametrize(
    "text",
    ["", "1/", "/2", "1/2/3", "1 /2", "1/-2", "-1/2", "1/4294967296", "4294967296/1", "0x/1", "1/0x", "1/08"],
)
def test_mark_refused(text: str) -> None:
    with pytest.raises(ValueError, match="VALUE/MASK"):
        parse_mark_mask(text)


@given(st.integers(0, UINT64_MAX))
def test_round_trip(value: int) -> None:
    for text in (str(value), hex(value), f"0{value:o}"):
        assert parse_uint(text, 0, UINT64_MAX) == value


@given(st.text(st.characters(max_codepoint=0xFF)))
def test_any_text_gives_a_number_or_valueerror(text: str) -> None:
    try:
        value, rest = parse_uint_prefix(text)
    except ValueError:
        with pytest.raises(ValueError, match="must be"):
            parse_uint(text)
        return
    assert text.endswith(rest)
    assert 0 <= value <= 0xFFFFFFFF
    if not rest:
        assert parse_uint(text) == value
