"""Where a word of a line stands: the quick way agrees with cutting the line."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from iptkit.lint.check import whole, word_of
from iptkit.ruleset.interpret import word_spans
from iptkit.syntax.document import RuleLine
from iptkit.syntax.parser import Parser
from iptkit.text.diagnostic import Span
from iptkit.text.source import Source

PIECES = st.sampled_from(
    [*' \t"\\!-\0', "  ", "-A", "INPUT", "-m", "tcp", "--dport", "22", '"a b"', "[1:2]", "[1:2] ", "-j", "é"]
)
LINES = st.one_of(
    st.lists(PIECES, max_size=15).map(" ".join),
    st.lists(PIECES, max_size=15).map("".join),
    st.lists(PIECES, max_size=15).map(lambda words: "[1:2] -A INPUT " + " ".join(words)),
)


@given(LINES, st.integers(0, 12))
@example("[1:2]-A INPUT -j DROP", 2)
@example("[1:2]  -A INPUT -j DROP", 2)
@example('-A INPUT -m comment --comment "a b" -j DROP', 6)
@example("-A INPUT  -j DROP", 3)
def test_word_of(text: str, index: int) -> None:
    for line in Parser().parse(Source("x", text)).lines:
        if isinstance(line, RuleLine):
            spans = word_spans(line)
            wanted = Span(line.number, *spans[index]) if index < len(spans) else whole(line)
            assert word_of(line, index) == wanted
