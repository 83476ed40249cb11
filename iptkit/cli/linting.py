"""What `iptkit lint` does, without the reading of its command line."""

from __future__ import annotations

import enum
import sys
from typing import TYPE_CHECKING

from iptkit import api
from iptkit.cli.files import Exit, fail, read_source, want_color
from iptkit.ruleset.binding import Binder
from iptkit.text.diagnostic import BOTH, IptkitError
from iptkit.text.source import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iptkit.text.diagnostic import Diagnostic
    from iptkit.values.context import Family


class Fixes(enum.Enum):
    """What becomes of fixes: nothing, they are written, or the difference is printed."""

    NONE = "none"
    WRITE = "write"
    DIFF = "diff"


def lint(
    files: Sequence[str],
    *,
    family: Family = 4,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    noflush: bool = False,
    backends: tuple[str, ...] = BOTH,
    format_: str = "text",
    fixes: Fixes = Fixes.NONE,
    unsafe_fixes: bool = False,
    exit_zero: bool = False,
    color: str = "auto",
) -> int:
    """Print what is to be said about files, standard input if there are none.  Returns the exit status."""
    binder = Binder(family)
    checked: list[tuple[Source, list[Diagnostic]]] = []
    status = Exit.OK
    for path in files or ("-",):
        source = read_source(path)
        try:
            if fixes is Fixes.NONE and format_ == "text":
                texts = api.lint_texts(
                    source,
                    binder,
                    noflush=noflush,
                    backends=backends,
                    select=select,
                    ignore=ignore,
                    color=want_color(color),
                )
                if texts and not exit_zero:
                    status = Exit.FOUND
                _print("".join(texts))
                continue
            if fixes is Fixes.NONE:
                found = api.lint(
                    source, binder, noflush=noflush, backends=backends, select=select, ignore=ignore
                )
            else:
                fixed = api.fix(
                    api.parse_source(source),
                    family,
                    unsafe=unsafe_fixes,
                    noflush=noflush,
                    backends=backends,
                    select=select,
                    ignore=ignore,
                )
                if fixes is Fixes.DIFF:
                    if _print_diff(source, fixed.text) and not exit_zero:
                        status = Exit.FOUND
                    continue
                _keep(path, source, fixed.text)
                found = fixed.left
                source = Source(source.name, fixed.text)
                if path == "-":
                    status = Exit.FOUND if found and not exit_zero else status
                    continue
        except IptkitError as error:
            fail(str(error))
        if found and not exit_zero:
            status = Exit.FOUND
        if format_ == "text":
            _print("".join(api.texts(source, found, want_color(color))))
        else:
            checked.append((source, found))
    if format_ == "json" and fixes is not Fixes.DIFF:
        _print(_as_json(checked))
    return status


def _keep(path: str, source: Source, text: str) -> None:
    """Write a cured text where it came from: all of it or nothing."""
    if path == "-":
        sys.stdout.buffer.write(text.encode("latin-1"))
        sys.stdout.buffer.flush()
    elif text != source.text:
        from iptkit.cli.common import write_atomically  # which imports click

        write_atomically(path, text.encode("latin-1"))


def _print_diff(source: Source, text: str) -> bool:
    """Print how a text would change, as diff -u does.  Does it?"""
    if text == source.text:
        return False
    import difflib

    before, after = ([f"{line}\n" for line in each.split("\n")] for each in (source.text, text))
    for lines in (before, after):
        lines[-1] = lines[-1][:-1]  # what stands behind the last line feed
        if lines[-1]:
            lines[-1] += "\n\\ No newline at end of file\n"
        else:
            lines.pop()
    out = "".join(difflib.unified_diff(before, after, source.name, source.name))
    sys.stdout.buffer.write(out.encode("latin-1", "replace"))
    sys.stdout.buffer.flush()
    return True


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
