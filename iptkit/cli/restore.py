"""iptkit restore"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from iptkit import api
from iptkit.cli.common import (
    backend_in_use,
    color_option,
    complete_file,
    fail,
    family_of,
    family_options,
    read_source,
    report_diagnostics,
    want_color,
    write_text,
)
from iptkit.cli.getopt import GetoptCommand
from iptkit.cli.plan import connections_at_stake, impact_text, plan_document, plan_text
from iptkit.cli.telling import tell
from iptkit.kernel.backend import CommitError
from iptkit.kernel.errors import KernelError
from iptkit.text.source import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iptkit.evaluator.impact import Impact
    from iptkit.kernel.transaction import Transaction
    from iptkit.text.diagnostic import Diagnostic
    from iptkit.text.source import Source
    from iptkit.values.context import Family

FOREVER = -1.0
_ENDED = {
    "help": "-h in a line ends the file: nothing is applied",
    "version": "-V in a line ends the file: nothing is applied",
}


@click.command(cls=GetoptCommand, context_settings={"help_option_names": ["-h", "--help"]})
@family_options
@click.option("-c", "--counters", is_flag=True, help="restore the packet and byte counters in the file")
@click.option("-n", "--noflush", is_flag=True, help="keep what the tables hold; add to it")
@click.option(
    "-t", "--test", is_flag=True, help="read and check all of it, apply nothing; needs no root and no kernel"
)
@click.option("-T", "--table", metavar="TABLE", help="restore only this table")
@click.option("-v", "--verbose", is_flag=True, help="print comments and what is flushed and added")
@click.option("-w", "--wait", is_flag=False, flag_value=FOREVER, type=float, metavar="[=SECONDS]",
              help="wait for the xtables lock, for ever or so long")  # fmt: skip
@click.option("-W", "--wait-interval", is_flag=False, flag_value=0, type=int, metavar="[=MICROSECONDS]",
              help="how often to try for the lock")  # fmt: skip
@click.option(
    "-M", "--modprobe", metavar="COMMAND", help="taken and not used: the kernel loads its modules itself"
)
@click.option("-b", "--binary", is_flag=True, hidden=True)
@click.option("-V", "--version", is_flag=True, help="print the version and exit")
@click.option("--backend", type=click.Choice(["auto", "legacy", "nft", "memory"]), default="auto",
              help="where the tables live (default: what is in use)")  # fmt: skip
@click.option("--state", metavar="FILE", help="what the memory backend holds: read before, written after")
@click.option("--plan", is_flag=True, help="print what would change, change nothing")
@click.option("--conntrack", metavar="FILE", shell_complete=complete_file,
              help="with --plan: the connections it is to be judged by (default: those in use)")  # fmt: skip
@click.option("--topology", multiple=True, metavar="FILE", shell_complete=complete_file,
              help="with --plan: what ip -j addr and ip -j route print (default: this machine)")  # fmt: skip
@click.option("--per-table", is_flag=True, help="commit table by table, as iptables-restore does")
@click.option("--confirm", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="bring back what was there before, unless `iptkit confirm` is run in time")  # fmt: skip
@click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", help="of findings and plan"
)
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
    conntrack: str | None,
    topology: tuple[str, ...],
    per_table: bool,
    confirm: float | None,
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
    if table is not None and "/" in table:
        # Usually -T was left without its table, and took the file.
        fail(f"-T needs the name of a table, and {shown(table)} is the name of a file", 1)
    if binary:
        click.echo("-b/--binary option is not implemented", err=True)
    if confirm is not None and (test or plan or per_table):
        fail("--confirm cannot go with --test, --plan or --per-table", status=1)
    if (conntrack is not None or topology) and not plan:
        fail("--conntrack and --topology go with --plan", status=1)
    source = read_source(file, status=1) if file is not None else read_source("-")
    chosen = "memory" if test and backend == "auto" else backend_in_use(backend, family_of(family))
    done = error = None
    try:
        done = api.restore_source(
            source,
            family_of(family),
            backend=chosen,
            state=state,
            noflush=noflush,
            counters=counters,
            table=table,
            test=test,
            look=plan,
            per_table=per_table,
            wait=0 if wait is None else wait,
            interval=wait_interval,
            keep=verbose or plan,
            confirm=confirm,
        )
        status = done.outcome.status
    except KernelError as trouble:
        error, status = trouble, api.exit_status(trouble)
    flows = None
    if plan and done is not None and done.plan is not None:
        flows = connections_at_stake(done.plan, done.backend, conntrack, topology)
    if format_ == "json":
        _print_json(source, done, error, status, flows)
    else:
        _print_text(source, done, error, color, plan=plan)
        if flows is not None:
            write_text(impact_text(flows))
        if done is not None and done.committed:
            _print_waiting(family_of(family), confirm)
    if verbose and done is not None and done.plan is not None and format_ == "text":
        write_text("".join(line + "\n" for line in tell(source, done.plan)))
    sys.exit(status)


def _relevant(done: Transaction) -> list[Diagnostic]:
    """The findings, less the errors that are none where the text goes."""
    side = "nft" if done.backend == "nft" else "legacy"
    return [found for found in done.outcome.diagnostics if not found.backends or side in found.backends]


def _print_text(
    source: Source, done: Transaction | None, error: KernelError | None, color: str, *, plan: bool
) -> None:
    if error is not None:
        where = f"{source.name}:{error.line}: " if isinstance(error, CommitError) and error.line else ""
        click.echo(f"iptkit: {where}{shown(str(error))}", err=True)
        if isinstance(error, CommitError) and error.findings:
            report_diagnostics(source, error.findings, color)
    if done is None:
        return
    found = _relevant(done)
    if found:
        report_diagnostics(source, found, color)
    elif done.outcome.ended:
        click.echo(f"iptkit: {_ENDED[done.outcome.ended]}", err=True)
    if plan and done.plan is not None:
        write_text(plan_text(done.plan, want_color(color)))


def _print_waiting(family: Family, seconds: float | None) -> None:
    """What is to be confirmed, now or still."""
    from iptkit.kernel.confirm import waiting

    if seconds is not None:
        text = f"the rules of before come back in {seconds:g} s, unless you run: iptkit confirm"
        click.echo(f"iptkit: {text}", err=True)
        return
    try:
        still = waiting(family)
    except KernelError:
        return  # the restore is done; this was only to be looked at
    if still:
        text = "an earlier restore still waits to be confirmed, or it will bring its old rules back"
        click.echo(f"iptkit: {text}: iptkit confirm", err=True)


def _print_json(
    source: Source,
    done: Transaction | None,
    error: KernelError | None,
    status: int,
    flows: Impact | None,
) -> None:
    """One object: how it went, what was found, what was refused on the machine, and with --plan the plan."""
    import json

    from iptkit.report.json import findings_of

    found: Sequence[Diagnostic] = _relevant(done) if done else ()
    if isinstance(error, CommitError):
        found = error.findings
    document = {
        "schema": "iptkit-restore/1",
        "file": source.name,
        "status": status,
        "backend": done.backend if done else None,
        "committed": bool(done and done.committed),
        "findings": findings_of(source, found),
        "error": _error(error),
        "plan": plan_document(done.plan) if done and done.plan else None,
        "connections": flows.document() if flows is not None else None,
    }
    click.echo(json.dumps(document, indent=1, ensure_ascii=False))


def _error(error: KernelError | None) -> dict[str, object] | None:
    if error is None:
        return None
    found: dict[str, object] = {"message": shown(str(error)), "table": None, "line": None}
    if isinstance(error, CommitError):
        found.update(table=error.table or None, line=error.line or None)
    return found
