"""The reference backend: the state is a Ruleset, kept in a file or nowhere."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

from iptkit.kernel.backend import CommitError
from iptkit.kernel.errors import KernelError
from iptkit.kernel.plan import table_at
from iptkit.ruleset.canonical import save
from iptkit.ruleset.interpret import interpret
from iptkit.ruleset.model import Ruleset
from iptkit.syntax.parser import parse
from iptkit.text.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from iptkit.kernel.plan import Plan
    from iptkit.ruleset.binding import Binder
    from iptkit.text.diagnostic import Diagnostic


class MemoryBackend:
    """Holds the tables in save form, with counters, in the file `path`; with no path it starts empty.

    `judge` stands for the kernel: it tells what a kernel would refuse of a plan.
    """

    name = "memory"
    takes_parts = False

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self.judge: Callable[[Plan], Sequence[Diagnostic]] | None = None

    def lock(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    def state(self, binder: Binder, *, rules: bool = True) -> Ruleset:
        if self.path is None:
            return Ruleset(binder.family)
        try:
            with open(self.path, "rb") as file:
                source = Source.of(file.read(), self.path)
        except FileNotFoundError:
            return Ruleset(binder.family)
        except OSError as error:
            raise KernelError(f"cannot read {self.path}: {error.strerror}", error.errno or 0) from None
        outcome = interpret(parse(source), binder, counters=True)
        if outcome.status:
            first = outcome.diagnostics[0]
            raise KernelError(f"{self.path}:{first.span.line}: {first.message}")
        # The file lists them as a save does, the one used first last.
        tables = outcome.ruleset.tables
        return Ruleset(binder.family, {name: tables[name] for name in reversed(tables)})

    def commit(self, plan: Plan, *, counters: bool, per_table: bool, keep: bool = True) -> None:
        refused = self.judge(plan) if self.judge else ()
        if not refused:
            self._write(plan.after)
            return
        line = refused[0].span.line
        name = table_at(plan.script.source, line)
        if per_table:
            tables = dict(plan.before.tables)
            for table in plan.tables:
                if table.name == name:
                    break
                tables[table.name] = table.table
            self._write(Ruleset(plan.family, tables))
        error = CommitError(f"a kernel would refuse table {name}: {refused[0].message}", name, line=line)
        error.findings = tuple(refused)
        raise error

    def _write(self, ruleset: Ruleset) -> None:
        if self.path is None:
            return
        text = "".join(map(_state_line, save(ruleset, counters=True)))
        write_state(self.path, text.encode("latin-1"))


def write_state(path: str, data: bytes | None) -> None:
    """Replace a state file in one step; None takes it away.  Raises KernelError."""
    temporary = ""
    try:
        if data is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        folder = os.path.dirname(os.path.abspath(path))
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".iptkit-")
        with open(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise KernelError(f"cannot write {path}: {error.strerror}", error.errno or 0) from None


def _state_line(line: str) -> str:
    # A quote that was never closed took the line feed in; closed, as a save has it, it cannot be read back.
    return line[:-1] if line.endswith('\n"') else line + "\n"
