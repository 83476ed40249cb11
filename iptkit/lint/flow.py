"""Which packets come to which rule: every packet at once, as boxes (see iptkit.lint.asked).

A table is walked once, callers before the chains they call.  Before each rule
stands what is left of the packets; a verdict takes away what it matches, a
call what the called chain decides.  That is exact as long as it does not take
too much: then `exact` says no, what is left is taken for more than it is, and
only what is proven gone is gone.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import Jump
from iptkit.lint.asked import HOPS, IN, LENGTH, NO_INTERFACE, OUT, SOME_INTERFACE, Asked
from iptkit.lint.conditions import HARMLESS, REWRITABLE, is_return, is_verdict
from iptkit.lint.intervals import EVERYTHING, are_disjoint, box_difference, covers, meet

if TYPE_CHECKING:
    from iptkit.lint.facts import SectionFacts
    from iptkit.lint.intervals import Box, Region
    from iptkit.ruleset.model import Chain, Rule

MOST_RULES = 4_000  # of a section; more are not walked
MOST_WORK = 200_000  # pieces of boxes compared, for a whole section
MOST_BOXES = 400  # that what is left may fall into


class TooMuch(Exception):
    """A question takes more work than it may.  That is no error: the answer is not worth its price."""


class Passed:
    """What came of packets that were sent into a chain."""

    __slots__ = ("back", "by_rule", "policy")

    def __init__(self) -> None:
        self.by_rule: list[tuple[Rule, Region]] = []  # verdicts, with the packets they took
        self.policy: Region = []  # what a built-in chain's policy took
        self.back: Region = []  # what a user chain sent back


class Flow:
    """The packets in one table.  Raises TooMuch where a question cannot be answered at its price."""

    def __init__(self, section: SectionFacts) -> None:
        self._section = section
        self.asked = Asked(section.facts.family)
        self._domain = self.asked.domain
        self._work = 0
        self._regions: dict[tuple[int, int], Region] = {}
        self._epochs: dict[str, list[int]] = {}
        self._decided: dict[str, Region] = {}
        self.exact = True

    def _spend(self, amount: int) -> None:
        self._work += amount
        if self._work > MOST_WORK:
            raise TooMuch

    # -- rules

    def region(self, chain: Chain, at: int) -> Region:
        """What the rule at a place of a chain asks."""
        epoch = self._epochs_of(chain)[at]
        rule = chain.rules[at]
        key = id(rule), epoch
        found = self._regions.get(key)
        if found is None:
            self._spend(10)
            found = self._regions[key] = self.asked.region(rule, epoch)
        return found

    def _epochs_of(self, chain: Chain) -> list[int]:
        """For each rule of a chain, how many before it may have changed packets or sets."""
        found = self._epochs.get(chain.name)
        if found is None:
            found = self._epochs[chain.name] = []
            count = 0
            for rule in chain.rules:
                found.append(count)
                target = self._section.target_of(rule)
                if isinstance(target, Jump):
                    count += target.chain in self._section.alike.changing_chains
                elif target is not None and target.name not in HARMLESS:
                    count += 1
        return found

    def counts(self, rule: Rule) -> bool:
        """Does a rule take part at all?  Those that are refused do not."""
        return rule.line.number not in self._section.refused

    # -- sets

    def less(self, left: Region, taken: Region) -> Region:
        """What is left without what was taken; as it is where that would fall into too many pieces."""
        for box in taken:
            out: Region = []
            self._spend(len(left))
            for each in left:
                out += box_difference(each, box, self._domain)
            if len(out) > MOST_BOXES:
                self.exact = False
                return left
            left = out
        return left

    def covers(self, region: Region, box: Box) -> bool:
        self._spend(len(region))
        return covers(region, box, self._domain)

    def meet(self, a: Region, b: Region) -> Region:
        self._spend(len(a) * len(b))
        return meet(a, b)

    def meets(self, a: Region, b: Region) -> bool:
        """Is anything in both?"""
        self._spend(len(a) * len(b))
        return any(not are_disjoint(x, y) for x in a for y in b)

    # -- chains

    def decided(self, name: str) -> Region:
        """The packets that a chain surely sends nobody back of, whatever comes before it."""
        found = self._decided.get(name)
        if found is None:
            self._decided[name] = []  # a chain that needs itself proves nothing
            chain = self._section.chains.get(name)
            found = [] if chain is None else self._decided_by(chain)
            self._decided[name] = found
        return found

    def _decided_by(self, chain: Chain) -> Region:
        left = EVERYTHING
        out: Region = []
        for at, rule in enumerate(chain.rules):
            if not left:
                break
            target = self._section.target_of(rule)
            if not self.counts(rule) or not self._takes(target):
                continue
            region = self.region(chain, at)
            hit = self.meet(left, region)
            if is_verdict(target):
                out += hit
                left = self.less(left, region)
            elif isinstance(target, Jump):
                gone = self.meet(hit, self.decided(target.chain))
                out += gone
                left = self.less(left, region if target.goto else gone)
            else:
                left = self.less(left, region)
        # What may change on the way to the chain proves nothing to its callers.
        out = [box for box in out if not any(map(_may_change, box))]
        return out[:MOST_BOXES]

    def _takes(self, target: Any) -> bool:
        return is_verdict(target) or is_return(target) or isinstance(target, Jump)

    # -- the walk

    @functools.cached_property
    def inflow(self) -> dict[str, Region]:
        """Chain -> the packets that come into it; chains without any are left out."""
        return self._walked[0]

    @functools.cached_property
    def left(self) -> dict[str, list[Region]]:
        """Chain -> for each rule the packets that come to it, and last those that no rule took."""
        return self._walked[1]

    @functools.cached_property
    def _walked(self) -> tuple[dict[str, Region], dict[str, list[Region]]]:
        section = self._section
        inflow: dict[str, Region] = {}
        left: dict[str, list[Region]] = {}
        for name in section.calls.nft.ordered(section.chains):
            chain = section.chains[name]
            if chain.builtin:
                inflow[name] = [self._arriving(name)]
            elif section.is_piece:
                inflow[name] = EVERYTHING
            if name in inflow:
                left[name] = self._walk(chain, inflow)
        return inflow, left

    def _arriving(self, name: str) -> Box:
        """What the packets of a built-in chain have in common."""
        box: Box = {IN: SOME_INTERFACE, OUT: SOME_INTERFACE}
        if name in ("PREROUTING", "INPUT"):
            box[OUT] = NO_INTERFACE
        elif name in ("OUTPUT", "POSTROUTING"):
            box[IN] = NO_INTERFACE
            if name == "POSTROUTING":
                del box[IN]
        return box

    def _walk(self, chain: Chain, inflow: dict[str, Region]) -> list[Region]:
        left = inflow[chain.name]
        out = []
        for at, rule in enumerate(chain.rules):
            out.append(left)
            if not left or not self.counts(rule):
                continue
            target = self._section.target_of(rule)
            if not self._takes(target):
                continue
            region = self.region(chain, at)
            if isinstance(target, Jump):
                hit = self.meet(left, region)
                if hit:
                    inflow[target.chain] = self._joined(inflow.get(target.chain, []), self._here(hit))
                gone = region if target.goto else self.meet(region, self.decided(target.chain))
                left = self.less(left, gone)
            else:
                left = self.less(left, region)
        out.append(left)
        return out

    def _here(self, region: Region) -> Region:
        """Packets as a called chain sees them: what it asks may have changed is asked anew."""
        return [{d: span for d, span in box.items() if not _may_change(d)} for box in region]

    def _joined(self, one: Region, other: Region) -> Region:
        """Both together; everything, where that is too much."""
        if any(not box for box in (*one, *other)):
            return EVERYTHING
        both = [*one, *(box for box in other if box not in one)]
        if len(both) > MOST_BOXES:
            self.exact = False
            return EVERYTHING
        return both

    # -- questions

    def hit(self, chain: Chain, at: int) -> Region:
        """The packets that come to a rule and meet its conditions."""
        left = self.left.get(chain.name)
        return [] if left is None else self.meet(left[at], self.region(chain, at))

    def policy(self, name: str) -> Region:
        """The packets that the policy of a built-in chain decides."""
        chain = self._section.chains[name]
        out = list(self.left[name][-1])
        for at, rule in enumerate(chain.rules):
            target = self._section.target_of(rule)
            if self.counts(rule) and is_return(target):
                out += self.hit(chain, at)
            elif self.counts(rule) and isinstance(target, Jump) and target.goto:
                out += self.less(self.hit(chain, at), self.decided(target.chain))
        return out

    def fate(self, name: str, packets: Region) -> Passed:
        """What becomes of packets that come into a chain."""
        out = Passed()
        out.back = self._fate(name, packets, out, 0)
        if self._section.chains[name].builtin:
            out.policy, out.back = out.back, []
        return out

    def _fate(self, name: str, packets: Region, out: Passed, depth: int) -> Region:
        if depth > len(self._section.chains):
            raise TooMuch
        chain = self._section.chains[name]
        left = packets
        back: Region = []
        for at, rule in enumerate(chain.rules):
            if not left:
                break
            target = self._section.target_of(rule)
            if not self.counts(rule) or not self._takes(target):
                continue
            region = self.region(chain, at)
            hit = self.meet(left, region)
            if not hit:
                continue
            rest = self._strictly_less(left, region)
            if isinstance(target, Jump):
                returned = self._fate(target.chain, self._here(hit), out, depth + 1)
                if target.goto:
                    back += returned
                else:
                    rest += returned
            elif is_return(target):
                back += hit
            else:
                out.by_rule.append((rule, hit))
            left = rest
        return back + left

    def _strictly_less(self, left: Region, taken: Region) -> Region:
        before = self.exact
        self.exact = True
        out = self.less(left, taken)
        if not self.exact:
            raise TooMuch
        self.exact = before
        return out


def _may_change(dimension: Any) -> bool:
    """Is a dimension about what a rule may change before the packet gets somewhere else?"""
    if isinstance(dimension, str):
        return dimension in (HOPS, LENGTH)
    return dimension[0] in REWRITABLE or dimension[0] in ("then", "once")
