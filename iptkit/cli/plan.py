"""What restore --plan prints: what would change, rule by rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit import api

if TYPE_CHECKING:
    from typing import Any

    from iptkit.diff.model import Difference
    from iptkit.kernel.plan import Plan

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
