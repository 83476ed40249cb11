"""Work done aside, in a child process, while this one goes on: for large files, on a second processor.

Only the program itself does so, which has no threads: `allow` is called where
it begins.  A child that a process with threads forks may wait forever for what
a thread held (pthread_atfork(3)), so whoever imports iptkit is left with one
process.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

LARGE = 10_000
"""Lines of a file that is worth a second process."""
_PIECE = 1 << 20  # bytes read at once
_allowed = False


def allow() -> None:
    """From now on this process may fork: it has one thread, and gets no more."""
    global _allowed  # noqa: PLW0603  # of the process, as are its threads
    _allowed = True


def processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Aside:
    """A child that does a piece of work.  Leaving it as a context manager ends it, whatever became of it."""

    def __init__(self, pid: int, results: int) -> None:
        self._pid = pid
        self._results = results
        self._ended = False

    def result(self) -> bytes | None:
        """Wait for what came of it; None where the child failed: do it here then, and see why."""
        pieces = []
        while piece := os.read(self._results, _PIECE):
            pieces.append(piece)
        try:
            _, status = os.waitpid(self._pid, 0)
        except ChildProcessError:  # started with SIGCHLD ignored (signal(7)), nobody learns how children end
            status = -1
        self._ended = True
        return None if status else b"".join(pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._results)
        if not self._ended:
            import signal  # few runs need it

            with contextlib.suppress(OSError):
                # Only while it runs is the number surely that of this child.
                if os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                    os.kill(self._pid, signal.SIGKILL)
                    os.waitpid(self._pid, 0)


def start(work: Callable[[], bytes]) -> Aside | None:
    """Have a child do it, with all that is known here now; None where there is none to have."""
    if not _allowed or not hasattr(os, "fork") or processors() < 2:
        return None
    results, out = os.pipe()
    try:
        pid = os.fork()
    except OSError:  # too many processes, or too little memory
        os.close(results)
        os.close(out)
        return None
    if pid:
        os.close(out)
        return Aside(pid, results)
    status = 1
    try:
        os.close(results)
        left = memoryview(work())
        while left:
            left = left[os.write(out, left) :]
        status = 0
    finally:
        # Whatever happened: what is to be done at the end of the program is not for the child to do.
        os._exit(status)
