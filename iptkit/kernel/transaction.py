"""One restore, from a document to a backend: all of it or nothing."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Protocol

from iptkit.kernel import halves
from iptkit.kernel.plan import make_plan
from iptkit.ruleset.interpret import interpret
from iptkit.syntax.parser import Parser, parse
from iptkit.text.aside import Together
from iptkit.text.record import NamedTuple
from iptkit.text.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from iptkit.kernel.backend import Backend
    from iptkit.kernel.block import Part
    from iptkit.kernel.plan import Plan
    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.interpret import Outcome
    from iptkit.ruleset.model import Ruleset
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
    options = _Options(noflush, counters, table, test, look, per_table, keep, confirm)
    whole = _Whole(source, binder, backend, options)
    if backend.takes_parts and not (noflush or test or look or per_table or keep):
        with (
            contextlib.suppress(Together),
            halves.halved(source, binder, counters=counters, table=table) as reading,
        ):
            return _restore(reading or whole, source, binder, backend, options)
    return _restore(whole, source, binder, backend, options)


class _Options(NamedTuple):
    """The options of a restore."""

    noflush: bool
    counters: bool
    table: str | None
    test: bool
    look: bool
    per_table: bool
    keep: bool
    confirm: float | None


class _Reading(Protocol):
    """How a text is read: in one piece, or in two, and then perhaps not to the end (Together)."""

    @property
    def document(self) -> Callable[[], Document]:
        """Its lines."""

    @property
    def interpret(self) -> Callable[[Document, Ruleset], Outcome]:
        """What they do to a state."""

    def parts(self, outcome: Outcome) -> dict[str, Sequence[Part]] | None:
        """The rules, where they are encoded already (Plan.parts)."""


class _Whole:
    """A text read in one piece."""

    def __init__(self, source: Source, binder: Binder, backend: Backend, options: _Options) -> None:
        self._source = source
        self._binder = binder
        self._backend = backend
        self._options = options

    def document(self) -> Document:
        # The process's own parser remembers the shapes it met, for the next text.
        return parse(self._source) if self._options.keep else Parser().parse(self._source)

    def interpret(self, document: Document, base: Ruleset) -> Outcome:
        return interpret(
            document,
            self._binder,
            base=base,
            noflush=self._options.noflush,
            counters=self._options.counters,
            table=self._options.table,
            backend="nft" if self._backend.name == "nft" else "legacy",
        )

    def parts(self, outcome: Outcome) -> None:
        return None


def _restore(
    reading: _Reading, source: Source, binder: Binder, backend: Backend, options: _Options
) -> Transaction:
    noflush, counters, table, test, look, per_table, keep, confirm = options
    document = reading.document()
    with backend.lock():
        before = backend.state(binder, rules=noflush or look)
        outcome = reading.interpret(document, before)
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
        plan = plan._replace(parts=reading.parts(outcome))
        if confirm is None:
            with _unbroken():
                backend.commit(plan, counters=counters, per_table=per_table, keep=keep)
        else:
            _commit_watched(backend, plan, confirm, counters=counters, keep=keep)
        return Transaction(outcome, plan if keep else None, True, backend.name)


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
