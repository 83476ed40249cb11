"""The legacy backend: ip_tables and ip6_tables.

A commit takes the tables of a plan one after another.  A table that the plan
replaces is built and handed to the kernel whole (iptkit.kernel.block); one that
it changes step by step is edited through libiptc, which carries the live
counters of untouched rules over.  Either is one step to the kernel.  Then the
table is read back and compared with what was meant.  When a table fails, all
of the plan's are written back as they were before, counters included.
"""

from __future__ import annotations

import errno
import os
from array import array
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import BUILTIN_CHAINS
from iptkit.extensions.ipset import SetUse
from iptkit.extensions.spec import Match, Opaque, Target
from iptkit.kernel import sockopt
from iptkit.kernel.backend import CommitError
from iptkit.kernel.block import build
from iptkit.kernel.entries import Encoder, encode_use, standard_target, with_header
from iptkit.kernel.errors import KernelError
from iptkit.kernel.ipset import set_index
from iptkit.kernel.libiptc import Handle, LibiptcError
from iptkit.kernel.live import bare_table, live_table
from iptkit.kernel.lock import DEFAULT_INTERVAL, XtablesLock
from iptkit.kernel.readback import Marks, blank, digest_of, marks_of, policies_of, policy_places
from iptkit.ruleset.model import Ruleset, Table
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
from iptkit.text.uncollected import Uncollected
from iptkit.values.faults import BadValue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from iptkit.extensions.spec import Extension
    from iptkit.kernel.block import Block
    from iptkit.kernel.live import LiveTable
    from iptkit.kernel.plan import Plan
    from iptkit.kernel.sockopt import TableImage
    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.bound import Bound
    from iptkit.ruleset.model import Chain, Counters, Rule
    from iptkit.ruleset.steps import Step
    from iptkit.values.context import Family


class LegacyBackend:
    """The tables of this network namespace.

    `wait` and `interval` are -w and -W of iptables-restore: seconds to wait for
    the xtables lock (0: try once; None or below 0: for ever), and microseconds
    between tries.
    """

    name = "legacy"
    takes_parts = True

    def __init__(self, family: Family, *, wait: float | None = 0, interval: int | None = None) -> None:
        self.family: Family = family
        self._wait = None if wait is None or wait < 0 else wait
        self._interval = interval / 1e6 if interval else DEFAULT_INTERVAL
        self._live: dict[str, LiveTable] = {}

    def lock(self) -> XtablesLock:
        """Keeps the iptables tools out.  Raises LockBusy when it is entered and the lock not to be had."""
        return XtablesLock(wait=self._wait, interval=self._interval)

    def state(self, binder: Binder, *, rules: bool = True) -> Ruleset:
        """The tables in use, the one used first first; creates none.  Raises KernelError."""
        out = Ruleset(self.family)
        self._live = {}
        # The kernel lists the table made last first.
        for name in reversed(sockopt.table_names(self.family)):
            if name not in BUILTIN_CHAINS:
                continue
            image = sockopt.read_table(self.family, name)
            if rules:
                self._live[name] = live_table(image, binder)
                out.tables[name] = self._live[name].table
            else:
                out.tables[name] = bare_table(image)
        return out

    def commit(self, plan: Plan, *, counters: bool, per_table: bool, keep: bool = True) -> None:
        """As Backend.commit.  `counters` is not looked at: the plan's rules have those they are to have."""
        with Uncollected():
            self._commit_all(plan, per_table, keep)

    def _commit_all(self, plan: Plan, per_table: bool, keep: bool) -> None:
        encode = Machine(plan).encode if plan.parts is None else encode_use
        encoder = Encoder(self.family, encode, keep=keep)
        for name in plan.used:
            sockopt.table_info(self.family, name, create=True)
        before = _Before(plan)
        done = []
        for table in plan.tables:
            try:
                done.append(table.name)
                old = plan.before.tables.get(table.name) or Table.fresh(table.name)
                if table.steps is None:
                    image = before.images.get(table.name)
                    # Nobody holds the block but _replace, which makes room for what it reads back.
                    self._replace(table.table, old, image, self._block(plan, table.table, encoder, keep))
                else:
                    self._edit(table.table, old, table.steps, encoder)
            except BaseException as error:
                # An interrupt, too, must leave no half of the tables changed.
                failed = "" if per_table else before.bring_back(done)
                if isinstance(error, KernelError):
                    raise _failure(error, table.name, failed) from error
                raise

    def _block(self, plan: Plan, table: Table, encoder: Encoder, keep: bool) -> Block:
        valid_hooks = sockopt.table_info(self.family, table.name, create=True).valid_hooks
        parts = None if plan.parts is None else plan.parts.pop(table.name)
        return build(table, valid_hooks, encoder, keep=keep, parts=parts)

    def _replace(self, table: Table, old: Table, image: TableImage | None, block: Block) -> None:
        name = table.name
        digest = digest_of(block.image)
        replaced = sockopt.replace_table(block.image)
        if image is not None:
            _keep_policies(block, table, old, image, memoryview(replaced).cast("Q"))
        sockopt.add_counters(self.family, name, block.counters.tobytes())
        policies = _policies_in(block, table)
        del block  # room for the one that is read
        found = sockopt.read_table(self.family, name)
        self._check_policies(policies, found)
        blank(found)
        if digest_of(found) != digest:
            raise CommitError("read back, it is not what was written")

    def _edit(self, table: Table, old: Table, path: tuple[Step, ...], encoder: Encoder) -> None:
        name = table.name
        live = self._live.get(name)
        with Handle(self.family, name) as handle:
            policies = _policies(handle, table, old)
            expected = _follow(handle, table, path, live, encoder)
            if live is not None:
                self._check_unchanged(name, live)
            for chain, (policy, count) in policies.items():
                handle.set_policy(chain, policy, count)
            handle.commit()
        found = sockopt.read_table(self.family, name)
        self._check_policies(policies, found)
        where = expected.difference(marks_of(found))
        if where is not None:
            raise CommitError(f"read back, {_place(*where)} is not what was written")

    def _check_policies(self, policies: Mapping[str, tuple[str, Counters]], found: TableImage) -> None:
        for chain, (policy, count) in policies_of(found).items():
            # Packets go on being counted.
            if policy != policies[chain][0] or count < policies[chain][1]:
                raise CommitError(f"read back, the policy of {chain} is not what was written")

    def _check_unchanged(self, name: str, live: LiveTable) -> None:
        """libiptc notices that somebody else changed the table only where the number of rules changed."""
        image = sockopt.read_table(self.family, name)
        where = live.marks.difference(marks_of(image))
        if where is not None:
            raise CommitError(f"{_place(*where)} was changed by somebody else meanwhile")
        for chain, (policy, _) in policies_of(image).items():
            if policy != live.table.chains[chain].policy:
                raise CommitError(f"the policy of {chain} was changed by somebody else meanwhile")


def _place(chain: str, number: int) -> str:
    return f"rule {number} of chain {chain}" if number else f"chain {chain}"


_REASONS = {
    errno.ENOENT: "an extension or object that one of its rules names is not there",
    errno.EINVAL: "one of its rules may not be as it is, or not where it is",
    errno.ELOOP: "its chains lead back into themselves",
    errno.EPERM: "this needs CAP_NET_ADMIN",
}


def _failure(error: KernelError, table: str, undone: str) -> CommitError:
    if isinstance(error, CommitError):
        text = f"table {table}: {error}"
    elif isinstance(error, sockopt.TableError | LibiptcError) and error.errno:
        reason = _REASONS.get(error.errno, os.strerror(error.errno))
        text = f"the kernel refuses table {table}: {reason}"
    else:
        text = f"table {table}: {error}"
    if undone:
        text += f"; and not all could be brought back: {undone}"
    return CommitError(text, table, error.errno, getattr(error, "line", 0))


def unknown_extensions(table: Table, family: Family) -> Iterator[tuple[Rule, str]]:
    """The first rule of each match and target that this kernel does not have, and what it lacks."""
    asked: dict[tuple[str, str, int], bool] = {}
    for chain in table.chains.values():
        for rule in chain.rules:
            for use in (*rule.matches, rule.target):
                if not isinstance(use, Match | Target):
                    continue
                key = (use.kind, use.kernel_name, use.revision)
                if key not in asked:
                    asked[key] = sockopt.knows(family, *key)
                    if not asked[key]:
                        yield rule, f"this kernel has no {key[0]} {key[1]}, revision {key[2]}"


def _policies(handle: Handle, table: Table, old: Table) -> dict[str, tuple[str, Counters]]:
    """The policy of each built-in chain: as planned, or, where the plan leaves it alone, with live counters.

    All have to be written: libiptc zeroes the counters of those that are not.
    """
    out = {}
    for chain in table.chains.values():
        if chain.policy is not None:
            live = handle.get_policy(chain.name)
            count = live[1:] if live and _untouched(chain, old) else chain.counters
            out[chain.name] = chain.policy, count
    return out


def _untouched(chain: Chain, old: Table) -> bool:
    before = old.chains[chain.name]
    return (chain.policy, chain.counters) == (before.policy, before.counters)


def _keep_policies(block: Block, table: Table, old: Table, image: TableImage, replaced: memoryview) -> None:
    """Give policies that the plan leaves alone the counters they had when the table was replaced."""
    places = policy_places(image)
    if len(replaced) != 2 * image.num_entries:
        return  # somebody replaced the table meanwhile; their counters are not those of these chains
    for name, to in block.policies.items():
        if _untouched(table.chains[name], old):
            at = 2 * places[name]
            block.counters[2 * to : 2 * to + 2] = array("Q", replaced[at : at + 2])


def _policies_in(block: Block, table: Table) -> dict[str, tuple[str, Counters]]:
    return {
        name: (table.chains[name].policy or "", (block.counters[2 * at], block.counters[2 * at + 1]))
        for name, at in block.policies.items()
    }


def _follow(
    handle: Handle, table: Table, path: tuple[Step, ...], live: LiveTable | None, encoder: Encoder
) -> Marks:
    """Take the steps of a plan; returns the marks of all rules of the table as it is then to be."""
    fresh: dict[int, int] = {}
    at = 0
    while at < len(path):
        step = path[at]
        at += 1
        match step:
            case Append(chain, rule):
                rules = [rule]
                while at < len(path) and isinstance(follow := path[at], Append) and follow.chain == chain:
                    rules.append(follow.rule)
                    at += 1
                marks = array("q")
                handle.append_entries(chain, encoder.entries(rules, marks))
                fresh.update(zip(map(id, rules), marks, strict=True))
            case Insert(chain, position, rule):
                handle.insert_entry(chain, _entry(encoder, rule), position)
            case Replace(chain, position, rule):
                handle.replace_entry(chain, _entry(encoder, rule), position)
            case Remove(chain, position):
                handle.delete_num_entry(chain, position)
            case Zero(chain, None):
                handle.zero_entries(chain)
            case Zero(chain, int(position)):
                handle.zero_counter(chain, position)
            case CreateChain(chain):
                handle.create_chain(chain)
            case DeleteChain(chain):
                handle.delete_chain(chain)
            case RenameChain(old, new):
                handle.rename_chain(old, new)
            case FlushChain(chain):
                handle.flush_entries(chain)
            case SetPolicy():
                pass  # all policies are written at the end
    known, unknown = (live.by_line, live.unknown) if live else ({}, {})

    def mark(rule: Rule) -> int:
        found = fresh.get(id(rule))
        if found is None and rule.renamed is None:
            found = known.get(id(rule.line))
        if found is not None:
            return found
        front = unknown.get(id(rule.line))
        if front is not None and rule.renamed is not None:
            return hash(front + standard_target(rule.renamed))
        return encoder.mark(rule)

    out = Marks()
    for each in table.saved_chains():
        out.marks.extend(map(mark, each.rules))
        out.end_chain(each.name)
    return out


def _entry(encoder: Encoder, rule: Rule) -> bytes:
    try:
        return encoder.entry(rule)
    except (BadValue, KernelError) as error:
        raise CommitError(str(error), line=rule.line.number) from error


class _Before:
    """What the tables of a plan were, and how to make them that again."""

    def __init__(self, plan: Plan) -> None:
        self.family = plan.family
        present = sockopt.table_names(self.family)
        self.images: dict[str, TableImage] = {
            table.name: sockopt.read_table(self.family, table.name)
            for table in plan.tables
            if table.name in present
        }

    def bring_back(self, names: list[str]) -> str:
        """Write these tables back.  Returns what went wrong, "" if nothing did."""
        failures = []
        present = sockopt.table_names(self.family)
        for name in reversed(names):
            if name in present:
                try:
                    # A table that was not there stays, as it is when it is made.
                    image = self.images.get(name) or sockopt.blank_image(self.family, name)
                    sockopt.write_table(image)
                except KernelError as error:
                    failures.append(str(error))
        return "; ".join(failures)


class Machine:
    """Encodes extensions; asks the machine for the numbers of sets, and its plugins for unknown extensions.

    Both are asked for all new rules before anything is changed.  Raises
    CommitError for a set that is not there, and for what a plugin refuses.
    """

    def __init__(self, plan: Plan) -> None:
        self._family = plan.family
        self._sets: dict[str, int] = {}
        self._plugged: dict[tuple[Any, ...], bytes] = {}
        opaque: list[tuple[Opaque, int, int]] = []
        parts: dict[Bound, bool] = {}
        # Few files have rules that ask for something, and who bound their shapes knows of it.
        binders = {rule.binder for rule in _new_rules(plan)}
        asking = any(binder.uses(SetUse) or binder.uses_unknown() for binder in binders)
        for rule in _new_rules(plan) if asking else ():
            part = rule.bound.part
            asks = parts.get(part)
            if asks is None:
                asks = parts[part] = _asks(part)
            if asks:
                self._look_up_sets(rule)
                uses = (*rule.matches, rule.target) if rule.bound.opaque else ()
                where = rule.conditions.protocol, rule.line.number
                opaque += [(use, *where) for use in uses if isinstance(use, Opaque)]
        if opaque:
            self._ask_plugins(opaque)

    def _look_up_sets(self, rule: Rule) -> None:
        try:
            for _, use in rule.uses():
                if isinstance(use, SetUse):
                    for name in use.set_names():
                        if name not in self._sets:
                            self._sets[name] = set_index(name, self._family)
        except KernelError as error:
            raise CommitError(str(error), errno=error.errno, line=rule.line.number) from error

    def _ask_plugins(self, opaque: list[tuple[Opaque, int, int]]) -> None:
        from iptkit.kernel.objectapi import Use, encode

        wanted = {use.values: Use(use.kind_, use.name_, use.words, protocol) for use, protocol, _ in opaque}
        try:
            found = encode(list(wanted.values()), self._family)
        except KernelError as error:
            raise CommitError(str(error), line=min(line for _, _, line in opaque)) from error
        self._plugged = dict(zip(wanted, found, strict=True))

    def encode(self, use: Extension, family: Family) -> bytes:
        if isinstance(use, SetUse):
            return with_header(use, use.encode_with(family, self._sets))
        if isinstance(use, Opaque):
            return self._plugged[use.values]
        return encode_use(use, family)


def _asks(bound: Bound) -> bool:
    placed = (*bound.matches, bound.target)
    return bool(bound.opaque) or any(p is not None and issubclass(p.segment.cls, SetUse) for p in placed)


def _new_rules(plan: Plan) -> Iterator[Rule]:
    """The rules of a plan that are to be encoded."""
    for table in plan.tables:
        if table.steps is None:
            for chain in table.table.chains.values():
                yield from chain.rules
        else:
            for step in table.steps:
                if isinstance(step, Append | Insert | Replace):
                    yield step.rule
