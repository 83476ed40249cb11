"""The xtables lock, against another process and against iptables itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from iptkit.kernel.lock import DEFAULT_PATH, LockBusy, LockError, XtablesLock, describe_holder, lock_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Netns

HOLD = """
import sys
from iptkit.kernel.lock import XtablesLock
with XtablesLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A lock file that another process holds until its input is closed."""
    path = str(tmp_path / "held.lock")
    command = [sys.executable, "-c", HOLD, path]
    root = str(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield path, other


def let_go(other: subprocess.Popen[str]) -> None:
    assert other.stdin is not None
    other.stdin.close()


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_path_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XTABLES_LOCKFILE", "/some/where.lock")
    assert XtablesLock().path == lock_path() == "/some/where.lock"
    assert XtablesLock("/else.lock").path == "/else.lock"
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("XTABLES_LOCKFILE")
        else:
            monkeypatch.setenv("XTABLES_LOCKFILE", unset)
        assert lock_path() == DEFAULT_PATH


def test_file_is_private_stays_and_is_closed_on_exec(tmp_path: Path) -> None:
    path = tmp_path / "xtables.lock"
    old = os.umask(0)
    try:
        with XtablesLock(str(path)) as lock:
            assert path.stat().st_mode & 0o777 == 0o600
            fds = [int(n) for n in os.listdir("/proc/self/fd") if n.isdigit()]
            mine = [fd for fd in fds if _same_file(fd, path)]
            assert mine
            assert not any(os.get_inheritable(fd) for fd in mine)
    finally:
        os.umask(old)
    assert path.exists()
    assert not lock.held
    with lock:  # the object may be used again
        assert lock.held


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def test_busy_without_wait_names_the_holder(held: tuple[str, subprocess.Popen[str]]) -> None:
    path, other = held
    clock = Clock()
    with (
        pytest.raises(LockBusy) as caught,
        XtablesLock(path, clock=clock.time, sleep=clock.sleep),
    ):
        pass
    assert clock.slept == []
    assert f"pid {other.pid}" in caught.value.holder
    assert path in str(caught.value)
    assert caught.value.holder in str(caught.value)
    let_go(other)
    other.wait()
    with XtablesLock(path):
        pass


def test_waiting_tries_every_interval_and_gives_up(held: tuple[str, subprocess.Popen[str]]) -> None:
    path, _ = held
    clock = Clock()
    with pytest.raises(LockBusy, match=r"gave up after 2\.5 s"):
        XtablesLock(path, wait=2.5, interval=1, clock=clock.time, sleep=clock.sleep).acquire()
    assert clock.slept == [1, 1, 0.5]


@pytest.mark.parametrize("wait", [30, None], ids=["seconds", "for ever"])
def test_waiting_gets_the_lock(held: tuple[str, subprocess.Popen[str]], wait: float | None) -> None:
    path, other = held
    timer = threading.Timer(0.2, let_go, [other])
    timer.start()
    started = time.monotonic()
    with XtablesLock(path, wait=wait, interval=0.01) as lock:
        assert lock.held
    assert 0.15 < time.monotonic() - started < 10
    timer.join()


def test_not_reentrant_and_arguments(tmp_path: Path) -> None:
    path = str(tmp_path / "l")
    with XtablesLock(path) as lock:
        with pytest.raises(LockError, match="already holds"):
            lock.acquire()
        with pytest.raises(LockBusy):
            XtablesLock(path).acquire()
    lock.release()
    with pytest.raises(ValueError, match="interval"):
        XtablesLock(path, interval=0)
    with pytest.raises(ValueError, match="wait"):
        XtablesLock(path, wait=-1)
    with pytest.raises(LockError, match="cannot open"):
        XtablesLock(str(tmp_path / "no" / "such")).acquire()


def test_nobody_holds_it(tmp_path: Path) -> None:
    with open(tmp_path / "free", "w+") as file:
        assert describe_holder(file.fileno()) == ""


def test_iptables_respects_it(netns: Netns) -> None:
    netns.need("iptables-legacy-restore")
    with XtablesLock(str(netns.lockfile)):
        result = netns.run("iptables-legacy-restore", "-w", "1", text="*filter\nCOMMIT\n", check=False)
        assert result.returncode == 4
    netns.run("iptables-legacy-restore", "-w", "1", text="*filter\nCOMMIT\n")


def test_we_respect_flock_of_others(tmp_path: Path) -> None:
    if shutil.which("flock") is None:
        pytest.skip("needs flock(1)")
    path = str(tmp_path / "l")
    with subprocess.Popen(
        ["flock", path, "sh", "-c", "echo held; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(LockBusy):
            XtablesLock(path).acquire()
        let_go(other)
