"""What commands do with files and streams; without click, which takes long to import."""

from __future__ import annotations

import enum
import os
import sys
from typing import TYPE_CHECKING, Any

from iptkit.text.source import Source

if TYPE_CHECKING:
    from typing import NoReturn


class Exit(enum.IntEnum):
    """Exit status of every command but `restore` and `save`, which keep the real tools'."""

    OK = 0
    FOUND = 1
    FAILED = 2


def read_source(path: str, status: int = Exit.FAILED) -> Source:
    """The text of a file, `-` for standard input.  Ends the command with `status` if it cannot be read."""
    try:
        if path == "-":
            return Source.of(sys.stdin.buffer.read(), "<stdin>")
        with open(path, "rb") as file:
            return Source.of(file.read(), path)
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror or error}", status)


def want_color(color: str, stream: Any = None) -> bool:
    """Does --color ask for colour on this stream (standard output if None)?"""
    if color != "auto":
        return color == "always"
    return not os.environ.get("NO_COLOR") and (stream or sys.stdout).isatty()


def fail(message: str, status: int = Exit.FAILED) -> NoReturn:
    """Say why and end the command."""
    sys.stderr.write(f"iptkit: {message}\n")
    sys.exit(status)
