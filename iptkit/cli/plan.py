"""What restore --plan prints: what would change, rule by rule, and for which connections."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from iptkit import api
from iptkit.cli.common import fail, read_source
from iptkit.text.diagnostic import IptkitError

if TYPE_CHECKING:
    from typing import Any

    from iptkit.diff.model import Difference
    from iptkit.evaluator.impact import Ends, Impact
    from iptkit.kernel.plan import Plan
    from iptkit.ruleset.model import Ruleset

NOW = "now"  # what the present rules are called


def plan_text(plan: Plan, color: bool) -> str:
    """As `iptkit diff live FILE` prints it, for the tables that the file names (Latin-1)."""
    text = _difference(plan).text(NOW, plan.script.source.name, color=color)
    return text.encode("utf-8").decode("latin-1")


def plan_document(plan: Plan) -> dict[str, Any]:
    """As `iptkit diff --format json` prints it; ready for json.dumps."""
    return _difference(plan).document(NOW, plan.script.source.name)


def _difference(plan: Plan) -> Difference:
    # Counters of what stays go on; those that -c brings are part of what changes.
    names = [table.name for table in plan.tables]
    return api.diff(plan.before, plan.after, counters=plan.script.counters, tables=names)


def connections_at_stake(
    plan: Plan, backend: str, dump: str | None, surroundings: tuple[str, ...]
) -> Impact | None:
    """The connections whose next packets would change verdict; None where no connections are known.

    Without a dump those of the machine count, if the plan is for the machine.
    """
    from iptkit.evaluator.topology import read_topology
    from iptkit.kernel.nftchild import ToolError
    from iptkit.kernel.surroundings import live_connections, live_topology

    on_machine = backend != "memory"
    if dump is None and not on_machine:
        return None
    try:
        lines = read_source(dump).text.splitlines() if dump is not None else live_connections()
        if surroundings:
            texts = [(source.name, source.text) for source in map(read_source, surroundings)]
        elif on_machine:
            texts = live_topology()
        else:
            texts = []
        around = read_topology(texts) if texts else None
        before, after = _whole(plan, backend)

        return api.impact(before, after, lines, topology=around, now=time.time(), own=_own_session())
    except ToolError as error:
        click.echo(f"iptkit: connections are not looked at: {error}", err=True)
        return None
    except IptkitError as error:
        fail(str(error))


def _whole(plan: Plan, backend: str) -> tuple[Ruleset, Ruleset]:
    """All tables as they are and as they will be, those too that the file does not name."""
    before, after = plan.before.copy(), plan.after.copy()
    if backend != "memory":
        for name, table in api.live(plan.family, backend=backend).tables.items():
            before.tables.setdefault(name, table)
            after.tables.setdefault(name, table)
    return before, after


def _own_session() -> Ends | None:
    """The ends of the SSH session that this runs in (sshd's SSH_CONNECTION)."""
    from iptkit.evaluator.impact import Ends
    from iptkit.values.addresses import parse_address4, parse_address6

    words = os.environ.get("SSH_CONNECTION", "").split()
    try:
        client, port, server, server_port = words
        read = parse_address6 if ":" in client else parse_address4
        return Ends(read(client), int(port), read(server), int(server_port))
    except ValueError:
        return None


def impact_text(flows: Impact) -> str:
    """What becomes of the connections there are (Latin-1)."""
    if not flows.changes:
        return "no connection's next packet changes verdict\n"
    count = len({id(each.entry) for each in flows.changes})
    head = f"{count} {'connection' if count == 1 else 'connections'} would fare otherwise:"
    text = "\n".join((head, *flows.lines(), ""))
    return text.encode("utf-8").decode("latin-1")
