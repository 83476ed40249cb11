"""iptkit fmt"""

from __future__ import annotations

import sys

import click

from iptkit import api
from iptkit.cli.common import Exit, family_of, family_options, read_source, write_text


@click.command()
@family_options
@click.option("-c", "--counters", is_flag=True, help="print packet and byte counters before each rule")
@click.argument("file", default="-")
def command(family: int, counters: bool, file: str) -> None:
    """Print a ruleset in its canonical form: what iptables-save prints after loading FILE."""
    source = read_source(file)
    outcome = api.interpret(api._parse(source), family_of(family), counters=counters)
    for d in outcome.diagnostics:
        click.echo(
            f"{source.name}:{d.span.line}: {d.message} [{d.code}] {source.text.splitlines()[d.span.line - 1][d.span.start : d.span.end]} line {outcome.line}",
            err=True,
        )
    if outcome.status:
        sys.exit(Exit.FAILED)
    write_text(api.save(outcome.ruleset, counters=counters))
