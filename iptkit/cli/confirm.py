"""iptkit confirm"""

from __future__ import annotations

import click

from iptkit.cli.common import fail, family_of, waiting_options
from iptkit.kernel import confirm
from iptkit.kernel.errors import KernelError


@click.command()
@waiting_options
def command(family: int | None) -> None:
    """Let the rules of a `restore --confirm` stay: what was there before does not come back.

    Of both families, unless -4 or -6 is given, and of this network namespace.
    """
    try:
        done = confirm.confirm(None if family is None else family_of(family))
    except KernelError as error:
        fail(str(error), status=1)
    for each in done:
        click.echo(f"confirmed: {', '.join(each.tables)} (IPv{each.family}, {each.backend})")
