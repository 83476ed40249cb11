"""What one share of a large file must know of the other, see iptkit.lint.shares."""

from __future__ import annotations

from typing import Any


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
    What it has not said yet nobody can ask for (AttributeError).
    """

    __slots__ = ("calls", "changing", "closed", "dead", "legacy", "live", "masks", "rewrites", "steps")

    calls: dict[str, list[str]]
    legacy: dict[str, list[str]]
    changing: set[str]
    rewrites: set[str]
    masks: dict[str, set[int]]
    steps: dict[str, tuple[list[tuple[str, bool, bool]], bool]]
    closed: dict[str, int]
    dead: set[int]
    live: dict[str, list[str]]

    @classmethod
    def nothing(cls) -> Told:
        """Where there is no other share."""
        told = cls()
        told.calls, told.legacy, told.steps, told.closed, told.live = {}, {}, {}, {}, {}
        told.changing, told.rewrites, told.dead = set(), set(), set()
        told.masks = {}
        return told

    def hear(self, words: dict[str, Any]) -> None:
        """What the other share says now."""
        for name, said in words.items():
            setattr(self, name, said)
