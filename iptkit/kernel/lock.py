"""The xtables lock, which keeps the iptables tools from changing a table at the same time.

It is an exclusive `flock` on one file, `/run/xtables.lock` unless the
environment names another in `XTABLES_LOCKFILE` (iptables(8), LOCK FILE).  The
file belongs to the mount namespace, so all network namespaces share it.  The
nf_tables variants take no lock: the kernel makes their batches atomic.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from iptkit.kernel.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

DEFAULT_PATH = "/run/xtables.lock"
DEFAULT_INTERVAL = 0.1  # seconds between two tries while waiting


class LockError(KernelError):
    """The lock file could not be opened or locked."""


class LockBusy(LockError):
    """Somebody else holds the lock.

    `path` is the lock file, `waited` the seconds spent, `holder` what
    /proc/locks says about who holds it, or an empty string.
    """

    def __init__(self, path: str, waited: float, holder: str, errno: int) -> None:
        message = f"the xtables lock {path} is held by {holder or 'another process'}"
        if waited > 0:
            message += f"; gave up after {waited:g} s"
        super().__init__(message, errno)
        self.path = path
        self.waited = waited
        self.holder = holder


def lock_path() -> str:
    """The lock file the iptables tools would use in this environment."""
    return os.environ.get("XTABLES_LOCKFILE") or DEFAULT_PATH


def describe_holder(fd: int) -> str:
    """Name the process that holds an flock on the file open as `fd`, or return ''.

    /proc/locks names files by device and inode (proc(5)); file systems that
    report another device to stat(2), such as btrfs, find no entry there.
    """
    status = os.fstat(fd)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        with open("/proc/locks", encoding="latin-1") as locks:
            rows = [line.split() for line in locks]
    except OSError:
        return ""
    for row in rows:
        # "7: FLOCK ADVISORY WRITE 6122 fe:00:2146455 0 EOF"; a waiter has "->" after the number.
        if len(row) >= 6 and row[1] == "FLOCK" and row[5] == device:
            return _describe_process(int(row[4]))
    return ""


def _describe_process(pid: int) -> str:
    if pid <= 0:
        return "a process outside this PID namespace"
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
            return f"{comm.read().strip()} (pid {pid})"
    except OSError:
        # A child that inherited the open file may hold the lock after the process that took it ended.
        return f"pid {pid}"


class XtablesLock:
    """Context manager that holds the xtables lock.

    `wait` has the meaning of `iptables-restore -w`: 0 (no `-w`) tries once, a
    number waits up to that many seconds, None (`-w` alone) waits for ever.
    `interval` is the time between tries, in seconds (`-W` counts microseconds).
    `clock` and `sleep` are for tests.

    The lock is not re-entrant.  The file is opened close-on-exec, so children
    never keep it.  Raises `LockBusy` when the lock cannot be had in time and
    `LockError` when the file cannot be opened.
    """

    __slots__ = ("_clock", "_fd", "_sleep", "interval", "path", "wait")

    def __init__(
        self,
        path: str | None = None,
        wait: float | None = 0,
        interval: float = DEFAULT_INTERVAL,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if interval <= 0:
            raise ValueError("interval must be positive")
        if wait is not None and wait < 0:
            raise ValueError("wait must not be negative")
        self.path = path or lock_path()
        self.wait = wait
        self.interval = interval
        self._clock = clock
        self._sleep = sleep
        self._fd = -1

    @property
    def held(self) -> bool:
        return self._fd >= 0

    def acquire(self) -> None:
        """Take the lock, waiting as told at construction."""
        if self.held:
            raise LockError(f"this object already holds the xtables lock {self.path}")
        try:
            # Symbolic links are followed, as the iptables tools do: it must be the same inode for both.
            fd = os.open(self.path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            text = f"cannot open the xtables lock file {self.path}: {error.strerror}"
            raise LockError(text, error.errno or 0) from error
        try:
            self._flock(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _flock(self, fd: int) -> None:
        try:
            if self.wait is None:
                fcntl.flock(fd, fcntl.LOCK_EX)
                return
            started = self._clock()
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError as error:
                    left = started + self.wait - self._clock()
                    if left <= 0:
                        raise LockBusy(self.path, self.wait, describe_holder(fd), error.errno or 0) from None
                    self._sleep(min(self.interval, left))
        except OSError as error:
            text = f"cannot lock {self.path}: {error.strerror}"
            raise LockError(text, error.errno or 0) from error

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held.  The file stays: removing it would race."""
        if self.held:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> XtablesLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
