"""A restore file as the program it is: from a state to a state.

`interpret` runs the lines of a document on a base state as iptables-restore
would (iptables/iptables-restore.c, iptables.c; libiptc/libiptc.c), and reports
everything the real tool would refuse.  It is pure: what it returns is a new
Ruleset, and whether to use it is the caller's affair.  A line that is refused
changes nothing; reading goes on so that one run reports several faults.
"""

from __future__ import annotations

import re
from itertools import chain as prefixed
from itertools import filterfalse, islice
from operator import getitem, itemgetter
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import BUILTIN_CHAINS, CHAIN_NAME_LIMIT, NETWORKS, VERDICTS, Jump, Verdict
from iptkit.extensions.registry import TARGETS, find_target
from iptkit.extensions.spec import HOOKS
from iptkit.ruleset.binding import RULE_COMMANDS, Fault, Memo, SegmentFault, did_you_mean
from iptkit.ruleset.bound import check_target_name, mentioned
from iptkit.ruleset.model import NO_COUNTERS, BrokenRule, Chain, Gathered, Rule, Ruleset, Table
from iptkit.ruleset.steps import (
    Append,
    CreateChain,
    DeleteChain,
    FlushChain,
    Insert,
    Remove,
    RenameChain,
    Replace,
    SetPolicy,
    Zero,
)
from iptkit.syntax.document import ChainLine, CommitLine, RuleLine, TableLine
from iptkit.syntax.words import ARGUMENT_LIMIT, WORD_LIMIT, split_counters, split_words, unquote
from iptkit.text.codes import name_of
from iptkit.text.diagnostic import BOTH, Diagnostic, Severity, Span
from iptkit.text.uncollected import Uncollected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from iptkit.ruleset.binding import Binder, Bound, Placed, RawMemo, Ref, Segment
    from iptkit.ruleset.model import Counters
    from iptkit.ruleset.steps import Step
    from iptkit.syntax.document import Document, Line, Shape

    # Takes the words of a rule, to be looked at later; None where there is nothing to look at.
    _Note = Callable[[list[str]], None] | None
    # Of a part of a shape: where the chain is, whether there are interfaces, where the jump is and whether
    # that is -g, its rules.  Chain or -g are None where _append_trusting leaves such rules alone.
    _Part = tuple[int | None, bool, int | None, bool | None, Gathered]
    # A bound, and of it: where chain and jump are, whether that is -g, whether it has interfaces, who takes
    # the words by either part, and where rules are gathered the parts.
    _Plan = tuple[Bound, int, int | None, bool, bool, _Note, _Note, tuple[Gathered, Gathered] | None]

_WORD = re.compile(r"[^ \t\r\0]*")
COUNTERS = -2  # where a fault stands: in the counters before a rule
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)")
_TOP = 2**64 - 1
_TOP_DIGITS = 20
POLICIES = ("ACCEPT", "DROP")
_TAKEN = frozenset((*VERDICTS, *TARGETS))  # names that mean something else after -j
_MOST_ASKED = 4  # parts of shapes asked for words, for each line
FEW = 100  # words: to read them takes no longer than to prepare what tells the usual ones


class Section:
    """One `*table` … COMMIT of a file."""

    __slots__ = ("broken", "chain_lines", "commit", "commit_line", "gathered", "line", "steps", "table")

    def __init__(self, line: TableLine, table: Table) -> None:
        self.line = line
        self.table = table  # the table as it stood at the section's end
        self.chain_lines: dict[str, ChainLine | RuleLine] = {}  # where each chain was declared last
        self.broken: list[BrokenRule] = []
        self.commit = False
        self.commit_line = 0
        self.steps: list[Step] = []  # what it does to the table, step by step, with --noflush alone
        # Where they were to be gathered, its rules by the heads and by the tails of their shapes.
        self.gathered: tuple[dict[Bound, Gathered], dict[Bound, Gathered]] | None = None


class Outcome:
    """What a file does.

    `ruleset`     the state after it, when nothing was refused
    `partial`     the state the real tool leaves: sections committed before the
                  first fault; the same as `ruleset` when nothing was refused
    `status`      exit status of the real tool: 0, 1 or 2
    `line`        number of the first line refused, 0 for none
    `tables`      names of the tables the file has sections for, in its order
    `ended`       "help" or "version" where such an option ended the run early
    """

    __slots__ = ("diagnostics", "ended", "line", "partial", "ruleset", "sections", "status", "tables")

    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset = ruleset
        self.partial = ruleset
        self.diagnostics: list[Diagnostic] = []
        self.sections: list[Section] = []
        self.status = 0
        self.line = 0
        self.tables: list[str] = []
        self.ended = ""


def interpret(
    document: Document,
    binder: Binder,
    *,
    base: Ruleset | None = None,
    noflush: bool = False,
    counters: bool = False,
    table: str | None = None,
    backend: str = "legacy",
) -> Outcome:
    """Run a document on a base state (empty if None).

    `noflush`, `counters` and `table` are the options -n, -c and -T of
    iptables-restore.  `backend` says whose refusals count, "legacy" or "nft":
    what the other alone refuses is reported, and the line left out, but does
    not refuse the file.  Raises nothing: every fault is a diagnostic.
    """
    with Uncollected():
        try:
            return _Interpreter(
                document, binder, base, noflush, counters, table, backend, trusting=True
            ).run()
        except _NotPlain:
            return _Interpreter(document, binder, base, noflush, counters, table, backend).run()


def interpret_part(
    document: Document,
    binder: Binder,
    *,
    base: Ruleset | None = None,
    counters: bool = False,
    table: str | None = None,
    gather: bool = False,
) -> Outcome | None:
    """As interpret, for a part of a file (see Parser.parse_part): what it does with these of its rules alone.

    With `gather` each section has its rules also by the parts of their shapes.

    None where that hangs on the other rules, or there is anything to be said: where any line is not a good
    -A, or a chain line has a fault.
    """
    with Uncollected():
        try:
            outcome = _Interpreter(
                document, binder, base, False, counters, table, trusting=True, plain=True, gather=gather
            ).run()
        except _NotPlain:
            return None
    return None if outcome.diagnostics else outcome


class _Refused(Exception):  # control flow: the line is refused for this fault
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


class _Consequence(Exception):  # control flow
    """The line is refused only because of a fault reported before: it is passed by without a word."""


class _NotPlain(Exception):
    """A value is bad, or a list: the document has to be run line by line."""


class _Interpreter:
    """One run of a document.

    Nearly all lines of nearly all files are good appends.  A trusting run adds
    such rules without looking at their values, and afterwards looks at the
    distinct values of the whole file, all of one type together; if one is bad
    or means more than one rule, it raises _NotPlain, and a second run that
    trusts nothing finds out what to say and where.
    """

    def __init__(
        self,
        document: Document,
        binder: Binder,
        base: Ruleset | None,
        noflush: bool,
        counters: bool,
        only: str | None,
        backend: str = "legacy",
        *,
        trusting: bool = False,
        plain: bool = False,
        gather: bool = False,
    ) -> None:
        self.trusting = trusting
        self.plain = plain  # are good appends all there is to be?
        self.gather = gather  # its rules by parts of shapes?
        self.plans: dict[Shape | None, _Plan | None] = {}
        self.passed_by = False  # are there values not looked at yet?
        self.parts: dict[Bound, _Part] = {}  # of shapes
        self.passed: list[Gathered] = []  # by parts of shapes, with words to be looked at
        self.asked = 0  # how many of these were asked for words so far
        self.uses: dict[
            Segment, tuple[Memo | RawMemo, ...]
        ] = {}  # that are to be read, with what reads their words
        # Names that -j, and -g, may take here, to themselves.
        self.goals: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self.document = document
        self.binder = binder
        self.noflush = noflush
        self.counters = counters
        self.only = only
        self.backend = backend
        self.base = base
        state = Ruleset(binder.family, {} if base is None else dict(base.tables))
        self.out = Outcome(state)
        self.section: Section | None = None
        self.chains: dict[str, Chain] = {}
        self.hidden: frozenset[str] = frozenset()
        self.policy_set: set[str] = set()
        self.skipping = False  # inside a section that -T leaves out
        self.jumped_to: frozenset[str] = frozenset()  # as of line jumped_at, see _jumped_to
        self.jumped_at = -1
        self.own_lines: frozenset[int] = frozenset()  # ids of the document's lines, once asked for
        self.identities: dict[int, tuple[Rule, object]] = {}  # by the id of the rule, for -C and -D

    def run(self) -> Outcome:
        out = self.out
        lines = iter(self.document.lines)
        for line in lines:
            kind = line.__class__
            if kind is RuleLine:
                left: Line | None = line
                if self.section is not None:
                    if self.trusting:
                        left = self._append_trusting(line, lines)  # type: ignore[arg-type]  # a RuleLine
                    elif self._append(line):  # type: ignore[arg-type]  # a RuleLine
                        continue
                if left is None:
                    continue
                line = left  # noqa: PLW2901  # those before it are done
                kind = line.__class__
            if kind is RuleLine:
                self._rule_line(line)  # type: ignore[arg-type]  # kind says RuleLine
                if out.ended:
                    return self._end_early()
            elif kind is ChainLine:
                if not self._usual_chain(line):  # type: ignore[arg-type]  # a ChainLine
                    self._guard(self._chain_line, line)
            elif kind is TableLine:
                self._guard(self._table_line, line)
            elif kind is CommitLine:
                self._guard(self._commit_line, line)
        if self.section is not None:
            line = self.document.lines[-1]
            self._report(
                Diagnostic(
                    "IPT004",
                    name_of("IPT004"),
                    Severity.ERROR,
                    f"the section *{self.section.table.name} is not ended by COMMIT",
                    Span(self.section.line.number, 0, len(self.section.line.raw)),
                    "put a line COMMIT at its end",
                    backends=BOTH,
                ),
                1,
                line.number + 1,
            )
            self._leave()
        self._look()
        if not out.status:
            out.partial = out.ruleset
        return out

    def _end_early(self) -> Outcome:
        """-h or -V in a line: the real tool prints and exits 0; what was committed before stays."""
        if not self.out.status:
            self.out.partial = self._state_copy()
            self.out.ruleset = self.out.partial
        return self.out

    # -- faults

    def _state_copy(self) -> Ruleset:
        return Ruleset(self.out.ruleset.family, dict(self.out.ruleset.tables))

    def _report(self, diagnostic: Diagnostic, status: int, number: int = 0) -> None:
        out = self.out
        out.diagnostics.append(diagnostic)
        if not out.status and self.backend in diagnostic.backends:
            out.status = status
            out.line = number or diagnostic.span.line
            out.partial = self._state_copy()

    def _guard(self, run: Any, line: Line) -> None:
        try:
            run(line)
        except _Refused as refused:
            fault = refused.fault
            start, end = 0, len(line.raw)
            if fault.word >= 0:
                start = fault.word
                end = start + len(_WORD.match(line.raw, start)[0])  # type: ignore[index]  # it matches anything
            self._report(
                Diagnostic(
                    fault.code,
                    name_of(fault.code),
                    Severity.ERROR,
                    fault.message,
                    Span(line.number, start, end),
                    fault.hint,
                    backends=fault.backends or BOTH,
                ),
                fault.status,
            )

    def _broken(self, line: RuleLine, chain: str | None, faults: Iterable[Fault]) -> None:
        spans = word_spans(line)
        found = []
        status = 0
        for fault in faults:
            status = status or fault.status
            if fault.word == COUNTERS:
                span = (0, line.raw.find("]") + 1 or len(line.raw.partition(" ")[0]))
            else:
                span = spans[fault.word] if 0 <= fault.word < len(spans) else (0, len(line.raw))
            found.append(
                Diagnostic(
                    fault.code,
                    name_of(fault.code),
                    Severity.ERROR,
                    fault.message,
                    Span(line.number, *span),
                    fault.hint,
                    backends=fault.backends or BOTH,
                )
            )
        for diagnostic in found:
            self._report(diagnostic, status)
        if self.section is not None:
            self.section.broken.append(BrokenRule(line, chain, tuple(found), status))

    # -- lines that are no rules

    def _table_line(self, line: TableLine) -> None:
        if self.section is not None:
            section = self.section
            self._report(
                Diagnostic(
                    "IPT004",
                    name_of("IPT004"),
                    Severity.ERROR,
                    f"the section *{section.table.name} is not ended by COMMIT before this line",
                    Span(section.line.number, 0, len(section.line.raw)),
                    "put a line COMMIT before the next *table",
                    ((Span(line.number, 0, len(line.raw)), "the next section begins here"),),
                    BOTH,
                ),
                2,
                line.number,
            )
            self._leave()
        name = line.name
        if not name:
            raise _Refused(
                Fault("IPT008", "a table line needs a name", -1, "one of " + ", ".join(BUILTIN_CHAINS))
            )
        self.skipping = self.only is not None and name != self.only
        if self.skipping:
            return
        if name not in BUILTIN_CHAINS:
            self.skipping = True  # its rules are not faults of their own
            raise _Refused(
                Fault(
                    "IPT008",
                    f"there is no table {name!r}",
                    line.raw.find(name),
                    did_you_mean(name.lower(), BUILTIN_CHAINS) or "one of " + ", ".join(BUILTIN_CHAINS),
                )
            )
        tables = self.out.ruleset.tables
        if name not in tables:
            tables[name] = Table.fresh(name)
        if name not in self.out.tables:
            self.out.tables.append(name)
        table = tables[name].copy()
        if not self.noflush:
            table.chains = {n: c for n, c in table.chains.items() if c.builtin}
            for chain in table.chains.values():
                chain.rules = []
        self.section = Section(line, table)
        if self.gather:
            self.section.gathered = {}, {}
            self.parts, self.plans = {}, {}
        self.out.sections.append(self.section)
        self.chains = table.chains
        self.policy_set = set()
        self._hide()

    def _hide(self) -> None:
        self.goals = ({}, {})
        self.hidden = frozenset(name for name in self.chains if name in TARGETS)

    def _leave(self) -> None:
        self.section = None
        self.chains = {}
        self.hidden = frozenset()

    def _step(self, step: Step) -> None:
        if self.noflush and self.section is not None:
            self.section.steps.append(step)

    def _outside(self, line: Line, code: str, what: str) -> None:
        if self.skipping:
            return
        raise _Refused(
            Fault(code, f"{what} outside a table", -1, "a section begins with a line such as *filter", 1)
        )

    def _commit_line(self, line: CommitLine) -> None:
        section = self.section
        if section is None:
            self._outside(line, "IPT005", "COMMIT stands")
            self.skipping = False
            return
        section.commit = True
        section.commit_line = line.number
        self.out.ruleset.tables[section.table.name] = section.table
        self._leave()

    def _chain_line(self, line: ChainLine) -> None:
        section = self.section
        if section is None:
            return self._outside(line, "IPT007", "a chain line stands")
        name = line.name
        if name is None:
            raise _Refused(Fault("IPT106", "a chain line needs a name"))
        check_chain_name(name)
        chain = self.chains.get(name)
        if chain is None or not chain.builtin:
            if chain is not None and self.noflush:
                chain.rules = []
                self._step(FlushChain(name))
            else:
                self._create(name, "IPT024", 2)
            section.chain_lines[name] = line
            chain = self.chains[name]
        else:
            section.chain_lines[name] = line
        policy = line.policy
        if policy is None:
            raise _Refused(
                Fault("IPT025", f"the line of chain {name} has no policy", -1, "ACCEPT, DROP or -")
            )
        if policy == "-":
            return None
        counters = NO_COUNTERS
        if self.counters:
            found = parse_chain_counters(line.counters or "")
            if found is None:
                raise _Refused(
                    Fault(
                        "IPT027",
                        f"the policy of {name} needs counters with -c",
                        line.raw.find(policy, len(name) + 1),
                        "[packets:bytes]",
                    )
                )
            counters = found
        self._set_policy(name, policy, counters, line.raw.find(policy, len(name) + 1))
        return None

    def _usual_chain(self, line: ChainLine) -> bool:
        """The common case, a new user chain; False to let _chain_line see to it."""
        name, section = line.name, self.section
        if (
            name is None
            or line.policy != "-"
            or section is None
            or self.noflush
            or len(name) > CHAIN_NAME_LIMIT
            or name in self.chains
            or name in _TAKEN
        ):
            return False
        self.chains[name] = Chain(name, None)
        section.chain_lines[name] = line
        return True

    def _create(self, name: str, code: str, status: int) -> None:
        if name in VERDICTS:
            raise _Refused(Fault("IPT107", f"a chain cannot be called {name}, that is a verdict", 1, "", 2))
        if name in self.chains:
            backends = (
                ("legacy",) if code == "IPT024" and not self.chains[name].builtin and status == 2 else ()
            )
            raise _Refused(Fault(code, f"chain {name} exists already", 1, "", status, backends))
        self.chains[name] = Chain(name, None)
        self._step(CreateChain(name))
        if name in TARGETS:
            self._hide()

    def _set_policy(self, name: str, policy: str, counters: Counters, word: int) -> None:
        chain = self.chains.get(name)
        if chain is None or not chain.builtin:
            # nf_tables takes such a line in a file and ignores the policy.
            raise _Refused(
                Fault(
                    "IPT026",
                    f"{name} is a user chain and has no policy",
                    word,
                    "write - instead",
                    1,
                    ("legacy",),
                )
            )
        if policy not in POLICIES:
            raise _Refused(Fault("IPT025", f"{policy!r} is not a policy", word, "ACCEPT or DROP", 1))
        chain.policy = policy
        chain.counters = counters
        self.policy_set.add(name)
        self._step(SetPolicy(name, policy, counters))

    # -- rules

    def _append(self, line: RuleLine) -> bool:
        """The common case, a good -A of one rule; False to let _rule_line see to it."""
        shape = line.shape
        if shape is None or self.hidden:
            return False
        binder = self.binder
        bound = binder.known.get(shape) or binder.bound(shape)
        if not bound.appends:
            return False
        try:
            values = tuple(map(getitem, bound.memos, line.values))
            for placed in bound.reading:
                placed.segment.use(placed.key(values), binder.context)
        except ValueError:
            return False
        chain = self.chains.get(values[bound.chain])  # type: ignore[index]  # holes all, or it would not be `appends`
        if chain is None:
            return False
        jump = bound.jumps
        if jump is not None:
            target = values[jump]  # type: ignore[index]
            if target.__class__ is Jump:
                to = self.chains.get(target.chain)
                if to is None or to.policy is not None:
                    return False
            elif target.__class__ is Verdict and target.name == "DROP" and self._is_nat():
                return False
        for ref in bound.lists:
            if len(values[ref]) != 1:  # type: ignore[index]
                return False
        if bound.hooked and chain.name in HOOKS and self._misplaced(bound, values, chain.name):
            return False
        counters = NO_COUNTERS
        if bound.counters is not None or (self.counters and line.counters is not None):
            try:
                counters = self._rule_counters(line, bound, values)
            except _Refused:
                return False
        rule = Rule(binder, line, bound, values, counters)
        chain.rules.append(rule)
        if self.noflush:
            self._step(Append(chain.name, rule))
        return True

    def _append_trusting(self, line: RuleLine, more: Iterator[Line]) -> Line | None:
        """As _append for this line and the rule lines after it, with their values left for _look.

        Returns the first line it does not append, None where there are no more.
        """
        if self.hidden:
            return line
        # 100,000 rules pass here, and what is local is quickly had.
        binder, section, chains, goals = self.binder, self.section, self.chains, self.goals
        plans, counting, noflush = self.plans, self.counters, self.noflush
        named: dict[str, tuple[Chain, str, Callable[[Rule], None]]] = {}  # by the words after -A
        self.passed_by = True
        for left in prefixed((line,), more):
            if left.__class__ is not RuleLine:
                return left
            line = left
            try:
                plan = plans[line.shape]
            except KeyError:
                plan = plans[line.shape] = self._plan(line.shape)
            if plan is None:
                return line
            bound, at_chain, jump, goto, hooked, note, note_tail, gathered = plan
            raws = line.values
            try:
                chain, name, append = named[raws[at_chain]]
            except KeyError:
                found = chains.get(raws[at_chain])
                if found is None:
                    return line
                chain, name, append = named[found.name] = found, found.name, found.rules.append
            raws[at_chain] = name  # the same, and one string for all its rules
            if jump is not None:
                goal = raws[jump]
                known = goals[goto].get(goal)
                if known is None:
                    if not self._may_go(goal, bound):
                        return line
                    goals[goto][goal] = goal
                    bound.part.memos[jump].unseen.add(goal)
                else:
                    raws[jump] = known  # one string for all rules that go there
            if hooked and name in HOOKS and self._misplaced(bound, (), name):
                return line
            counters = NO_COUNTERS
            if counting and line.counters is not None:
                try:
                    counters = self._rule_counters(line, bound, ())
                except _Refused:
                    return line
            if note is not None:
                note(raws)
            if note_tail is not None:
                note_tail(raws)
            rule = Rule(binder, line, bound, None, counters)
            append(rule)
            if gathered is not None:
                head, tail = gathered
                head.rules.append(rule)
                head.chains.append(chain)
                tail.rules.append(rule)
                tail.chains.append(chain)
            if noflush and section is not None:
                section.steps.append(Append(name, rule))
        return None

    def _plan(self, shape: Shape | None) -> _Plan | None:
        """What _append_trusting has to know of a shape; None where it leaves such lines alone."""
        if shape is None:
            return None
        binder = self.binder
        bound = binder.known.get(shape) or binder.bound(shape)
        earlier, later = bound.earlier, bound.later
        if earlier is None or later is None:
            at_chain, hooked, jump, goto, tail = self.parts.get(bound) or self._part(bound, 0)
            head = Gathered([])
        else:
            at_chain, hooked, _, _, head = self.parts.get(earlier) or self._part(earlier, 0)
            _, _, jump, goto, tail = self.parts.get(later) or self._part(later, -len(later.memos))
        if at_chain is None or goto is None:
            return None
        gathered = None
        if self.gather and self.section is not None and self.section.gathered is not None:
            heads, tails = self.section.gathered
            head = heads.setdefault(earlier or bound, head)
            tails[later or bound] = tail
            gathered = head, tail
        note = head.values.append if head.columns or gathered else None
        note_tail = tail.values.append if tail.columns or gathered else None
        return bound, at_chain, jump, goto, hooked, note, note_tail, gathered

    def _part(self, part: Bound, first: int) -> _Part:
        """What to know of rules with this part, whose values are counted from `first`.

        Words that may say anything are not looked at, nor are those after -j.
        """
        found: _Part
        if not part.appends or part.counters is not None:
            found = self.parts[part] = None, False, None, None, Gathered([])
            return found
        memos = part.memos
        columns: list[tuple[Callable[[list[str]], Any], set[Any]]] = [
            (itemgetter(hole), memo.unseen)
            for hole, memo in enumerate(memos, first)
            if memo.__class__ is Memo and hole != part.jumps
        ]
        for placed in part.reading:
            if placed.segment not in self.uses:
                self.uses[placed.segment] = tuple([memos[hole] for hole in placed.holes])
            columns.append((placed.key, placed.segment.unseen))
        rules = Gathered(columns)
        if columns:
            self.passed.append(rules)
        # What are holes at all, or it would not be `appends`.
        at_chain: int | None = part.chain  # type: ignore[assignment]
        jump: int | None = part.jumps  # type: ignore[assignment]
        found = self.parts[part] = at_chain, part.hooked, jump, part.goto, rules
        return found

    def _may_go(self, goal: str, bound: Bound) -> bool:
        """May a rule of this table go there?  `goal` is a raw word; the careful way has the quoted ones."""
        to = self.chains.get(goal)
        if to is not None:
            return to.policy is None
        return not bound.goto and (
            (goal in VERDICTS and not (goal == "DROP" and self._is_nat()))
            or find_target(goal, self.binder.family) is not None
        )

    def _look(self) -> None:
        """Look at the values that a trusting run passed by.  Raises _NotPlain."""
        if not self.passed_by:
            return
        self.passed_by = False
        for passed in self.passed:
            passed.sort()
            if not self.gather:
                passed.values.clear()
        # Where lines that do something else are many, this would take longer than to look at rules at once.
        self.asked += len(self.passed)
        self.trusting = self.asked <= _MOST_ASKED * len(self.document.lines)
        context = self.binder.context
        memos = self.binder.memos()
        try:
            for memo in memos:
                unseen = memo.unseen
                if not unseen or memo.__class__ is not Memo:
                    continue
                lists = memo.type is NETWORKS
                usual = memo.usual() if len(unseen) > FEW else None
                for raw in unseen if usual is None else filterfalse(usual, unseen):
                    value = memo[raw]
                    if lists and len(value) != 1:
                        raise _NotPlain
            for segment, of in self.uses.items():
                if len(of) == 1:
                    only = of[0]
                    words_left: Iterable[Any] = segment.unseen
                    if segment.cls.usual_alike and isinstance(only, Memo):
                        # What is not usual was read before, above.
                        read = only.__contains__
                        one = islice(filterfalse(read, segment.unseen), 1)
                        words_left = [*one, *filter(read, segment.unseen)]
                    for word in words_left:
                        segment.use(only[word], context)
                    continue
                for words in segment.unseen:
                    segment.use(tuple(map(getitem, of, words)), context)
        except ValueError:
            raise _NotPlain from None
        finally:
            for memo in memos:
                memo.unseen.clear()
            for segment in self.uses:
                segment.unseen.clear()

    def _is_nat(self) -> bool:
        return self.section is not None and self.section.table.name == "nat"

    def _misplaced(self, bound: Bound, values: tuple[Any, ...], chain: str) -> Fault | None:
        """What iptables refuses by the name of the built-in chain or table."""
        if chain in ("PREROUTING", "INPUT") and bound.out_interface is not None:
            return Fault(
                "IPT113", f"{chain} sees packets before they have an output interface", bound.where["o"]
            )
        if chain in ("POSTROUTING", "OUTPUT") and bound.in_interface is not None:
            return Fault("IPT113", f"packets in {chain} have no input interface", bound.where["i"])
        return None

    def _rule_counters(self, line: RuleLine, bound: Bound, values: tuple[Any, ...]) -> Counters:
        given = bound.counters
        if self.counters and line.counters is not None:
            if given is not None:
                message = "counters are given twice, before the rule and by -c"
                raise _Refused(Fault("IPT135", message, bound.where.get("c", -1)))
            texts = (line.counters.packets, line.counters.octets)
            if texts[1][:1] in ("-", "!"):
                # iptables-restore hands them on as words, and this one then begins an option.
                message = "counters before a rule have no sign"
                raise _Refused(Fault("IPT027", message, COUNTERS, "[packets:bytes]"))
            at, step = COUNTERS, 0
        elif given is not None:
            texts = (self._text(given[0], values), self._text(given[1], values))
            at = bound.where["c"] + ("=" not in (bound.shape.words[bound.where["c"]] or ""))
            step = int(isinstance(given[1], int))
        else:
            return NO_COUNTERS
        return parse_counter(texts[0], "packet", at), parse_counter(texts[1], "byte", at + step)

    def _text(self, ref: Ref | None, values: tuple[Any, ...]) -> str:
        return unquote(values[ref]) if isinstance(ref, int) else ref or ""

    def _rule_line(self, line: RuleLine) -> None:
        """Any line of words, in full."""
        if self.plain and not self.skipping:
            raise _NotPlain
        self._look()  # what it does may depend on what the rules before it say
        if self.section is None:
            if not self.skipping:
                self._outside_rule(line)
            return
        if line.shape is None:
            code = "IPT027" if line.fault and line.fault.startswith("need") else "IPT021"
            message = f"counters before a rule: {line.fault}" if code == "IPT027" else line.fault or ""
            hint = (
                "[packets:bytes]"
                if code == "IPT027"
                else (
                    f"at most {WORD_LIMIT} bytes a word"
                    if "byte" in message
                    else f"at most {ARGUMENT_LIMIT - 3} words"
                )
            )
            word = COUNTERS if code == "IPT027" else _odd_word(line)
            self._broken(line, None, (Fault(code, message, word, hint),))
            return
        bound = self.binder.bound(line.shape, self.hidden)
        if bound.faults:
            self._broken(line, self._chain_name(line, bound), self._all_faults(line, bound))
            return
        if bound.ends:
            if bound.ends != "family":
                faults = self._read_before_end(line, bound)
                if faults:
                    self._broken(line, self._chain_name(line, bound), faults)
                else:
                    self.out.ended = bound.ends
            return
        values, faults = self._values(line, bound)
        if faults:
            self._broken(line, self._chain_name(line, bound), faults)
            return
        try:
            self._run_command(line, bound, values)
        except _Consequence:
            return
        except _Refused as refused:
            self._broken(line, self._chain_name(line, bound), (refused.fault,))

    def _outside_rule(self, line: RuleLine) -> None:
        self._report(
            Diagnostic(
                "IPT007",
                name_of("IPT007"),
                Severity.ERROR,
                "this line stands outside a table",
                Span(line.number, 0, len(line.raw)),
                "a section begins with a line such as *filter",
                backends=BOTH,
            ),
            1,
        )

    def _chain_name(self, line: RuleLine, bound: Bound) -> str | None:
        if isinstance(bound.chain, int):
            return unquote(line.values[bound.chain])
        return bound.chain

    def _all_faults(self, line: RuleLine, bound: Bound) -> list[Fault]:
        """The faults of the shape, and of values on the way: in the order of the words."""
        _, faults = self._values(line, bound)
        return sorted((*bound.faults, *faults), key=lambda f: f.word)

    def _read_before_end(self, line: RuleLine, bound: Bound) -> list[Fault]:
        """What is wrong with values before a -h or -V: all are read on the way there, but addresses.

        Of a target the name is looked at, and not yet what it needs.
        """
        values, faults = self._values(line, bound)
        holes = dict(zip(bound.shape.holes, range(len(bound.memos)), strict=True))
        found = []
        for fault in faults:
            hole = holes[fault.word]
            if hole == bound.jump:
                try:
                    check_target_name(unquote(line.values[hole]))
                except ValueError:
                    found.append(fault)
            elif bound.memos[hole].type is not NETWORKS:
                found.append(fault)
        if not faults and bound.position is not None:
            try:
                self._position(bound, values)
            except _Refused as refused:
                found.append(refused.fault)
        return found

    def _values(self, line: RuleLine, bound: Bound) -> tuple[tuple[Any, ...], list[Fault]]:
        """The values of a line, or what is wrong with them."""
        faults: list[Fault] = []
        values: list[Any] = []
        holes = bound.shape.holes
        for hole, (memo, raw) in enumerate(zip(bound.memos, line.values, strict=True)):
            if hole == bound.jump and self.hidden and unquote(raw) in self.hidden:
                values.append(Jump(unquote(raw), bound.goto))
                continue
            try:
                values.append(memo[raw])
            except ValueError as error:
                values.append(None)
                code = getattr(error, "code", "") or memo.type.code
                faults.append(Fault(code, str(error), holes[hole], getattr(error, "hint", "")))
        if faults:
            return (), faults
        made = tuple(values)
        for placed in bound.reading:
            try:
                placed.segment.use(placed.key(made), self.binder.context)
            except ValueError as error:
                faults.append(_fault_of(placed, bound, error))
        return made, faults

    def _run_command(self, line: RuleLine, bound: Bound, values: tuple[Any, ...]) -> None:
        command = bound.command
        if bound.ends:
            self.out.ended = bound.ends
            return
        if self.backend == "nft" and (command == "R" or (command == "Z" and bound.position is not None)):
            self._check_handle(bound, values)
        name = None if bound.chain is None else self._text(bound.chain, values)
        if command[0] in RULE_COMMANDS:
            assert name is not None  # the binder gives these commands a chain
            self._rule_command(line, bound, values, name)
            return
        if self.counters and line.counters is not None and command not in ("P",):
            raise _Refused(Fault("IPT020", f"counters mean nothing before -{command}", COUNTERS))
        if command == "N":
            self._new_chain(line, name or "")
        elif command == "F":
            for chain in self._chains(name):
                chain.rules = []
                self._step(FlushChain(chain.name))
        elif command == "X":
            self._delete_chains(name, line.number)
        elif command == "E":
            self._rename(name or "", self._text(bound.argument, values))
        elif command == "P":
            self._policy_command(line, bound, values, name or "")
        elif command == "Z":
            self._zero(name, bound, values)
        else:
            self._chains(name)  # -L and -S print, and change nothing

    def _check_handle(self, bound: Bound, values: tuple[Any, ...]) -> None:
        """-R and -Z of a rule that this section made: without a handle, iptables-nft-restore crashes."""
        chain = self.chains.get(self._text(bound.chain, values))
        position = self._position(bound, values)
        if chain is None or position > len(chain.rules) or not self._is_new(chain.rules[position - 1].line):
            return
        what = "-R" if bound.command == "R" else "-Z with the number"
        hint = "delete the rule and insert another" if bound.command == "R" else "zero the whole chain"
        message = f"iptables-nft-restore 1.8.9 crashes on {what} of a rule that the file itself adds"
        raise _Refused(Fault("IPT020", message, 0, hint, 2, ("nft",)))

    def _is_new(self, line: RuleLine) -> bool:
        """Is this a line of the section that is being read?"""
        if self.section is None or line.number <= self.section.line.number:
            return False
        if not self.own_lines:
            self.own_lines = frozenset(map(id, self.document.lines))
        return id(line) in self.own_lines

    def _chains(self, name: str | None) -> list[Chain]:
        if name is None:
            return list(self.chains.values())
        return [self._chain(name)]

    def _chain(self, name: str) -> Chain:
        chain = self.chains.get(name)
        if chain is None:
            raise _Refused(
                Fault("IPT101", f"there is no chain {name!r} here", 1, did_you_mean(name, self.chains), 1)
            )
        return chain

    def _rule_command(self, line: RuleLine, bound: Bound, values: tuple[Any, ...], name: str) -> None:
        command = bound.command
        if len(name) > CHAIN_NAME_LIMIT:
            raise _Refused(Fault("IPT106", f"chain name {name!r} is longer than {CHAIN_NAME_LIMIT} bytes", 1))
        if command in ("C", "D", "D#") and self.counters and line.counters is not None:
            raise _Refused(Fault("IPT020", f"counters mean nothing before -{command[0]}"))
        jump = bound.jump
        goal = None if jump is None else self._goal(jump, values)
        if goal == "DROP" and self._is_nat():
            raise _Refused(
                Fault(
                    "IPT114",
                    "the nat table is not for filtering: DROP is refused",
                    bound.where["j"] + 1,
                    "drop in the filter, mangle or raw table",
                )
            )
        misplaced = self._misplaced(bound, values, name)
        if misplaced is not None:
            raise _Refused(misplaced)
        rule = Rule(self.binder, line, bound, values, self._rule_counters(line, bound, values))
        picks = rule.picks
        if picks > 1:
            if bound.source_inverted or bound.destination_inverted:
                raise _Refused(
                    Fault(
                        "IPT138",
                        "! cannot stand with a list of addresses",
                        bound.where.get("s", bound.where.get("d", -1)),
                    )
                )
            if command == "R":
                message = "-R takes one source and one destination"
                raise _Refused(Fault("IPT020", message, bound.where.get("s", bound.where.get("d", -1))))
        if command == "D#":
            self._delete_number(name, self._position(bound, values))
            return
        position = self._position(bound, values) if bound.position is not None else 1
        chain = self.chains.get(name)
        if bound.target is None and not any(at < 0 for at, _ in bound.opaque):
            self._check_jump(bound, goal)
        if chain is None:
            self._chain(name)
            return
        rules = (
            [rule]
            if picks == 1
            else [Rule(self.binder, line, bound, values, rule.counters, pick) for pick in range(picks)]
        )
        if command == "A":
            chain.rules += rules
            for each in rules:
                self._step(Append(name, each))
        elif command == "I":
            if position > len(chain.rules) + 1:
                if self._has_broken(name):
                    raise _Consequence
                raise _Refused(
                    Fault(
                        "IPT020",
                        f"{name} has {len(chain.rules)} rules, there is no position {position}",
                        bound.where.get("position", -1),
                        "",
                        1,
                    )
                )
            chain.rules[position - 1 : position - 1] = rules[::-1]
            for each in rules:
                self._step(Insert(name, position, each))
        elif command == "R":
            self._number(chain, position, bound)
            chain.rules[position - 1] = rule
            self._step(Replace(name, position, rule))
        else:
            self._find(chain, rules, delete=command == "D")

    def _goal(self, jump: Ref, values: tuple[Any, ...]) -> str:
        target = values[jump] if isinstance(jump, int) else jump
        if isinstance(target, str):
            return target
        name: str = target.chain if isinstance(target, Jump) else target.name
        return name

    def _check_jump(self, bound: Bound, goal: str | None) -> None:
        """Is there such a target, and may one jump there?"""
        if goal is None:
            return
        at = bound.where.get("j", -1) + 1
        to = self.chains.get(goal)
        if to is not None and goal not in VERDICTS:
            if to.builtin:
                raise _Refused(
                    Fault("IPT103", f"{goal} is a built-in chain, and no rule can jump there", at, "", 1)
                )
            return
        if bound.goto:
            if goal in VERDICTS or goal in TARGETS:
                raise _Refused(Fault("IPT104", f"{goal} is a target, -g takes a chain", at, f"-j {goal}"))
            raise _Refused(
                Fault(
                    "IPT101",
                    f"there is no chain {goal!r} to go to",
                    at,
                    did_you_mean(goal, self._user_chains()),
                )
            )
        if goal in VERDICTS:
            return
        from iptkit.extensions.registry import find_target

        if find_target(goal, self.binder.family) is not None:
            return
        if find_target(goal, 6 if self.binder.family == 4 else 4) is not None:
            raise _Refused(Fault("IPT124", f"the target {goal} belongs to IPv{10 - self.binder.family}", at))
        raise _Refused(
            Fault(
                "IPT101",
                f"there is no chain and no target {goal!r}",
                at,
                did_you_mean(goal, (*self._user_chains(), *VERDICTS, *TARGETS)),
            )
        )

    def _user_chains(self) -> list[str]:
        return [c.name for c in self.chains.values() if not c.builtin]

    def _position(self, bound: Bound, values: tuple[Any, ...]) -> int:
        from iptkit.values.numbers import parse_uint

        text = self._text(bound.position, values)
        try:
            return parse_uint(text, 1, 2**31 - 1)
        except ValueError:
            raise _Refused(
                Fault(
                    "IPT020",
                    f"{text!r} is not the number of a rule",
                    bound.where.get("position", -1),
                    "they count from 1",
                )
            ) from None

    def _number(self, chain: Chain, position: int, bound: Bound | None) -> None:
        if position > len(chain.rules):
            if self._has_broken(chain.name):
                raise _Consequence
            at = -1 if bound is None else bound.where.get("position", -1)
            raise _Refused(
                Fault(
                    "IPT020",
                    f"{chain.name} has {len(chain.rules)} rules, there is no rule {position}",
                    at,
                    "",
                    1,
                )
            )

    def _has_broken(self, chain: str) -> bool:
        """Has a rule of this chain been refused?  Then its positions are not what they would be."""
        return self.section is not None and any(rule.chain == chain for rule in self.section.broken)

    def _delete_number(self, name: str, position: int) -> None:
        chain = self._chain(name)
        self._number(chain, position, None)
        del chain.rules[position - 1]
        self._step(Remove(name, position))

    def _find(self, chain: Chain, rules: list[Rule], *, delete: bool) -> None:
        for wanted in rules:
            identity = wanted.identity()
            for at, rule in enumerate(chain.rules):
                if self._identity(rule) == identity:
                    if delete:
                        del chain.rules[at]
                        self._step(Remove(chain.name, at + 1))
                    break
            else:
                if self._has_broken(chain.name):
                    raise _Consequence
                raise _Refused(Fault("IPT020", f"{chain.name} has no such rule", -1, "", 1))

    def _identity(self, rule: Rule) -> object:
        """A rule's identity, worked out once: a file of many -D asks for each rule's many times."""
        known = self.identities.get(id(rule))
        if known is None or known[0] is not rule:
            known = self.identities[id(rule)] = rule, rule.identity()
        return known[1]

    def _new_chain(self, line: RuleLine, name: str) -> None:
        if name[:1] in ("-", "!"):
            raise _Refused(Fault("IPT106", f"a chain name may not begin with {name[0]}", 1))
        if not name or name in TARGETS or name in VERDICTS or name == "standard":
            raise _Refused(Fault("IPT107", f"a chain cannot be called {name!r}, that is a target", 1))
        if any(c in " \t\n\v\f\r" for c in name):
            raise _Refused(Fault("IPT106", f"chain name {name!r} has a blank in it", 1))
        if len(name) > CHAIN_NAME_LIMIT:
            raise _Refused(Fault("IPT106", f"chain name {name!r} is longer than {CHAIN_NAME_LIMIT} bytes", 1))
        self._create(name, "IPT024", 1)
        assert self.section is not None
        self.section.chain_lines[name] = line

    def _delete_chains(self, name: str | None, number: int) -> None:
        chains = [c for c in self._chains(name) if name is not None or not c.builtin]
        for chain in chains:
            if chain.builtin:
                raise _Refused(Fault("IPT020", f"{chain.name} is built in and stays", 1, "", 1))
            if chain.rules:
                raise _Refused(
                    Fault("IPT020", f"{chain.name} still has rules", 1, f"-F {chain.name} first", 1)
                )
            if chain.name in self._jumped_to(number):
                raise _Refused(Fault("IPT020", f"{chain.name} is still jumped to", 1, "", 1))
            del self.chains[chain.name]
            self._step(DeleteChain(chain.name))
            if chain.name in self.hidden:
                self._hide()

    def _jumps(self) -> Iterable[tuple[Chain, int, Rule, Jump]]:
        for chain in self.chains.values():
            for at, rule in enumerate(chain.rules):
                target = rule.target
                if isinstance(target, Jump):
                    yield chain, at, rule, target

    def _jumped_to(self, number: int) -> frozenset[str]:
        """Where rules jump to, asked by -X on this line.

        Between it and an -X on the line before no rule changed, and what was
        found then still holds: kube-proxy deletes hundreds of chains in a row.
        """
        if self.jumped_at not in (number, number - 1):
            self.jumped_to = frozenset(target.chain for _, _, _, target in self._jumps())
        self.jumped_at = number
        return self.jumped_to

    def _rename(self, old: str, new: str) -> None:
        chain = self._chain(old)
        if chain.builtin:
            raise _Refused(Fault("IPT020", f"{old} is built in and keeps its name", 1, "", 1))
        if new in self.chains or new in VERDICTS:
            raise _Refused(Fault("IPT024", f"chain {new} exists already", 2, "", 1))
        self.chains = {(new if name == old else name): c for name, c in self.chains.items()}
        assert self.section is not None
        self.section.table.chains = self.chains
        chain.name = new
        self._step(RenameChain(old, new))
        for holder, at, rule, target in list(self._jumps()):
            if target.chain == old:
                holder.rules[at] = rule.jumping_to(new)
        self._hide()

    def _policy_command(self, line: RuleLine, bound: Bound, values: tuple[Any, ...], name: str) -> None:
        policy = self._text(bound.argument, values)
        if self.section and self.section.table.name == "nat" and policy == "DROP":
            raise _Refused(
                Fault(
                    "IPT114", "the nat table is not for filtering: DROP is refused", bound.where["argument"]
                )
            )
        chain = self._chain(name)
        if not chain.builtin:
            raise _Refused(
                Fault("IPT026", f"{name} is a user chain and has no policy", bound.where["argument"], "", 1)
            )
        self._set_policy(name, policy, self._rule_counters(line, bound, values), bound.where["argument"])

    def _zero(self, name: str | None, bound: Bound, values: tuple[Any, ...]) -> None:
        """-Z: counters that came from the base; those set in this file are kept (libiptc's counter maps)."""
        old: set[int] = set()
        if self.base is not None and self.section is not None and self.section.table.name in self.base.tables:
            for chain in self.base.tables[self.section.table.name].chains.values():
                old.update(map(id, chain.rules))
        chains = self._chains(name)
        if bound.position is not None:
            (chain,) = chains
            position = self._position(bound, values)
            self._number(chain, position, bound)
            self._step(Zero(chain.name, position))
            if id(chain.rules[position - 1]) in old:
                chain.rules[position - 1] = chain.rules[position - 1].counting(NO_COUNTERS)
            return
        for chain in chains:
            self._step(Zero(chain.name, None))
            chain.rules = [r.counting(NO_COUNTERS) if id(r) in old else r for r in chain.rules]
            if chain.name not in self.policy_set:
                chain.counters = NO_COUNTERS


def _fault_of(placed: Placed, bound: Bound, error: ValueError) -> Fault:
    """What is wrong with a match or target, at the value of the option it is about."""
    problem = error.problem if isinstance(error, SegmentFault) else None
    fields = placed.segment.fields
    about = problem.field if problem is not None and problem.field else mentioned(str(error), fields)
    word = placed.word + bound.offset
    for option, refs, _, at in fields:
        if option.field == about:
            word += at
            # `--option=value` is one word.
            if refs and "=" not in (bound.shape.words[word] or ""):
                word += 1 + min(getattr(error, "word", 0), len(refs) - 1)
            break
    if problem is not None:
        return Fault(problem.code, problem.message, word, problem.hint, 2, problem.backends)
    return Fault(getattr(error, "code", "") or "IPT129", str(error), word, getattr(error, "hint", ""))


def _odd_word(line: RuleLine) -> int:
    """The first word that is too long, or the first that is one too many."""
    lengths = [end - start for start, end in word_spans(line)]
    long = (at for at, length in enumerate(lengths) if length > WORD_LIMIT)
    return next(long, min(len(lengths) - 1, ARGUMENT_LIMIT - 3))


def word_spans(line: RuleLine) -> list[tuple[int, int]]:
    """Where each word of a rule line stands, in bytes of the line."""
    text = line.raw
    begin = 0
    if text.startswith("["):
        try:
            _, text, begin = split_counters(text)
        except ValueError:
            return []
    return [(w.start, w.end) for w in split_words(text, begin)]


def check_chain_name(name: str) -> None:
    if len(name) > CHAIN_NAME_LIMIT:
        raise _Refused(Fault("IPT106", f"chain name {name!r} is longer than {CHAIN_NAME_LIMIT} bytes", 1))


def parse_counter(text: str, what: str, word: int = -1) -> int:
    """One counter as sscanf's %llu reads it: a leading number, clamped to 64 bits; `word` says where."""
    if text.isdecimal() and len(text) < _TOP_DIGITS:
        return int(text)  # nearly all are such
    found = _NUMBER.match(text)
    if found is None:
        hint = "[packets:bytes]"
        raise _Refused(Fault("IPT027", f"the {what} counter {text!r} is not a number", word, hint))
    digits = found[2].lstrip("0")
    number = min(int(digits or "0"), _TOP) if len(digits) <= _TOP_DIGITS else _TOP
    return (2**64 - number) & _TOP if found[1] == "-" and number < _TOP else number


_CHAIN_COUNTERS = re.compile(r"\[[ ]*([+-]?[0-9]+):[ ]*([+-]?[0-9]+)")


def parse_chain_counters(text: str) -> Counters | None:
    """`[packets:bytes]` of a chain line as sscanf reads it; None when it is none."""
    found = _CHAIN_COUNTERS.match(text)
    return (parse_counter(found[1], "packet"), parse_counter(found[2], "byte")) if found else None
