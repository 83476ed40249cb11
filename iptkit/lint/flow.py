"""Which packets come to which rule: every packet at once, as boxes (see iptkit.lint.asked).

Nothing is worked out before somebody asks.  What a rule is asked about is the
packets that it matches; from these is taken what the rules before it take, in
its chain and in those that call it.  What is proven gone is gone; what is left
may be more than there is, where looking closer would take too long.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import Jump
from iptkit.extensions.spec import BYTES
from iptkit.lint.asked import (
    DPORT,
    DST,
    HOPS,
    IN,
    LENGTH,
    MARKS,
    NO_INTERFACE,
    OUT,
    SOME_INTERFACE,
    SRC,
    STATE,
    Asked,
    is_changing,
)
from iptkit.lint.conditions import (
    is_accept,
    is_harmless,
    is_return,
    is_unconditional,
    is_verdict,
    names_target,
)
from iptkit.lint.intervals import EVERYTHING, Remains, TooMuch, Work, box_within, meet, meets, union

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts, Words
    from iptkit.lint.intervals import Box, Region, Span
    from iptkit.ruleset.bound import Bound
    from iptkit.ruleset.model import Chain, Rule
    from iptkit.syntax.document import RuleLine

MOST_RULES = 2_500  # of a chain; of longer ones only rules without a condition are looked at
LARGE = 6_000  # rules of a section
FOR_QUESTIONS = 200_000  # boxes compared, for what checks ask about a whole section
_MOST_MASKS = 32
_MOST_TAKEN = 200  # boxes that are taken from what a jump sends on
_MOST_CALLS = 64  # of one chain, from long chains
_DESTINATION = ("--dport", "--dports", "--ports")
_DEEPEST = 60  # chains that call each other; nf_tables takes 15
NOTHING: Region = []
MOST_BOXES = 64  # that the packets of a chain may fall into
# What targets that go on may rewrite (Target.rewrites), all of it.
_ANYTHING = (
    "mark", "connmark", "tos", "dscp", "ecn", *BYTES, HOPS, "tcpmss", "tcp", LENGTH, "set", STATE, "ct",
    "conntrack", "connlabel", "helper", SRC, DST,
)  # fmt: skip


class Item:
    """A line of a chain: one rule, or several that a list of addresses makes.

    `changing` says whether what it matches does not follow from the packet alone.
    """

    __slots__ = ("_chain", "_flow", "_region", "at", "changing", "rule", "rules", "target")

    def __init__(self, flow: Flow, chain: str, at: int, rule: Rule, target: Any) -> None:
        self._flow = flow
        self._chain = chain
        self._region: Region | None = None
        self.at = at  # counted in lines that are not refused
        self.rule = rule  # the first of its rules
        self.rules = [rule]
        self.target = target
        self.changing = flow.is_changing(rule)

    @property
    def line(self) -> RuleLine:
        return self.rule.line

    @property
    def region(self) -> Region:
        """What it may match, whatever comes before it."""
        found = self._region
        if found is None:
            found = self._region = self._flow.region(self._chain, self)
        return found


class Index:
    """Boxes of the items of a chain, and those of them that can concern a box.

    Most boxes name one small network or one port: those are found by it.
    """

    __slots__ = ("_by_key", "_coarse", "_fine", "_rest")

    def __init__(self, regions: list[Region], bits: int) -> None:
        self._fine, self._coarse = (8, 24) if bits == 32 else (64, 96)  # bits of a network's addresses
        self._rest: list[tuple[int, Box]] = []
        # dimension -> key -> the boxes, with the places of their items
        self._by_key: dict[str, dict[tuple[int, int], list[tuple[int, Box]]]] = {SRC: {}, DST: {}, DPORT: {}}
        for at, region in enumerate(regions):
            for box in region:
                found = self._rest
                for dimension, keyed in self._by_key.items():
                    key = self._key(box, dimension)
                    if key is not None:
                        found = keyed.setdefault(key, [])
                        break
                found.append((at, box))

    def _key(self, box: Box, dimension: str) -> tuple[int, int] | None:
        span = box.get(dimension)
        if span is None or len(span) > 1:
            return None
        ((low, high),) = span
        for level in (0,) if dimension == DPORT else (self._fine, self._coarse):
            if low >> level == high >> level:
                return level, low >> level
        return None

    def before(self, box: Box, at: int) -> Region:
        """The boxes of items before a place that can have something in common with a box."""
        return [each for found in self._concerning(box) for place, each in found if place < at]

    def places(self, region: Region, at: int) -> list[int]:
        """The places, from one on, of items that can have something in common with a region."""
        out = {place for box in region for found in self._concerning(box) for place, _ in found}
        return sorted([place for place in out if place >= at])

    def _concerning(self, box: Box) -> list[list[tuple[int, Box]]]:
        out = [self._rest]
        for dimension, keyed in self._by_key.items():
            key = self._key(box, dimension)
            if key is None:
                out += keyed.values()
            elif dimension == DPORT:
                out.append(keyed.get(key, []))
            elif key[0] == self._fine:
                wider = self._coarse, key[1] >> self._coarse - self._fine
                out += (keyed.get(key, []), keyed.get(wider, []))
            else:
                by = self._coarse - self._fine
                for (level, each), found in keyed.items():
                    if (each if level == self._coarse else each >> by) == key[1]:
                        out.append(found)
        return out


class Flow:
    """The packets in one table."""

    def __init__(self, section: SectionFacts) -> None:
        self._section = section
        self.asked = Asked(section.facts.family, few(masks(section), section.told.masks))
        self.work = Work(section.part_of(FOR_QUESTIONS))
        self._bits = 32 if section.facts.family == 4 else 128
        self.remains = Remains(self.asked.domain, self.work)
        self._items: dict[str, list[Item]] = {}
        self._places: dict[str, dict[int, int]] = {}
        self._before: dict[str, list[dict[str, int]]] = {}
        self._taken: dict[str, Index] = {}
        self._asking: dict[str, Index] = {}
        self._changing: dict[Bound, bool] = {}
        self._wide: dict[Bound, bool] = {}
        self._decided: dict[str, Region] = {}
        self._inflow: dict[str, Region] = {}

    @functools.cached_property
    def usable(self) -> bool:
        """Are there no loops that packets come into, and no endless nests?  Such a table does not load."""
        calls = self._section.calls.nft
        if any(loop & calls.reached for loop in calls.loops):
            return False
        return not calls.too_deep(_DEEPEST)

    @functools.cached_property
    def is_large(self) -> bool:
        """Has the section so many rules that not each can be looked at?"""
        return self._section.rule_count > LARGE

    def is_long(self, name: str) -> bool:
        """Has a chain more rules than can be looked at one by one?"""
        return self._section.chains[name].count > MOST_RULES

    # -- rules

    def items(self, name: str) -> list[Item]:
        """The lines of a chain that are not refused; of a long chain those that name no address."""
        found = self._items.get(name)
        if found is None:
            rules = self._section.chains[name].rules
            if self.is_long(name):
                rules = [rule for rule in rules if self._is_wide(rule.bound)]
                rules = rules if len(rules) <= MOST_RULES else []
            found = self._items[name] = self._read(name, rules)
        return found

    def _is_wide(self, bound: Bound) -> bool:
        found = self._wide.get(bound)
        if found is None:
            found = self._wide[bound] = (bound.source is None or bound.source_inverted) and (
                bound.destination is None or bound.destination_inverted
            )
        return found

    def _read(self, name: str, rules: list[Rule]) -> list[Item]:
        target_of = self._section.target_of
        refused = self._refused
        out: list[Item] = []
        before: RuleLine | None = None
        for rule in rules:
            line = rule.line
            if refused and line.number in refused:
                continue
            self.work.spend(30)
            if line is before:
                out[-1].rules.append(rule)
                continue
            before = line
            out.append(Item(self, name, len(out), rule, target_of(rule)))
        return out

    def region(self, chain: str, item: Item) -> Region:
        """The packets that the rules of an item of a chain may match."""
        asked = self.asked.region(item.rule)
        if len(item.rules) > 1:
            asked = [box for rule in item.rules for box in self.asked.region(rule)]
        if not self._rewritten or asked == EVERYTHING:
            return asked
        epochs = self._epochs(chain)[item.at]
        return [self._then(box, chain, epochs) for box in asked]

    def _epochs(self, chain: str) -> list[dict[str, int]]:
        """For each item of a chain, how often what may be rewritten was before it."""
        found = self._before.get(chain)
        if found is None:
            found = self._before[chain] = []
            epochs = dict.fromkeys(self._rewritten, 0)
            for item in self.items(chain):
                found.append(epochs)
                rewritten = self._rewritten_by(item.target)
                if rewritten:
                    epochs = dict(epochs)
                    for kind in rewritten:
                        epochs[kind] += 1
        return found

    def item(self, name: str, rule: Rule) -> Item | None:
        """The item of a rule; None for refused rules, and for those of long chains that name an address."""
        places = self._places.get(name)
        if places is None:
            places = self._places[name] = {id(r): item.at for item in self.items(name) for r in item.rules}
        at = places.get(id(rule))
        return None if at is None else self.items(name)[at]

    @functools.cached_property
    def _refused(self) -> set[int]:
        """Numbers of the lines that are refused: they count for nothing."""
        section = self._section
        queued = {each.rule.line.number for each in section.bare_targets.get("QUEUE", ())}
        return section.refused | section.facts.refused | queued

    # -- what rules rewrite

    @functools.cached_property
    def _rewritten(self) -> frozenset[str]:
        """What is asked of packets in this table that a rule of it may rewrite."""
        return rewrites(self._section) | self._section.told.rewrites

    def _rewritten_by(self, target: Any) -> frozenset[str] | tuple[str, ...]:
        if isinstance(target, Jump):
            return self._rewritten if target.chain in self._section.alike.changing_chains else ()
        if is_harmless(target):
            return ()
        rewrites = getattr(target, "rewrites", None)
        return self._rewritten if rewrites is None else rewrites

    def _then(self, box: Box, chain: str, epochs: dict[str, int]) -> Box:
        """What is asked about what may be rewritten is another thing in another chain, or later."""
        out: Box = {}
        for dimension, span in box.items():
            epoch = epochs.get(dimension if isinstance(dimension, str) else dimension[0])
            out[dimension if epoch is None else ("then", dimension, chain, epoch)] = span
        return out

    def elsewhere(self, region: Region) -> Region:
        """Packets as another chain sees them: what may have been rewritten is asked anew."""
        if not self._rewritten:
            return region
        return [{d: span for d, span in box.items() if d[0] != "then"} for box in region]

    # -- chains

    def takes(self, item: Item) -> Region:
        """The packets that surely do not go on to the next rule; what changes takes none for sure."""
        target = item.target
        if item.changing or target is None:
            return []
        if isinstance(target, Jump):
            if target.goto:
                return item.region
            decided = self.decided(target.chain)
            if not decided:
                return []  # what the rule may match is nothing to ask
            return item.region if decided == EVERYTHING else self._met(item.region, decided)
        return item.region if is_verdict(target) or is_return(target) else []

    def is_changing(self, rule: Rule) -> bool:
        """Has a rule a condition that may match one packet and not the next like it?"""
        part = rule.bound.part
        if part.opaque:
            part = rule.bound
        found = self._changing.get(part)
        if found is None:
            found = any(placed.segment.cls.changing for placed in part.matches)
            if part.opaque or any(placed.segment.cls.name == "connlabel" for placed in part.matches):
                found = any(is_changing(use) for use in rule.matches)
            self._changing[part] = found
        return found

    def _met(self, a: Region, b: Region) -> Region:
        self.work.spend(len(a) * len(b))
        return list(a) if b == EVERYTHING else meet(a, b)

    def _taken_in(self, name: str) -> Index:
        found = self._taken.get(name)
        if found is None:
            found = self._taken[name] = Index([self.takes(item) for item in self.items(name)], self._bits)
        return found

    def concerned(self, name: str, at: int, packets: Region) -> list[Item]:
        """The items of a chain, from a place on, that may match some packets; others may be among them."""
        index = self._asking.get(name)
        items = self.items(name)
        if index is None:
            index = self._asking[name] = Index([item.region for item in items], self._bits)
        return [items[place] for place in index.places(packets, at)]

    def left(
        self, name: str, at: int, region: Region, also: Region = NOTHING, most: int = 0
    ) -> Iterator[Box]:
        """The pieces of a region that no item of a chain before a place takes.  Raises TooMuch.

        With `most`, only so many boxes of what is taken are looked at, those that take most.
        """
        taken = self._taken_in(name)
        for box in region:
            before = taken.before(box, at)
            self.work.spend(len(before))
            if most and len(before) > most:
                before = sorted(before, key=len)[:most]
            yield from self.remains.pieces(box, [*before, *also])

    def _are_left(self, name: str, at: int, region: Region, also: Region = NOTHING) -> bool:
        return any(True for _ in self.left(name, at, region, also))

    def decided(self, name: str) -> Region:
        """Packets that a chain sends back to nobody, wherever they come from.  Perhaps there are more."""
        found = self._decided.get(name)
        if found is None:
            if self._section.chains[name].builtin:
                found = []
            elif self._section.reach.decides(name):
                found = EVERYTHING
            elif self.is_large or self.is_long(name):
                found = []
            else:
                self._decided[name] = []  # a chain that needs itself proves nothing
                found = self._decided_by(name)
            self._decided[name] = found
        return found

    def _decided_by(self, name: str) -> Region:
        out: Region = []
        back: Region = []  # what may have gone back before
        for item in self.items(name):
            target = item.target
            gone: Region = []
            goes: Region = []
            if is_verdict(target):
                gone = [] if item.changing else item.region
            elif isinstance(target, Jump):
                decided = self.decided(target.chain)
                gone = [] if item.changing else self._met(item.region, decided)
                if target.goto and {} not in decided:
                    goes = item.region
            elif is_return(target):
                goes = item.region
            if gone and back:
                gone = self._without(gone, back)
            # What may be otherwise on the way to the chain proves nothing to its callers.
            out += [box for box in gone if not any(d[0] == "then" for d in box)]
            back += goes
            if len(out) > MOST_BOXES or {} in back or {} in gone:
                break
        return out

    def _without(self, region: Region, other: Region) -> Region:
        """Some of what is in a region and not in another: all of it, unless that is too much to tell."""
        out: Region = []
        try:
            for box in region:
                pieces = []
                for piece in self.remains.pieces(box, other):
                    pieces.append(piece)
                    if len(pieces) > 64:
                        break
                out += pieces
        except TooMuch:
            pass
        return out

    def inflow(self, name: str) -> Region:
        """The packets that come into a chain; [] for a chain that none come into."""
        found = self._inflow.get(name)
        if found is None:
            section = self._section
            if section.chains[name].builtin:
                found = [_arriving(name)]
            elif section.is_piece:
                found = EVERYTHING
            elif name not in section.calls.nft.reached:
                found = []
            else:
                found = self._called(name)
            self._inflow[name] = found
        return found

    def _called(self, name: str) -> Region:
        out: Region = []
        calls = self._section.calls.to(name)
        for caller, rule in calls:
            item = self.item(caller, rule)
            if item is not None:
                out += self.elsewhere(self.coming(caller, item))
            elif self.is_long(caller) and rule.line.number not in self._section.passed_by:
                arriving = self.inflow(caller)
                if len(calls) <= _MOST_CALLS:
                    arriving = self._met(arriving, self.asked.region(rule))
                out += self.elsewhere(arriving)
            if {} in out:
                return EVERYTHING
        return self._simpler(out)

    def coming(self, name: str, item: Item) -> Region:
        """The packets that come to an item and may match it; more than these where it is hard to tell."""
        hits = self._met(self.inflow(name), item.region)
        out: Region = []
        try:
            for piece in self.left(name, item.at, hits, most=_MOST_TAKEN):
                out.append(piece)
                if len(out) > 16:
                    return hits
        except TooMuch:
            return hits
        return out

    def _simpler(self, region: Region) -> Region:
        """The same packets in fewer boxes; with more packets, where there would be too many boxes."""
        out: Region = []
        for box in sorted(region, key=len):
            if not any(box_within(box, other) for other in out):
                out.append(box)
                if len(out) > MOST_BOXES:
                    break
        else:
            return out
        common = [d for d in region[0] if all(d in box for box in region)]
        return [{d: union([box[d] for box in region]) for d in common}]

    # -- questions

    def is_live(self, name: str, item: Item, only: Box | None = None) -> bool:
        """May any packet come to an item and match it, or any of `only` these?  A no is certain."""
        try:
            region = item.region if only is None else meet([only], item.region)
            hits = region and self._met(self.inflow(name), region)
            return bool(hits) and self._are_left(name, item.at, hits)
        except TooMuch:
            return True

    def may_match(self, chain: Chain, rule: Rule, only: Box) -> bool:
        """May any of `only` these packets come to a rule and match it?  A no is certain."""
        try:
            item = self.item(chain.name, rule)
            if item is not None:
                return self.is_live(chain.name, item, only)
            return self.is_long(chain.name) and meets([only], self.asked.region(rule))
        except TooMuch:
            return True

    def comes_to(self, chain: Chain, rule: Rule, only: Box) -> bool:
        """May any of `only` these packets come to a rule that one of them may match?  A no is certain."""
        try:
            item = self.item(chain.name, rule)
            if item is None or not meets([only], item.region):
                return True
            return self._are_left(chain.name, item.at, meet([only], self.inflow(chain.name)))
        except TooMuch:
            return True

    def may_leave(self, chain: Chain, rule: Rule, called: str) -> bool:
        """May any packet that a rule sends into a chain leave that without a verdict?"""
        try:
            decided = self.decided(called)
            if not decided and not self.is_long(called):
                decided = self._decided_by(called)
            if {} in decided:
                return False
            item = self.item(chain.name, rule)
            if item is not None:
                hits = self._met(self.inflow(chain.name), item.region)
                return self._are_left(chain.name, item.at, hits, decided)
            return self.is_long(chain.name) and not self.covers(decided, self.asked.region(rule))
        except TooMuch:
            return False

    def covers(self, taken: Region, region: Region) -> bool:
        """Is all of a region surely in what is taken?"""
        try:
            return not any(True for box in region for _ in self.remains.pieces(box, taken))
        except TooMuch:
            return False

    def comes_to_policy(self, name: str, only: Box | None = None) -> bool:
        """May any packet, or any of `only` these, come to the policy of a built-in chain?"""
        closed = self._section.reach.closed.keys() | self._section.told.closed.keys()
        if self.is_long(name) and (name in closed or self._ends_closed(name)):
            return False
        try:
            arriving = self.inflow(name) if only is None else meet([only], self.inflow(name))
            items = self.items(name)
            for item in items:
                target = item.target
                if isinstance(target, Jump):
                    decided = self.decided(target.chain) if target.goto else EVERYTHING
                    if {} not in decided and self._goes(name, item, arriving, decided):
                        return True
                elif is_return(target) and self._goes(name, item, arriving):
                    return True
            return self._are_left(name, len(items), arriving)
        except TooMuch:
            return True

    def _goes(self, name: str, item: Item, arriving: Region, but: Region = NOTHING) -> bool:
        return self._are_left(name, item.at, self._met(arriving, item.region), but)

    def _ends_closed(self, name: str) -> bool:
        """Does the last rule of a long chain decide everything?"""
        last = self._section.chains[name].rules[-1]
        if last.bound.jump is None or last.line.number in self._section.refused or not is_unconditional(last):
            return False
        target = self._section.target_of(last)
        if isinstance(target, Jump):
            return self._section.reach.decides(target.chain)
        return is_verdict(target)

    def walked(self, name: str) -> Iterator[tuple[str, Item]]:
        """The items of a built-in chain and those it leads to, each once, as packets come to them."""
        seen = {name}
        pending = [(name, iter(self.items(name)))]
        while pending:
            chain, items = pending[-1]
            item = next(items, None)
            if item is None:
                pending.pop()
                continue
            yield chain, item
            if isinstance(item.target, Jump) and item.target.chain not in seen:
                seen.add(item.target.chain)
                pending.append((item.target.chain, iter(self.items(item.target.chain))))

    def named_ports(self, name: str) -> Span:
        """The destination ports that rules of a built-in chain, or those it leads to, name.

        Raises TooMuch.
        """
        spans: set[Span] = set()
        chains = self._section.chains
        if sum(chains[each].count for each in self._section.calls.nft.from_builtin[name]) > LARGE:
            raise TooMuch
        for _, item in self.walked(name):
            if item.rule.bound.protocol:
                spans.update([span for _, span in self.asked.named_ports(item.rule, _DESTINATION)])
        return union(spans)

    def is_accepted(self, name: str, only: Box) -> bool:
        """May any of these packets be accepted by a rule of a built-in chain, or those it leads to?

        A program that is asked, by NFQUEUE, may accept them.
        """
        try:
            return any(
                meets([only], item.region) and self.is_live(chain, item, only)
                for chain, item in self.walked(name)
                if is_accept(item.target) or "QUEUE" in names_target(item.target)
            )
        except TooMuch:
            return True


def rewrites(section: SectionFacts) -> frozenset[str]:
    """What the rules that are looked at may rewrite."""
    targets = {segment.cls for segment in section.sites if segment.cls.kind == "target"}
    targets.update(section.target_of(each[0].rule) for each in section.bare_targets.values())
    out: set[str] = set()
    for target in targets:
        if not is_harmless(target):
            rewritten = getattr(target, "rewrites", None)
            out.update(_ANYTHING if rewritten is None else rewritten)
    if any(part.opaque for part in section.parts):
        out.update(_ANYTHING)
    return frozenset(out)


def masks(section: SectionFacts) -> dict[str, set[int]]:
    """The masks under which marks are looked at by rules that are looked at, by match."""
    out: dict[str, set[int]] = {}
    for segment, sites in section.sites.items():
        if segment.cls.name in MARKS:
            found = out.setdefault(segment.cls.name, set())
            seen: set[Words] = set()
            for placed, part in sites:
                for words in part.distinct(placed) - seen:
                    seen.add(words)
                    value = section.facts.use(placed, part, words).values[0]
                    if value is not None:
                        found.add(value[1])
    return out


def few(one: dict[str, set[int]], other: dict[str, set[int]]) -> dict[str, set[int]]:
    """Both, less those that would be too many."""
    both = {name: one.get(name, set()) | other.get(name, set()) for name in one.keys() | other.keys()}
    return {name: found for name, found in both.items() if len(found) <= _MOST_MASKS}


def _arriving(name: str) -> Box:
    """What the packets of a built-in chain have in common."""
    if name in ("PREROUTING", "INPUT"):
        return {IN: SOME_INTERFACE, OUT: NO_INTERFACE}
    if name == "OUTPUT":
        return {IN: NO_INTERFACE, OUT: SOME_INTERFACE}
    if name == "POSTROUTING":
        return {OUT: SOME_INTERFACE}
    return {IN: SOME_INTERFACE, OUT: SOME_INTERFACE}
