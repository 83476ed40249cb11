"""Chains nobody calls, and chains with nothing in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import SectionCheck
from iptkit.lint.checks.chain_lines import name_span
from iptkit.lint.checks.jumps import jump_span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.text.diagnostic import Diagnostic


class UnreferencedChain(SectionCheck, code="IPT206"):
    """Nothing leads to this chain.

    What: A user chain that no built-in chain of its table leads to, directly or through other chains.  Not in
        sections that neither declare nor fill a built-in chain: those are loaded with --noflush, and what is
        there already calls them.
    Why: Its rules do nothing.
    Example:
        :OLD - [0:0]
        -A OLD -j DROP
    Instead:
        (remove the chain, or -A INPUT -j OLD)
    """

    of_table = True

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        if section.is_piece:
            return
        # A line that could not be read may be the one that calls a chain.
        named = section.broken_words
        led_to = section.calls.nft.reached
        pending = [name for name in section.chains if name.lower() in named] if named else []
        if pending:
            led_to = set(led_to)
        while pending:
            name = pending.pop()
            if name not in led_to:
                led_to.add(name)
                pending += [to for to, _ in section.calls.of(name)]
        for name in section.chains.keys() - led_to:
            line = section.chain_lines.get(name)
            if line is not None:
                yield self.found(name_span(line), f"no built-in chain leads to {name}")


class EmptyChain(SectionCheck, code="IPT207"):
    """A jump to a chain without rules.

    What: -j or -g leads to a user chain that has no rules.
    Why: The packet comes back at once, or with -g leaves.  Where another program fills the chain, say so with
        an ignore comment.
    Example:
        :WEB - [0:0]
        -A INPUT -j WEB
    Instead:
        (fill the chain, or remove it)
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        broken = {broken.chain for broken in section.section.broken}
        empty = {
            name
            for name, chain in section.chains.items()
            if not chain.count and not chain.builtin and name not in broken
        }
        if not empty:
            return
        for calls in section.calls.own.values():
            for name, rule in calls:
                if name in empty:
                    yield self.found(jump_span(rule), f"the chain {name} has no rules")
