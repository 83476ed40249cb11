"""Run one program to its end in a network namespace of its own; how long it took and how much it held."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A small Python makes the namespace (CLONE_NEWNET, linux/sched.h), says so, waits, and then is the program.
_UNSHARE = "import ctypes, os, sys\nif ctypes.CDLL(None).unshare(0x40000000): sys.exit('no namespace')\n"
_START = """\
ready, begin = map(int, sys.argv[1:3])
os.set_inheritable(ready, False)
os.set_inheritable(begin, False)
os.write(ready, b"!")
os.read(begin, 1)
os.execvp(sys.argv[3], sys.argv[3:])
"""
_PYTHON = (sys.executable, "-I", "-S", "-c")


class Sample(NamedTuple):
    """Wall seconds from exec to exit, seconds of processor time, and the largest resident set in KiB.

    The resident set is that of the program or of the largest child it waited
    for, and never smaller than that of the Python that became it, some 10 MiB,
    which the kernel counts in (getrusage(2), ru_maxrss).
    """

    seconds: float
    cpu: float
    peak: int


class Failure(Exception):
    """A program did not end as it should have."""


def namespaces() -> bool:
    """May this process make network namespaces?"""
    return subprocess.run([*_PYTHON, _UNSHARE], stderr=subprocess.DEVNULL, check=False).returncode == 0


def run(command: Sequence[str], environment: Mapping[str, str], folder: str, status: int = 0) -> Sample:
    """Run `command` once; output goes nowhere.  Raises Failure unless it exits with `status`.

    The namespace is made, and empty, before the clock starts.
    """
    with tempfile.TemporaryFile() as errors:
        ready, tell_ready = os.pipe()
        begin, tell_begin = os.pipe()
        child = subprocess.Popen(
            [*_PYTHON, _UNSHARE + _START, str(tell_ready), str(begin), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=dict(environment),
            cwd=folder,
            pass_fds=(tell_ready, begin),
        )
        os.close(tell_ready)
        os.close(begin)
        is_ready = os.read(ready, 1)
        started = time.perf_counter()
        if is_ready:
            os.write(tell_begin, b"!")
        _, ended, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(ended)
        os.close(ready)
        os.close(tell_begin)
        if child.returncode != status:
            errors.seek(0)
            said = errors.read(2000).decode("utf-8", "replace").strip()
            raise Failure(f"{' '.join(command)}: {child.returncode}: {said}")
    # What starting took before the clock did is counted in, a few hundredths.
    return Sample(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
