"""No sequence of bytes makes a command end in a way that it does not know."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from iptkit.cli.iptables import program_of, run
from iptkit.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXTURES = Path(__file__).parents[2] / "fixtures"
FILES = [
    path.read_bytes()
    for folder in ("rulesets", "lint", "diff")
    for path in sorted((FIXTURES / folder).rglob("*"))
    if path.is_file() and path.stat().st_size < 8000
]
ODD = b"! \" \\ ' -c -A -I -D -R -Z -E -P -X -N -F -C -L -S -j -g -m -t -4 -6 -h -V -1 0 1 , : / :: [1:2] ["
WORDS = [
    *sorted({word for data in FILES for word in data.split()}),
    *ODD.split(),
    *(b"99999999999999999999", b"\0", b"\r", b"\xff\xfe", b"*filter", b"*nat", b"COMMIT", b":x - [0:0]"),
]

# Commands, what they are given as the files `a` and `b`, and the statuses they may end with.
LINT = frozenset({0, 1, 2})
RESTORE = frozenset({0, 1, 2})
COMMANDS: list[tuple[str, frozenset[int]]] = [
    ("parse a", frozenset({0})),
    ("parse --format text a", frozenset({0})),
    ("fmt a", frozenset({0, 2})),
    ("fmt -6 --counters --keep-comments a", frozenset({0, 2})),
    ("fmt --diff a", frozenset({0, 2})),
    ("lint a", LINT),
    ("lint -6 --noflush --format json a b", LINT),
    ("diff a b", LINT),
    ("diff -6 -c --format restore a b", LINT),
    ("diff --format json a b", LINT),
    ("restore --test -v a", RESTORE),
    ("restore -6 -c --test --format json a", RESTORE),
    ("restore --backend memory --state b --noflush --plan a", RESTORE),
    ("restore --backend memory --state b --noflush -c -v a", RESTORE),
    ("restore --backend memory --state b --per-table -T filter a", RESTORE),
    ("save --backend memory --state a --counters --reproducible", frozenset({0, 1})),
    ("iptables-legacy-restore -t -v a", RESTORE),
    ("ip6tables-legacy-restore -t -c a", RESTORE),
]


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A ruleset with some of its lines, words and bytes changed, moved and lost."""
    lines = draw(st.sampled_from(FILES)).split(b"\n")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        words = line.split(b" ")
        place = draw(st.integers(0, len(words) - 1))
        how = draw(
            st.sampled_from(("word", "more", "lost", "bytes", "cut", "twice", "moved", "gone", "joined"))
        )
        if how == "word":
            words[place] = draw(st.sampled_from(WORDS))
        elif how == "more":
            words.insert(place, draw(st.sampled_from(WORDS)))
        elif how == "lost":
            del words[place]
        elif how == "bytes":
            words[place] += draw(st.binary(max_size=4))
        lines[at] = b" ".join(words)
        if how == "cut":
            half = len(line) // 2
            lines[at : at + 1] = [line[:half], line[half:]]
        elif how == "twice":
            lines.insert(at, line)
        elif how == "moved":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
        elif how == "gone" and len(lines) > 1:
            del lines[at]
        elif how == "joined" and at > 0:
            lines[at - 1 : at + 1] = [lines[at - 1] + line]
    return b"\n".join(lines)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    old = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in old)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = old


def status_of(command: str) -> object:
    """Run a command, or a program by its name, in this process."""
    name, *arguments = command.split()
    program = program_of(name)
    try:
        with _silenced():
            if program is None:
                main([name, *arguments])
            else:
                run(program, name, arguments)
    except SystemExit as ended:
        return ended.code or 0
    raise AssertionError("it did not end")


@pytest.mark.parametrize(("command", "statuses"), COMMANDS, ids=[command for command, _ in COMMANDS])
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(first=st.one_of(changed(), changed(), st.binary(max_size=200)), second=changed())
@example(first=b"", second=b"")
@example(first=b"*filter\n:\n-A\n[\n-A INPUT -c\nCOMMIT", second=b"\xef\xbb\xbf*filter\n")
def test_every_end_is_one_that_is_documented(
    command: str,
    statuses: frozenset[int],
    first: bytes,
    second: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(first)
    (tmp_path / "b").write_bytes(second)
    assert status_of(command) in statuses
