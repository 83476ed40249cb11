"""iptkit save"""

from __future__ import annotations

import sys

import click

from iptkit import api
from iptkit.cli.common import backend_in_use, fail, family_of, family_options, write_text
from iptkit.cli.getopt import GetoptCommand
from iptkit.cli.iptables import now
from iptkit.kernel.errors import KernelError


@click.command(cls=GetoptCommand, context_settings={"help_option_names": ["-h", "--help"]})
@family_options
@click.option("-c", "--counters", is_flag=True, help="print packet and byte counters before each rule")
@click.option("-t", "--table", metavar="TABLE", help="print only this table")
@click.option("-f", "--file", metavar="FILE", help="write to FILE instead of standard output")
@click.option("-M", "--modprobe", metavar="COMMAND", help="taken and not used")
@click.option("-d", "--dump", is_flag=True, hidden=True)
@click.option("-b", "--binary", is_flag=True, hidden=True)
@click.option("-V", "--version", is_flag=True, help="print the version and exit")
@click.option("--backend", type=click.Choice(["auto", "legacy", "nft", "memory"]), default="auto",
              help="where the tables live (default: what is in use)")  # fmt: skip
@click.option("--state", metavar="FILE", help="what the memory backend holds")
@click.option("--reproducible", is_flag=True, help="no dates, tables in a fixed order")
def command(
    family: int,
    counters: bool,
    table: str | None,
    file: str | None,
    modprobe: str | None,
    dump: bool,
    binary: bool,
    version: bool,
    backend: str,
    state: str | None,
    reproducible: bool,
) -> None:
    """Print the rules in use, as iptables-save does."""
    if version:
        from iptkit import __version__

        click.echo(f"iptkit save {__version__} (as iptables-save v1.8.9)")
        return
    if binary:
        click.echo("-b/--binary option is not implemented", err=True)
    try:
        text = api.save_live(
            family_of(family),
            backend=backend_in_use(backend, family_of(family)),
            state=state,
            counters=counters,
            table=table,
            reproducible=reproducible,
            now=None if reproducible else now(),
        )
    except KernelError as error:
        fail(str(error), status=1)
    if file is None:
        write_text(text)
        return
    try:
        with open(file, "wb") as out:
            out.write(text.encode("latin-1"))
    except OSError as error:
        fail(f"cannot write {file}: {error.strerror}", status=1)
    sys.exit(0)
