"""What restore tells with -v: comments, chains flushed and deleted, rules, in the order of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.core import Jump
from iptkit.ruleset.model import Table
from iptkit.syntax.document import TableLine
from iptkit.values.addresses import show_network4, show_network6

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.core import Network
    from iptkit.kernel.plan import Plan
    from iptkit.ruleset.model import Rule
    from iptkit.text.source import Source

# Protocols that iptables tells by name; for the others it shows their numbers.
_PROTOCOLS = {
    0: "all",
    1: "icmp",
    6: "tcp",
    17: "udp",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    132: "sctp",
    135: "mobility-header",
    136: "udplite",
}


def tell(source: Source, plan: Plan, *, listed: bool = False) -> Iterator[str]:
    """Yield lines (Latin-1).

    Rules are told as iptables-save prints them; `listed` tells them as
    iptables-restore does, which tells none with --noflush.
    """
    rules: dict[tuple[int, str], list[str]] = {}
    for planned in plan.tables if not (listed and plan.script.noflush) else ():
        for chain in planned.table.chains.values():
            for rule in chain.rules:
                text = listing(rule) if listed else f"-A {chain.name}{rule.text()}"
                rules.setdefault((rule.line.number, rule.line.raw), []).append(text)
    for number, raw in enumerate(source.lines, 1):
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


def listing(rule: Rule) -> str:
    """A rule in the columns of `iptables-restore -v`; its extensions are worded as a save does."""
    conditions = rule.conditions
    target = rule.target
    to, _, options = ("" if target is None else target.text()).partition(" ")
    extensions = "".join(f" -m {match.text()}" for match in rule.matches) + (options and f" {options}")
    protocol = _PROTOCOLS.get(conditions.protocol, str(conditions.protocol))
    fragment = ("!f" if conditions.fragment_inverted else "-f") if conditions.fragment else "--"
    show = _shown4 if conditions.family == 4 else _shown6
    goto = "[goto] " if isinstance(target, Jump) and target.goto else ""
    return (
        f"{to} {'!' if conditions.protocol_inverted else ' '}{protocol} opt {fragment}"
        f" in {'!' if conditions.in_inverted else ''}{conditions.in_interface or '*'}"
        f" out {'!' if conditions.out_inverted else ''}{conditions.out_interface or '*'}"
        f" {'!' if conditions.source_inverted else ' '}{show(conditions.source)}"
        f" {'!' if conditions.destination_inverted else ' '}-> {show(conditions.destination)}"
        f"  {goto}{extensions}"
    )


def _shown4(network: Network | None) -> str:
    return "0.0.0.0/0" if network in (None, (0, 0)) else show_network4(*network).removesuffix("/32")


def _shown6(network: Network | None) -> str:
    return "::/0" if network in (None, (0, 0)) else show_network6(*network).removesuffix("/128")
