"""The lossless tree: a file is its lines, and every line keeps its own text.

Joining the lines of a `Document` gives the file back, byte for byte.  A rule
line is its shape and its values: the shape is the line with the values taken
out, shared by all rules that differ in nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.syntax.parser import Unread
    from iptkit.syntax.words import CountersText
    from iptkit.text.source import Source


class Part:
    """A run of words that shapes share; None stands for a value."""

    __slots__ = ("words",)

    def __init__(self, words: tuple[str | None, ...]) -> None:
        self.words = words


class Shape:
    """The words of a rule line with its values taken out.

    A word that begins with `-` or `!`, or that may name a match, protocol or
    target with options, is never taken out, so the shape alone decides how a
    rule reads.

    It is in two parts, which are combined most freely: `head` has the -A and
    the addresses and interfaces that follow it, `tail` the rest.  Of lines
    that do not begin with -A the head is empty.
    """

    __slots__ = ("head", "tail")

    def __init__(self, head: Part, tail: Part) -> None:
        self.head = head
        self.tail = tail

    @classmethod
    def of(cls, words: tuple[str | None, ...]) -> Shape:
        """The shape of these words, by itself."""
        at = head_end(words)
        return cls(Part(words[:at]), Part(words[at:]))

    @property
    def words(self) -> tuple[str | None, ...]:
        """The words as they stand, None where a value stood."""
        return self.head.words + self.tail.words

    @property
    def holes(self) -> tuple[int, ...]:
        """Where the values stood."""
        return tuple([i for i, w in enumerate(self.words) if w is None])


HEAD_OPTIONS = ("-s", "-d", "-i", "-o")


def head_end(words: tuple[str | None, ...]) -> int:
    """How many words belong to the head of a shape."""
    if words[:2] != ("-A", None):
        return 0
    at = 2
    while True:
        option = at + (words[at : at + 1] == ("!",))
        if words[option : option + 1] + words[option + 1 : option + 2] not in _HEAD_PAIRS:
            return at
        at = option + 2


_HEAD_PAIRS = frozenset((option, None) for option in HEAD_OPTIONS)


class BlankLine:
    __slots__ = ("number", "raw")
    kind = "blank"

    def __init__(self, number: int, raw: str) -> None:
        self.number = number
        self.raw = raw


class CommentLine(BlankLine):
    __slots__ = ()
    kind = "comment"


class TableLine(BlankLine):
    """`*name`: `name` is "" where none stands."""

    __slots__ = ("name",)
    kind = "table"

    def __init__(self, number: int, raw: str) -> None:
        self.number = number
        self.raw = raw
        words = strtok(raw[1:])
        self.name = words[0] if words else ""


class ChainLine(BlankLine):
    """`:name policy [packets:bytes]`, each None where it is missing."""

    __slots__ = ("counters", "name", "policy")
    kind = "chain"

    def __init__(self, number: int, raw: str) -> None:
        self.number = number
        self.raw = raw
        words: list[str | None] = [*strtok(raw[1:])]
        if len(words) == 3:
            self.name, self.policy, self.counters = words
        else:
            self.name, self.policy, self.counters = (*words, None, None, None)[:3]


class CommitLine(BlankLine):
    __slots__ = ()
    kind = "commit"


class RuleLine(BlankLine):
    """A line of words.

    `counters` are those before it, as written.  `values` are raw words, quotes
    and all, in the order of the shape's holes.  `shape` is None when the line
    could not be cut into words; `fault` then says why (else None).
    """

    __slots__ = ("counters", "fault", "shape", "values")
    kind = "rule"

    def __init__(
        self,
        number: int,
        raw: str,
        counters: CountersText | None,
        shape: Shape | None,
        values: list[str],
        fault: str | None = None,
    ) -> None:
        self.number = number
        self.raw = raw
        self.counters = counters
        self.shape = shape
        self.values = values
        self.fault = fault


Line: TypeAlias = BlankLine | CommentLine | TableLine | ChainLine | CommitLine | RuleLine


class Document:
    """A parsed file.

    `joined` holds the indices of lines that do not end with a newline: the
    last one of a file that lacks it, and the pieces of an overlong line.
    `odd` are the rule lines that are not plain.  Plain is one that begins with
    `-` or with counters of at most 19 digits, and whose words have one blank
    between them, are quoted as a whole or not at all, and hold no tab outside
    of quotes.

    Of a file that was read in part (Parser.parse_part) `lines` are those that
    were read, and `unread` reads the others.
    """

    __slots__ = ("joined", "lines", "odd", "source", "unread")

    def __init__(
        self,
        source: Source,
        lines: list[Line],
        joined: frozenset[int] = frozenset(),
        odd: tuple[RuleLine, ...] = (),
        unread: Unread | None = None,
    ) -> None:
        self.source = source
        self.lines = lines
        self.unread = unread
        self.joined = joined
        self.odd = odd

    def line(self, number: int) -> Line:
        """The line of that number, counted from 1; its first piece, of one that is read in pieces."""
        if self.unread is not None:
            return self.unread.line(number)
        lines = self.lines
        if number <= len(lines) and lines[number - 1].number == number:
            return lines[number - 1]
        return next(line for line in lines if line.number == number)

    def row(self, numbers: range) -> list[Line]:
        """The lines of these numbers, one after the other."""
        if self.unread is not None:
            return self.unread.row(numbers)
        return [self.line(number) for number in numbers]

    def text(self) -> str:
        """The file again, byte for byte (Latin-1, see iptkit.text.source)."""
        return "".join(self._pieces())

    def _pieces(self) -> Iterator[str]:
        for at, line in enumerate(self.lines):
            yield line.raw
            if at not in self.joined:
                yield "\n"

    def ends_with_newline(self, at: int) -> bool:
        return at not in self.joined


def strtok(text: str) -> list[str]:
    """The words of a table or chain line: blanks part them, nothing quotes, a NUL ends them."""
    if "\0" in text or "\t" in text:
        text = text.partition("\0")[0].replace("\t", " ")
    words = text.split(" ")
    return [w for w in words if w] if "" in words else words
