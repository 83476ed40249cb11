"""Interface names; the masks are those iptables 1.8.9 put into the kernel's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iptkit.values.interfaces import interface_mask, parse_interface


@pytest.mark.parametrize(
    "text",
    [
        "lo",
        "+",
        "++",
        "e+h",
        "eth0+",
        "eth++",
        "eth0:1",
        "eth0/1",
        "a b",
        "*",
        ".",
        "-",
        "!eth0",
        "a\\b",
        "a" * 15,
        "a" * 14 + "+",
        "\xc3\xa9",
    ],
)
def test_taken(text: str) -> None:
    assert parse_interface(text) == text


@pytest.mark.parametrize("text", ["a" * 16, "a" * 15 + "+"])
def test_too_long(text: str) -> None:
    with pytest.raises(ValueError, match="has 16 bytes, 15 is the most"):
        parse_interface(text)


def test_empty() -> None:
    with pytest.raises(ValueError, match="empty"):
        parse_interface("")
    assert parse_interface("", allow_empty=True) == ""


@pytest.mark.parametrize(
    ("name", "compared"),
    [("lo", 3), ("eth+", 3), ("+", 0), ("++", 1), ("a" * 15, 16), ("a" * 14 + "+", 14), ("e+h", 4), ("", 0)],
)
def test_mask(name: str, compared: int) -> None:
    expected = b"\xff" * compared + b"\0" * (16 - compared)
    assert interface_mask(name) == (name.encode().ljust(16, b"\0"), expected)


@given(st.text(st.characters(min_codepoint=1, max_codepoint=0xFF), min_size=1, max_size=15))
def test_name_comes_back_from_the_kernel_fields(name: str) -> None:
    raw, mask = interface_mask(parse_interface(name))
    assert len(raw) == len(mask) == 16
    assert raw.rstrip(b"\0").decode("latin-1") == name
