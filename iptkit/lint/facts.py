"""What checks want to know about a file, worked out once and only if one asks.

There may be 100,000 rules, and as many of their values different: so most of
this goes by what rules have in common, and by words as they are written, and
reads a value only where a check must know what it means.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import BUILTIN_CHAINS, INTERFACE, NETWORKS, Jump, Verdict
from iptkit.extensions.spec import RuleFacts, Target
from iptkit.lint.alike import Alike
from iptkit.lint.calls import Calls
from iptkit.lint.conditions import STATE_MATCHES, is_accept, states_in
from iptkit.lint.flow import Flow
from iptkit.lint.judged import judge
from iptkit.lint.kernel import refusals
from iptkit.lint.meant import Meant
from iptkit.lint.normal import Forms
from iptkit.lint.optionvalues import CORE, odd_words
from iptkit.lint.reach import Reach
from iptkit.lint.settle import settle
from iptkit.lint.told import Told
from iptkit.ruleset.bound import RawMemo
from iptkit.ruleset.model import Gathered
from iptkit.syntax.document import RuleLine
from iptkit.syntax.parser import words_of
from iptkit.syntax.words import unquote
from iptkit.text.diagnostic import BOTH, Severity
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iptkit.extensions.spec import Extension
    from iptkit.lint.judged import Judgement
    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.bound import Bound, Memo, Placed, Segment
    from iptkit.ruleset.interpret import Outcome, Section
    from iptkit.ruleset.model import Chain, Rule
    from iptkit.syntax.document import ChainLine, Document, Line
    from iptkit.text.diagnostic import Diagnostic
    from iptkit.values.context import Family

    # The words of an extension as written, as a key: one word, or a tuple of none or several.
    Words = str | tuple[str, ...]


_NO_WORDS: frozenset[Words] = frozenset([()])


class PartFacts:
    """The rules of one section whose shapes have a part in common, each rule with its chain.

    `bound` is the meaning of that part, or of the shape as a whole where it
    is not put together from parts.  It tells where the values of all these
    rules are; its words count from `offset` of the rule's own Bound.
    """

    __slots__ = ("_distinct", "_goals", "bound", "chains", "rules", "values")

    def __init__(self, bound: Bound, rules: list[Rule], chains: list[Chain], values: list[list[str]]) -> None:
        self.bound = bound
        self.rules = rules
        self.chains = chains
        self.values = values  # for each rule the words of its line that its shape does not tell
        self._goals: list[str] | None = None
        self._distinct: dict[Any, frozenset[Words]] = {}

    def words(self, placed: Placed) -> list[Words]:
        """For each rule its words for a use of an extension."""
        return list(map(placed.key, self.values))

    def distinct(self, placed: Placed) -> frozenset[Words]:
        """All words that any of the rules has for it."""
        if not placed.holes:
            return _NO_WORDS
        found = self._distinct.get(placed.holes)
        if found is None:
            found = self._distinct[placed.holes] = frozenset(map(placed.key, self.values))
        return found

    def goals(self) -> list[str]:
        """For each rule the word after -j or -g, where no options follow; "" where they do."""
        found = self._goals
        if found is None:
            jump = self.bound.jumps
            if isinstance(jump, int):
                found = [values[jump] for values in self.values]
            else:
                found = [jump or ""] * len(self.rules)
            self._goals = found
        return found

    def chain_names(self) -> set[str]:
        """The chains they stand in."""
        return {chain.name for chain in set(self.chains)}

    def lines(self) -> Iterator[tuple[RuleLine, int]]:
        """The lines, each once, with the offset: a list of addresses makes several rules of a line."""
        before = None
        for rule in self.rules:
            if rule.line is not before:
                before = rule.line
                yield before, rule.bound.offset


class Site(NamedTuple):
    """A part in which an extension is used, and how it stands there."""

    placed: Placed
    part: PartFacts


class UseFacts(NamedTuple):
    """A way in which rules of a section use an extension: its name and options, values aside."""

    segment: Segment
    section: SectionFacts

    @property
    def name(self) -> str:
        return self.segment.cls.name

    @property
    def flags(self) -> list[str]:
        """The options given, as iptables-save prints them."""
        return [option.flag for option, _, _, _ in self.segment.fields]

    def word(self, flag: str) -> int:
        """Where an option stands, counted from the extension's name."""
        return next((at for option, _, _, at in self.segment.fields if option.flag == flag), 0)


class Stated(NamedTuple):
    """A part that asks for connection states, and for each of its rules these as bits."""

    part: PartFacts
    states: list[int]  # 0 for a rule that asks for any others than these

    def rules(self, any_of: int) -> Iterator[tuple[Rule, Chain, int]]:
        """The rules that ask for one of some states: each with its chain and all its states."""
        for rule, chain, states in zip(self.part.rules, self.part.chains, self.states, strict=True):
            if states & any_of:
                yield rule, chain, states


class TargetAt(NamedTuple):
    """A rule with a certain target, and the index of the word that names it."""

    rule: Rule
    chain: Chain
    word: int


class SectionFacts:
    """One section, as it stands at its COMMIT.

    Of a file that is looked at in two shares (see iptkit.lint.shares) `own`
    are the chains whose rules are looked at here, and `told` is what the other
    share says of its own.  Else these are all chains, and nothing.
    """

    def __init__(self, facts: Facts, section: Section, own: dict[str, Chain] | None = None) -> None:
        self.facts = facts
        self.section = section
        self.is_shared = own is not None  # are there rules that the other share looks at?
        self.own = section.table.chains if own is None else own
        self._kept: dict[Callable[[SectionFacts], list[Any]], list[Any]] = {}
        self.table = section.table
        self.name = section.table.name
        self.chains: dict[str, Chain] = section.table.chains
        self.told = Told() if self.is_shared else Told.nothing()
        self.chain_lines: dict[str, ChainLine | RuleLine] = section.chain_lines
        self._accepting: dict[Bound, list[tuple[Rule, Chain]]] = {}
        self._jumped: dict[str, Any] = {}  # a word after -j -> the target
        self._went: dict[str, Any] = {}  # and after -g
        self.quotes_jumps = False  # is a name after -j in quotes?  (Known when `jumps` is.)

    # -- its rules, by what they have in common

    @functools.cached_property
    def _grouped(self) -> tuple[dict[Bound, PartFacts], dict[Bound, PartFacts]]:
        heads, tails = self.section.gathered or self._gathered()
        return (
            {bound: PartFacts(bound, each.rules, each.chains, each.values) for bound, each in heads.items()},
            {bound: PartFacts(bound, each.rules, each.chains, each.values) for bound, each in tails.items()},
        )

    def _gathered(self) -> tuple[dict[Bound, Gathered], dict[Bound, Gathered]]:
        # All 100,000 rules pass here, in the order in which they lie in memory.  Later they are asked in the
        # order of their shapes, where each step to another object costs more than what is done with it.
        heads: dict[Bound, Gathered] = {}
        tails: dict[Bound, Gathered] = {}
        for chain in self.own.values():
            for rule in chain.rules:
                bound = rule.bound
                values = rule.line.values
                for groups, part in ((tails, bound.later or bound), (heads, bound.earlier or bound)):
                    try:
                        group = groups[part]
                    except KeyError:
                        group = groups[part] = Gathered([])
                    group.rules.append(rule)
                    group.chains.append(chain)
                    group.values.append(values)
        return heads, tails

    @property
    def heads(self) -> dict[Bound, PartFacts]:
        """The distinct parts of shapes that have addresses and interfaces, with their rules."""
        return self._grouped[0]

    @property
    def parts(self) -> dict[Bound, PartFacts]:
        """The distinct parts of shapes that have matches and target (see Bound.part), with their rules."""
        return self._grouped[1]

    @functools.cached_property
    def sites(self) -> dict[Segment, list[Site]]:
        """The distinct ways in which matches and targets are used, and where."""
        out: dict[Segment, list[Site]] = {}
        for bound, part in self.parts.items():
            for placed in bound.matches:
                out.setdefault(placed.segment, []).append(Site(placed, part))
            if bound.target is not None:
                out.setdefault(bound.target.segment, []).append(Site(bound.target, part))
        return out

    @functools.cached_property
    def stated(self) -> list[Stated]:
        """The rules that ask for connection states, by the part that does."""
        out = []
        for segment, sites in self.sites.items():
            if segment.cls.name in STATE_MATCHES:
                known: dict[Words, int] = {}
                for placed, part in sites:
                    words = part.words(placed)
                    for each in set(words) - known.keys():
                        states = states_in(self.facts.use(placed, part, each))
                        known[each] = 0 if states is None or states[1] else states[0]
                    out.append(Stated(part, list(map(known.__getitem__, words))))
        return out

    @functools.cached_property
    def jumps(
        self,
    ) -> tuple[dict[str, list[tuple[str, Rule]]], dict[str, list[TargetAt]], set[str], set[str]]:
        """What is behind the words after -j and -g, where no options follow.

        First for each chain the chains it calls, with the calling rule, not in
        the order of the chain.  Then the rules with a target without options,
        and those with QUEUE, by its name: their shapes do not tell.  Last the
        chains that may have a RETURN, and those that may have a -g.
        """
        calls: dict[str, list[tuple[str, Rule]]] = {}
        bare: dict[str, list[TargetAt]] = {}
        returning: set[str] = set()
        going: set[str] = set()
        chains = self.chains
        names: dict[str, str] = {}  # a word after -j -> the name of such a target, "" for a verdict
        renames = self.facts.renames
        # A few steps a rule and no more: there are files with 100,000 jumps.
        for bound, part in self.parts.items():
            jump = bound.jumps
            if jump is None:
                continue
            if bound.goto:
                going |= part.chain_names()
            words = part.goals()
            distinct = set(words)
            if "RETURN" in distinct or any(word[:1] == '"' for word in distinct):
                rows = zip(part.chains, words, strict=True)
                returning.update([chain.name for chain, word in rows if word == "RETURN" or word[:1] == '"'])
            if not renames and all(names.get(word) == "" for word in distinct):
                continue
            for rule, chain, word in zip(part.rules, part.chains, words, strict=True):
                known = chains.get(word)
                if known is not None and (not renames or rule.renamed is None):
                    to = known.name
                else:
                    if word[:1] == '"':
                        self.quotes_jumps = True
                    name = names.get(word)
                    if name == "" and rule.renamed is None:
                        continue
                    target = self.target_of(rule)
                    if target.__class__ is not Jump:
                        names[word] = name = _bare_name(target)
                        if name:
                            at = bound.where["j"] + rule.bound.offset + 1
                            bare.setdefault(name, []).append(TargetAt(rule, chain, at))
                        continue
                    to = target.chain
                caller = chain.name
                if caller in calls:
                    calls[caller].append((to, rule))
                else:
                    calls[caller] = [(to, rule)]
        return calls, bare, returning, going

    def accepts(self, part: PartFacts) -> set[str]:
        """The words after -j by which rules of a part accept."""
        goals = part.goals()
        return {
            word
            for word in set(goals)
            if (word == "ACCEPT" or word[:1] == '"')
            and is_accept(self.target_of(part.rules[goals.index(word)]))
        }

    def accepting(self, part: PartFacts) -> list[tuple[Rule, Chain]]:
        """The rules of a part that accept, each with its chain."""
        found = self._accepting.get(part.bound)
        if found is None:
            accepts = self.accepts(part)
            rows = zip(part.rules, part.chains, part.goals(), strict=True) if accepts else ()
            found = [(rule, chain) for rule, chain, goal in rows if goal in accepts]
            self._accepting[part.bound] = found
        return found

    def kept(self, find: Callable[[SectionFacts], list[Any]]) -> list[Any]:
        """What a function finds in the section: asked once, and kept for all checks that want it."""
        found = self._kept.get(find)
        if found is None:
            found = self._kept[find] = find(self)
        return found

    @property
    def returning(self) -> set[str]:
        """The chains that may have a RETURN."""
        return self.jumps[2]

    @property
    def going(self) -> set[str]:
        """The chains that may have a -g."""
        return self.jumps[3]

    @property
    def bare_targets(self) -> dict[str, list[TargetAt]]:
        """The rules with a target that has no options, and those with QUEUE, by its name."""
        return self.jumps[1]

    def parts_with(self, *flags: str) -> list[PartFacts]:
        """The parts of shapes in which a match has one of these options."""
        found: dict[Bound, PartFacts] = {}
        for segment, sites in self.sites.items():
            if segment.cls.kind == "match" and any(
                option.flag in flags for option, _, _, _ in segment.fields
            ):
                found.update([(part.bound, part) for _, part in sites])
        return list(found.values())

    def with_target(self, *names: str) -> Iterator[TargetAt]:
        """The rules with one of these targets (verdicts and jumps are none, QUEUE is)."""
        for segment, sites in self.sites.items():
            if segment.cls.kind == "target" and segment.cls.name in names:
                for placed, part in sites:
                    for rule, chain in zip(part.rules, part.chains, strict=True):
                        yield TargetAt(rule, chain, placed.word + rule.bound.offset)
        for name in names:
            yield from self.bare_targets.get(name, ())

    @functools.cached_property
    def literals(self) -> list[tuple[str, PartFacts, str, int]]:
        """Values of iptables' own options that are part of a shape: (option, part, word, its index).

        Every -p all, and words that look like options.
        """
        out = []
        for bound, part in self.parts.items():
            if not bound.protocol and "p" in bound.where:
                at = bound.where["p"] + 1
                whole = part.rules[0].bound
                out.append(("-p", part, whole.shape.words[at + whole.offset] or "", at))
            # A shape that is put together has no such word in its head.
            if bound.lists or bound.hooked:
                for core in CORE:
                    ref = getattr(bound, core.ref)
                    if isinstance(ref, str):
                        out.append((core.flag, part, ref, bound.where[core.flag[1]] + 1))
        return out

    def target_of(self, rule: Rule) -> Any:
        """The target of a rule, its options unread: a Verdict, a Jump, a Target or its class, or None."""
        part = rule.bound.part
        jump = part.jumps
        if jump is None:
            if part.jump is None:
                return None
            return rule.target if part.target is None else part.target.segment.cls
        if jump.__class__ is not int or rule.renamed is not None:
            return rule.target
        raw = rule.line.values[jump]
        known = self._went if part.goto else self._jumped
        found = known.get(raw)
        if found is None:
            name = unquote(raw) if raw[:1] == '"' else raw
            found = Jump(name, part.goto) if name in self.chains else part.memos[jump][raw]
            known[raw] = found
        return found

    # -- what follows from them

    @functools.cached_property
    def calls(self) -> Calls:
        """Who calls whom."""
        return Calls(self)

    @functools.cached_property
    def reach(self) -> Reach:
        """Which rules and chains no packet comes to."""
        return Reach(self)

    @functools.cached_property
    def alike(self) -> Alike:
        """Rules that repeat others or nearly do."""
        return Alike(self)

    @functools.cached_property
    def flow(self) -> Flow | None:
        """Which packets come to which rule; None for a table that does not load, or is nested too deep."""
        flow = Flow(self)
        return flow if flow.usable else None

    @functools.cached_property
    def judged(self) -> list[Judgement]:
        """Rules that do nothing, and why."""
        return judge(self)

    @functools.cached_property
    def is_judged(self) -> bool:
        """Has every rule been looked at?  Of large sections only what is plain is judged."""
        return self.flow is not None and not self.flow.is_large

    @functools.cached_property
    def dead(self) -> set[int]:
        """Numbers of the lines whose rules no packet comes to and matches."""
        return {each.rule.line.number for each in self.judged if each.dead} | self.passed_by

    @functools.cached_property
    def passed_by(self) -> set[int]:
        """Those of them to which no packet comes, whatever it is like: some rule before takes all."""
        return self.reach.dead | self.told.dead

    def part_of(self, most: int) -> int:
        """How much of what may be spent on a section may be spent here: each share has its part."""
        return most // 2 if self.is_shared else most

    @functools.cached_property
    def refusals(self) -> list[Diagnostic]:
        """What the kernel refuses in it."""
        return list(refusals(self))

    @functools.cached_property
    def refused(self) -> set[int]:
        """Numbers of the lines whose rules the kernel refuses: they count for nothing."""
        if self.is_shared:
            return set()  # else the file is not looked at in shares
        return {found.span.line for found in self.refusals}

    @functools.cached_property
    def rule_count(self) -> int:
        """How many rules there are, in all shares."""
        return sum(chain.count for chain in self.chains.values())

    @property
    def builtins(self) -> tuple[str, ...]:
        """The names of the built-in chains."""
        return BUILTIN_CHAINS[self.name]

    @functools.cached_property
    def declared_builtins(self) -> set[str]:
        return self.chain_lines.keys() & set(self.builtins)

    @functools.cached_property
    def is_piece(self) -> bool:
        """Declares and fills no built-in chain: a piece for --noflush, called by what is loaded already."""
        return not self.declared_builtins and not any(
            chain.count for chain in self.chains.values() if chain.builtin
        )

    @functools.cached_property
    def broken_words(self) -> set[str]:
        """All words of lines that could not be read, lower case: a chain named there may be called there."""
        words: set[str] = set()
        for broken in self.section.broken:
            words.update(word.lower() for word in words_of(broken.line) or broken.line.raw.split())
        return words

    def rule_facts(self, rule: Rule) -> RuleFacts:
        """What an extension may know of its rule; comments are left out of the matches."""
        matches = tuple(
            placed.segment.use(placed.key(rule.values), rule.context)
            for placed in rule.bound.matches
            if placed.segment.cls.name != "comment"
        )
        return self.shape_facts(rule.bound)._replace(matches=matches)

    def shape_facts(self, bound: Bound) -> RuleFacts:
        """The same without the matches."""
        protocol = (bound.protocol, bound.protocol_inverted)
        return RuleFacts(self.facts.family, *protocol, *protocol, ())


def _bare_name(target: Any) -> str:
    bare = isinstance(target, Target) or (isinstance(target, Verdict) and target.name == "QUEUE")
    name: str = target.name if bare else ""
    return name


class Facts:
    """A file: its lines, what it does, and what follows from both."""

    def __init__(
        self,
        document: Document,
        outcome: Outcome,
        binder: Binder,
        *,
        noflush: bool = False,
        backends: tuple[str, ...] = BOTH,
        written: Document | None = None,
        meant: Meant | None = None,
    ) -> None:
        self.document = document
        self.outcome = outcome
        self.binder = binder
        self.family: Family = binder.family
        self.noflush = noflush
        self.backends = backends
        # The file as it was written, where `document` is what was meant.
        self.written = written or document
        self.meant = meant or Meant(document)
        self.sections = [SectionFacts(self, section) for section in outcome.sections]
        self.told_anything = False  # does the other share name any address, or any interface?
        self.span = 0, len(document.source.text)  # where in the text the lines are that are looked at
        self._odd: dict[int, set[str]] = {}
        self._suspects: dict[tuple[str, int, bool], list[str]] = {}

    @functools.cached_property
    def faults(self) -> list[Diagnostic]:
        """What reading the file found, less what only follows from something else."""
        return settle(self)

    @functools.cached_property
    def refused(self) -> set[int]:
        """Numbers of the lines that are refused, by either backend."""
        return {d.span.line for d in self.outcome.diagnostics if d.severity is Severity.ERROR}

    @functools.cached_property
    def forms(self) -> Forms:
        return Forms(self)

    # -- lines

    def line(self, number: int) -> Line:
        """The line of that number, counted from 1; its first piece, of one that is read in pieces."""
        return self.document.line(number)

    def written_line(self, number: int) -> str:
        """The text of a line as it was written."""
        return self.written.line(number).raw

    def lines_with(self, *patterns: str) -> list[Line]:
        """The lines in which one of the patterns (regular expressions) occurs, in order.

        A pattern begins with a plain character, for which the text is searched
        first: one that does not occur costs next to nothing.
        """
        text = self.document.source.text
        begin, end = self.span
        starts: set[int] = set()
        for pattern in patterns:
            # One that is plain text need not be looked for where it does not occur.
            find = text.rfind
            if pattern.isspace():
                at = text.find(pattern, begin, end)
                while at >= 0:
                    starts.add(find("\n", 0, at) + 1)
                    at = text.find(pattern, at + len(pattern), end)
            elif text.find(pattern[pattern[0] == "\\"], begin, end) >= 0:
                for hit in re.compile(pattern).finditer(text, begin, end):
                    starts.add(find("\n", 0, hit.start()) + 1)
        out = []
        number = 1
        before = 0
        for start in sorted(starts):
            number += text.count("\n", before, start)
            before = start
            out.append(self.line(number))
        return out

    @functools.cached_property
    def other_lines(self) -> list[Line]:
        """The lines that are no rules."""
        return [line for line in self.document.lines if line.__class__ is not RuleLine]

    @functools.cached_property
    def quotes_chains(self) -> bool:
        """Is a name after -A in quotes?"""
        return self.document.source.text.find('-A "', *self.span) >= 0

    @functools.cached_property
    def spaced(self) -> set[int]:
        """Numbers of rule lines that may have blanks in a row somewhere, tabs, or blanks at an end."""
        return {
            line.number
            for line in self.document.odd
            if "  " in line.raw or "\t" in line.raw or line.raw[:1] == " " or line.raw[-1:] == " "
        }

    @functools.cached_property
    def odd_commands(self) -> list[tuple[RuleLine, Bound]]:
        """Lines that do not begin with -A, with the meaning of their shapes."""
        shapes = {
            bound.shape: bound
            for bound in self.binder.known.values()
            if bound.earlier is None and bound.shape.words[:1] != ("-A",)
        }
        if not shapes:
            return []
        return [
            (line, shapes[line.shape])
            for line in self.document.lines
            if line.__class__ is RuleLine and line.shape in shapes
        ]

    @functools.cached_property
    def renames(self) -> bool:
        """Does any line rename a chain?"""
        return any(bound.command == "E" for _, bound in self.odd_commands)

    # -- values

    def use(self, placed: Placed, part: PartFacts, words: Words) -> Extension:
        """The use of an extension in a part with these words (`placed.key` takes them).  Raises BadValue."""
        memos = part.bound.memos
        if isinstance(words, str):
            return placed.segment.use(memos[placed.holes[0]][words], self.binder.context)
        values = tuple([memos[hole][word] for hole, word in zip(placed.holes, words, strict=True)])
        return placed.segment.use(values, self.binder.context)

    def odd_words(self, memo: Memo | RawMemo) -> set[str]:
        """Those words of a memo that iptables-save would not print as they are, or not at all.

        Of texts that may be anything, memos hold none.
        """
        found = self._odd.get(id(memo))
        if found is None:
            found = self._odd[id(memo)] = set(odd_words(memo, self.family))
        return found

    def suspects(self, pattern: str, memo: Memo | RawMemo, odd: bool) -> list[str]:
        """The words of a memo, or the odd ones alone, in which a pattern finds something."""
        key = pattern, id(memo), odd
        found = self._suspects.get(key)
        if found is None:
            words = self.odd_words(memo) if odd else memo
            search = re.compile(pattern).search
            found = self._suspects[key] = [raw for raw in words if search(raw)] if pattern else list(words)
        return found

    @property
    def any_network(self) -> bool:
        """Is there an address with a mask of 0 anywhere?"""
        return self.told_anything or self._names_any_network

    @functools.cached_property
    def _names_any_network(self) -> bool:
        memo = self.binder.memo(NETWORKS)
        return any(not mask for raw in self.odd_words(memo) for _, mask in memo[raw])

    @property
    def any_interface(self) -> bool:
        """Is there an interface + anywhere?"""
        return self.told_anything or self._names_any_interface

    @functools.cached_property
    def _names_any_interface(self) -> bool:
        return "+" in self.odd_words(self.binder.memo(INTERFACE))
