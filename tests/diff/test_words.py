"""Words, parts, and which rules pass for edited."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from iptkit.diff.words import changed_words, edits, parts, words

BASE = ' -s 10.0.0.0/8 ! -i eth0 -p tcp -m tcp --dport 22 -m comment --comment "two words" -j ACCEPT'


def test_words_keep_quoted_blanks_together() -> None:
    assert words(' --comment "a \\" b" -j X') == ["--comment", '"a \\" b"', "-j", "X"]
    assert words(' --name a"b c') == ["--name", 'a"b', "c"]


def test_parts() -> None:
    assert parts(BASE) == [
        "-s 10.0.0.0/8",
        "! -i eth0",
        "-p tcp",
        "-m tcp",
        "--dport 22",
        "-m comment",
        '--comment "two words"',
        "-j ACCEPT",
    ]
    assert parts(" -m tcp --tcp-flags SYN,ACK SYN -f") == ["-m tcp", "--tcp-flags SYN,ACK SYN", "-f"]
    assert parts(" -m x --value -5") == ["-m x", "--value -5"]
    assert parts("") == []


def test_changed_words() -> None:
    assert changed_words(" -s 1 -p tcp -j A", " -s 2 -p tcp -m tcp -j A") == [
        ("same", "-s"),
        ("removed", "1"),
        ("added", "2"),
        ("same", "-p tcp"),
        ("added", "-m tcp"),
        ("same", "-j A"),
    ]
    assert changed_words(" -j A", " -j A") == [("same", "-j A")]
    assert changed_words("", " -j A") == [("added", "-j A")]


text = st.lists(st.sampled_from(("-s 1", "-s 2", "-p tcp", "--dport 1", "--dport 2", "-j A", "-j B"))).map(
    " ".join
)


@given(text, text)
def test_changed_words_hold_both_texts(old: str, new: str) -> None:
    runs = changed_words(old, new)
    assert " ".join(t for what, t in runs if what != "added") == old
    assert " ".join(t for what, t in runs if what != "removed") == new


@given(st.lists(text, max_size=8), st.lists(text, max_size=60))
def test_edits_are_ascending_pairs(old: list[str], new: list[str]) -> None:
    pairs = edits(old, new)
    assert all(0 <= i < len(old) and 0 <= j < len(new) for i, j in pairs)
    assert pairs == sorted(pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)


def test_the_likest_pair_is_taken() -> None:
    old = [BASE]
    new = [BASE.replace("22", "80").replace("tcp", "udp"), BASE.replace("22", "2222"), " -j DROP"]
    assert edits(old, new) == [(0, 1)]
    assert edits([" -i lo -j ACCEPT"], [" -s 10.0.0.1/32 -p tcp -m tcp --dport 22 -j ACCEPT"]) == []


def test_large_gaps_are_paired_without_comparing_all() -> None:
    """An inserted block before 4,000 rules that all changed in one part."""
    old = [f" -s 10.0.{n >> 8}.{n & 255}/32 -p tcp -j DROP" for n in range(4_000)]
    block = [f" -p udp -m udp --dport {n} -j RETURN" for n in range(1_000)]
    new = block + [rule.replace("-p tcp", "-p tcp -m comment --comment x") for rule in old]
    start = time.process_time()
    pairs = edits(old, new)
    assert time.process_time() - start < 2
    assert pairs == [(n, n + 1_000) for n in range(4_000)]
