"""A large file made into entries by two processes, each half of it.

A file that only declares chains and appends rules, as iptables-save prints
one, says the same in two halves: each process reads all lines that are no
rules, and its own half of those that are.  What the child sends are bytes and
numbers, see iptkit.kernel.block.Part.  Anything else in the file, anything bad,
and whatever the machine must be asked for, raises Together: then one process
does it all, the ordinary way, and says what there is to say.
"""

from __future__ import annotations

import contextlib
import marshal
from typing import TYPE_CHECKING

from iptkit.extensions.ipset import SetUse
from iptkit.kernel.block import Part, encode_part
from iptkit.kernel.entries import Encoder
from iptkit.kernel.errors import KernelError
from iptkit.ruleset.interpret import interpret_part
from iptkit.syntax.parser import Parser, middle
from iptkit.text import aside
from iptkit.text.aside import Together

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.interpret import Outcome
    from iptkit.ruleset.model import Ruleset
    from iptkit.syntax.document import Document
    from iptkit.text.aside import Aside
    from iptkit.text.source import Source


class Half:
    """One half of a file: what each of the two processes does with its own."""

    def __init__(
        self,
        source: Source,
        where: tuple[int, int, int],
        binder: Binder,
        *,
        counters: bool,
        table: str | None,
    ) -> None:
        self._source = source
        self._where = where  # the number of its first line, and where its lines begin and end
        self._binder = binder
        self._counters = counters
        self._table = table

    def document(self) -> Document:
        """Its rules, and all lines that are none.  Raises Together."""
        document = Parser().parse_part(self._source, *self._where)
        if document is None:
            raise Together
        return document

    def interpret(self, document: Document, base: Ruleset | None) -> Outcome:
        """What it does to a state, with its own rules alone.  Raises Together."""
        binder = self._binder
        outcome = interpret_part(document, binder, base=base, counters=self._counters, table=self._table)
        # Only the machine knows the numbers of sets, and the structs of what iptkit does not know.
        if outcome is None or binder.uses(SetUse) or binder.uses_unknown():
            raise Together
        return outcome

    def encode(self, outcome: Outcome) -> dict[str, Part]:
        """Its rules of each table, which leave their chains.  Raises Together."""
        encoder = Encoder(self._binder.family, keep=False)
        try:
            return {name: encode_part(outcome.ruleset.tables[name], encoder) for name in outcome.tables}
        except KernelError as error:
            raise Together from error

    def packed(self) -> bytes:
        """All of that, for the other process.  Raises Together."""
        outcome = self.interpret(self.document(), None)
        return marshal.dumps({name: part.packed() for name, part in self.encode(outcome).items()})


class Halved:
    """A Reading of the first half of a file, while a child has the second."""

    def __init__(self, first: Half, child: Aside) -> None:
        self.document = first.document
        self.interpret = first.interpret
        self._first = first
        self._child = child

    def parts(self, outcome: Outcome) -> dict[str, Sequence[Part]]:
        """The rules of each table, encoded: those of this half, and the child's.  Raises Together."""
        ours = self._first.encode(outcome)
        sent = self._child.result()
        if sent is None:
            raise Together
        theirs = marshal.loads(sent)  # noqa: S302  # from a child of our own
        return {name: (part, Part.unpacked(theirs[name])) for name, part in ours.items()}


@contextlib.contextmanager
def halved(source: Source, binder: Binder, *, counters: bool, table: str | None) -> Iterator[Halved | None]:
    """Have a child begin with the second half of a file; None where there is nothing to gain, or no child."""
    count = source.text.count("\n")
    if count < aside.LARGE:
        yield None
        return
    text = source.text
    at, _ = middle(text)
    first, second = (
        Half(source, where, binder, counters=counters, table=table)
        for where in ((1, 0, at), (text.count("\n", 0, at) + 1, at, len(text)))
    )
    child = aside.start(lambda _: second.packed())
    if child is None:
        yield None
        return
    with child:
        yield Halved(first, child)
