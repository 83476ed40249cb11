"""Jumps between chains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import Fault, SectionCheck, word_of
from iptkit.text.diagnostic import Severity, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.ruleset.model import Rule
    from iptkit.text.diagnostic import Diagnostic

NFT_DEPTH = 15  # user chains nested in each other; NFT_JUMP_STACK_SIZE is 16, the built-in chain is one


def jump_span(rule: Rule) -> Span:
    """Where a rule names its target."""
    return word_of(rule.line, rule.bound.where.get("j", -2) + 1)


class UndefinedChain(Fault, code="IPT101"):
    """There is no such chain.

    What: The name after -j or -g is no known target and no chain declared earlier in the section; or -A names
        a chain that is not built into the table and not declared earlier.  Case matters.
    Why: The file is refused.  Before nf_tables' commit, --test of iptables-nft-restore does not see it.
    Example:
        :Web - [0:0]
        -A INPUT -j WEB
    Instead:
        :WEB - [0:0]
        -A INPUT -j WEB
    """


class ChainLoop(SectionCheck, code="IPT102"):
    """Chains call each other in a circle.

    What: Jumps or gotos lead from a chain back to it.  Reported once for each group of chains that reach each
        other, at the last jump inside the group.
    Why: The kernel refuses a table in which a packet could go round, as soon as a built-in chain leads there.
        The legacy kernel does not look behind an unconditional verdict.
    Example:
        -A INPUT -j A
        -A A -j B
        -A B -j A
    Instead:
        -A INPUT -j A
        -A A -j B
        -A B -j RETURN
    """

    of_table = True

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        calls = section.calls
        looping = {name for group in calls.legacy.loops for name in group}
        for group in calls.nft.loops:
            inside = [(name, to, rule) for name in group for to, rule in calls.of(name) if to in group]
            caller, to, last = max(inside, key=lambda call: call[2].line.number)
            backends = []
            if group & looping & calls.legacy.reached:
                backends.append("legacy")
            if group & calls.nft.reached:
                backends.append("nft")
            way = _way(to, caller, {(name, callee) for name, callee, _ in inside})
            yield self.found(
                jump_span(last),
                f"this jump closes a loop: {' to '.join([*way, to])}",
                severity=Severity.ERROR if backends else Severity.WARNING,
                backends=tuple(backends),
            )


def _way(start: str, end: str, steps: set[tuple[str, str]]) -> list[str]:
    """The shortest way from one chain to another."""
    ways = {start: [start]}
    pending = [start]
    for name in pending:
        for caller, to in sorted(steps):
            if caller == name and to not in ways:
                ways[to] = [*ways[name], to]
                pending.append(to)
    return ways[end]


class JumpToBuiltin(Fault, code="IPT103"):
    """A rule jumps to a built-in chain.

    What: -j or -g names a built-in chain of the table.
    Why: Only the kernel enters those.  The file is refused.
    Example:
        -A FORWARD -j INPUT
    Instead:
        -A FORWARD -j CHECKS
        -A INPUT -j CHECKS
    """


class GotoTarget(Fault, code="IPT104"):
    """-g names a target.

    What: -g is given a target such as ACCEPT or LOG.
    Why: -g goes to a user chain; targets are for -j.  The file is refused.
    Example:
        -A INPUT -g DROP
    Instead:
        -A INPUT -j DROP
    """


class JumpDepth(SectionCheck, code="IPT105"):
    """Chains are nested too deep for nf_tables.

    What: A built-in chain leads through more than 15 user chains, each called by the one before; a goto
        counts as a jump does.
    Why: nf_tables refuses it with "Too many links".  The legacy kernel has no such limit.
    Example:
        (16 chains, each calling the next)
    Instead:
        (flatter)
    """

    of_table = True

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        if len(section.chains) <= NFT_DEPTH:
            return
        too_deep = section.calls.nft.too_deep(NFT_DEPTH)
        jumps = [
            (rule.line.number, to, rule)
            for name in section.chains.keys() - too_deep
            if too_deep
            for to, rule in section.calls.of(name)
            if to in too_deep
        ]
        if jumps:
            _, to, rule = min(jumps, key=lambda jump: jump[0])
            yield self.found(
                jump_span(rule),
                f"{to} is chain number {NFT_DEPTH + 1} in a row of chains that call each other",
                f"nf_tables takes {NFT_DEPTH}",
                backends=("nft",),
            )
