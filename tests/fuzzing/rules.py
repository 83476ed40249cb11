"""Random rules, made from the declarations of the extensions."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from iptkit.extensions.core import BUILTIN_CHAINS
from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target

from . import words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iptkit.extensions.spec import Extension, Option
    from iptkit.values.context import Family

    from .dice import Dice

USER_CHAINS = ("web", "dropper")
# Prints what it knows and leaves, or asks the machine's network for names.
_ENDS = re.compile(r"-+(h|he|hel|help|V|ve.*|4|6|ipv.*)$")

Piece = tuple[str, ...]
"""One option with its values, as written: what a rule is made of, and shrunk by."""


class Made(NamedTuple):
    """A rule, and where it is to stand."""

    family: Family
    table: str
    chain: str
    pieces: tuple[Piece, ...]

    @property
    def rule(self) -> str:
        return " ".join(written(word) for piece in self.pieces for word in piece)

    @property
    def line(self) -> str:
        return f"-A {self.chain} {self.rule}".rstrip(" ") if self.pieces else f"-A {self.chain}"

    def text(self) -> str:
        """A file with nothing but the rule in it, and the chains it may name."""
        chains = "".join(f":{name} - [0:0]\n" for name in USER_CHAINS)
        return f"*{self.table}\n{chains}{self.line}\nCOMMIT\n"


_BARE = re.compile(r"[^\s\"'\\]+\Z")


def written(word: str) -> str:
    """A word as a restore file has it: quoted where it must be."""
    if _BARE.match(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Mood(NamedTuple):
    """How likely things are to be wrong, in percent."""

    odd_value: int = 0
    odd_option: int = 0  # inverted, repeated or combined as it may not be, or left out
    odd_order: int = 0
    odd_place: int = 0
    spelling: int = 15  # abbreviated, an alias, or with =


GOOD = Mood()
EDGE = Mood(odd_value=22, odd_option=3, odd_order=4, odd_place=4)
WILD = Mood(odd_value=30, odd_option=15, odd_order=30, odd_place=15, spelling=30)


@functools.cache
def matches(family: Family) -> tuple[type[Extension], ...]:
    found = (find_match(name, family) for name in MATCHES)
    return tuple(dict.fromkeys(cls for cls in found if cls is not None))


@functools.cache
def targets(family: Family) -> tuple[type[Extension], ...]:
    found = (find_target(name, family) for name in TARGETS)
    return tuple(dict.fromkeys(cls for cls in found if cls is not None))


def make(dice: Dice, family: Family, only: str = "", mood: Mood | None = None) -> Made:
    """A rule; with `only` one that uses the match or target of this name."""
    if mood is None:
        mood = dice.pick((GOOD, GOOD, GOOD, EDGE, EDGE, EDGE, EDGE, WILD))
    return _Maker(dice, family, mood).rule(only)


class _Maker:
    def __init__(self, dice: Dice, family: Family, mood: Mood) -> None:
        self.dice = dice
        self.family: Family = family
        self.mood = mood

    def rule(self, only: str) -> Made:
        dice = self.dice
        used, target = self.extensions(only)
        table = self.table([*used, *([target] if target else [])])
        chain = self.chain(table, [*used, *([target] if target else [])])
        wanted = [number for cls in (*used, target) if cls is not None for number in cls.protocols]
        protocol = self.protocol(wanted, used)
        pieces: list[Piece] = []
        conditions = self.conditions(chain)
        if protocol:
            conditions.insert(0 if dice.chance(80) else dice.number(0, len(conditions)), protocol)
        pieces += conditions
        for cls in used:
            if not (protocol[-1:] == (cls.name,) and dice.chance(35)):
                pieces.append((dice.pick(("-m", "-m", "-m", "--match")), self.name_of(cls)))
            pieces += self.options(cls)
        if target is not None:
            pieces.append((dice.pick(("-j", "-j", "-j", "--jump")), target.name))
            pieces += self.options(target)
        else:
            pieces += self.jump()
        if dice.chance(self.mood.odd_order):
            moved = pieces.pop(dice.number(0, len(pieces) - 1)) if pieces else ()
            if moved:
                pieces.insert(dice.number(0, len(pieces)), moved)
        if dice.chance(self.mood.odd_order // 3) and pieces:
            pieces.append(dice.pick(pieces))
        pieces = [piece for piece in pieces if not any(_ENDS.match(word) for word in piece)]
        return Made(self.family, table, chain, tuple(pieces))

    def extensions(self, only: str) -> tuple[list[type[Extension]], type[Extension] | None]:
        dice = self.dice
        used = [dice.pick(matches(self.family)) for _ in range(dice.pick((0, 1, 1, 1, 2, 2, 3)))]
        target = dice.pick(targets(self.family)) if dice.chance(55) else None
        if only:
            match = find_match(only, self.family)
            if match is not None:
                used = [match, *used[:1]] if dice.chance(30) else [match]
                target = target if dice.chance(20) else None
            wanted = find_target(only, self.family)
            if wanted is not None:
                target = wanted
                used = used[:1] if dice.chance(40) else []
        return used, target

    def table(self, used: list[type[Extension]]) -> str:
        tables = [name for name in BUILTIN_CHAINS if all(name in cls.where.tables for cls in used)]
        if not tables or self.dice.chance(self.mood.odd_place):
            tables = list(BUILTIN_CHAINS)
        return self.dice.pick(tables)

    def chain(self, table: str, used: list[type[Extension]]) -> str:
        chains = [name for name in BUILTIN_CHAINS[table] if all(name in cls.where.hooks for cls in used)]
        if not chains or self.dice.chance(self.mood.odd_place):
            chains = [*BUILTIN_CHAINS[table], USER_CHAINS[0]]
        return self.dice.pick(chains)

    def protocol(self, wanted: list[int], used: Iterable[type[Extension]]) -> Piece:
        dice = self.dice
        named = [cls.name for cls in used if cls.name in words.PROTOCOLS]
        if wanted and not dice.chance(self.mood.odd_option):
            word = str(dice.pick(wanted))
        elif named and dice.chance(95):
            word = dice.pick(named)
        elif dice.chance(45):
            word = dice.pick(words.PROTOCOLS)
        else:
            return ()
        if dice.chance(self.mood.odd_value // 4):
            word = dice.pick(words.ODD_PROTOCOLS)
        return self.inverted(8, (dice.pick(("-p", "-p", "--protocol", "--proto")), word))

    def conditions(self, chain: str) -> list[Piece]:
        dice, mood, family = self.dice, self.mood, self.family
        found: list[Piece] = []
        for flags in (("-s", "--source", "--src"), ("-d", "--destination", "--dst")):
            if dice.chance(20):
                word = dice.pick(words.ADDRESSES[family])
                if dice.chance(mood.odd_value):
                    word = dice.pick(words.ODD_ADDRESSES[family])
                    word = words.changed(word, dice) if dice.chance(20) else word
                found.append(self.inverted(20, (dice.pick(flags), word)))
        for flags, wrong in (
            (("-i", "-i", "--in-interface"), ("OUTPUT", "POSTROUTING")),
            (("-o", "-o", "--out-interface"), ("INPUT", "PREROUTING")),
        ):
            if dice.chance(15) and (chain not in wrong or dice.chance(mood.odd_place)):
                word = dice.pick(words.ODD_INTERFACES if dice.chance(mood.odd_value) else words.INTERFACES)
                found.append(self.inverted(20, (dice.pick(flags), word)))
        if family == 4 and dice.chance(4):
            found.append(self.inverted(30, (dice.pick(("-f", "--fragments", "--frag")),)))
        if dice.chance(4):
            counts = dice.pick(words.ODD_COUNTERS if dice.chance(mood.odd_value) else words.COUNTERS)
            found.append((dice.pick(("-c", "--set-counters")), *counts))
        return found

    def jump(self) -> list[Piece]:
        dice = self.dice
        return dice.pick(
            (
                [("-j", "ACCEPT")],
                [("-j", "DROP")],
                [("-j", "RETURN")],
                [],
                [("-j", dice.pick(USER_CHAINS))],
                [("-g", USER_CHAINS[1])],
                [("-j", "QUEUE")],
            )
        )

    def name_of(self, cls: type[Extension]) -> str:
        return self.dice.pick((cls.name, cls.name, *cls.aliases))

    def inverted(self, percent: int, piece: Piece) -> Piece:
        return ("!", *piece) if self.dice.chance(percent) else piece

    def options(self, cls: type[Extension]) -> list[Piece]:
        """Options of an extension, those that must be given among them."""
        dice, mood = self.dice, self.mood
        chosen: list[Option[Any]] = []

        def add(option: Option[Any]) -> None:
            if option in chosen:
                return
            excluded = any(
                option.field in other.excludes or other.field in option.excludes for other in chosen
            )
            if excluded and not dice.chance(mood.odd_option):
                return
            chosen.append(option)
            for field in option.needs:
                if not dice.chance(mood.odd_option):
                    add(getattr(cls, field))

        for option in cls.options:
            if option.required and not dice.chance(mood.odd_option):
                add(option)
        if cls.at_least_one and not dice.chance(mood.odd_option):
            add(getattr(cls, dice.pick(cls.at_least_one)))
        share = dice.pick((0, 15, 35, 60)) if chosen else dice.pick((15, 35, 60))
        for option in dice.some(cls.options, share):
            add(option)
        if not chosen and cls.options and dice.chance(70):
            add(dice.pick(cls.options))
        if dice.chance(40):
            for at in range(len(chosen) - 1, 0, -1):
                other = dice.number(0, at)
                chosen[at], chosen[other] = chosen[other], chosen[at]
        pieces = []
        for option in chosen:
            pieces.append(self.option(cls, option))
            if option.multi and dice.chance(20):
                pieces.append(self.option(cls, option))
        return pieces

    def option(self, cls: type[Extension], option: Option[Any]) -> Piece:
        dice, mood = self.dice, self.mood
        flag = dice.pick(option.names) if dice.chance(40) else option.flag
        if dice.chance(mood.spelling // 2):
            flag = flag[: dice.number(min(5, len(flag)), len(flag))]
        values: tuple[str, ...] = ()
        if option.type is not None:
            how = words.odd if dice.chance(mood.odd_value) else words.good
            values = how(cls, option, dice, self.family)
        if dice.chance(mood.odd_option):
            values = dice.pick((values[:-1], (*values, "x"), values))
        piece: Piece = (flag, *values)
        if len(values) == 1 and flag.startswith("--") and dice.chance(mood.spelling):
            piece = (f"{flag}={values[0]}",)
        if dice.chance(35 if option.invert else mood.odd_option):
            piece = ("!", *piece)
        return piece
