"""What one share of a large file must know of the other, see iptkit.lint.shares."""

from __future__ import annotations


class Told:
    """What one share of a file says of the rules of a section that it looks at.

    First, when it knows its own rules:
        calls     for each of its chains with jumps the chains it calls
        legacy    the same as the legacy kernel sees it, for chains where that differs
        changing  the chains with rules that change packets or sets
        rewrites  what they rewrite (Target.rewrites)
        masks     under which marks are looked at, by match
        steps     which of its chains may decide all packets, see Reach.steps
    And when it knows the same of the other:
        closed    for its chains that no packet passes: the place of the rule that takes all
        dead      numbers of the lines that no packet comes to
        live      for its chains that have dead jumps the chains they call by others
    """

    __slots__ = ("calls", "changing", "closed", "dead", "legacy", "live", "masks", "rewrites", "steps")

    def __init__(self) -> None:
        self.calls: dict[str, list[str]] = {}
        self.legacy: dict[str, list[str]] = {}
        self.changing: set[str] = set()
        self.rewrites: set[str] = set()
        self.masks: dict[str, set[int]] = {}
        self.steps: dict[str, tuple[list[tuple[str, bool, bool]], bool]] = {}
        self.closed: dict[str, int] = {}
        self.dead: set[int] = set()
        self.live: dict[str, list[str]] = {}
