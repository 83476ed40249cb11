"""Rules and their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import Note, SectionCheck, ShapeCheck, whole
from iptkit.lint.conditions import is_return, is_verdict
from iptkit.lint.facts import names_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts, ShapeFacts
    from iptkit.ruleset.model import Chain, Rule
    from iptkit.text.diagnostic import Diagnostic

# Matches that do something besides matching.
_ACTS = frozenset(("recent", "hashlimit", "quota", "connlimit", "nfacct", "rateest", "limit"))


class NoTarget(ShapeCheck, code="IPT220"):
    """A rule without a target.

    What: There is no -j and no -g, and no match that does something itself, as recent does.
    Why: The rule counts packets and nothing else.  Mostly the target was forgotten.
    Example:
        -A INPUT -p tcp -m tcp --dport 22
    Instead:
        -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
    """

    def look(self, shape: ShapeFacts) -> Iterator[Note]:
        bound = shape.bound
        acts = any(placed.segment.cls.name in _ACTS for placed in bound.matches)
        if bound.jump is None and not acts and not bound.opaque:
            yield Note("this rule has no target: it only counts", -1, "-j and a target")


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
        scoped: set[str] | None = None
        for shape in section.shapes.values():
            for rule, chain in zip(shape.rules, shape.chains, strict=True):
                if names_target(section.target_of(rule)) != "MASQUERADE" or self._is_scoped(shape):
                    continue
                if id(rule) in section.reach.dead or chain.name not in section.reach.entered:
                    continue
                scoped = self._reached_unscoped(section) if scoped is None else scoped
                if chain.name in scoped and rule.line.number not in section.refused:
                    yield self.found(
                        whole(rule.line),
                        "this rewrites the source of everything that leaves",
                        "-o, -s or both",
                    )

    def _is_scoped(self, shape: ShapeFacts) -> bool:
        bound = shape.bound
        return (
            bound.out_interface is not None
            or bound.source is not None
            or bool(bound.opaque)
            or any(placed.segment.cls.name in self._SCOPES for placed in bound.matches)
        )

    def _reached_unscoped(self, section: SectionFacts) -> set[str]:
        """The chains that POSTROUTING leads to by jumps without a scope."""
        scoped = {
            id(rule) for shape in section.shapes.values() if self._is_scoped(shape) for rule in shape.rules
        }
        seen = {"POSTROUTING"}
        pending = ["POSTROUTING"]
        while pending:
            for call in section.calls.by_caller.get(pending.pop(), ()):
                if (
                    call.to not in seen
                    and id(call.rule) not in scoped
                    and id(call.rule) not in section.reach.dead
                ):
                    seen.add(call.to)
                    pending.append(call.to)
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
        logging = [
            (rule, chain)
            for shape in section.shapes.values()
            if not _limits(shape)
            for rule, chain in zip(shape.rules, shape.chains, strict=True)
            if names_target(section.target_of(rule)) == "LOG" and rule.line.number not in section.refused
        ]
        if not logging:
            return
        guarded = _Guards(section)
        reached = self._reached(section, guarded)
        for rule, chain in logging:
            if (
                chain.name in reached
                and id(rule) not in section.reach.dead
                and not guarded.guards(chain, rule)
            ):
                yield self.found(
                    whole(rule.line),
                    "every packet that matches writes into the log",
                    "-m limit --limit 5/min",
                )

    def _reached(self, section: SectionFacts, guarded: _Guards) -> set[str]:
        """The chains that packets come to by ways that nothing limits."""
        limited = {id(rule) for shape in section.shapes.values() if _limits(shape) for rule in shape.rules}
        seen = {name for name, chain in section.chains.items() if chain.builtin}
        pending = list(seen)
        while pending:
            caller = pending.pop()
            for call in section.calls.by_caller.get(caller, ()):
                if call.to in seen or id(call.rule) in limited or id(call.rule) in section.reach.dead:
                    continue
                if not guarded.guards(section.chains[caller], call.rule):
                    seen.add(call.to)
                    pending.append(call.to)
        return seen


def _limits(shape: ShapeFacts) -> bool:
    return any(placed.segment.cls.name in ("limit", "hashlimit") for placed in shape.bound.matches)


class _Guards:
    """Rules that take away what comes too often: --hashlimit-above as the only condition, and a verdict."""

    def __init__(self, section: SectionFacts) -> None:
        self._at: dict[str, int] = {}
        self._positions: dict[str, dict[int, int]] = {}
        guards = {
            id(rule): chain
            for shape in section.shapes.values()
            if self._is_guard(shape)
            for rule, chain in zip(shape.rules, shape.chains, strict=True)
            if is_verdict(section.target_of(rule)) or is_return(section.target_of(rule))
        }
        for chain in guards.values():
            positions = self._positions[chain.name] = {id(rule): at for at, rule in enumerate(chain.rules)}
            self._at[chain.name] = min(at for rule, at in positions.items() if rule in guards)

    def _is_guard(self, shape: ShapeFacts) -> bool:
        bound = shape.bound
        names = [placed.segment.cls.name for placed in bound.matches]
        flags = {option.flag for placed in bound.matches for option, _, _, _ in placed.segment.fields}
        inverted = any(field[2] for placed in bound.matches for field in placed.segment.fields)
        return (
            set(names) <= {"hashlimit", "comment"}
            and "--hashlimit-above" in flags
            and not inverted
            and not bound.protocol
            and not bound.fragment
            and not bound.hooked
            and not bound.lists
            and not bound.opaque
        )

    def guards(self, chain: Chain, rule: Rule) -> bool:
        """Does such a rule stand before this one?"""
        at = self._at.get(chain.name)
        return at is not None and at < self._positions[chain.name][id(rule)]
