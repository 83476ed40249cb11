"""What a backend is: the place where tables live.

A transaction reads the state, interprets the file on it, and hands the backend
a plan.  Either every table of the plan is as planned afterwards, or every one
is as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from iptkit.kernel.errors import KernelError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from iptkit.kernel.plan import Plan
    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.model import Ruleset
    from iptkit.text.diagnostic import Diagnostic


class CommitError(KernelError):
    """A table was refused; `table` is its name, "" when the fault is not one table's.

    `line` is the line of the file at fault, 0 where that is not known, `findings`
    what is known of the reasons, and `status` the exit status the real tool has
    for it.  By the time it is raised,
    every table of the plan is as it was before, unless the message says
    otherwise.
    """

    def __init__(self, message: str, table: str = "", errno: int = 0, line: int = 0, status: int = 1) -> None:
        super().__init__(message, errno)
        self.table = table
        self.line = line
        self.status = status
        self.findings: tuple[Diagnostic, ...] = ()


class Backend(Protocol):
    """One place where tables live, for one family."""

    name: str
    takes_parts: bool
    """Does it take rules that were encoded already (Plan.parts)?"""

    def lock(self) -> AbstractContextManager[object]:
        """Keeps other writers out while it is held.  Raises LockBusy."""

    def state(self, binder: Binder, *, rules: bool) -> Ruleset:
        """The tables in use, the one used first first.

        Without `rules` the chains may come without their rules: a file that
        flushes its tables needs no more.  Raises KernelError.
        """

    def commit(self, plan: Plan, *, counters: bool, per_table: bool, keep: bool = True) -> None:
        """Make it so, check that it is so, and undo everything where it is not.  Raises CommitError.

        With `per_table` nothing is undone: tables committed before stay, as
        with the real tools.  Without `keep` the plan's chains may be emptied
        meanwhile, to make room.
        """
