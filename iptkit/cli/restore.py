"""iptkit restore"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from iptkit import api
from iptkit.cli.common import (
    color_option,
    complete_file,
    family_of,
    family_options,
    fail,
    read_source,
    report_diagnostics,
    want_color,
)
from iptkit.cli.getopt import GetoptCommand
from iptkit.kernel.errors import KernelError

if TYPE_CHECKING:
    from iptkit.kernel.transaction import Transaction
    from iptkit.text.source import Source

FOREVER = -1.0
_ENDED = {"help": "-h in a line ends the file: nothing is applied", "version": "-V in a line ends the file: nothing is applied"}


@click.command(cls=GetoptCommand, context_settings={"help_option_names": ["-h", "--help"]})
@family_options
@click.option("-c", "--counters", is_flag=True, help="restore the packet and byte counters in the file")
@click.option("-n", "--noflush", is_flag=True, help="keep what the tables hold; add to it")
@click.option("-t", "--test", is_flag=True, help="read and check all of it, apply nothing; needs no root and no kernel")
@click.option("-T", "--table", metavar="TABLE", help="restore only this table")
@click.option("-v", "--verbose", is_flag=True, help="print comments and what is flushed and added")
@click.option("-w", "--wait", is_flag=False, flag_value=FOREVER, type=float, metavar="[=SECONDS]",
              help="wait for the xtables lock, for ever or so long")  # fmt: skip
@click.option("-W", "--wait-interval", is_flag=False, flag_value=0, type=int, metavar="[=MICROSECONDS]",
              help="how often to try for the lock")  # fmt: skip
@click.option("-M", "--modprobe", metavar="COMMAND", help="taken and not used: the kernel loads its modules itself")
@click.option("-b", "--binary", is_flag=True, hidden=True)
@click.option("-V", "--version", is_flag=True, help="print the version and exit")
@click.option("--backend", type=click.Choice(["auto", "legacy", "nft", "memory"]), default="auto",
              help="where the tables live (default: what is in use)")  # fmt: skip
@click.option("--state", metavar="FILE", help="what the memory backend holds: read before, written after")
@click.option("--plan", is_flag=True, help="print what would change, change nothing")
@click.option("--per-table", is_flag=True, help="commit table by table, as iptables-restore does")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", help="of findings and plan")
@color_option
@click.argument("file", required=False, shell_complete=complete_file)
def command(
    family: int,
    counters: bool,
    noflush: bool,
    test: bool,
    table: str | None,
    verbose: bool,
    wait: float | None,
    wait_interval: int | None,
    modprobe: str | None,
    binary: bool,
    version: bool,
    backend: str,
    state: str | None,
    plan: bool,
    per_table: bool,
    format_: str,
    color: str,
    file: str | None,
) -> None:
    """Load FILE, or standard input, into the kernel: all of it or nothing.

    The options, their spelling and the exit status are those of
    iptables-restore: 0 done; 1 a line or the kernel refused; 2 a parameter
    problem; 4 the lock or a resource was not to be had.  Unlike there, a file
    with any fault changes nothing at all, and a table that the kernel refuses
    undoes the ones before it (--per-table: as there).
    """
    if version:
        from iptkit import __version__

        click.echo(f"iptkit restore {__version__} (as iptables-restore v1.8.9)")
        return
    if binary:
        click.echo("-b/--binary option is not implemented", err=True)
    source = read_source(file, status=1) if file is not None else read_source("-")
    chosen = "memory" if test and backend == "auto" else backend
    try:
        done = api.restore_source(
            source,
            family_of(family),
            backend=chosen,
            state=state,
            noflush=noflush,
            counters=counters,
            table=table,
            test=test or plan,
            per_table=per_table,
            wait=0 if wait is None else wait,
            keep=verbose,
            interval=wait_interval,
        )
    except KernelError as error:
        fail(str(error), status=api.exit_status(error))
    status = _report(source, done, format_, color)
    if plan and done.plan is not None:
        from iptkit.cli.plan import print_plan

        print_plan(done.plan, format_, want_color(color))
    if verbose and done.plan is not None:
        _tell(source, done, noflush)
    sys.exit(status)


def _report(source: Source, done: Transaction, format_: str, color: str) -> int:
    outcome = done.outcome
    if outcome.diagnostics:
        if format_ == "json":
            from iptkit.report.json import render_json

            click.echo(render_json([(source, outcome.diagnostics)]))
        else:
            report_diagnostics(source, outcome.diagnostics, color)
    elif outcome.ended:
        click.echo(f"iptkit: {_ENDED[outcome.ended]}", err=True)
    return outcome.status


def _tell(source: Source, done: Transaction, noflush: bool) -> None:
    """What -v of iptables-restore tells: comments, chains flushed and deleted, rules."""
    assert done.plan is not None
    for line in source.text.split("\n"):
        if line.startswith("#"):
            click.echo(line.encode("latin-1"))
    for planned in done.plan.tables:
        old = done.plan.before.tables.get(planned.name)
        if old is not None and not noflush:
            for chain in old.saved_chains():
                click.echo(f"Flushing chain `{chain.name}'".encode("latin-1"))
            for chain in old.saved_chains():
                if not chain.builtin:
                    click.echo(f"Deleting chain `{chain.name}'".encode("latin-1"))
        for chain in planned.table.saved_chains():
            for rule in chain.rules:
                click.echo(f"-A {chain.name}{rule.text()}".encode("latin-1"))
