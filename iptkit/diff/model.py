"""A difference as data: tables, chains and rules that are not the same in two rulesets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.ruleset.model import Chain, Counters, Rule, Ruleset

# What happened to a rule, in the order summaries name it.
RULE_CHANGES = ("added", "removed", "edited", "moved", "counters")


class RuleDifference:
    """One rule that is not the same.

    `change` is one of

    added     only in the new chain
    removed   only in the old chain
    edited    another rule stands in its place and says mostly the same
    moved     the same rule stands elsewhere among the rules that stayed
    counters  the same rule in the same place has other counters (only when
              counters are compared)

    `old_number` and `new_number` are its numbers in the two chains, as
    `iptables -L --line-numbers` counts them, from 1; None on the side where it
    is not, as are `old` and `new`.
    """

    __slots__ = ("change", "new", "new_number", "old", "old_number")

    def __init__(
        self, change: str, old_number: int | None, old: Rule | None, new_number: int | None, new: Rule | None
    ) -> None:
        self.change = change
        self.old_number = old_number
        self.old = old
        self.new_number = new_number
        self.new = new

    def __repr__(self) -> str:
        rule = self.new if self.old is None else self.old
        return f"<{self.change} {self.old_number}->{self.new_number}{'' if rule is None else rule.text()}>"


class ChainDifference:
    """One chain with a difference in it.

    `change` is "added", "removed", "renamed" (a removed and an added user chain
    whose rules are all the same; that rules jump to it by another name is then
    no difference of theirs) or "changed".  `old` and `new` are the chains,
    None on the side where there is none.  `rules` holds what changed, in the
    order in which it reads well: by place in the new chain, a removed rule
    where it stood.
    """

    __slots__ = ("change", "name", "new", "old", "rules")

    def __init__(
        self,
        name: str,
        change: str,
        old: Chain | None,
        new: Chain | None,
        rules: tuple[RuleDifference, ...] = (),
    ) -> None:
        self.name = name
        self.change = change
        self.old = old
        self.new = new
        self.rules = rules

    @property
    def policies(self) -> tuple[str, str] | None:
        """The policy before and after, None when it stayed."""
        old, new = self.old, self.new
        if old is None or new is None or old.policy is None or new.policy is None or old.policy == new.policy:
            return None
        return old.policy, new.policy

    @property
    def counters(self) -> tuple[Counters, Counters] | None:
        """The policy's counters before and after, None when they stayed or there are none."""
        old, new = self.old, self.new
        if old is None or new is None or not old.builtin or old.counters == new.counters:
            return None
        return old.counters, new.counters


class TableDifference:
    """One table with a difference in it; `change` is "added", "removed" or "changed"."""

    __slots__ = ("chains", "change", "name")

    def __init__(self, name: str, change: str, chains: tuple[ChainDifference, ...]) -> None:
        self.name = name
        self.change = change
        self.chains = chains


class Difference:
    """What differs between two rulesets of one family.

    `counters` tells whether counters were compared.  A table that was never
    used and one that is empty, with all policies ACCEPT, are the same.
    """

    __slots__ = ("counters", "new", "old", "tables")

    def __init__(
        self, old: Ruleset, new: Ruleset, counters: bool, tables: tuple[TableDifference, ...]
    ) -> None:
        self.old = old
        self.new = new
        self.counters = counters
        self.tables = tables

    @property
    def same(self) -> bool:
        return not self.tables

    def chains(self) -> Iterator[tuple[TableDifference, ChainDifference]]:
        for table in self.tables:
            for chain in table.chains:
                yield table, chain

    def summary(self) -> dict[str, dict[str, int]]:
        """How many of what: {"rules": {"added": 1, ...}, "chains": {...}, "tables": {...}}, zeros included.

        Rules of added and removed chains count; those of a renamed chain do
        not.  "policies" under "chains" counts changed policies, "counters"
        those whose policy has other counters (when counters are compared).
        """
        rules = dict.fromkeys(RULE_CHANGES, 0)
        chains = dict.fromkeys(("added", "removed", "renamed", "policies", "counters"), 0)
        tables = dict.fromkeys(("added", "removed"), 0)
        for table in self.tables:
            if table.change in tables:
                tables[table.change] += 1
            for chain in table.chains:
                if chain.change in chains:
                    chains[chain.change] += 1
                if chain.policies is not None:
                    chains["policies"] += 1
                if self.counters and chain.counters is not None:
                    chains["counters"] += 1
                for rule in chain.rules:
                    rules[rule.change] += 1
        return {"rules": rules, "chains": chains, "tables": tables}

    def text(self, old: str = "old", new: str = "new", *, color: bool = False) -> str:
        """The difference for a person; `old` and `new` are the names to show.  "" when there is none."""
        from iptkit.diff.text import render

        return render(self, old, new, color=color)

    def document(self, old: str = "old", new: str = "new") -> dict[str, Any]:
        """The difference as one object for `json.dumps`; see iptkit.diff.json for its fields."""
        from iptkit.diff.json import document

        return document(self, old, new)

    def script(self, old: str = "old", new: str = "new") -> str:
        """What `iptables-restore --counters --noflush` needs to make the old state the new one (Latin-1).

        Raises IptkitError for a rule that cannot be written so that it reads back.
        """
        from iptkit.diff.script import script

        return script(self, old, new)
