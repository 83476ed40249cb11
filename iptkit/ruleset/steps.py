"""The steps a restore file takes on a table that keeps what it has (--noflush), as data.

A backend that changes a live table in place replays them, so that rules which
stay keep their live counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from iptkit.ruleset.model import Counters, Rule


class CreateChain(NamedTuple):
    chain: str


class DeleteChain(NamedTuple):
    chain: str


class RenameChain(NamedTuple):
    old: str
    new: str


class FlushChain(NamedTuple):
    chain: str


class SetPolicy(NamedTuple):
    """`counters` None: they stay as they are."""

    chain: str
    policy: str
    counters: Counters | None


class Append(NamedTuple):
    chain: str
    rule: Rule


class Insert(NamedTuple):
    """Before the rule at `position`, counted from 1."""

    chain: str
    position: int
    rule: Rule


class Replace(NamedTuple):
    chain: str
    position: int
    rule: Rule


class Remove(NamedTuple):
    chain: str
    position: int


class Zero(NamedTuple):
    """Zero the live counters of a chain (policy too) or of one of its rules."""

    chain: str
    position: int | None


Step: TypeAlias = (
    CreateChain
    | DeleteChain
    | RenameChain
    | FlushChain
    | SetPolicy
    | Append
    | Insert
    | Replace
    | Remove
    | Zero
)
