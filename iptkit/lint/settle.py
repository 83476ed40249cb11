"""What reading a file found, made into findings: less what only follows, and with what can be said better.

The interpreter goes on after a fault, as if the line were not there, and says
each thing it stumbles on.  A person wants the first cause alone.
"""

from __future__ import annotations

import re
from bisect import bisect
from typing import TYPE_CHECKING

from iptkit.lint.otherfamily import of_other_family
from iptkit.syntax.document import CommitLine, RuleLine, TableLine
from iptkit.text.codes import name_of
from iptkit.text.diagnostic import Severity

if TYPE_CHECKING:
    from iptkit.lint.facts import Facts
    from iptkit.text.diagnostic import Diagnostic

_COUNTERS = r"[({<]?[0-9]+:[0-9]+[]})>]?[ \t]*-"
_ADDRESS_OPTION = r"(?:-[sd]|--s(?:ource|rc)|--d(?:estination|st))[ \t]+(?:\S+,)?\Z"


def settle(facts: Facts) -> list[Diagnostic]:
    """The interpreter's findings as the catalogue has them."""
    out: list[Diagnostic] = []
    continued = continuation_lines(facts)
    pieces = long_lines(facts)
    outside = _Blocks(facts)
    exclusive: set[int] = set()
    for found in facts.outcome.diagnostics:
        line = found.span.line
        if line in continued or line in pieces:
            continue
        if found.code == "IPT007":
            if outside.is_first(line):
                out.append(found)
        elif found.code == "IPT136":
            # Of two options that exclude each other, each says so.
            if line not in exclusive:
                out.append(found)
            exclusive.add(line)
        elif found.code == "IPT218" and _is_looked_up(facts, found):
            out.append(found._replace(severity=Severity.WARNING, backends=()))
        elif found.code in ("IPT130", "IPT020") and re.match(_COUNTERS, facts.line(line).raw):
            message = "counters before a rule stand in brackets"
            out.append(_recoded(found, "IPT027", message, "[packets:bytes]"))
        elif found.code in ("IPT125", "IPT129", "IPT130"):
            other = of_other_family(facts, found)
            message = f"{other}, and this is a ruleset for IPv{facts.family}"
            out.append(_recoded(found, "IPT124", message, "") if other else found)
        else:
            out.append(found)
    return out


def continuation_lines(facts: Facts) -> set[int]:
    """Lines that go on where the line before ends with a backslash, as in shell."""
    if not facts.lines_with(r"\\\n"):
        return set()
    out = set()
    before = False
    for line in facts.document.lines:
        if before:
            out.add(line.number)
        before = line.raw.endswith("\\") and (line.__class__ is RuleLine or before)
    return out


def long_lines(facts: Facts) -> set[int]:
    """Lines that the real tool reads in pieces."""
    joined = facts.document.joined
    if not joined:
        return set()
    lines = facts.document.lines
    return {
        lines[at].number for at in joined if at + 1 < len(lines) and lines[at + 1].number == lines[at].number
    }


class _Blocks:
    """Stretches of lines that no section holds: one finding each."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._borders: list[int] | None = None
        self._seen: set[int] = set()

    def is_first(self, line: int) -> bool:
        if self._borders is None:
            lines = self._facts.document.lines
            self._borders = [each.number for each in lines if each.__class__ in (TableLine, CommitLine)]
        block = bisect(self._borders, line)
        if block in self._seen:
            return False
        self._seen.add(block)
        return True


def _is_looked_up(facts: Facts, found: Diagnostic) -> bool:
    """Is the name the value of -s or -d, which the real tool looks up?"""
    return bool(re.search(_ADDRESS_OPTION, facts.line(found.span.line).raw[: found.span.start]))


def _recoded(found: Diagnostic, code: str, message: str, hint: str) -> Diagnostic:
    return found._replace(code=code, name=name_of(code), message=message, hint=hint)
