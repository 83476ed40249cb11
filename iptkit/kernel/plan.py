"""What a restore would do, as data; and what came of it.

Making a plan reads nothing and changes nothing.  A table that is flushed
first is simply what it will be; a table that keeps what it has (--noflush)
also lists the steps, so that rules which stay keep their live counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.syntax.document import TableLine
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iptkit.kernel.block import Part
    from iptkit.ruleset.interpret import Outcome
    from iptkit.ruleset.model import Ruleset, Table
    from iptkit.ruleset.steps import Step
    from iptkit.text.source import Source
    from iptkit.values.context import Family


class TablePlan(NamedTuple):
    """One table: `table` is what it will hold, `steps` how to get there in place (None: replace it)."""

    name: str
    table: Table
    steps: tuple[Step, ...] | None


class Plan(NamedTuple):
    """All tables of a file, in the order it first names them.

    `used` are tables that a file merely names: the kernel makes them when they
    are asked for.  `after` is the state that will be, `before` the state the
    file was interpreted on.  `script` is for a backend that feeds a program.
    Where there are `parts`, the rules of each table were encoded already, and
    its chains are empty; see iptkit.kernel.halves.  They are taken out as they
    are committed.
    """

    family: Family
    tables: tuple[TablePlan, ...]
    used: tuple[str, ...]
    before: Ruleset
    after: Ruleset
    script: Script
    parts: dict[str, Sequence[Part]] | None = None


class Script(NamedTuple):
    """The text that the plan was made of, up to its line `end`, and the options it was interpreted with.

    `left_out` are the tables in which lines were left out that only another
    backend refuses: what these will hold is not quite known.
    """

    source: Source
    end: int
    noflush: bool
    counters: bool
    table: str | None
    left_out: frozenset[str]


def table_at(source: Source, line: int) -> str:
    """The table whose section a line of a text stands in, "" for none."""
    lines = source.lines
    for number in range(min(line, len(lines)), 0, -1):
        raw = lines[number - 1]
        if raw.startswith("*"):
            return TableLine(number, raw).name
        if raw == "COMMIT" and number < line:
            return ""
    return ""


def make_plan(
    outcome: Outcome,
    before: Ruleset,
    source: Source,
    *,
    noflush: bool,
    counters: bool = False,
    table: str | None = None,
    partial: bool = False,
) -> Plan:
    """The plan of a file that was interpreted on `before`, with these options.

    `partial` plans what the real tool commits of a file with a fault in it:
    the sections before the fault.
    """
    after = outcome.partial if partial else outcome.ruleset
    names = []
    steps: dict[str, list[Step]] = {}
    end = 0
    left_out = set()
    for section in outcome.sections:
        name = section.table.name
        if name not in names:
            names.append(name)
        if section.commit and (not partial or not outcome.status or section.commit_line < outcome.line):
            steps.setdefault(name, []).extend(section.steps)
            end = section.commit_line
        if section.broken:
            left_out.add(name)
    tables = tuple(
        TablePlan(name, after.tables[name], tuple(steps[name]) if noflush else None)
        for name in names
        if name in steps
    )
    used = tuple(name for name in names if name not in steps)
    if not partial:
        end = source.text.count("\n") + 1
    script = Script(source, end, noflush, counters, table, frozenset(left_out))
    return Plan(after.family, tables, used, before, after, script)
