"""Rules and their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import SectionCheck, whole
from iptkit.lint.conditions import is_return, is_verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.ruleset.bound import Bound
    from iptkit.ruleset.model import Chain, Rule
    from iptkit.text.diagnostic import Diagnostic


class NoTarget(SectionCheck, code="IPT220"):
    """A rule without a target.

    What: There is no -j and no -g, and no match that does something itself, as recent does.
    Why: The rule counts packets and nothing else.  Mostly the target was forgotten.
    Example:
        -A INPUT -p tcp -m tcp --dport 22
    Instead:
        -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        message = "this rule has no target: it only counts"
        for bound, part in section.parts.items():
            if bound.jump is None and not bound.opaque and not _acts(bound):
                for line, _ in part.lines():
                    yield self.found(whole(line), message, "-j and a target")


def _acts(bound: Bound) -> bool:
    return any(placed.segment.cls.counts for placed in bound.matches)


class MasqueradeUnscoped(SectionCheck, code="IPT314"):
    """MASQUERADE takes everything.

    What: A rule with MASQUERADE names neither output interface nor source, mark, set, policy or source range,
        and is not reached only through jumps that do.
    Why: It rewrites the source of all connections that leave, those to the local network and loopback too.
    Example:
        -A POSTROUTING -j MASQUERADE
    Instead:
        -A POSTROUTING -s 10.0.0.0/8 -o eth0 -j MASQUERADE
    """

    _SCOPES = frozenset(
        [
            "mark",
            "connmark",
            "set",
            "policy",
            "iprange",
            "addrtype",
            "physdev",
            "owner",
            "cgroup",
            "realm",
            "devgroup",
            "conntrack",
            "mac",
        ]
    )

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        if section.name != "nat":
            return
        open_chains: set[str] | None = None
        for rule, chain, _ in section.with_target("MASQUERADE"):
            if (
                self._is_scoped(rule.bound)
                or rule.line.number in section.refused
                or rule.line.number in section.dead
            ):
                continue
            if open_chains is None:
                open_chains = self._reached_unscoped(section)
            if chain.name in open_chains:
                yield self.found(
                    whole(rule.line), "this rewrites the source of everything that leaves", "-o, -s or both"
                )

    def _is_scoped(self, bound: Bound) -> bool:
        return (
            bound.out_interface is not None
            or bound.source is not None
            or bool(bound.opaque)
            or any(placed.segment.cls.name in self._SCOPES for placed in bound.matches)
        )

    def _reached_unscoped(self, section: SectionFacts) -> set[str]:
        """The chains that POSTROUTING leads to by jumps without a scope."""
        seen = {"POSTROUTING"}
        pending = ["POSTROUTING"]
        while pending:
            for to, rule in section.calls.of(pending.pop()):
                if (
                    to not in seen
                    and not self._is_scoped(rule.bound)
                    and rule.line.number not in section.dead
                ):
                    seen.add(to)
                    pending.append(to)
        return seen


class LogUnlimited(SectionCheck, code="IPT313"):
    """LOG without a limit.

    What: A rule with LOG has neither limit nor hashlimit, and neither has every way to it.
    Why: Each packet writes a line into the kernel's log.  Whoever can send packets can fill the disk.
    Example:
        -A INPUT -j LOG --log-prefix "drop: "
    Instead:
        -A INPUT -m limit --limit 5/min -j LOG --log-prefix "drop: "
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        refused = section.refused
        logging = [
            (rule, chain)
            for rule, chain in self._logging(section)
            if not refused or rule.line.number not in refused
        ]
        if not logging:
            return
        guards = _Guards(section)
        reached = self._reached(section, guards)
        for rule, chain in logging:
            if (
                chain.name in reached
                and rule.line.number not in section.dead
                and not guards.stand_before(rule, chain)
            ):
                yield self.found(
                    whole(rule.line),
                    "every packet that matches writes into the log",
                    "-m limit --limit 5/min",
                )

    def _logging(self, section: SectionFacts) -> Iterator[tuple[Rule, Chain]]:
        """The rules with LOG that have no limit themselves."""
        for segment, sites in section.sites.items():
            if segment.cls.kind == "target" and segment.cls.name == "LOG":
                for _, part in sites:
                    if not _limits(part.bound):
                        yield from zip(part.rules, part.chains, strict=True)
        for rule, chain, _ in section.bare_targets.get("LOG", ()):
            if not _limits(rule.bound):
                yield rule, chain

    def _reached(self, section: SectionFacts, guards: _Guards) -> set[str]:
        """The chains that packets come to by ways that nothing limits."""
        seen = {name for name, chain in section.chains.items() if chain.builtin}
        pending = list(seen)
        while pending:
            caller = pending.pop()
            for to, rule in section.calls.of(caller):
                if (
                    to not in seen
                    and not _limits(rule.bound)
                    and rule.line.number not in section.dead
                    and not guards.stand_before(rule, section.chains[caller])
                ):
                    seen.add(to)
                    pending.append(to)
        return seen


def _limits(bound: Bound) -> bool:
    return any(placed.segment.cls.name in ("limit", "hashlimit") for placed in bound.part.matches)


class _Guards:
    """Rules that take away what comes too often: --hashlimit-above as the only condition, and a verdict."""

    def __init__(self, section: SectionFacts) -> None:
        self._at: dict[str, int] = {}
        self._positions: dict[str, dict[int, int]] = {}
        guards: dict[int, Chain] = {}
        for part in section.parts_with("--hashlimit-above"):
            for rule, chain in zip(part.rules, part.chains, strict=True):
                target = section.target_of(rule)
                if (is_verdict(target) or is_return(target)) and self._is_guard(rule.bound):
                    guards[id(rule)] = chain
        for chain in guards.values():
            positions = self._positions[chain.name] = {id(rule): at for at, rule in enumerate(chain.rules)}
            self._at[chain.name] = min(at for rule, at in positions.items() if rule in guards)

    def _is_guard(self, bound: Bound) -> bool:
        if bound.protocol or bound.fragment or bound.hooked or bound.lists or bound.opaque:
            return False
        matches = [placed.segment for placed in bound.matches if placed.segment.cls.name != "comment"]
        if len(matches) != 1:
            return False
        return any(field[0].flag == "--hashlimit-above" and not field[2] for field in matches[0].fields)

    def stand_before(self, rule: Rule, chain: Chain) -> bool:
        """Does such a rule stand before this one?"""
        at = self._at.get(chain.name)
        return at is not None and at < self._positions[chain.name][id(rule)]
