"""What a restore would do, as data; and what came of it.

Making a plan reads nothing and changes nothing.  A table that is flushed
first is simply what it will be; a table that keeps what it has (--noflush)
also lists the steps, so that rules which stay keep their live counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from iptkit.ruleset.interpret import Outcome
    from iptkit.ruleset.model import Ruleset, Table
    from iptkit.ruleset.steps import Step
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
    file was interpreted on.
    """

    family: Family
    tables: tuple[TablePlan, ...]
    used: tuple[str, ...]
    before: Ruleset
    after: Ruleset


def make_plan(outcome: Outcome, before: Ruleset, *, noflush: bool, partial: bool = False) -> Plan:
    """The plan of a file that was interpreted on `before`.

    `partial` plans what the real tool commits of a file with a fault in it:
    the sections before the fault.
    """
    after = outcome.partial if partial else outcome.ruleset
    names = []
    steps: dict[str, list[Step]] = {}
    for section in outcome.sections:
        name = section.table.name
        if name not in names:
            names.append(name)
        if section.commit and (not partial or not outcome.status or section.commit_line < outcome.line):
            steps.setdefault(name, []).extend(section.steps)
    tables = tuple(
        TablePlan(name, after.tables[name], tuple(steps[name]) if noflush else None)
        for name in names
        if name in steps
    )
    used = tuple(name for name in names if name not in steps)
    return Plan(after.family, tables, used, before, after)
