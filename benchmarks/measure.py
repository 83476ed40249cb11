"""Run one program to its end in a network namespace of its own; how long it took and how much it held."""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLONE_NEWNET = 0x40000000  # linux/sched.h
FAILED = 127


class Sample(NamedTuple):
    """Wall seconds from exec to exit, seconds of processor time, and the largest resident set in KiB.

    The resident set is that of the program or of the largest child it waited
    for, and never smaller than that of the process that measures, which the
    kernel counts in (getrusage(2), ru_maxrss).
    """

    seconds: float
    cpu: float
    peak: int


class Failure(Exception):
    """A program did not end as it should have."""


def namespaces() -> bool:
    """May this process make network namespaces?"""
    child = os.fork()
    if child == 0:
        os._exit(0 if _unshare() else 1)
    return os.waitpid(child, 0)[1] == 0


def run(command: Sequence[str], environment: Mapping[str, str], folder: str, status: int = 0) -> Sample:
    """Run `command` once; output goes nowhere.  Raises Failure unless it exits with `status`.

    The namespace is made, and empty, before the clock starts.
    """
    with tempfile.TemporaryFile() as errors:
        ready, tell_ready = os.pipe()
        begin, tell_begin = os.pipe()
        child = os.fork()
        if child == 0:
            _become(command, environment, folder, errors.fileno(), begin, tell_ready)
        os.close(tell_ready)
        os.close(begin)
        is_ready = os.read(ready, 1)
        started = time.perf_counter()
        if is_ready:
            os.write(tell_begin, b"!")
        _, ended, usage = os.wait4(child, 0)
        seconds = time.perf_counter() - started
        os.close(ready)
        os.close(tell_begin)
        if os.waitstatus_to_exitcode(ended) != status:
            errors.seek(0)
            said = errors.read(2000).decode("utf-8", "replace").strip()
            raise Failure(f"{' '.join(command)}: {os.waitstatus_to_exitcode(ended)}: {said}")
    return Sample(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def _become(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    errors: int,
    begin: int,
    tell_ready: int,
) -> None:
    """In the child: be the program, when told to.  Does not return."""
    try:
        os.chdir(folder)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        os.dup2(errors, 2)
        if _unshare():
            os.write(tell_ready, b"!")
            os.read(begin, 1)
            os.execvpe(command[0], list(command), dict(environment))  # noqa: S606  # no shell, on purpose
    finally:
        os._exit(FAILED)


def _unshare() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(CLONE_NEWNET) == 0)
