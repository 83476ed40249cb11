"""iptkit fmt"""

from __future__ import annotations

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
    report_diagnostics,
    want_color,
    write_atomically,
    write_text,
)
from iptkit.values.context import Names

if TYPE_CHECKING:
    from iptkit.text.source import Source
    from iptkit.values.context import Family


@click.command()
@family_options
@click.option("-c", "--counters", is_flag=True, help="print the packet and byte counters before each rule")
@click.option("--keep-comments", is_flag=True, help="keep comment lines, each before what it stood before")
@click.option("-i", "--in-place", is_flag=True, help="write the result back to FILE, in one step")
@click.option("--check", is_flag=True, help="write nothing; exit 1 if a file is not in canonical form")
@click.option("--diff", "show_diff", is_flag=True, help="print what would change")
@color_option
@click.argument("files", metavar="[FILE]...", nargs=-1, shell_complete=complete_file)
def command(
    family: int,
    counters: bool,
    keep_comments: bool,
    in_place: bool,
    check: bool,
    show_diff: bool,
    color: str,
    files: tuple[str, ...],
) -> None:
    """Print rulesets in canonical form: what iptables-save prints after loading them.

    No kernel is needed.  Tables keep the order of the file.  A file that
    iptables-restore would refuse is refused, with every reason.  With -c it is
    read as iptables-restore -c reads it, unless a policy in it has no counters:
    such a file loads without -c alone.
    """
    if in_place and (not files or "-" in files):
        fail("-i needs the name of a file")
    status = Exit.OK
    for path in files or ("-",):
        source = read_source(path)
        made = _canonical(source, family, counters=counters, keep_comments=keep_comments, color=color)
        if made is None:
            status = Exit.FAILED
            continue
        changed = made != source.text
        if changed and check and status is Exit.OK:
            status = Exit.FOUND
        if show_diff and changed:
            write_text(_difference(source, made, want_color(color)))
        elif check and changed:
            click.echo(f"{path}: not in canonical form", err=True)
        if in_place and changed and not check:
            write_atomically(path, made.encode("latin-1"))
        elif not (in_place or check or show_diff):
            write_text(made)
    sys.exit(status)


def _loopback(name: str, family: Family) -> tuple[int, ...] | None:
    """The one host name that is the same on every machine (RFC 6761, 6.3)."""
    return (1 if family == 6 else 0x7F000001,) if name == "localhost" else None


def _canonical(source: Source, family: int, *, counters: bool, keep_comments: bool, color: str) -> str | None:
    document = api.parse_source(source)
    with_counters = counters and api.has_counters(document)
    outcome = api.interpret(document, family_of(family), counters=with_counters, names=Names(host=_loopback))
    if outcome.status:
        report_diagnostics(source, outcome.diagnostics, color)
        return None
    return api.canonical(document, outcome, counters=counters, keep_comments=keep_comments)


def _difference(source: Source, made: str, color: bool) -> str:
    import difflib

    lines = difflib.unified_diff(
        source.lines, made.split("\n"), source.name, source.name + " (canonical)", lineterm=""
    )
    if not color:
        return "".join(line + "\n" for line in lines)
    paint = {"+": "32", "-": "31", "@": "36"}
    return "".join(
        f"\x1b[{paint[line[0]]}m{line}\x1b[0m\n" if line[:1] in paint else line + "\n" for line in lines
    )
