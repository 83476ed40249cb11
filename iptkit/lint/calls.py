"""Who calls whom in a table, and from which hooks a chain is reached.

The legacy kernel and nf_tables differ: legacy walks a chain only up to its
first unconditional standard verdict (mark_source_chains() of ip_tables.c,
seen on Linux 6.18), nf_tables follows every jump of a chain it reaches.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from iptkit.extensions.core import Jump, Verdict
from iptkit.lint.conditions import is_open_to_kernel, may_be_open_to_kernel

if TYPE_CHECKING:
    from iptkit.lint.facts import SectionFacts
    from iptkit.ruleset.model import Rule


class Call(NamedTuple):
    """A rule that jumps or goes to a user chain."""

    caller: str
    to: str
    rule: Rule


NO_HOOKS: frozenset[str] = frozenset()


class Calls:
    def __init__(self, section: SectionFacts) -> None:
        self._section = section

    @functools.cached_property
    def by_caller(self) -> dict[str, list[Call]]:
        """All calls, by the chain that makes them; not in the order of the chain."""
        out: dict[str, list[Call]] = {}
        for bound, shape in self._section.shapes.items():
            jump = bound.jump
            if jump is None or bound.target is not None:
                continue
            # One entry a rule: kept plain, there are files with 100,000 jumps.
            if jump.__class__ is int:
                for rule, chain in zip(shape.rules, shape.chains, strict=True):
                    target = rule.values[jump]
                    if target.__class__ is Jump:
                        name = chain.name
                        call = Call(name, rule.renamed or target.chain, rule)
                        try:
                            out[name].append(call)
                        except KeyError:
                            out[name] = [call]
            else:
                for rule, chain in zip(shape.rules, shape.chains, strict=True):
                    target = rule.target
                    if isinstance(target, Jump):
                        out.setdefault(chain.name, []).append(Call(chain.name, target.chain, rule))
        return out

    @functools.cached_property
    def by_callee(self) -> dict[str, list[Call]]:
        out: dict[str, list[Call]] = {}
        for calls in self.by_caller.values():
            for call in calls:
                out.setdefault(call.to, []).append(call)
        return out

    @functools.cached_property
    def behind_verdict(self) -> frozenset[int]:
        """`id` of the rules that the legacy kernel does not look at: they follow an unconditional verdict."""
        out: set[int] = set()
        family = self._section.facts.family
        for bound, shape in self._section.shapes.items():
            if bound.target is not None or bound.jump is None or not may_be_open_to_kernel(bound):
                continue
            for rule, chain in zip(shape.rules, shape.chains, strict=True):
                if chain.rules[-1] is rule or id(rule) in out:
                    continue
                if isinstance(self._section.target_of(rule), Verdict) and is_open_to_kernel(
                    rule, bound, family
                ):
                    at = next(i for i, each in enumerate(chain.rules) if each is rule)
                    out.update(map(id, chain.rules[at + 1 :]))
        return frozenset(out)

    @functools.cached_property
    def hooks(self) -> dict[str, set[str]]:
        """Chain -> the built-in chains that lead to it, as nf_tables sees it: by every jump."""
        return self._hooks(NO_HOOKS)

    @functools.cached_property
    def legacy_hooks(self) -> dict[str, set[str]]:
        """The same as the legacy kernel sees it."""
        return self._hooks(self.behind_verdict) if self.behind_verdict else self.hooks

    def _hooks(self, unseen: frozenset[int] | frozenset[str]) -> dict[str, set[str]]:
        callees = {
            caller: {call.to for call in calls if not unseen or id(call.rule) not in unseen}
            for caller, calls in self.by_caller.items()
        }
        out: dict[str, set[str]] = {}
        for name, chain in self._section.chains.items():
            if not chain.builtin:
                continue
            seen = {name}
            pending = [name]
            while pending:
                for to in callees.get(pending.pop(), ()):
                    if to not in seen:
                        seen.add(to)
                        pending.append(to)
            for each in seen:
                out.setdefault(each, set()).add(name)
        return out

    @functools.cached_property
    def levels(self) -> tuple[dict[str, int], set[str]]:
        """How many user chains deep a chain stands at most, and the chains that stand on or behind a cycle.

        A built-in chain has level 0; chains that no built-in chain leads to have none.
        """
        waiting = dict.fromkeys(self._section.chains, 0)
        callees: dict[str, set[str]] = {}
        for caller, calls in self.by_caller.items():
            callees[caller] = {call.to for call in calls}
            for to in callees[caller]:
                waiting[to] += 1
        level = dict.fromkeys(self.hooks, 0)
        ready = [name for name, count in waiting.items() if not count]
        for name in ready:
            deeper = level[name] + 1 if name in level else 0
            for to in callees.get(name, ()):
                if deeper and level[to] < deeper:
                    level[to] = deeper
                waiting[to] -= 1
                if not waiting[to]:
                    ready.append(to)
        stuck = {name for name, count in waiting.items() if count}
        return level, stuck

    @functools.cached_property
    def loops(self) -> list[set[str]]:
        """The groups of chains that reach each other."""
        _, stuck = self.levels
        return _components({name: [c.to for c in self.by_caller.get(name, ())] for name in stuck})

    @functools.cached_property
    def legacy_loops(self) -> set[str]:
        """The chains of loops that the legacy kernel meets."""
        unseen = self.behind_verdict
        edges = {
            name: [c.to for c in self.by_caller.get(name, ()) if id(c.rule) not in unseen]
            for group in self.loops
            for name in group
            if name in self.legacy_hooks
        }
        return {name for group in _components(edges) for name in group}


def _components(edges: dict[str, list[str]]) -> list[set[str]]:
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
