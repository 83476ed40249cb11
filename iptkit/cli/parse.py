"""iptkit parse"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from iptkit import api
from iptkit.cli.common import color_option, complete_file, family_of, family_options, read_source, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMA_FILE = "ast-1.json"


@click.command()
@family_options
@click.option(
    "--format", "format_", type=click.Choice(["json", "text"]), default="json", help="tree, or file"
)
@click.option("--schema", is_flag=True, help="print the JSON Schema of the tree and exit")
@color_option
@click.argument("file", default="-", shell_complete=complete_file)
def command(family: int, format_: str, schema: bool, color: str, file: str) -> None:
    """Print the syntax tree of FILE, or the file back, byte for byte.

    The tree is one JSON object: the lines of the file, each with its own text
    and, where it is a rule, its words and what they say.  A line that cannot be
    read is in it too, with the reason.  Any bytes can be read.

    Exit status: 0 done, 2 the file could not be read.
    """
    if schema:
        _write([schema_text()])
        return
    document = api.parse_source(read_source(file))
    if format_ == "text":
        write_text(document.text())
        return
    from iptkit.report.ast import render
    from iptkit.ruleset.binding import Binder

    _write(render(document, Binder(family_of(family))))


def schema_text() -> str:
    """The JSON Schema of what `parse --format json` prints."""
    from importlib.resources import files

    return (files("iptkit.report") / "schema" / SCHEMA_FILE).read_text(encoding="utf-8")


def _write(pieces: Iterable[str]) -> None:
    """Pieces of JSON to standard output, as UTF-8 whatever the locale."""
    out = sys.stdout.buffer
    try:
        for piece in pieces:
            out.write(piece.encode())
        out.flush()
    except BrokenPipeError:
        # The reader has enough; Python must not complain about it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
