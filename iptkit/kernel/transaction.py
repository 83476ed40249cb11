"""One restore, from a document to a backend: all of it or nothing."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

from iptkit.kernel import halves
from iptkit.kernel.plan import make_plan
from iptkit.ruleset.interpret import interpret
from iptkit.syntax.parser import Parser, parse
from iptkit.text.record import NamedTuple
from iptkit.text.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.kernel.backend import Backend
    from iptkit.kernel.halves import Half
    from iptkit.kernel.plan import Plan
    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.interpret import Outcome
    from iptkit.syntax.document import Document


class Transaction(NamedTuple):
    """What a restore found and did.

    `plan` is None where the file was refused and nothing done, and where the
    caller did not ask to keep it.  `backend` is the name of the one it went to.
    """

    outcome: Outcome
    plan: Plan | None
    committed: bool
    backend: str


def restore(
    source: Source,
    binder: Binder,
    backend: Backend,
    *,
    noflush: bool = False,
    counters: bool = False,
    table: str | None = None,
    test: bool = False,
    look: bool = False,
    per_table: bool = False,
    keep: bool = True,
    confirm: float | None = None,
) -> Transaction:
    """Interpret a text on the backend's state and commit the result.

    Unless `per_table`, a text with any fault changes nothing, and a commit that
    fails is undone.  `test` stops before the commit, and so does `look`, with a
    plan that knows all rules there are now.  Without `keep` the rules make room
    as they are committed: the Transaction has no plan then, and the chains of
    its outcome are empty.  With `confirm` the rules of before come back after
    that many seconds unless iptkit.kernel.confirm.confirm is called.  Raises
    KernelError (a CommitError or LockBusy for instance) where the backend fails.
    """
    if backend.name == "nft" and source.text[-1:] not in ("", "\n"):
        source = Source(source.name, source.text + "\n")  # iptables-nft-restore does not mind
    asked = _Asked(noflush, counters, table, test, look, per_table, keep, confirm)
    if backend.takes_parts and not (noflush or test or look or per_table or keep):
        half = halves.begin(source, binder, counters=counters, table=table)
        if half is not None:
            with half, contextlib.suppress(halves.Together):
                return _restore(source, binder, backend, asked, half)
    return _restore(source, binder, backend, asked, None)


class _Asked(NamedTuple):
    """The options of a restore."""

    noflush: bool
    counters: bool
    table: str | None
    test: bool
    look: bool
    per_table: bool
    keep: bool
    confirm: float | None


def _restore(
    source: Source, binder: Binder, backend: Backend, asked: _Asked, half: Half | None
) -> Transaction:
    noflush, counters, table, test, look, per_table, keep, confirm = asked
    document = half.document() if half is not None else _parsed(source, keep)
    with backend.lock():
        before = backend.state(binder, rules=noflush or look)
        if half is not None:
            outcome = half.interpret(document, before)
        else:
            outcome = interpret(
                document,
                binder,
                base=before,
                noflush=noflush,
                counters=counters,
                table=table,
                backend="nft" if backend.name == "nft" else "legacy",
            )
        refused = bool(outcome.status or outcome.ended)
        if refused and not per_table:
            return Transaction(outcome, None, False, backend.name)
        plan = make_plan(
            outcome, before, source, noflush=noflush, counters=counters, table=table, partial=refused
        )
        if test or look:
            return Transaction(outcome, plan, False, backend.name)
        if not keep:
            del document
        if half is not None:
            plan = plan._replace(parts=half.parts(outcome))
        if confirm is None:
            with _unbroken():
                backend.commit(plan, counters=counters, per_table=per_table, keep=keep)
        else:
            _commit_watched(backend, plan, confirm, counters=counters, keep=keep)
        return Transaction(outcome, plan if keep else None, True, backend.name)


def _parsed(source: Source, keep: bool) -> Document:
    # The process's own parser remembers the shapes it met, for the next text.
    return parse(source) if keep else Parser().parse(source)


def _commit_watched(backend: Backend, plan: Plan, seconds: float, *, counters: bool, keep: bool) -> None:
    """Commit, and have a watcher bring the tables back unless it is confirmed."""
    from iptkit.kernel.confirm import arm

    watch = arm(backend, plan.family, (*plan.used, *(table.name for table in plan.tables)))
    with _unbroken():
        try:
            backend.commit(plan, counters=counters, per_table=False, keep=keep)
        except BaseException:
            watch.give_up()
            raise
        watch.begin(seconds)


@contextlib.contextmanager
def _unbroken() -> Iterator[None]:
    """Put off a hang-up of the terminal, an interrupt and a request to end until a commit is done, or undone.

    A process that ends between two tables would leave them at odds.
    """
    old = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
