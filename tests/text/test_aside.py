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


@pytest.mark.parametrize("size", [0, 1, 3_000_000])  # a pipe holds 65,536 bytes (pipe(7))
@pytest.mark.parametrize("pieces", [0, 3])
def test_a_swap(size: int, pieces: int) -> None:
    """Both ends may begin at once, and what there is to do meanwhile is done once at most."""
    messages = [bytes([number]) * size for number in range(4)]

    def work(talk: aside.Talk) -> bytes:
        others = iter(range(pieces))
        heard = [talk.swap(message, others) for message in messages]
        return b"same" if heard == [message[::-1] + b"!" for message in messages] else b"other"

    child = aside.start(work)
    assert child is not None
    done: list[int] = []
    with child:
        meanwhile = map(done.append, range(pieces))
        assert [child.talk.swap(message + b"!", meanwhile) for message in messages] == messages
        assert child.result() == b"same"
    assert done == list(range(len(done)))
    assert not children()


def test_while_the_other_end_is_slow() -> None:
    def work(talk: aside.Talk) -> bytes:
        time.sleep(0.3)
        return talk.swap(b"late", iter(())) or b""

    child = aside.start(work)
    assert child is not None
    done: list[float] = []
    with child:
        assert child.talk.swap(b"early", map(done.append, range(5))) == b"late"
        assert child.result() == b"early"
    assert done == list(range(5))


def test_a_swap_with_nobody() -> None:
    def work(_: aside.Talk) -> bytes:
        os._exit(0)

    for message in (b"x", b"x" * 3_000_000):
        child = aside.start(work)
        assert child is not None
        with child:
            assert child.talk.swap(message, iter(())) is None
            assert child.result() is None
        assert not children()


def test_work_meanwhile_that_fails() -> None:
    def work(talk: aside.Talk) -> bytes:
        return talk.receive() or b""

    child = aside.start(work)
    assert child is not None
    with pytest.raises(ZeroDivisionError), child:
        child.talk.swap(b"x" * 3_000_000, (1 // number for number in range(2)))
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
