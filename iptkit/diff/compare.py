"""Compare two rulesets: tables by name, chains by name, rules by identity.

Most rules of two versions of a file are written the same way, and when one
Binder read both, a rule is known again by its Bound and its words.  What is
written alike gets one number, and sequences of numbers are aligned.  Numbers
may still be too fine, for a rule can be written in several ways; so
`Rule.identity()` is worked out for whatever seems to have changed, and for
rules that could be the same as that.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from iptkit.diff.align import moves, stays
from iptkit.diff.model import ChainDifference, Difference, RuleDifference, TableDifference
from iptkit.diff.words import edits
from iptkit.extensions.core import Jump
from iptkit.extensions.registry import TARGETS
from iptkit.ruleset.model import EVERYTHING, Table
from iptkit.text.diagnostic import IptkitError
from iptkit.text.uncollected import Uncollected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iptkit.diff.align import Pair
    from iptkit.ruleset.model import Chain, Rule, Ruleset


def compare(
    old: Ruleset, new: Ruleset, *, counters: bool = False, tables: Iterable[str] | None = None
) -> Difference:
    """What differs between two rulesets of one family; with `tables`, in these only.

    With `counters`, the counters of rules and policies are compared too.
    Raises IptkitError for rulesets of different families.
    """
    if old.family != new.family:
        raise IptkitError(f"IPv{old.family} rules cannot be compared with IPv{new.family} rules")
    names = [*reversed(new.tables), *(name for name in reversed(old.tables) if name not in new.tables)]
    if tables is not None:
        wanted = frozenset(tables)
        names = [name for name in names if name in wanted]
    with Uncollected():
        found = (_table(name, old.tables.get(name), new.tables.get(name), counters) for name in names)
        return Difference(old, new, counters, tuple(table for table in found if table is not None))


class Numbering:
    """Rules to small numbers: equal ones for rules that are surely the same.

    Rules that say the same in different words have different numbers until
    `identify` was told of them; `same` then has one number for both.
    """

    __slots__ = ("_by_identity", "_by_use", "_hints", "_rules", "_same")

    def __init__(self) -> None:
        self._by_use: dict[Any, int] = {}
        self._by_identity: dict[Any, int] = {}
        self._rules: list[Rule] = []  # one rule of each number
        self._same: dict[int, int] = {}
        self._hints: dict[int, Any] = {}

    def of(self, rules: Iterable[Rule]) -> list[int]:
        """The number of each rule."""
        by_use, found = self._by_use, self._rules
        same = self._same
        out = []
        for rule in rules:
            use = (rule.bound, *rule.line.values, rule.pick, rule.renamed)
            number = by_use.get(use)
            if number is None:
                number = by_use[use] = len(found)
                found.append(rule)
            out.append(same.get(number, number))
        return out

    def identify(self, numbers: Iterable[int]) -> bool:
        """Tell apart what these numbers stand for, counters aside; True if any two of them are one now."""
        by_identity, rules, same = self._by_identity, self._rules, self._same
        merged = False
        for number in numbers:
            if number not in same:
                same[number] = by_identity.setdefault(rules[number].identity(), number)
                merged = merged or same[number] != number
        return merged

    def renumbered(self, numbers: list[int]) -> list[int]:
        same = self._same
        return [same.get(number, number) for number in numbers]

    def hint(self, number: int) -> Any:
        """Something of a rule that is quickly had, and equal for rules that say the same."""
        hint = self._hints.get(number)
        if hint is None:
            hint = self._hints[number] = _hint(self._rules[number])
        return hint


def _hint(rule: Rule) -> tuple[Any, ...]:
    bound, words = rule.bound, rule.line.values
    out: list[Any] = [bound.protocol]
    for ref in (bound.source, bound.destination):
        if ref is None:
            out.append(None)
            continue
        networks: tuple[Any, ...] = bound.memos[ref][words[ref]] if isinstance(ref, int) else ()
        if len(networks) != 1:
            # Written in the shape, or a list, of which the rule stands for a part.
            conditions = rule.conditions
            pair = (conditions.source, conditions.destination)
            return (bound.protocol, *[None if each == EVERYTHING else each for each in pair])
        out.append(None if networks[0] == EVERYTHING else networks[0])
    return tuple(out)


def _table(name: str, old: Table | None, new: Table | None, counters: bool) -> TableDifference | None:
    before = Table.fresh(name) if old is None else old
    after = Table.fresh(name) if new is None else new
    saved = after.saved_chains()
    added = [c for c in saved if c.name not in before.chains]
    removed = sorted((c for n, c in before.chains.items() if n not in after.chains), key=lambda c: c.name)
    comparison = _Comparison(counters)
    sources = comparison.find_renamed(removed, added)
    chains = {}
    for chain in saved:
        there = before.chains.get(chain.name)
        if there is not None:
            found = comparison.chain(there, chain)
            if found is not None:
                chains[chain.name] = found
    for chain in added:
        source = sources.get(chain.name)
        if source is None:
            whole = tuple(RuleDifference("added", None, None, n, r) for n, r in enumerate(chain.rules, 1))
            chains[chain.name] = ChainDifference(chain.name, "added", None, chain, whole)
        else:
            recounted = tuple(_recounted(source.rules, chain.rules)) if counters else ()
            chains[chain.name] = ChainDifference(chain.name, "renamed", source, chain, recounted)
    for chain in removed:
        if chain.name not in comparison.renames:
            whole = tuple(RuleDifference("removed", n, r, None, None) for n, r in enumerate(chain.rules, 1))
            chains[chain.name] = ChainDifference(chain.name, "removed", chain, None, whole)
    if not chains:
        return None
    change = "added" if old is None else "removed" if new is None else "changed"
    order = (c.name for c in (*saved, *removed))
    return TableDifference(name, change, tuple(chains[name] for name in order if name in chains))


def _renamable(name: str) -> bool:
    """Can -E give this name?  One that reads as an option, or hides a target, it cannot."""
    return name[:1] not in ("-", "!") and name not in TARGETS


def _recounted(old: Iterable[Rule], new: Iterable[Rule]) -> Iterator[RuleDifference]:
    for number, (before, after) in enumerate(zip(old, new, strict=True), 1):
        if before.counters != after.counters:
            yield RuleDifference("counters", number, before, number, after)


def _same_use(a: Rule, b: Rule) -> bool:
    """Surely the same rule?  (False where only the identity can tell.)"""
    return a is b or (
        a.bound is b.bound and a.line.values == b.line.values and a.pick == b.pick and a.renamed == b.renamed
    )


class _Comparison:
    """The chains of one table.

    `renames` maps old names of chains to new ones: a rule that jumps to a
    renamed chain has not changed.
    """

    def __init__(self, counters: bool) -> None:
        self.counters = counters
        self.numbering = Numbering()
        self.renames: dict[str, str] = {}

    def now(self, rule: Rule) -> Rule:
        """An old rule as it is after the renaming of chains."""
        if not self.renames:
            return rule
        target = rule.target
        if isinstance(target, Jump) and target.chain in self.renames:
            return rule.jumping_to(self.renames[target.chain])
        return rule

    def find_renamed(self, removed: list[Chain], added: list[Chain]) -> dict[str, Chain]:
        """New name -> the chain under its old one.

        Their rules are the same, and no other chain that came or went has these.
        """
        found: dict[str, Chain] = {}
        # A chain may be the same only after one that it jumps to is known to be renamed.
        while True:
            before = self._by_rules(c for c in removed if c.name not in self.renames)
            after = self._by_rules(c for c in added if c.name not in found and _renamable(c.name))
            again = {
                chain.name: source
                for key, chain in after.items()
                if chain is not None and (source := before.get(key)) is not None
            }
            if not again:
                return found
            found.update(again)
            self.renames.update((source.name, name) for name, source in again.items())

    def _by_rules(self, chains: Iterable[Chain]) -> dict[tuple[int, ...], Chain | None]:
        """What chains say -> the chain, None where several say the same; empty ones say nothing."""
        out: dict[tuple[int, ...], Chain | None] = {}
        for chain in chains:
            if chain.rules:
                numbers = self.numbering.of(map(self.now, chain.rules))
                self.numbering.identify(numbers)
                key = tuple(self.numbering.renumbered(numbers))
                out[key] = None if key in out else chain
        return out

    def chain(self, old: Chain, new: Chain) -> ChainDifference | None:
        changed = tuple(self._rules(old.rules, new.rules))
        found = ChainDifference(new.name, "changed", old, new, changed)
        if changed or found.policies is not None or (self.counters and found.counters is not None):
            return found
        return None

    def _rules(self, old: list[Rule], new: list[Rule]) -> Iterator[RuleDifference]:
        shorter = min(len(old), len(new))
        head = 0
        while head < shorter and _same_use(old[head], new[head]):
            head += 1
        tail = 0
        while tail < shorter - head and _same_use(old[-1 - tail], new[-1 - tail]):
            tail += 1
        middle_old = old[head : len(old) - tail]
        middle_new = new[head : len(new) - tail]
        if self.counters:
            yield from _recounted(old[:head], new[:head])
        if middle_old or middle_new:
            yield from self._middle(middle_old, middle_new, head)
        if self.counters and tail:
            for n in range(tail, 0, -1):
                if old[-n].counters != new[-n].counters:
                    yield RuleDifference("counters", len(old) - n + 1, old[-n], len(new) - n + 1, new[-n])

    def _middle(self, old: list[Rule], new: list[Rule], head: int) -> Iterator[RuleDifference]:
        """The part of a chain between what is the same at its ends; `head` rules stand before it."""
        kept: list[Pair] = []
        source: dict[int, int] = {}
        gone: set[int] = set()
        if old and new:
            kept, moved = self._aligned(self.numbering.of(map(self.now, old)), self.numbering.of(new))
            source = {j: i for i, j in moved}
            gone = {i for i, _ in moved}
        number = head + 1
        low = left = 0
        for i, j in [*kept, (len(old), len(new))]:
            if low < i or left < j:
                staying = [n for n in range(low, i) if n not in gone]
                yield from self._gap(old, new, staying, range(left, j), source, number)
            if self.counters and i < len(old) and old[i].counters != new[j].counters:
                yield RuleDifference("counters", number + i, old[i], number + j, new[j])
            low, left = i + 1, j + 1

    def _aligned(self, before: list[int], after: list[int]) -> tuple[list[Pair], list[Pair]]:
        """What stayed and what moved.

        First as if different words were different rules; then all that may be
        the same as a rule that seems to have changed is told apart, until
        nothing more turns out to be the same.
        """
        numbering = self.numbering
        surplus = Counter(before)
        surplus.subtract(after)
        changed = {number for number, count in surplus.items() if count}
        if not (any(n < 0 for n in surplus.values()) and any(n > 0 for n in surplus.values())):
            changed = set()  # one side has what the other has, and nothing in exchange
        looked: set[Any] = set()
        while True:
            hints = {numbering.hint(number) for number in changed} - looked
            if hints:
                looked |= hints
                near = [n for n in sorted({*before, *after}) if numbering.hint(n) in hints]
                if numbering.identify(near):
                    before, after = numbering.renumbered(before), numbering.renumbered(after)
            kept = stays(before, after)
            moved = moves(before, after, kept)
            changed = {before[i] for i, _ in moved}
            if all(numbering.hint(number) in looked for number in changed):
                return kept, moved

    def _gap(
        self,
        old: list[Rule],
        new: list[Rule],
        before: list[int],
        after: range,
        source: dict[int, int],
        number: int,
    ) -> Iterator[RuleDifference]:
        """What stands between two rules that stayed: `before` less what moved away, and `after`."""
        fresh = [j for j in after if j not in source]
        pairs: list[Pair] = []
        if before and fresh:
            pairs = edits([self.now(old[i]).text() for i in before], [new[j].text() for j in fresh])
        low, left = 0, after.start
        for a, j in [*((a, fresh[b]) for a, b in pairs), (len(before), after.stop)]:
            for i in before[low:a]:
                yield RuleDifference("removed", number + i, old[i], None, None)
            for at in range(left, j):
                origin = source.get(at)
                if origin is None:
                    yield RuleDifference("added", None, None, number + at, new[at])
                else:
                    yield RuleDifference("moved", number + origin, old[origin], number + at, new[at])
            if a < len(before):
                i = before[a]
                yield RuleDifference("edited", number + i, old[i], number + j, new[j])
            low, left = a + 1, j + 1
