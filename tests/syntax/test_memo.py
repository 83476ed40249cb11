"""The packaged memo: what is packed can be read again, and what is not a memo is not taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iptkit.syntax import grammar
from iptkit.syntax.grammar import Memo, packed, unpacked

WORDS = st.text(max_size=8)
CHARS = st.characters(max_codepoint=255)
MEMOS = st.builds(
    Memo,
    WORDS,
    st.dictionaries(CHARS, st.sampled_from(["rule", "chain", "table"])),
    st.dictionaries(WORDS, WORDS),
    st.dictionaries(WORDS, st.tuples(st.sampled_from(["long", "short"]), WORDS, st.none() | WORDS)),
)


@given(MEMOS)
def test_round_trip(memo: Memo) -> None:
    assert unpacked(packed(memo)) == memo


def test_the_packaged_one() -> None:
    text = grammar.read(grammar.MEMO)
    memo = unpacked(text)
    assert packed(memo) == text
    assert memo.hash == grammar.grammar_hash()
    assert memo.options["--dport"] == ("long", "--dport", None)
    assert memo.kinds[":"] == "chain"


@pytest.mark.parametrize(
    "text", ["{}", "word\tone\n", "kind\trule\tzz\n", "options\n", "option\ta\n", "x\ty\tz\n"]
)
def test_not_a_memo(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        unpacked(text)


def test_a_spoilt_memo_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    right = grammar.memo()
    read = grammar.read
    monkeypatch.setattr(grammar, "read", lambda name: "rubbish" if name == grammar.MEMO else read(name))
    grammar.memo.cache_clear()
    try:
        made = grammar.memo()
    finally:
        grammar.memo.cache_clear()
    assert (made.hash, made.kinds, made.words) == (right.hash, right.kinds, right.words)
