"""The program: picks the command, imports only that one's module."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from iptkit import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMPLETE = "_IPTKIT_COMPLETE"  # set by a shell that asks how a line may go on

# command -> one line of help; its module is iptkit.cli.NAME (- as _), its click command `command` there
COMMANDS = {
    "restore": "load a ruleset into the kernel, all of it or nothing",
    "confirm": "let the rules of a `restore --confirm` stay",
    "revert": "end a `restore --confirm` early: bring back what was there before",
    "save": "print the rules in use, as iptables-save does",
    "fmt": "print the canonical form, as the kernel would save it",
    "lint": "what will not load, what does not do what it says, what could be better",
    "rule": "what a check of lint means",
    "help-extension": "what a match or target does, and its options",
    "diff": "what differs between two rulesets, rule by rule",
    "eval": "what would happen to packets",
    "parse": "print the syntax tree, or the file back",
}


class _Commands(click.Group):
    """Commands imported when they are called for: starting up is part of every answer's time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        import importlib

        found: click.Command = importlib.import_module(f"iptkit.cli.{cmd_name.replace('-', '_')}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def iptkit() -> None:
    """Read, check, compare, write and apply iptables rulesets."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `iptkit`, and of the names it may be linked to.

    Ends with SystemExit.  Exceptions that no command expects pass through:
    click's own way to end would turn an interrupt and a closed pipe into status 1.
    """
    if arguments is None:
        from iptkit.cli.iptables import program_of, run

        program = program_of(sys.argv[0])
        if program is not None:
            run(program, sys.argv[0], sys.argv[1:])
        arguments = sys.argv[1:]
        if _COMPLETE in os.environ:
            iptkit.main(prog_name="iptkit", complete_var=_COMPLETE)
    try:
        with iptkit.make_context("iptkit", list(arguments)) as context:
            iptkit.invoke(context)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    sys.exit(0)
