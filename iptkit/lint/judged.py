"""Which rules do nothing, and the one thing to say about each.

Of impossible-match, duplicate-rule, log-after-verdict, unreachable-rule,
shadowed-rule and redundant-rule a rule gets at most one, in that order of what
is looked at: can it match at all, has it been said before, does any packet come
to it, and if so, would later rules do the same to these.  Rules in chains that
no packet enters get none: something else is said of the chain.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from iptkit.extensions.core import Jump
from iptkit.lint.conditions import is_logging, is_return, is_unconditional, is_verdict
from iptkit.lint.flow import FOR_QUESTIONS
from iptkit.lint.intervals import TooMuch, meet, meets
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.lint.flow import Flow, Item
    from iptkit.lint.intervals import Region
    from iptkit.ruleset.model import Rule

UNREACHABLE, SHADOWED, REDUNDANT = "IPT201", "IPT202", "IPT203"
IMPOSSIBLE, DUPLICATE, AFTER_VERDICT = "IPT205", "IPT204", "IPT214"
MOST_WORK = 600_000  # boxes compared, for a section
MOST_BOXES = 64  # that the packets of one rule may fall into


class Judgement(NamedTuple):
    """What is said of a line: a code, its first rule, and the rule it is on account of.

    `dead` says that no packet comes to it and matches it.
    """

    code: str
    rule: Rule
    by: Rule | None
    dead: bool = True


def judge(section: SectionFacts) -> list[Judgement]:
    """All there is to say about a section."""
    flow = section.flow
    if flow is None:
        return []
    if not section.is_judged:
        return list(_behind_closed(section))
    found = _Judge(section, flow)
    flow.work.left = MOST_WORK
    with contextlib.suppress(TooMuch):  # what is said already is true all the same
        found.look()
    flow.work.left = section.part_of(FOR_QUESTIONS)
    return found.out


def _behind_closed(section: SectionFacts) -> Iterator[Judgement]:
    """For large sections: what stands behind a rule that takes every packet."""
    reach = section.reach
    duplicates = section.alike.duplicates
    entered, refused = reach.entered, section.refused
    for name, at in reach.closed.items():
        if name in entered:
            rules = section.chains[name].rules
            by = rules[at]
            decides = is_verdict(section.target_of(by))
            for rule in rules[at + 1 :]:
                if id(rule) not in duplicates and rule.line.number not in refused:
                    after = decides and is_logging(section.target_of(rule))
                    yield Judgement(AFTER_VERDICT if after else UNREACHABLE, rule, by)


class _Judge:
    def __init__(self, section: SectionFacts, flow: Flow) -> None:
        self._section = section
        self._flow = flow
        self._judged: set[int] = set()  # `id` of the items of which something is said
        self._leant_on: set[int] = set()  # and of those that make others superfluous
        self._later: dict[str, list[tuple[str, Item]]] | None = None
        self.out: list[Judgement] = []

    def look(self) -> None:
        section, flow = self._section, self._flow
        entered = [name for name in section.chains if not flow.is_long(name) and flow.inflow(name)]
        for name in entered:
            self._look_for_dead(name)
        # What is to stay must not lean on what is to go: so later rules come first.
        seen: set[str] = set()
        for name in entered:
            if section.chains[name].builtin or section.is_piece:
                self._look_for_superfluous(name, seen)

    def _say(self, code: str, item: Item, by: Rule | None, dead: bool = True) -> None:
        self._judged.add(id(item))
        self.out.append(Judgement(code, item.rule, by, dead))

    # -- rules no packet comes to

    def _look_for_dead(self, name: str) -> None:
        duplicates = self._section.alike.duplicates
        for item in self._flow.items(name):
            if not item.region:
                self._say(IMPOSSIBLE, item, None)
            elif all(id(rule) in duplicates for rule in item.rules):
                self._judged.add(id(item))
            elif not self._flow.is_live(name, item):
                self._say(*self._dead(name, item))

    def _dead(self, name: str, item: Item) -> tuple[str, Item, Rule | None]:
        for taker in self._flow.items(name)[: item.at]:
            taken = self._flow.takes(taker)
            if taken and self._flow.covers(taken, item.region):
                return self._code(taker, item), item, taker.rule
        return UNREACHABLE, item, None

    def _code(self, taker: Item, item: Item) -> str:
        if not is_verdict(taker.target):
            return UNREACHABLE
        if is_logging(item.target):
            return AFTER_VERDICT
        if any(is_unconditional(rule) for rule in taker.rules):
            return UNREACHABLE
        return REDUNDANT if taker.rule.target == item.rule.target else SHADOWED

    # -- rules that later ones make superfluous

    def _look_for_superfluous(self, name: str, seen: set[str]) -> None:
        """Look at the rules of a chain from its end, and at those of chains called where they are called."""
        seen.add(name)
        for item in reversed(self._flow.items(name)):
            target = item.target
            if isinstance(target, Jump):
                if target.chain not in seen and not self._flow.is_long(target.chain):
                    self._look_for_superfluous(target.chain, seen)
            elif is_verdict(target) and not item.changing and id(item) not in self._judged:
                by = self._replaced_by(name, item)
                if by is not None:
                    self._say(REDUNDANT, item, by, dead=False)

    def _replaced_by(self, name: str, item: Item) -> Rule | None:
        """The last of the later rules that together do the same to all packets of a rule, if they do."""
        if id(item) in self._leant_on:
            return None
        flow = self._flow
        packets: Region = []
        for piece in flow.left(name, item.at, meet(flow.inflow(name), item.region)):
            packets.append(piece)
            if len(packets) > MOST_BOXES:
                return None
        after = _After(self._section, flow, self._judged, item)
        if not after.is_replaced(name, item.at + 1, packets) or not after.by:
            return None
        self._leant_on.update(map(id, after.by))
        return after.by[-1].rule


class _Otherwise(Exception):
    """Something else would become of packets of a rule, were it not there."""


class _After:
    """What becomes of the packets of a rule, were it not there."""

    def __init__(self, section: SectionFacts, flow: Flow, judged: set[int], item: Item) -> None:
        self._section = section
        self._flow = flow
        self._judged = judged
        self._item = item
        self._target = item.rule.target
        self.by: list[Item] = []

    def is_replaced(self, name: str, at: int, packets: Region) -> bool:
        try:
            return self._follow(name, at, packets, 0)
        except _Otherwise:
            return False

    def _follow(self, name: str, at: int, packets: Region, depth: int) -> bool:
        """Do later rules decide them all, in this chain and in those that called it?"""
        left = self._through(name, at, packets, depth)
        if not left:
            return True
        section, flow = self._section, self._flow
        if section.chains[name].builtin or section.is_piece or depth > 20:
            return False
        for caller, rule in section.calls.to(name):
            if not flow.inflow(caller):
                continue
            call = flow.item(caller, rule)
            if call is None:
                return False
            back = meet(flow.elsewhere(left), call.region)
            goto = isinstance(call.target, Jump) and call.target.goto
            start = len(flow.items(caller)) if goto else call.at + 1
            if back and not self._follow(caller, start, back, depth + 1):
                return False
        return True

    def _through(self, name: str, at: int, packets: Region, depth: int) -> Region:
        """What rules of a chain from a place on leave of packets.  Raises _Otherwise."""
        flow = self._flow
        if flow.is_long(name) or depth > 20:
            raise _Otherwise
        back: Region = []
        taken: Region = []  # by rules that do the same: not taken from `packets` yet
        for item in flow.concerned(name, at, packets):
            target = item.target
            if item is self._item or (target is None and not item.changing):
                continue
            flow.work.spend(len(packets) * len(item.region) + 1)
            if not meets(packets, item.region):
                continue
            same = is_verdict(target) and item.rule.target == self._target
            if same and id(item) in self._judged:
                continue  # what is reported itself may go
            if same and not item.changing:
                self.by.append(item)
                if {} in item.region:
                    return back
                taken += item.region
                continue
            hits = self._less(meet(packets, item.region), taken)
            if not hits:
                continue
            if item.changing or id(item) in self._judged:
                raise _Otherwise
            if isinstance(target, Jump):
                returned = self._through(target.chain, 0, flow.elsewhere(hits), depth + 1)
                packets = self._less(packets, taken + item.region)
                taken = []
                if target.goto:
                    back += returned
                else:
                    packets += meet(returned, item.region)
            elif is_return(target):
                back += hits
                taken += item.region
            else:
                raise _Otherwise
        return self._less(packets, taken) + back

    def _less(self, packets: Region, taken: Region) -> Region:
        out: Region = []
        for box in packets:
            for piece in self._flow.remains.pieces(box, taken):
                out.append(piece)
                if len(out) > MOST_BOXES:
                    raise _Otherwise
        return out
