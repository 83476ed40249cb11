"""iptkit eval"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from iptkit import api
from iptkit.cli.common import Exit, color_option, complete_file, fail, family_options, read_source
from iptkit.text.diagnostic import IptkitError

if TYPE_CHECKING:
    from iptkit.text.source import Source


@click.command()
@family_options
@click.option(
    "--scenario",
    shell_complete=complete_file,
    metavar="FILE",
    help="JSON lines: rulesets with packets, step by step; needs no RULES",
)
@click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", help="of the output"
)
@color_option
@click.argument("rules", default="-", shell_complete=complete_file)
def command(family: int, scenario: str | None, format_: str, color: str, rules: str) -> None:
    """What would happen to packets that meet RULES."""
    if scenario is not None:
        _scenarios(read_source(scenario))
        return


def _scenarios(source: Source) -> None:
    for number, line in enumerate(source.text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.encode("latin-1"))
        except ValueError as error:
            fail(f"{source.name}:{number}: is no JSON: {error}")
        try:
            truth = api.run_scenario(record.get("scenario", record))
        except IptkitError as error:
            fail(f"{source.name}:{number}: {error}")
        _write({"name": record.get("name", f"{source.name}:{number}"), "truth": truth})


def _write(value: Any) -> None:
    try:
        sys.stdout.write(json.dumps(value) + "\n")
    except BrokenPipeError:
        sys.exit(Exit.OK)
