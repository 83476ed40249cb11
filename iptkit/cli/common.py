"""Options and habits that the commands share."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

from iptkit.cli.files import Exit, fail, read_source, want_color

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from click.shell_completion import CompletionItem

    from iptkit.text.diagnostic import Diagnostic
    from iptkit.text.source import Source
    from iptkit.values.context import Family

F = TypeVar("F", bound="Callable[..., Any]")


def family_options(command: F) -> F:
    """-4 and -6; the function gets `family`."""
    command = click.option("-6", "--ipv6", "family", flag_value=6, type=int, help="rules are IPv6")(command)
    return click.option(
        "-4",
        "--ipv4",
        "family",
        flag_value=4,
        type=int,
        default=4,
        show_default=False,
        help="rules are IPv4 (default)",
    )(command)


def waiting_options(command: F) -> F:
    """-4 and -6 where neither means both; the function gets `family`, None for both."""
    command = click.option("-6", "--ipv6", "family", flag_value=6, type=int, help="only IPv6")(command)
    return click.option("-4", "--ipv4", "family", flag_value=4, type=int, default=None, help="only IPv4")(
        command
    )


def complete_file(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For `shell_complete` of an argument that names a file: the shell completes it."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def write_text(text: str) -> None:
    """Latin-1-held text to standard output, as the bytes it is."""
    out = sys.stdout.buffer
    try:
        out.write(text.encode("latin-1"))
        out.flush()
    except BrokenPipeError:
        # The reader has enough; Python must not complain about it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def color_option(command: F) -> F:
    """--color; the function gets `color`, for want_color."""
    return click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        help="colour the output: auto colours a terminal, unless NO_COLOR is set",
    )(command)


def report_diagnostics(source: Source, diagnostics: Iterable[Diagnostic], color: str = "auto") -> None:
    """Findings to standard error, as text."""
    from iptkit.report.text import render_text

    click.echo(
        render_text(source, diagnostics, want_color(color, sys.stderr)), err=True, nl=False, color=True
    )


def write_atomically(path: str, data: bytes) -> None:
    """Replace a file in one step, its mode and owner kept; a link is followed.

    Ends the command with status 2 if it cannot be done; the file is then as it was.
    """
    import contextlib
    import tempfile

    target = os.path.realpath(path)
    temporary = ""
    try:
        old = os.stat(target)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".iptkit-")
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), old.st_mode & 0o7777)
            with contextlib.suppress(PermissionError):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
        os.replace(temporary, target)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        fail(f"cannot write {path}: {error.strerror or error}")


def backend_in_use(name: str, family: Family) -> str:
    """The backend that a name stands for, `auto` too; warns where the rules of both are in use."""
    if name != "auto":
        return name
    from iptkit.kernel.detect import detect

    found = detect(family)
    if found.both_live:
        click.echo(f"iptkit: warning: {found.reason}; packets meet the rules of both", err=True)
    return found.backend


def family_of(value: int) -> Family:
    return 6 if value == 6 else 4


__all__ = [
    "Exit",
    "color_option",
    "complete_file",
    "fail",
    "family_of",
    "family_options",
    "read_source",
    "report_diagnostics",
    "waiting_options",
    "want_color",
    "write_atomically",
    "write_text",
]
