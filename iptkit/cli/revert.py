"""iptkit revert"""

from __future__ import annotations

import click

from iptkit.cli.common import fail, family_of, waiting_options
from iptkit.kernel import confirm
from iptkit.kernel.errors import KernelError


@click.command()
@waiting_options
def command(family: int | None) -> None:
    """Bring back what was there before a `restore --confirm`, counters included, and do not wait for the end.

    Of both families, unless -4 or -6 is given, and of this network namespace.
    """
    try:
        done = confirm.revert(None if family is None else family_of(family))
    except KernelError as error:
        fail(str(error), status=1)
    for each in done:
        click.echo(f"brought back: {', '.join(each.tables)} (IPv{each.family}, {each.backend})")
