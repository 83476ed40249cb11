"""How refused values are quoted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iptkit.values.wording import did_you_mean, quote


def test_quote() -> None:
    assert quote("a b") == '"a b"'
    assert quote("a\tb\x7f") == '"a\\x09b\\x7f"'
    assert quote("x" * 100, 10) == '"xxxxxxxxxx..."'


@given(st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cc"])), st.integers(4, 20))
def test_cut_keeps_utf8_whole(text: str, limit: int) -> None:
    shown = quote(text.encode().decode("latin-1"), limit).encode("latin-1").decode()
    assert shown.strip('"').removesuffix("...") in text or '"' in text or "..." in text


def test_did_you_mean() -> None:
    assert did_you_mean("FORWRAD", ["input", "forward"]) == 'did you mean "forward"?'
    assert did_you_mean("acept", ["ACCEPT", "DROP"]) == 'did you mean "ACCEPT"?'
    assert did_you_mean("tpc", ["xtp", "tcp"]) == 'did you mean "tcp"?'
    assert did_you_mean("xyz", ["input", "forward"]) == ""
