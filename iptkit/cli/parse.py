"""iptkit parse"""

from __future__ import annotations

import click

from iptkit import api
from iptkit.cli.common import family_options, read_source, write_text


@click.command()
@family_options
@click.option(
    "--format", "format_", type=click.Choice(["json", "text"]), default="json", help="tree, or file"
)
@click.argument("file", default="-")
def command(family: int, format_: str, file: str) -> None:
    """Print the syntax tree of FILE, or the file back, byte for byte."""
    write_text(api._parse(read_source(file)).text())
