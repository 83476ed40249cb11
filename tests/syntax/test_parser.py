"""The parser loses nothing, never raises, and agrees with the Lark grammar."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iptkit.syntax import reference
from iptkit.syntax.document import Document, RuleLine
from iptkit.syntax.parser import Parser, middle, parse, words_of
from iptkit.syntax.words import LINE_LIMIT, BadCounters, split_counters, split_words
from iptkit.text.source import Source

SHARED = Path(__file__).resolve().parents[3] / "shared" / "corpus"

# Pieces that meet at the seams of the format: quotes, escapes, blanks, options.
PIECES = st.sampled_from(
    [
        *' \t"\\!-#*:[]\0\r\n',
        "-A",
        "-j",
        "-m",
        "-p",
        "-g",
        "-s",
        "--dport",
        "--dport=80",
        "-jACCEPT",
        "--",
        "tcp",
        "INPUT",
        "ACCEPT",
        '"a b"',
        '"-j"',
        '"!x"',
        '""',
        'a"b"c',
        "[1:2]",
        "[1:2] ",
        "COMMIT",
        "*filter",
        ":INPUT ACCEPT [0:0]",
        "--comment",
        "10.0.0.1",
        "é",
        "--match",
        "--ju",
        "-fm",
        "LOG --log-prefix x",
    ]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=25).map(" ".join),
    st.lists(PIECES, max_size=25).map("".join),
    st.text(max_size=60),
).map(lambda text: text.encode("utf-8", "surrogatepass").decode("latin-1"))


def document(text: str) -> Document:
    return Parser().parse(Source("test", text))


@given(st.binary(max_size=300))
def test_any_bytes_come_back(data: bytes) -> None:
    assert parse(Source.of(data)).text().encode("latin-1") == data


@given(TEXTS)
@example('-A INPUT -m comment --comment "x\n')
@example("COMMIT")
@example("[1:2]")
def test_lines_agree_with_the_grammar(text: str) -> None:
    parsed = document(text)
    assert parsed.text() == text
    assert [line.kind for line in parsed.lines] == reference.kinds(text)


@given(TEXTS)
@example('-A INPUT -j "ACC"EPT')
@example('-A INPUT "x\\')
def test_words_agree_with_the_grammar(text: str) -> None:
    for at, line in enumerate(document(text).lines):
        if not isinstance(line, RuleLine) or line.shape is None:
            continue
        whole = line.raw + "\n" if document(text).ends_with_newline(at) else line.raw
        _, whole, begin = split_counters(whole)
        assert words_of(line) == reference.words(whole[begin:]) == [w.text for w in split_words(whole, begin)]


@given(TEXTS)
@example("-A INPUT ! -o  eth0 -j DROP\n")
@example("-A INPUT  -j DROP\n-A INPUT -j DROP \n[1:2]  -A INPUT\n-A a\tb\n")
def test_all_but_plain_lines_are_listed(text: str) -> None:
    """What is not listed is as it is written word by word, a blank between them."""
    parsed = document(text)
    odd = {id(line) for line in parsed.odd}
    for line in parsed.lines:
        if not isinstance(line, RuleLine) or id(line) in odd:
            continue
        assert line.shape is not None
        values = iter(line.values)
        words = [next(values) if word is None else word for word in line.shape.words]
        assert line.raw[line.counters.end + 1 if line.counters else 0 :] == " ".join(words)
        assert line.counters is None or max(map(int, line.counters[:2])) < 2**64
        for word in words:
            assert word.count('"') in (0, 2) or '\\"' in word
            assert "\t" not in word or word[0] == '"'


@given(TEXTS)
def test_a_line_that_cannot_be_cut_says_why(text: str) -> None:
    for line in document(text).lines:
        if isinstance(line, RuleLine) and line.shape is None:
            assert line.fault


@given(TEXTS, st.data())
def test_a_part_of_a_file(text: str, data: st.DataObject) -> None:
    """Of a part the rules are those of the whole file, and so is all that is no rule."""
    whole = document(text)
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(whole.lines))] * 2)))
    places = [0, *[at + 1 for at, char in enumerate(text) if char == "\n"]]
    begin, end = ([*places, len(text)][at] for at in (first, last))
    part = Parser().parse_part(Source("test", text), first + 1, begin, end)
    assert part is not None
    wanted = [line for at, line in enumerate(whole.lines) if line.kind != "rule" or first <= at < last]
    shown = [(line.number, line.kind, line.raw) for line in part.lines]
    assert shown == [(line.number, line.kind, line.raw) for line in wanted]
    theirs = {line.number: line for line in wanted if isinstance(line, RuleLine)}
    for ours in part.lines:
        if isinstance(ours, RuleLine):
            same = theirs[ours.number]
            assert (ours.values, ours.counters, ours.fault) == (same.values, same.counters, same.fault)
    # The others are read when they are asked for, each once.
    known = {line.number: line for line in part.lines}
    begin, end = sorted(data.draw(st.tuples(*[st.integers(1, len(whole.lines) + 1)] * 2)))
    row = part.row(range(begin, end))
    assert [line.raw for line in row] == [line.raw for line in whole.lines[begin - 1 : end - 1]]
    assert all(known.setdefault(line.number, line) is line for line in row)
    assert part.row(range(begin, end)) == row
    assert [line.number for line in whole.row(range(begin, end))] == list(range(begin, end))
    for line in whole.lines:
        read = part.line(line.number)
        assert (read.kind, read.number, read.raw) == (line.kind, line.number, line.raw)
        assert read is known.setdefault(line.number, read) is part.line(line.number)
        if isinstance(line, RuleLine):
            assert isinstance(read, RuleLine)
            assert (read.values, read.counters, read.fault) == (line.values, line.counters, line.fault)


def test_the_middle_is_that_of_the_rules() -> None:
    first, second = "-A INPUT -j ACCEPT\n" * 10, "-A A -j ACCEPT\n" * 10
    text = "*filter\n" + first + "COMMIT\n*nat\n" + ":A - [0:0]\n" * 50 + second
    for part in (0.25, 0.5):
        before = text[: middle(text, part)[0]]
        assert before.endswith("\n")
        assert before.count("-A") == int(len(first + second) * part) // len("-A INPUT -j ACCEPT\n")
    assert middle(text, 0.9)[0] > text.index(second)
    assert middle("*filter\nCOMMIT\n") == (0, 0)


def test_a_part_of_a_file_with_too_long_a_line() -> None:
    text = "-A a\n#" + "x" * LINE_LIMIT
    assert Parser().parse_part(Source("test", text), 2, 5, len(text)) is None


def test_shapes_are_shared_and_hold_no_values() -> None:
    parsed = document(
        "-A a -s 10.0.0.1 -p tcp -m tcp --dport 22 -j x\n-A b -s 10.0.0.2 -p tcp -m tcp --dport 80 -j y\n"
    )
    first, second = parsed.lines
    assert isinstance(first, RuleLine)
    assert isinstance(second, RuleLine)
    assert first.shape is second.shape
    assert first.values == ["a", "10.0.0.1", "22", "x"]


def test_shapes_share_their_parts() -> None:
    parsed = document(
        "-A a -s 1.1.1.1 -i b -j x\n-A a  -s  1.1.1.1 -i b -p tcp -j x\n"
        "-A a -d 1.1.1.1 -j x\n-N a\n-A a ! -s x\n"
    )
    shapes = [line.shape for line in parsed.lines if isinstance(line, RuleLine) and line.shape is not None]
    assert shapes[0].head is shapes[1].head
    assert shapes[0].tail is shapes[2].tail
    assert [shape.head.words for shape in shapes[2:]] == [
        ("-A", None, "-d", None),
        (),
        ("-A", None, "!", "-s", None),
    ]
    assert [shape.tail.words for shape in shapes[2:]] == [("-j", None), ("-N", None), ()]
    assert [shape.holes for shape in shapes[2:]] == [(1, 3, 5), (1,), (1, 4)]


def test_what_decides_how_a_line_reads_stays_in_the_shape() -> None:
    for text in (
        "-A a -p 6 -m tcp",
        "-A a --protocol tcp",
        "-A a --match tcp",
        "-A a -j LOG --log-level 4",
        "-A a -fm tcp",
    ):
        (line,) = document(text + "\n").lines
        assert isinstance(line, RuleLine)
        assert line.shape is not None
        assert "tcp" in line.shape.words or "6" in line.shape.words or "LOG" in line.shape.words


def test_long_lines_are_cut_as_fgets_cuts_them() -> None:
    text = "#" + "x" * (LINE_LIMIT + 10) + "\nCOMMIT\n"
    parsed = document(text)
    assert [line.kind for line in parsed.lines] == ["comment", "rule", "commit"]
    assert [line.number for line in parsed.lines] == [1, 1, 2]
    assert parsed.text() == text


def test_commit_needs_its_newline() -> None:
    assert [line.kind for line in document("COMMIT\nCOMMIT").lines] == ["commit", "rule"]


@pytest.mark.parametrize(
    ("text", "message"), [("[1:2 -A x", "need ]"), ("[]", "need ]"), ("[12] -A x", "need ]"), ("[", "need ]")]
)
def test_bad_counters(text: str, message: str) -> None:
    with pytest.raises(BadCounters, match=message):
        split_counters(text)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared corpus is not on this machine")
def test_the_corpus_comes_back_byte_for_byte() -> None:
    files = sorted(SHARED.rglob("*.save"))
    assert files
    parser = Parser()
    for path in files:
        data = path.read_bytes()
        assert parser.parse(Source.of(data)).text().encode("latin-1") == data, path
