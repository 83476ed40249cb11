"""Work done aside: what comes of it, and that nothing is left of a child."""

from __future__ import annotations

import os
import signal
import time

import pytest

from iptkit.text import aside


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "_allowed", True)


def children() -> bool:
    """Has this process a child that nobody waited for?"""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def test_result() -> None:
    known = bytes(range(256)) * 40_000  # more than a pipe holds
    child = aside.start(lambda _: known[::-1])
    assert child is not None
    with child:
        assert child.result() == known[::-1]
    assert not children()


@pytest.mark.parametrize("what", ["raises", "exits", "is killed"])
def test_a_child_that_fails(what: str, capfd: pytest.CaptureFixture[str]) -> None:
    def work(_: aside.Talk) -> bytes:
        if what == "raises":
            raise ValueError(what)
        if what == "exits":
            raise SystemExit(0)
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    child = aside.start(work)
    assert child is not None
    with child:
        assert child.result() is None
    assert not children()
    assert capfd.readouterr() == ("", "")


def test_a_child_nobody_waits_for() -> None:
    def work(_: aside.Talk) -> bytes:
        time.sleep(60)
        return b""

    child = aside.start(work)
    assert child is not None
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), child:
        raise KeyboardInterrupt
    assert time.monotonic() - begun < 30
    assert not children()


def test_a_child_whose_end_is_not_told() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        child = aside.start(lambda _: b"x")
        assert child is not None
        with child:
            assert child.result() is None
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_talk() -> None:
    many = bytes(range(256)) * 4000  # more than a pipe holds

    def work(talk: aside.Talk) -> bytes:
        talk.send(many)
        talk.send(b"")
        heard = talk.receive()
        return b"" if heard is None else heard[::-1]

    child = aside.start(work)
    assert child is not None
    with child:
        assert child.talk.receive() == many
        assert child.talk.receive() == b""
        child.talk.send(many)
        assert child.result() == many[::-1]
    assert not children()


def test_a_talk_with_nobody() -> None:
    def work(_: aside.Talk) -> bytes:
        os._exit(0)

    child = aside.start(work)
    assert child is not None
    with child:
        assert child.talk.receive() is None
        with pytest.raises(BrokenPipeError):
            child.talk.send(b"x")
        assert child.result() is None
    assert not children()


def test_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", fork)
    before = os.listdir("/proc/self/fd")
    assert aside.start(lambda _: b"") is None
    assert os.listdir("/proc/self/fd") == before


def test_allowed_where_there_are_two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 2):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, count=count: set(range(count)))
        assert aside.processors() == count
        aside.allow()
        child = aside.start(lambda _: b"x")
        assert (child is not None) == (count > 1)
        if child is not None:
            with child:
                assert child.result() == b"x"


def test_nobody_else_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert aside.start(lambda _: b"") is None
