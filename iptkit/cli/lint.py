"""iptkit lint"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import click

from iptkit import api
from iptkit.cli.common import (
    Exit,
    color_option,
    complete_file,
    fail,
    family_of,
    family_options,
    read_source,
    want_color,
)
from iptkit.ruleset.binding import Binder
from iptkit.text.diagnostic import BOTH, IptkitError

if TYPE_CHECKING:
    from iptkit.text.diagnostic import Diagnostic
    from iptkit.text.source import Source
    from iptkit.values.context import Family

FORMATS = ("text", "json")


@click.command()
@family_options
@click.option(
    "--select",
    multiple=True,
    metavar="CHECK,...",
    help="these checks alone: codes, beginnings of codes or names",
)
@click.option("--ignore", multiple=True, metavar="CHECK,...", help="all but these checks")
@click.option("-n", "--noflush", is_flag=True, help="the file is meant for iptables-restore --noflush")
@click.option(
    "--backend",
    type=click.Choice(["any", *BOTH]),
    default="any",
    help="the backend it is meant for: errors of the other are left out",
)
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), default="text", help="how findings are printed"
)
@click.option("--exit-zero", is_flag=True, help="exit 0 even when there are findings")
@color_option
@click.argument("files", metavar="[FILE]...", nargs=-1, shell_complete=complete_file)
def command(
    family: int,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    noflush: bool,
    backend: str,
    format_: str,
    exit_zero: bool,
    color: str,
    files: tuple[str, ...],
) -> None:
    """Say what is wrong with rulesets in save format, without a kernel.

    Errors are what one of the tools or the kernel would refuse, warnings what
    loads and does something else than it says, the rest could be better.
    `iptkit rule CODE` tells what a finding means.  A comment line
    `# iptkit: ignore[CODE] reason` silences a check for the line below it.

    Exit status: 0 no findings, 1 findings, 2 a file could not be read.
    """
    gc.disable()  # what lint makes lives until it ends; looking for cycles meanwhile is work for nothing
    backends = BOTH if backend == "any" else (backend,)
    binder = Binder(family_of(family))
    checked: list[tuple[Source, list[Diagnostic]]] = []
    status = Exit.OK
    for path in files or ("-",):
        source = read_source(path)
        document = api.parse_source(source)
        try:
            found = api.lint(
                document,
                binder,
                noflush=noflush,
                backends=backends,
                select=_words(select),
                ignore=_words(ignore),
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
    sys.exit(status)


def _words(given: tuple[str, ...]) -> list[str]:
    return [word.strip() for each in given for word in each.split(",")]


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


def other_family(family: Family) -> Family:
    return 6 if family == 4 else 4
