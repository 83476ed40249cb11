"""One restore, from a document to a backend: all of it or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from iptkit.kernel.plan import make_plan
from iptkit.ruleset.interpret import interpret

if TYPE_CHECKING:
    from iptkit.kernel.backend import Backend
    from iptkit.kernel.plan import Plan
    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.interpret import Outcome
    from iptkit.syntax.document import Document


class Transaction(NamedTuple):
    """What a restore found and did: `plan` is None where the file was refused and nothing done."""

    outcome: Outcome
    plan: Plan | None
    committed: bool


def restore(
    document: Document,
    binder: Binder,
    backend: Backend,
    *,
    noflush: bool = False,
    counters: bool = False,
    table: str | None = None,
    test: bool = False,
    per_table: bool = False,
) -> Transaction:
    """Interpret a document on the backend's state and commit the result.

    Unless `per_table`, a file with any fault changes nothing, and a commit that
    fails is undone.  `test` stops before the commit.  Raises KernelError (a
    CommitError or LockBusy for instance) where the backend fails.
    """
    with backend.lock():
        before = backend.state(binder, rules=noflush)
        outcome = interpret(document, binder, base=before, noflush=noflush, counters=counters, table=table)
        refused = bool(outcome.status or outcome.ended)
        if refused and not per_table:
            return Transaction(outcome, None, False)
        plan = make_plan(outcome, before, noflush=noflush, partial=refused)
        if test:
            return Transaction(outcome, plan, False)
        backend.commit(plan, counters=counters, per_table=per_table)
        return Transaction(outcome, plan, True)
