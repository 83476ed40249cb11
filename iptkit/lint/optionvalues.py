"""The values of options, each distinct one looked at once.

A file of 100,000 rules has perhaps 70,000 addresses and twenty interfaces, and
nothing is wrong with most.  The binder remembers each distinct word of an
option; checks look at those, and only for words with a finding are the lines
sought that have them.
"""

from __future__ import annotations

import re
import struct
from _socket import inet_ntoa
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import INTERFACE, NETWORKS
from iptkit.ruleset.bound import RawMemo
from iptkit.syntax.words import unquote
from iptkit.text.record import NamedTuple
from iptkit.values.addresses import MASK4_ALL, show_network4, show_network6
from iptkit.values.names import protocol_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from iptkit.extensions.spec import Extension
    from iptkit.lint.check import Note, ValueCheck
    from iptkit.lint.facts import Facts, PartFacts, SectionFacts, Site
    from iptkit.ruleset.bound import Memo, Placed, Ref
    from iptkit.text.diagnostic import Diagnostic
    from iptkit.values.context import Family


class OptionValue(NamedTuple):
    """One value of an option: as written, without quotes, and as read.

    `flag` is the option's name as iptables-save prints it, `owner` the match
    or target it belongs to, None for iptables' own.
    """

    flag: str
    raw: str
    text: str
    value: Any
    inverted: bool
    owner: type[Extension] | None
    family: Family


class Core(NamedTuple):
    """One of iptables' own options that have values, and where a shape keeps it."""

    flag: str
    ref: str
    inverted: str
    type: Any


ADDRESSES = (
    Core("-s", "source", "source_inverted", NETWORKS),
    Core("-d", "destination", "destination_inverted", NETWORKS),
)
INTERFACES = (
    Core("-i", "in_interface", "in_inverted", INTERFACE),
    Core("-o", "out_interface", "out_inverted", INTERFACE),
)
CORE = (*ADDRESSES, *INTERFACES)


class ValueLooks:
    """Lets the checks look at the values in a file."""

    def __init__(self, facts: Facts, wanted: Sequence[ValueCheck]) -> None:
        self._facts = facts
        self.wanted = bool(wanted)  # is there anything to look at?
        self._by_flag: dict[str, list[tuple[ValueCheck, bool]]] = {}
        for check in wanted:
            for flag in check.options:
                self._by_flag.setdefault(flag, []).append((check, False))
            for flag in check.odd_options:
                self._by_flag.setdefault(flag, []).append((check, True))
        self._said: dict[Any, dict[str, list[Note]]] = {}
        self._known: dict[Any, dict[tuple[str, ...], list[Note]]] = {}

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        """The findings about values in one section."""
        for core in CORE:
            for check, odd in self._by_flag.get(core.flag, ()):
                yield from self._core(check, odd, core, section)
        for flag, part, word, at in section.literals:
            for check, _ in self._by_flag.get(flag, ()):
                inverted = part.bound.protocol_inverted if flag == "-p" else _is_inverted(part, flag)
                value = self._read(flag, (word,), _type_of(flag), inverted, None)
                for note in check.look(value):
                    for line, offset in part.lines():
                        yield check.noted(line, at + offset, note)
        for segment, sites in section.sites.items():
            for option, refs, inverted, at in segment.fields:
                for check, odd in self._by_flag.get(option.flag, ()):
                    if refs:
                        look = _Field(check, odd, option.flag, option.type, refs, inverted, at, segment.cls)
                        yield from self._field(look, sites)

    def _core(self, check: ValueCheck, odd: bool, core: Core, section: SectionFacts) -> Iterator[Diagnostic]:
        memo = self._facts.binder.memo(core.type)
        for inverted in (False, True):
            bad = self._bad(check, odd, memo, core.flag, inverted, None)
            for bound, head in section.heads.items() if bad else ():
                ref = getattr(bound, core.ref)
                if isinstance(ref, int) and getattr(bound, core.inverted) == inverted:
                    if bad.keys().isdisjoint([values[ref] for values in head.values]):
                        continue
                    for line, _ in head.lines():
                        for note in bad.get(line.values[ref], ()):
                            yield check.noted(line, bound.where[core.flag[1]] + 1, note)

    def _field(self, look: _Field, sites: list[Site]) -> Iterator[Diagnostic]:
        check, refs = look.check, look.refs
        if len(refs) != 1 or isinstance(refs[0], str):
            for placed, part in sites:
                yield from self._words(look, placed, part)
            return
        hole = refs[0]
        placed, part = sites[0]
        memo = part.bound.memos[placed.holes[hole]]
        if isinstance(memo, RawMemo):
            # Nobody has read these yet, and there may be one for every rule.
            limit = check.longer_than
            for placed, part in sites:
                at = placed.holes[hole]
                if [values for values in part.values if len(values[at]) > limit]:
                    yield from self._words(look, placed, part)
            return
        bad = self._bad(check, look.odd, memo, look.flag, look.inverted, look.owner)
        for placed, part in sites if bad else ():
            at = placed.holes[hole]
            if bad.keys().isdisjoint([values[at] for values in part.values]):
                continue
            for line, offset in part.lines():
                for note in bad.get(line.values[at], ()):
                    yield check.noted(line, _first_word(part, placed, look) + offset, note)

    def _words(self, look: _Field, placed: Placed, part: PartFacts) -> Iterator[Diagnostic]:
        """Values of several words, or such as no memo holds."""
        check, refs = look.check, look.refs
        known = self._known.setdefault((check.code, look.flag, look.owner, look.inverted), {})
        places = [placed.holes[ref] if isinstance(ref, int) else ref for ref in refs]
        for line, offset in part.lines():
            words = tuple([line.values[at] if isinstance(at, int) else at for at in places])
            notes = known.get(words)
            if notes is None:
                notes = known[words] = []
                if re.search(check.pattern, " ".join(words)):
                    value = self._read(look.flag, words, look.type, look.inverted, look.owner)
                    notes += check.look(value)
            for note in notes:
                yield check.noted(line, _first_word(part, placed, look) + offset, note)

    def _bad(
        self,
        check: ValueCheck,
        odd: bool,
        memo: Memo | RawMemo,
        flag: str,
        inverted: bool,
        owner: type[Extension] | None,
    ) -> dict[str, list[Note]]:
        """What a check has to say about the words of a memo, by word."""
        key = (check.code, id(memo), flag, inverted, owner)
        found = self._said.get(key)
        if found is None:
            found = self._said[key] = {}
            family = self._facts.family
            for raw in self._facts.suspects(check.pattern, memo, odd):
                text = unquote(raw) if '"' in raw else raw
                value = OptionValue(flag, raw, text, memo[raw], inverted, owner, family)
                notes = list(check.look(value))
                if notes:
                    found[raw] = notes
        return found

    def _read(
        self, flag: str, words: tuple[str, ...], type_: Any, inverted: bool, owner: type[Extension] | None
    ) -> OptionValue:
        texts = tuple(map(unquote, words))
        text: Any = texts[0] if type_.words == 1 else texts
        value = type_.parse(text, self._facts.binder.context)
        return OptionValue(flag, " ".join(words), " ".join(texts), value, inverted, owner, self._facts.family)


class _Field(NamedTuple):
    """An option of a segment, and who looks at it."""

    check: ValueCheck
    odd: bool
    flag: str
    type: Any
    refs: tuple[Ref, ...]
    inverted: bool
    at: int
    owner: type[Extension]


def _first_word(part: PartFacts, placed: Placed, look: _Field) -> int:
    """Where the value begins: behind the option, or in the same word (`--opt=value`)."""
    at = placed.word + look.at
    whole = part.rules[0].bound
    return at if "=" in (whole.shape.words[at + whole.offset] or "") else at + 1


def _is_inverted(part: PartFacts, flag: str) -> bool:
    return any(core.flag == flag and getattr(part.bound, core.inverted) for core in CORE)


def _type_of(flag: str) -> Any:
    return next((core.type for core in CORE if core.flag == flag), _PROTOCOL)


class _Protocol:
    """The value of -p, which shapes hold as a word."""

    words = 1

    def parse(self, text: str, context: object) -> int:
        return protocol_number(text)


_PROTOCOL = _Protocol()


def odd_words(memo: Memo | RawMemo, family: Family) -> Iterator[str]:
    """Those words of a memo that iptables-save would not print as they are, or not at all."""
    type_ = memo.type
    if type_ is NETWORKS:
        yield from _odd_networks(memo, family)
    elif type_ is INTERFACE or not hasattr(type_, "show"):
        for raw in memo:
            if raw[:1] == '"' or raw == "+":
                yield raw
    else:
        show = type_.show
        for raw, value in memo.items():
            if show(value) != raw:
                yield raw


def _odd_networks(memo: Memo | RawMemo, family: Family) -> Iterator[str]:
    pack = struct.Struct("!I").pack
    for raw, value in memo.items():
        if len(value) != 1:
            yield raw
            continue
        ((address, mask),) = value
        if family == 6:
            if not mask or show_network6(address, mask) != raw:
                yield raw
        elif mask == MASK4_ALL:
            # Of large files nearly all.
            if inet_ntoa(pack(address)) + "/32" != raw:
                yield raw
        elif not mask or show_network4(address, mask) != raw:
            yield raw
