"""How the process ends: its status, what was not yet written, and what is said when something went wrong.

An exception that nobody expected must not end as Python ends, with status 1:
that is what `diff` says for different and `lint` for findings.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

TRACEBACK = "IPTKIT_TRACEBACK"
"""The environment variable that has the traceback of a fault of iptkit printed."""
_TROUBLE, _RESTORE_TROUBLE, _RESTORE_RESOURCE = 2, 1, 4


def open_streams() -> None:
    """Give a process that was started without standard streams empty ones: no file is to take their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                handle = os.open(os.devnull, os.O_RDWR)
                if handle != number:
                    os.dup2(handle, number)
                    os.close(handle)
                setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def end(status: object, words: Sequence[str]) -> NoReturn:
    """End at once, with a status as sys.exit takes it; `words` are those the program was called with.

    A process that lives for one command need not take 100,000 rules apart
    object by object before it ends.
    """
    if isinstance(status, str):
        _say(status)
        status = 1
    number = status if isinstance(status, int) else 0
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # the reader has enough
    except (OSError, ValueError) as error:
        _say(f"iptkit: cannot write the output: {getattr(error, 'strerror', None) or error}")
        number = _status(error, words)
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(number)


def end_by(error: BaseException, words: Sequence[str]) -> NoReturn:
    """End a process that an exception nobody caught ends: say what happened, in one paragraph."""
    status = _status(error, words)
    text = _paragraph(error, words)
    if text and os.environ.get(TRACEBACK):
        import traceback

        with contextlib.suppress(OSError, ValueError):
            traceback.print_exception(error)
    error.__traceback__ = None  # what the command had made goes, and there is memory again
    if text:
        _say(text)
    if isinstance(error, BrokenPipeError):
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    end(status, words)


def _status(error: BaseException, words: Sequence[str]) -> int:
    """2 is trouble everywhere but with restore and save, which have the status of the real tools."""
    if not _stands_in(words):
        return _TROUBLE
    if isinstance(error, MemoryError) or getattr(error, "errno", None) in (
        errno.ENOMEM,
        errno.ENFILE,
        errno.EMFILE,
    ):
        return _RESTORE_RESOURCE
    return _RESTORE_TROUBLE


def _stands_in(words: Sequence[str]) -> bool:
    """Is this restore or save, by whatever name?"""
    called = os.path.basename(words[0]) if words else ""
    return called.endswith(("-restore", "-save")) or any(word in ("restore", "save") for word in words[1:2])


def _paragraph(error: BaseException, words: Sequence[str]) -> str:
    if isinstance(error, BrokenPipeError):
        return ""  # the reader has enough, and wants no word about it
    undone = " Nothing was left half done." if _stands_in(words) else ""
    if isinstance(error, KeyboardInterrupt):
        return f"iptkit: interrupted.{undone}"
    if isinstance(error, MemoryError):
        return f"iptkit: there is not enough memory for this.{undone}"
    if isinstance(error, OSError) and error.strerror:
        about = f" {error.filename}" if error.filename is not None else ""
        return f"iptkit: the system refuses{about}: {error.strerror}.{undone}"
    return (
        f"iptkit: this is a fault of iptkit, not of your rules: {_named(error)}{_place(error)}.{undone}"
        f" Please report it, with the file if you can; {TRACEBACK}=1 in the environment shows more."
    )


def _named(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:200]}" if said else type(error).__name__


def _place(error: BaseException) -> str:
    """Where in iptkit it was raised."""
    place = ""
    at = error.__traceback__
    while at is not None:
        path = at.tb_frame.f_code.co_filename
        if f"{os.sep}iptkit{os.sep}" in path:
            place = f" ({path.rpartition(f'{os.sep}iptkit{os.sep}')[2]}, line {at.tb_lineno})"
        at = at.tb_next
    return place


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, UnicodeError):
        sys.stderr.write(text.encode("ascii", "backslashreplace").decode() + "\n")
