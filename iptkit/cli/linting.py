"""What `iptkit lint` does, without the reading of its command line."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from iptkit import api
from iptkit.cli.files import Exit, fail, read_source, want_color
from iptkit.ruleset.binding import Binder
from iptkit.text.diagnostic import BOTH, IptkitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iptkit.text.diagnostic import Diagnostic
    from iptkit.text.source import Source
    from iptkit.values.context import Family


def lint(
    files: Sequence[str],
    *,
    family: Family = 4,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    noflush: bool = False,
    backends: tuple[str, ...] = BOTH,
    format_: str = "text",
    exit_zero: bool = False,
    color: str = "auto",
) -> int:
    """Print what is to be said about files, standard input if there are none.  Returns the exit status."""
    gc.disable()  # what lint makes lives until it ends; looking for cycles meanwhile is work for nothing
    binder = Binder(family)
    checked: list[tuple[Source, list[Diagnostic]]] = []
    status = Exit.OK
    for path in files or ("-",):
        source = read_source(path)
        document = api.parse_source(source)
        try:
            found = api.lint(
                document, binder, noflush=noflush, backends=backends, select=select, ignore=ignore
            )
        except IptkitError as error:
            fail(str(error))
        if found and not exit_zero:
            status = Exit.FOUND
        if format_ == "text":
            _print(_as_text(source, found, want_color(color)))
        else:
            checked.append((source, found))
    if format_ == "json":
        _print(_as_json(checked))
    gc.enable()
    return status


def _as_text(source: Source, found: list[Diagnostic], color: bool) -> str:
    if not found:
        return ""
    from iptkit.report.text import render_text

    return render_text(source, found, color)


def _as_json(checked: list[tuple[Source, list[Diagnostic]]]) -> str:
    import json

    from iptkit.report.json import document

    return json.dumps(document(checked), ensure_ascii=False, indent=1) + "\n"


def _print(text: str) -> None:
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
