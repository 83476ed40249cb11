"""Who calls whom in a table, and from which hooks a chain is reached.

The legacy kernel and nf_tables differ: legacy walks a chain only up to its
first unconditional standard verdict (mark_source_chains() of ip_tables.c,
seen on Linux 6.18), nf_tables follows every jump of a chain it reaches.
"""

from __future__ import annotations

import functools
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

from iptkit.extensions.core import Jump, Verdict
from iptkit.lint.conditions import is_open_to_kernel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iptkit.lint.facts import SectionFacts
    from iptkit.ruleset.model import Rule

    Callees = dict[str, list[str]]


class Calls:
    def __init__(self, section: SectionFacts) -> None:
        self._section = section
        self._others: dict[str, list[tuple[str, Rule]]] = {}  # what `of` found of chains that are not its own

    @property
    def own(self) -> dict[str, list[tuple[str, Rule]]]:
        """For each chain that is looked at the chains it calls, with the rule; in any order."""
        return self._section.jumps[0]

    def of(self, caller: str) -> list[tuple[str, Rule]]:
        """The same for any chain."""
        found = self.own.get(caller)
        if found is None:
            found = self._others.get(caller)
        if found is None:
            found = self._others[caller] = []
            if caller in self._section.told.calls:
                target_of = self._section.target_of
                targets = [(target_of(rule), rule) for rule in self._section.chains[caller].rules]
                found += [(target.chain, rule) for target, rule in targets if isinstance(target, Jump)]
        return found

    def to(self, callee: str) -> list[tuple[str, Rule]]:
        """The calls of a chain: the chains that do, with the rule."""
        found = self._by_callee.get(callee, [])
        callers = self._told_by_callee.get(callee)
        if callers:
            found = [
                *found,
                *[(name, rule) for name in callers for to, rule in self.of(name) if to == callee],
            ]
        return found

    def callers(self, callee: str) -> list[str]:
        """The chains that call a chain."""
        return [name for name, _ in self._by_callee.get(callee, ())] + self._told_by_callee.get(callee, [])

    @functools.cached_property
    def _by_callee(self) -> dict[str, list[tuple[str, Rule]]]:
        out: dict[str, list[tuple[str, Rule]]] = {}
        for caller, calls in self.own.items():
            for to, rule in calls:
                out.setdefault(to, []).append((caller, rule))
        return out

    @functools.cached_property
    def _told_by_callee(self) -> dict[str, list[str]]:
        out: dict[str, list[str]] = {}
        for caller, callees in self._section.told.calls.items():
            for to in dict.fromkeys(callees):
                out.setdefault(to, []).append(caller)
        return out

    @functools.cached_property
    def behind_verdict(self) -> frozenset[int]:
        """`id` of the rules that the legacy kernel does not look at: they follow an unconditional verdict."""
        out: set[int] = set()
        family = self._section.facts.family
        any_network = self._section.facts.any_network
        for part, group in self._section.parts.items():
            if part.jumps is None or part.protocol or part.matches:
                continue
            for rule, caller in zip(group.rules, group.chains, strict=True):
                bound = rule.bound
                if bound.hooked or (bound.lists and not any_network):
                    continue
                rules = caller.rules
                if rules[-1] is rule or id(rule) in out or not is_open_to_kernel(rule, family):
                    continue
                if isinstance(self._section.target_of(rule), Verdict):
                    at = next(i for i, each in enumerate(rules) if each is rule)
                    out.update(map(id, rules[at + 1 :]))
        return frozenset(out)

    @functools.cached_property
    def nft(self) -> Graph:
        """The calls as nf_tables sees them: every jump."""
        return Graph(self._section.builtins, {**self.callees, **self._section.told.calls})

    @functools.cached_property
    def callees(self) -> Callees:
        """For each chain that is looked at, the chains it calls."""
        return {caller: [to for to, _ in calls] for caller, calls in self.own.items()}

    @functools.cached_property
    def legacy_callees(self) -> Callees:
        """The same as the legacy kernel sees it, for chains where that differs."""
        unseen = self.behind_verdict
        if not unseen:
            return {}
        seen = {
            caller: [to for to, rule in calls if id(rule) not in unseen] for caller, calls in self.own.items()
        }
        return {caller: calls for caller, calls in seen.items() if len(calls) < len(self.callees[caller])}

    @functools.cached_property
    def legacy(self) -> Graph:
        """The calls as the legacy kernel sees them."""
        differing = {**self.legacy_callees, **self._section.told.legacy}
        if not differing:
            return self.nft
        told = self._section.told.calls
        return Graph(self._section.builtins, {**self.callees, **told, **differing})


class Graph:
    """Calls between chains by name, a chain named once for every call."""

    def __init__(self, builtins: Iterable[str], callees: Callees) -> None:
        self._builtins = tuple(builtins)
        self._callees = callees
        self._below_all: dict[tuple[str, ...], frozenset[str]] = {}

    @functools.cached_property
    def from_builtin(self) -> dict[str, set[str]]:
        """Built-in chain -> the chains it leads to, itself among them."""
        below: dict[str, set[str]] = {}
        out = {}
        for builtin in self._builtins:
            out[builtin] = {builtin}
            for to in set(self._callees.get(builtin, ())):
                if to not in below:
                    below[to] = self._below(to)
                out[builtin] |= below[to]
        return out

    def _below(self, start: str) -> set[str]:
        """A chain and all it leads to."""
        callees = self._callees
        seen = {start}
        new = {start}
        while new:
            new = set(chain.from_iterable([callees[name] for name in new if name in callees])) - seen
            seen |= new
        return seen

    def below(self, builtins: tuple[str, ...]) -> frozenset[str]:
        """The chains that any of these built-in chains leads to, and these themselves."""
        found = self._below_all.get(builtins)
        if found is None:
            chains = [self.from_builtin[builtin] for builtin in builtins]
            found = self._below_all[builtins] = frozenset().union(*chains)
        return found

    @functools.cached_property
    def reached(self) -> set[str]:
        """The chains that a built-in chain leads to, and the built-in chains."""
        return set().union(*self.from_builtin.values())

    def hooks(self, name: str) -> list[str]:
        """The built-in chains that lead to a chain."""
        return [builtin for builtin, chains in self.from_builtin.items() if name in chains]

    @functools.cached_property
    def _layers(self) -> tuple[int, list[str]]:
        """How many layers the chains lie in, callers above callees, and what loops keep from a layer."""
        callees = self._callees
        waiting = Counter(chain.from_iterable(callees.values()))
        layer = [name for name in callees if name not in waiting]
        count = 0
        while layer:
            count += 1
            calls = Counter(chain.from_iterable([callees[name] for name in layer if name in callees]))
            layer = []
            for to, number in calls.items():
                left = waiting[to] - number
                waiting[to] = left
                if not left:
                    layer.append(to)
        return count, [name for name, left in waiting.items() if left]

    @functools.cached_property
    def loops(self) -> list[set[str]]:
        """The groups of chains that reach each other."""
        _, stuck = self._layers
        return _components({name: self._callees.get(name, []) for name in stuck})

    def ordered(self, chains: Iterable[str]) -> list[str]:
        """These chains, callers before those they call; those on and behind loops are left out."""
        waiting = dict.fromkeys(chains, 0)
        for calls in self._callees.values():
            for to in calls:
                waiting[to] += 1
        out = [name for name, count in waiting.items() if not count]
        for name in out:
            for to in self._callees.get(name, ()):
                waiting[to] -= 1
                if not waiting[to]:
                    out.append(to)
        return out

    def too_deep(self, limit: int) -> set[str]:
        """The chains that stand more than `limit` user chains deep below a built-in chain."""
        layers, _ = self._layers
        if layers <= limit + 1:
            return set()
        reached = self.reached
        callees = {name: calls for name, calls in self._callees.items() if name in reached}
        level = dict.fromkeys(reached, 0)
        waiting = dict.fromkeys(reached, 0)
        for calls in callees.values():
            for to in calls:
                waiting[to] += 1
        ready = [name for name, count in waiting.items() if not count]
        for name in ready:
            for to in callees.get(name, ()):
                level[to] = max(level[to], level[name] + 1)
                waiting[to] -= 1
                if not waiting[to]:
                    ready.append(to)
        return {name for name, deep in level.items() if deep > limit}


def _components(edges: Callees) -> list[set[str]]:
    """The strongly connected components that hold a cycle (Tarjan's algorithm, with a stack of its own)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    out: list[set[str]] = []
    for root, calls in edges.items():
        if root in index:
            continue
        work = [(root, iter(calls))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            name, rest = work[-1]
            for to in rest:
                if to not in edges:
                    continue
                if to not in index:
                    index[to] = low[to] = len(index)
                    stack.append(to)
                    on_stack.add(to)
                    work.append((to, iter(edges[to])))
                    break
                if to in on_stack:
                    low[name] = min(low[name], index[to])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[name])
                if low[name] == index[name]:
                    group = set()
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        group.add(member)
                        if member == name:
                            break
                    if len(group) > 1 or name in edges[name]:
                        out.append(group)
    return out
