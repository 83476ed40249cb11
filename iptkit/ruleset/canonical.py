"""Print a ruleset exactly as iptables-save does (iptables/iptables-save.c, legacy)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.ruleset.model import Ruleset, Table


def save_table(table: Table, *, counters: bool) -> Iterator[str]:
    """The lines of one table, without line ends and without the comment lines around it."""
    yield f"*{table.name}"
    chains = table.saved_chains()
    for chain in chains:
        if chain.builtin:
            packets, octets = chain.counters
            yield f":{chain.name} {chain.policy} [{packets}:{octets}]"
        else:
            yield f":{chain.name} - [0:0]"
    for chain in chains:
        head = f"-A {chain.name}"
        for rule in chain.rules:
            if counters:
                packets, octets = rule.counters
                yield f"[{packets}:{octets}] {head}{rule.text()}"
            else:
                yield head + rule.text()
    yield "COMMIT"


def save(ruleset: Ruleset, *, counters: bool = False, tables: tuple[str, ...] | None = None) -> Iterator[str]:
    """All tables, the one used first last, as the legacy kernel lists them."""
    for table in reversed(ruleset.tables.values()):
        if tables is None or table.name in tables:
            yield from save_table(table, counters=counters)
