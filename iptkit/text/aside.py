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
    from collections.abc import Callable, Generator, Iterator
    from typing import Self

LARGE = 10_000
"""Lines of a file that is worth a second process."""
_PIECE = 1 << 20  # bytes read at once
_LENGTH = 8  # bytes that say how long a message is
_NO_MORE = object()
_allowed = False


class Together(Exception):  # it is no error
    """What two processes were to do has to be done by one, the ordinary way."""


def allow() -> None:
    """From now on this process may fork: it has one thread, and gets no more."""
    global _allowed  # noqa: PLW0603  # of the process, as are its threads
    _allowed = True


def processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Talk:
    """One end of a talk between two processes: messages of any length, each whole."""

    def __init__(self, source: int, to: int) -> None:
        self._source = source
        self._to = to

    def send(self, message: bytes) -> None:
        """Send a message.  It may wait until the other end receives: of two, one has to receive first."""
        left = _framed(message)
        while left:
            left = left[os.write(self._to, left) :]

    def receive(self) -> bytes | None:
        """The next message; None where the other end is gone."""
        coming = self._coming()
        try:
            while True:
                next(coming)
        except StopIteration as end:
            message: bytes | None = end.value
            return message

    def swap(self, message: bytes, meanwhile: Iterator[object]) -> bytes | None:
        """Send a message and receive the next; None where the other end is gone.

        Both ends may swap at once, however long the messages are.  Where this
        one would have to wait it takes the next of `meanwhile` first: pieces
        of other work, while there are any.
        """
        for end in (self._source, self._to):
            os.set_blocking(end, False)
        try:
            return self._swap(_framed(message), self._coming(), meanwhile)
        except BrokenPipeError:
            return None
        finally:
            for end in (self._source, self._to):
                os.set_blocking(end, True)

    def _swap(
        self, left: memoryview, coming: Generator[None, None, bytes | None], meanwhile: Iterator[object]
    ) -> bytes | None:
        told: bytes | None = None
        waiting = True
        while True:
            with contextlib.suppress(BlockingIOError):
                while left:
                    left = left[os.write(self._to, left) :]
            if waiting:
                try:
                    next(coming)
                except StopIteration as end:
                    told = end.value
                    waiting = False
            if not waiting and (told is None or not left):
                return told
            if next(meanwhile, _NO_MORE) is _NO_MORE:
                self._wait(waiting, bool(left))

    def _wait(self, receiving: bool, sending: bool) -> None:
        """Wait until something can be read, or written."""
        import select  # most runs have no need of it

        poll = select.poll()
        if receiving:
            poll.register(self._source, select.POLLIN)
        if sending:
            poll.register(self._to, select.POLLOUT)
        poll.poll()

    def _coming(self) -> Generator[None, None, bytes | None]:
        """The next message, piece by piece, where nothing waits for these."""
        length = yield from self._read(_LENGTH)
        return None if length is None else (yield from self._read(int.from_bytes(length, "big")))

    def _read(self, length: int) -> Generator[None, None, bytes | None]:
        pieces = []
        while length:
            try:
                piece = os.read(self._source, min(length, _PIECE))
            except BlockingIOError:
                yield
                continue
            if not piece:
                return None
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        os.close(self._source)
        os.close(self._to)


def _framed(message: bytes) -> memoryview:
    return memoryview(len(message).to_bytes(_LENGTH, "big") + message)


class Aside:
    """A child that does a piece of work.  Leaving it as a context manager ends it, whatever became of it."""

    def __init__(self, pid: int, talk: Talk) -> None:
        self._pid = pid
        self._ended = False
        self.talk = talk

    def result(self) -> bytes | None:
        """Wait for what came of it; None where the child failed: do it here then, and see why."""
        result = self.talk.receive()
        try:
            _, status = os.waitpid(self._pid, 0)
        except ChildProcessError:  # started with SIGCHLD ignored (signal(7)), nobody learns how children end
            status = -1
        self._ended = True
        return None if status else result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.talk.close()
        if not self._ended:
            import signal  # few runs need it

            with contextlib.suppress(OSError):
                # Only while it runs is the number surely that of this child.
                if os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                    os.kill(self._pid, signal.SIGKILL)
                    os.waitpid(self._pid, 0)


def start(work: Callable[[Talk], bytes]) -> Aside | None:
    """Have a child do it, with all that is known here now; None where there is none to have.

    The child may talk with this process while it works.
    """
    if not _allowed or not hasattr(os, "fork") or processors() < 2:
        return None
    ours, child_out = os.pipe()
    child_in, out = os.pipe()
    try:
        pid = os.fork()
    except OSError:  # too many processes, or too little memory
        for end in (ours, child_out, child_in, out):
            os.close(end)
        return None
    if pid:
        os.close(child_in)
        os.close(child_out)
        return Aside(pid, Talk(ours, out))
    status = 1
    try:
        os.close(ours)
        os.close(out)
        talk = Talk(child_in, child_out)
        talk.send(work(talk))
        status = 0
    finally:
        # Whatever happened: what is to be done at the end of the program is not for the child to do.
        os._exit(status)
