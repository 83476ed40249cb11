"""A large file made into entries by two processes, each half of it.

A file that only declares chains and appends rules, as iptables-save prints
one, says the same in two halves: each process reads all lines that are no
rules, and its own half of those that are.  What the child sends are bytes and
numbers, see iptkit.kernel.block.Part.  Anything else in the file, anything bad,
and whatever the machine must be asked for, raises Together: then one process
does it all, the ordinary way, and says what there is to say.
"""

from __future__ import annotations

import marshal
from array import array
from typing import TYPE_CHECKING

from iptkit.extensions.ipset import SetUse
from iptkit.kernel.block import Part, Run, encode_part
from iptkit.kernel.entries import Encoder
from iptkit.kernel.errors import KernelError
from iptkit.ruleset.interpret import interpret_part
from iptkit.syntax.parser import Parser
from iptkit.text import aside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.interpret import Outcome
    from iptkit.ruleset.model import Ruleset
    from iptkit.syntax.document import Document
    from iptkit.text.aside import Aside
    from iptkit.text.source import Source

LARGE = 10_000
"""Lines of a file that is worth a second process."""


class Together(Exception):  # it is no error
    """The file has to be done in one piece."""


class Half:
    """The first half of a file, while a child has the second.  A context manager, as the child is one."""

    def __init__(
        self, source: Source, binder: Binder, at: int, counters: bool, table: str | None, child: Aside
    ) -> None:
        self._source = source
        self._binder = binder
        self._at = at
        self._counters = counters
        self._table = table
        self._child = child

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.__exit__()

    def document(self) -> Document:
        """Its lines, and all that are no rules.  Raises Together."""
        return _document(self._source, 0, self._at)

    def interpret(self, document: Document, base: Ruleset) -> Outcome:
        """What it does to a state: as interpret, with half of the rules.  Raises Together."""
        return _interpreted(document, self._binder, base, self._counters, self._table)

    def parts(self, outcome: Outcome) -> dict[str, Sequence[Part]]:
        """The rules of each table, encoded: those of this half, which leave their chains, and the child's.

        Raises Together.
        """
        ours = _encoded(outcome, self._binder)
        sent = self._child.result()
        if sent is None:
            raise Together
        parts = marshal.loads(sent)  # noqa: S302  # from a child of our own
        theirs = {name: _unpacked(*part) for name, part in parts.items()}
        return {name: (part, theirs[name]) for name, part in ours.items()}


def begin(source: Source, binder: Binder, *, counters: bool, table: str | None) -> Half | None:
    """Have a child begin with the second half of a file; None where there is nothing to gain or no child."""
    if source.text.count("\n") < LARGE:
        return None
    at = _middle(source.text)
    child = aside.start(lambda: _second(source, binder, at, counters, table))
    return None if child is None else Half(source, binder, at, counters, table, child)


def _middle(text: str) -> int:
    """How many lines stand before the second half of the rules, by their length."""
    spans = []
    end = 0
    while True:
        starts = [at for at in (text.find("\n-", end), text.find("\n[", end)) if at >= 0]
        if not starts:
            break
        begin = min(starts)
        end = text.find("\nCOMMIT", begin)
        if end < 0:
            end = len(text)
        spans.append((begin, end))
    left = sum(end - begin for begin, end in spans) // 2
    for begin, end in spans:
        if left < end - begin:
            return text.count("\n", 0, begin + left + 1)
        left -= end - begin
    return 0


def _second(source: Source, binder: Binder, at: int, counters: bool, table: str | None) -> bytes:
    document = _document(source, at, source.text.count("\n") + 1)
    outcome = _interpreted(document, binder, None, counters, table)
    del document
    return marshal.dumps({name: _packed(part) for name, part in _encoded(outcome, binder).items()})


def _document(source: Source, first: int, last: int) -> Document:
    document = Parser().parse_part(source, first, last)
    if document is None:
        raise Together
    return document


def _interpreted(
    document: Document, binder: Binder, base: Ruleset | None, counters: bool, table: str | None
) -> Outcome:
    outcome = interpret_part(document, binder, base=base, counters=counters, table=table)
    # Only the machine knows the numbers of sets, and the structs of what iptkit does not know.
    if outcome is None or binder.uses(SetUse) or binder.uses_unknown():
        raise Together
    return outcome


def _encoded(outcome: Outcome, binder: Binder) -> dict[str, Part]:
    encoder = Encoder(binder.family, keep=False)
    try:
        return {name: encode_part(outcome.ruleset.tables[name], encoder) for name in outcome.tables}
    except KernelError as error:
        raise Together from error


def _packed(part: Part) -> tuple[object, ...]:
    """A part as marshal takes it."""
    return (
        part.memory,
        part.counters.tobytes(),
        part.jumps_at.tobytes(),
        part.jumps_to.tobytes(),
        part.onward.tobytes(),
        part.chains,
        {name: tuple(run) for name, run in part.runs.items()},
    )


def _unpacked(
    memory: bytes,
    counters: bytes,
    jumps_at: bytes,
    jumps_to: bytes,
    onward: bytes,
    chains: list[str],
    runs: dict[str, tuple[int, ...]],
) -> Part:
    return Part(
        memory,
        array("Q", counters),
        array("Q", jumps_at),
        array("L", jumps_to),
        array("Q", onward),
        chains,
        {name: Run(*run) for name, run in runs.items()},
    )
