"""The Binder: gives shapes their meaning, for one family and any number of files.

How a shape is bound is told in `iptkit.ruleset.bound`; most are put together
from pieces that were bound before, by `iptkit.ruleset.composing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.ruleset.bound import (
    RULE_COMMANDS,
    Bound,
    Fault,
    Memo,
    Placed,
    RawMemo,
    Ref,
    Segment,
    SegmentFault,
    bind,
    did_you_mean,
    options_by_name,
)
from iptkit.ruleset.composing import Composer
from iptkit.values.context import Context

if TYPE_CHECKING:
    from iptkit.extensions.spec import Extension, Option, RuleFacts
    from iptkit.syntax.document import Shape
    from iptkit.values.context import Family, Names


class Binder:
    """Binds shapes for one family; remembers them for any number of files.

    `plugins` names extensions that iptkit does not know but the machine has:
    they are kept verbatim, with a warning, where others are refused.
    """

    def __init__(
        self, family: Family = 4, names: Names | None = None, plugins: frozenset[str] = frozenset()
    ) -> None:
        self.context = Context(family, names)
        self.family = family
        self.plugins = plugins
        self.known: dict[Any, Bound] = {}  # what `bound` found, by shape (and hidden targets, if any)
        self._memos: dict[int, Memo | RawMemo] = {}
        self._segments: dict[Any, Segment] = {}
        self._types: list[Any] = []  # keeps the types alive whose id() is a key above
        self._composer = Composer(self)

    def memo(self, type_: Any) -> Memo | RawMemo:
        found = self._memos.get(id(type_))
        if found is None:
            self._types.append(type_)
            lazy = getattr(type_, "lazy", False)
            found = self._memos[id(type_)] = RawMemo(type_) if lazy else Memo(type_, self.context)
        return found

    def memos(self) -> list[Memo | RawMemo]:
        """All there are so far."""
        return list(self._memos.values())

    def bound(self, shape: Shape, hidden: frozenset[str] = frozenset()) -> Bound:
        """The meaning of a shape; `hidden` are targets that a user chain of the table hides by its name."""
        key: Any = (shape, hidden) if hidden else shape
        found = self.known.get(key)
        if found is None:
            found = None if hidden else self._composer.compose(shape)
            if found is None:
                found = bind(self, shape, hidden)
            self.known[key] = found
        return found

    def uses(self, cls: type[Extension]) -> bool:
        """Has any shape so far an extension of this kind?"""
        return any(issubclass(segment.cls, cls) for segment in self._segments.values())

    def uses_unknown(self) -> bool:
        """Has any shape so far an extension that iptkit does not know?"""
        return any(bound.opaque for bound in self.known.values())

    def segment(
        self,
        cls: type[Extension],
        fields: tuple[tuple[Option[Any], tuple[Ref, ...], bool, int], ...],
        facts: RuleFacts,
    ) -> Segment:
        if not cls.checks():
            facts = facts._replace(
                protocol=0, protocol_inverted=False, protocol_then=0, protocol_then_inverted=False
            )  # it does not look at them, so that all its uses can share what they read
        key = (cls, fields, facts[1:5])
        found = self._segments.get(key)
        if found is None:
            found = self._segments[key] = Segment(cls, fields, facts)
        return found


__all__ = [
    "RULE_COMMANDS",
    "Binder",
    "Bound",
    "Fault",
    "Memo",
    "Placed",
    "RawMemo",
    "Ref",
    "Segment",
    "SegmentFault",
    "did_you_mean",
    "options_by_name",
]
