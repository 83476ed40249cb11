"""A table being filled, and its lines as iptables-save -c prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.dice import Dice


class Table:
    """Chains with their rules; `policies` names the built-in chains in the kernel's order."""

    def __init__(self, name: str, policies: dict[str, str]) -> None:
        self.name = name
        self.policies = policies
        self.chains: dict[str, list[str]] = {chain: [] for chain in policies}
        self.rules = 0

    def add(self, chain: str, *rules: str) -> None:
        """Append rules, making the chain if need be."""
        self.chains.setdefault(chain, []).extend(rules)
        self.rules += len(rules)

    def lines(self, dice: Dice) -> Iterator[str]:
        users = sorted(chain for chain in self.chains if chain not in self.policies)
        yield f"*{self.name}"
        for chain, policy in self.policies.items():
            yield f":{chain} {policy} {_counters(dice, 1 << 24)}"
        for chain in users:
            yield f":{chain} - [0:0]"
        for chain in (*self.policies, *users):
            for rule in self.chains[chain]:
                # Half of the rules of a machine have seen no packet.
                counters = "[0:0]" if dice.chance(0.5) else _counters(dice, 1 << 20)
                yield f"{counters} -A {chain}{' ' if rule else ''}{rule}"
        yield "COMMIT"


def _counters(dice: Dice, most: int) -> str:
    packets = dice.number(0, most)
    return f"[{packets}:{packets * dice.number(40, 1500)}]"
