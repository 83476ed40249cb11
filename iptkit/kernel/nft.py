"""The nf_tables backend: iptables-nft-restore as a child, fed the file itself.

The child knows best how iptables' tables look in nf_tables, but it commits
table by table and leaves the first ones in place when a later one fails.  So
the tables are saved below it before (iptkit.kernel.nfnetlink), and brought back
when it fails, or when what is there afterwards is not what was meant.

It prints rules in other words than iptables-legacy-save now and then, so what
is compared afterwards is what nobody can word differently: the chains, their
numbers of rules, their policies, and of each rule that can be read its
addresses, interfaces, protocol and where it jumps.

The nf_tables tools take no lock: each batch is atomic, and one that comes too
late is made anew.  A restore of several steps is not, so this backend takes the
xtables lock, against its own kind, and looks at the kernel's count of commits
to learn of others.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from iptkit.extensions.core import BUILTIN_CHAINS, Jump, Verdict
from iptkit.kernel import nfnetlink
from iptkit.kernel.backend import CommitError
from iptkit.kernel.errors import KernelError
from iptkit.kernel.live import KeptRule, saved_rules
from iptkit.kernel.lock import DEFAULT_INTERVAL, LockBusy, LockError, XtablesLock
from iptkit.kernel.nftchild import nft_restore, nft_save
from iptkit.kernel.plan import table_at
from iptkit.ruleset.model import Chain, Ruleset, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.kernel.nftchild import ChildResult
    from iptkit.kernel.plan import Plan, Script, TablePlan
    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.model import Rule
    from iptkit.values.context import Family

_LINE = re.compile(r"\bline:? (\d+)")
_PROGRAM = re.compile(r"^ip6?tables-nft-restore(?: v[0-9.]+ \(nf_tables\))?: ?", re.M)
_ADVICE = re.compile(r"^(?:Try `ip6?tables-nft-restore|Error occurred at line).*\n?", re.M)
# The order in which iptables-nft-save prints them.
_SAVED = ("mangle", "security", "raw", "filter", "nat")
_TURN = 60.0  # seconds
_SAVE_LIMIT = 2000
"""Chains beyond which rules are counted and not read again: iptables-nft-save takes 21 s for 36,000."""


class NftBackend:
    """iptables' tables in nf_tables, in this network namespace.

    `wait` and `interval` are as for the legacy backend, but without a `wait`
    (0) the turn is waited for all the same, a minute at most: the real tool
    never fails for a lock.
    """

    name = "nft"
    takes_parts = False

    def __init__(self, family: Family, *, wait: float | None = 0, interval: int | None = None) -> None:
        self.family: Family = family
        self._binder: Binder | None = None
        self._wait = None if wait is None or wait < 0 else wait or _TURN
        self._interval = interval / 1e6 if interval else DEFAULT_INTERVAL

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other restores by iptkit out, where the lock's file can be opened.  Raises LockBusy."""
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(XtablesLock(wait=self._wait, interval=self._interval))
            except LockBusy:
                raise
            except LockError:
                pass  # the kernel's own lock is all that the real tools have
            yield

    def state(self, binder: Binder, *, rules: bool = True) -> Ruleset:
        """The tables in use.  Without `rules` all policies are ACCEPT: flushing resets them here, too."""
        self._binder = binder
        if not rules:
            chains = nfnetlink.user_chains(self.family)
            found = Ruleset(self.family)
            for name in reversed(_SAVED):
                if name in chains:
                    found.tables[name] = Table.fresh(name)
                    found.tables[name].chains.update((each, Chain(each, None)) for each in chains[name])
            return found
        tables = _saved(self.family, binder).tables
        return Ruleset(self.family, {name: tables[name] for name in reversed(tables)})

    def commit(self, plan: Plan, *, counters: bool, per_table: bool, keep: bool = True) -> None:
        names = [*plan.used, *(table.name for table in plan.tables)]
        since = nfnetlink.generation()
        before = None if per_table else nfnetlink.snapshot(self.family, names)
        try:
            self._feed(plan)
            # What somebody else has changed since is no fault of this restore, and not for it to undo.
            if nfnetlink.commits_since(since) <= _commits(plan):
                self._check(plan)
        except BaseException as error:
            # An interrupt, too, must leave no half of the tables changed.
            failed = ""
            if before is not None:
                try:
                    if nfnetlink.commits_since(since) > _commits(plan):
                        failed = (
                            "; somebody else changed nf_tables meanwhile, which the way back may have undone"
                        )
                    nfnetlink.rollback(before)
                except KernelError as trouble:
                    failed = f"; and the tables could not be brought back: {trouble}"
            if isinstance(error, CommitError):
                text = f"{error}{failed}"
                raise CommitError(text, error.table, error.errno, error.line, error.status) from error
            if isinstance(error, KernelError):
                raise CommitError(f"{error}{failed}", errno=error.errno) from error
            raise

    def _feed(self, plan: Plan) -> None:
        script = plan.script
        lines = script.source.lines
        text = "\n".join(lines[: script.end])
        if script.end < len(lines):
            text += "\n"
        done = nft_restore(
            self.family,
            text.encode("latin-1"),
            counters=script.counters,
            noflush=script.noflush,
            table=script.table,
        )
        if done.status:
            raise _refusal(done, script)

    def _check(self, plan: Plan) -> None:
        counts = nfnetlink.rule_counts(self.family)
        policies = {(c.table, c.name): c.policy for c in nfnetlink.base_chains(self.family)}
        for table in plan.tables:
            if table.name not in plan.script.left_out:
                _check_table(table, counts.get(table.name, {}), policies)
        if self._binder is not None and sum(map(len, counts.values())) <= _SAVE_LIMIT:
            found = _saved(self.family, self._binder)
            for table in plan.tables:
                if table.name not in plan.script.left_out:
                    _compare_rules(table, found.tables.get(table.name))


def _commits(plan: Plan) -> int:
    """How often iptables-nft-restore commits at most."""
    lines = plan.script.source.lines[: plan.script.end]
    return sum(line.startswith("COMMIT") for line in lines)


def _saved(family: Family, binder: Binder) -> Ruleset:
    return saved_rules(nft_save(family).decode("latin-1"), "iptables-nft-save", binder, "nft")


def _refusal(done: ChildResult, script: Script) -> CommitError:
    said = done.stderr.decode("utf-8", "replace")
    if done.status < 0:
        return CommitError(f"iptables-nft-restore died of signal {-done.status}")
    lines = [int(number) for number in _LINE.findall(said)]
    line = lines[0] if lines else 0
    said = " ".join(_ADVICE.sub("", _PROGRAM.sub("", said)).split())
    return CommitError(
        f"iptables-nft-restore refuses it: {said or f'status {done.status}'}",
        table_at(script.source, line),
        line=line,
        status=done.status,
    )


def _check_table(table: TablePlan, counts: dict[str, int], policies: dict[tuple[str, str], str]) -> None:
    """Chains, numbers of rules and policies.  Raises CommitError."""
    name = table.name
    for chain in table.table.chains.values():
        # A built-in chain without rules and with the policy ACCEPT need not be there.
        there = counts.get(chain.name, 0 if chain.builtin else None)
        if there is None:
            raise CommitError(f"table {name}: read back, there is no chain {chain.name}", name)
        if there != len(chain.rules):
            text = f"chain {chain.name} has {there} rules, not {len(chain.rules)}"
            raise CommitError(f"table {name}: read back, {text}", name)
        policy = policies.get((name, chain.name), "ACCEPT")
        if chain.policy is not None and policy != chain.policy:
            raise CommitError(f"table {name}: read back, the policy of {chain.name} is {policy}", name)
    for extra in counts.keys() - table.table.chains.keys():
        if extra not in BUILTIN_CHAINS[name]:
            raise CommitError(f"table {name}: read back, there is a chain {extra} too many", name)


def _compare_rules(table: TablePlan, found: Table | None) -> None:
    """Rule by rule what both sides print alike.  Raises CommitError."""
    name = table.name
    for chain in table.table.chains.values():
        there = found.chains.get(chain.name) if found else None
        rules = there.rules if there else []
        for number, (wanted, got) in enumerate(zip(chain.rules, rules, strict=False), 1):
            if not _alike(wanted, got):
                text = f"rule {number} of chain {chain.name} is{got.text()}, not{wanted.text()}"
                raise CommitError(f"table {name}: read back, {text}", name, line=wanted.line.number)


def _alike(wanted: Rule, got: Rule) -> bool:
    unknown = isinstance(wanted, KeptRule) or isinstance(got, KeptRule)
    return unknown or _certain(wanted) == _certain(got)


def _certain(rule: Rule) -> tuple[object, ...]:
    """What of a rule both backends print alike."""
    conditions = rule.conditions
    target = rule.target
    goal = target if target is None or isinstance(target, Jump | Verdict) else "an extension"
    return (
        conditions.source or (0, 0),
        conditions.source_inverted,
        conditions.destination or (0, 0),
        conditions.destination_inverted,
        conditions.in_interface.removeprefix("+"),
        conditions.out_interface.removeprefix("+"),
        conditions.protocol,
        conditions.protocol_inverted,
        goal,
    )
