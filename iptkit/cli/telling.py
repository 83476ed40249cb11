"""What restore tells with -v: comments, chains flushed and deleted, rules, in the order of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.ruleset.model import Table
from iptkit.syntax.document import TableLine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.kernel.plan import Plan
    from iptkit.text.source import Source


def tell(source: Source, plan: Plan) -> Iterator[str]:
    """Yield lines (Latin-1).  Rules are told as iptables-save prints them."""
    rules: dict[tuple[int, str], list[str]] = {}
    for planned in plan.tables:
        for chain in planned.table.chains.values():
            for rule in chain.rules:
                text = f"-A {chain.name}{rule.text()}"
                rules.setdefault((rule.line.number, rule.line.raw), []).append(text)
    for number, raw in enumerate(source.text.split("\n"), 1):
        if raw.startswith("#"):
            yield raw
        elif raw.startswith("*") and not plan.script.noflush:
            name = TableLine(number, raw).name
            if any(planned.name == name for planned in plan.tables):
                yield from _flushed(plan.before.tables.get(name) or Table.fresh(name))
        yield from rules.get((number, raw), ())


def _flushed(table: Table) -> Iterator[str]:
    chains = table.saved_chains()
    for chain in chains:
        yield f"Flushing chain `{chain.name}'"
    for chain in chains:
        if not chain.builtin:
            yield f"Deleting chain `{chain.name}'"
