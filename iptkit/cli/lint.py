"""iptkit lint"""

from __future__ import annotations

import sys

import click

from iptkit.cli.common import color_option, complete_file, family_of, family_options
from iptkit.cli.linting import Fixes, lint
from iptkit.text.diagnostic import BOTH

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
@click.option("--fix", is_flag=True, help="cure what can be cured without changing what the file does")
@click.option("--unsafe-fixes", is_flag=True, help="with --fix or --diff, also what may change it")
@click.option("--diff", is_flag=True, help="print what --fix would change, and change nothing")
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
    fix: bool,
    unsafe_fixes: bool,
    diff: bool,
    exit_zero: bool,
    color: str,
    files: tuple[str, ...],
) -> None:
    """Say what is wrong with rulesets in save format, without a kernel.

    Errors are what one of the tools or the kernel would refuse, warnings what
    loads and does something else than it says, the rest could be better.
    `iptkit rule CODE` tells what a finding means.  A comment line
    `# iptkit: ignore[CODE] reason` silences a check for the line below it.

    --fix writes the cured file in place of the old one, or to standard output
    if it came from standard input, and reports what is left.

    Exit status: 0 no findings, 1 findings, 2 a file could not be read.
    """
    if unsafe_fixes and not (fix or diff):
        raise click.UsageError("--unsafe-fixes needs --fix or --diff")
    status = lint(
        files,
        family=family_of(family),
        select=_words(select),
        ignore=_words(ignore),
        noflush=noflush,
        backends=BOTH if backend == "any" else (backend,),
        format_=format_,
        fixes=Fixes.DIFF if diff else Fixes.WRITE if fix else Fixes.NONE,
        unsafe_fixes=unsafe_fixes,
        exit_zero=exit_zero,
        color=color,
    )
    sys.exit(status)


def _words(given: tuple[str, ...]) -> list[str]:
    return [word.strip() for each in given for word in each.split(",")]
