"""Text to Document.  Never raises: a line that is nothing else is a rule line.

How it is fast: most rule lines are plain, and one regular expression takes
their values out; what is left, the shape's key, is looked up.  Only a new key
is looked at word by word.  Lines that are not plain (tabs, blanks in a row, odd
quotes, NULs, options spelled in ways the expression does not foresee) take the
slow way, which cuts words one by one; a Document lists them.  tests/syntax
proves both give the same words, and both the same as the Lark grammar.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from iptkit.syntax.document import (
    HEAD_OPTIONS,
    BlankLine,
    ChainLine,
    CommentLine,
    CommitLine,
    Document,
    Part,
    RuleLine,
    Shape,
    TableLine,
    head_end,
)
from iptkit.syntax.grammar import memo
from iptkit.syntax.words import (
    ARGUMENT_LIMIT,
    LINE_LIMIT,
    WORD_LIMIT,
    BadCounters,
    CountersText,
    split_counters,
    split_words,
    unquote,
)
from iptkit.text.pattern import Pattern
from iptkit.text.record import NamedTuple
from iptkit.text.source import Source
from iptkit.text.uncollected import Uncollected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.syntax.document import Line

# A value is a word that begins neither an option nor a negation, does not name
# a match or protocol (after -m, -p), nor a target whose options follow, at once or
# after those of a match.  A name in quotes after -j is left to the slow way.
_VALUE = re.compile(
    r' ([^-!" \t](?<! -[mp] .)(?!(?<= -j .)(?:[^ ]* (?:! )?--|[0-9A-Z]* .* --))[^ \t"]*+'
    r'|"(?<! -[mpj] ")(?![-!\\])[^"\\]*+(?:\\.[^"\\]*+)*+")(?![^ ])'
)
_COUNTERS = re.compile(r"\[([0-9]{1,19}):([0-9]{1,19})\] ")  # all such numbers have less than 64 bits
# The head of a key (see Shape): -A and what follows it of HEAD_OPTIONS; a line feed stands for each value.
_HEAD = re.compile(rf"-A\n(?: (?:! )?(?:{'|'.join(HEAD_OPTIONS)})\n)*").match
_SPACED = re.compile(r"  |\t| (?:\n|\Z)").search  # blanks in a row or at the end, or a tab
RULE = Pattern(r"\n[-\[]")
_COMMIT = Pattern(r"\nCOMMIT")
# Options whose argument may decide how the rest of the line reads (-m -p -j -g,
# and -c, which takes one word or two), spelled out, and abbreviated as far as
# they may be.
_DECIDING = frozenset(
    f"--{name[:end]}"
    for name, least in (("match", 1), ("protocol", 1), ("jump", 1), ("goto", 1), ("set-counters", 2))
    for end in range(least, len(name) + 1)
)


def _decides(word: str) -> bool:
    """Is it one of these, or a bundle of short options that ends in one?"""
    if word[1:2] == "-":
        return word in _DECIDING
    return word[:1] == "-" and word[-1] in "mpjgc" and "-" not in word[1:]


class Parser:
    """Parses documents and remembers the shapes it met, for any number of files."""

    def __init__(self) -> None:
        # By what stands between the values of a plain line, a line feed in the place of each:
        self._by_key: dict[str, Shape | None] = {}
        self._heads: dict[str, Part] = {}
        self._tails: dict[str, Part | None] = {}
        self._literals: dict[str, _Literal] = {}
        self._parts: dict[tuple[str | None, ...], Part] = {}
        self._shapes: dict[tuple[Part, Part], Shape] = {}
        self._kinds = memo().kinds

    def parse(self, source: Source) -> Document:
        """Parse one text."""
        with Uncollected():
            return self._parse(source)

    def parse_part(self, source: Source, first: int, begin: int, end: int) -> Document | None:
        """Some of the lines of a file that are rules, and all that are none.

        Of those before the place `begin` and from the place `end` on the rules
        are left unread; `first` is the number of the first line between them.
        None where one of these is too long to be read in one piece.
        """
        with Uncollected():
            text = source.text
            raws = source.part(first, begin, end)
            longest = max(map(len, raws), default=0)
            if longest >= LINE_LIMIT:
                return None
            last = first + len(raws)
            unended = last - 1 if end == len(text) and raws and text[-1:] != "\n" else 0
            unusual = longest > WORD_LIMIT or text.find("\0", begin, end) >= 0
            odd: list[RuleLine] = []
            before = list(self._frame(text, 0, begin, 1))
            here = self._lines(raws, first - 1, unended, unusual, odd)
            after = list(self._frame(text, end, len(text), last))
            unread = Unread(self, source, (first, begin, here), (last, end), [*before, *after])
            return Document(source, [*before, *here, *after], odd=tuple(odd), unread=unread)

    def _frame(self, text: str, begin: int, end: int, number: int) -> Iterator[Line]:
        """The lines that are no rules, between two places; `number` is that of the first line."""
        at = begin
        while at < end:
            if at or not self._before_no_rule.match("\n" + text[: min(end, len("COMMIT\n"))]):
                found = self._before_no_rule.search(text, max(at - 1, 0), end)
                if found is None:
                    return
                number += text.count("\n", at, found.end())
                at = found.end()
            # There may be 40,000 chain lines in a row.
            rule = RULE.search(text, at, end)
            stop = end if rule is None else rule.start() + 1
            raws = text[at:stop].split("\n")
            last = number + len(raws) - 1
            if raws[-1] == "":
                raws.pop()
                last = 0
            for line in self._lines(raws, number - 1, last, True, []):
                if line.__class__ is not RuleLine:
                    yield line
            number += len(raws)
            at = stop

    @functools.cached_property
    def _before_no_rule(self) -> re.Pattern[str]:
        """A line feed behind which a line begins that is no rule."""
        begins = "".join([char for char, kind in self._kinds.items() if kind != "rule"])
        return re.compile(rf"\n(?=[{re.escape(begins)}\n]|COMMIT\n)")

    def _parse(self, source: Source) -> Document:
        raws, joined, longest = _split(source)
        if longest >= LINE_LIMIT:
            return self._parse_cut(source, raws)
        unusual = longest > WORD_LIMIT or "\0" in source.text
        odd: list[RuleLine] = []
        lines = self._lines(raws, 0, len(raws) if joined else 0, unusual, odd)
        return Document(source, lines, frozenset(joined), tuple(odd))

    def _lines(
        self, raws: list[str], before: int, unended: int, unusual: bool, odd: list[RuleLine]
    ) -> list[Line]:
        """Some of the lines of a file, with so many before them; adds those that are not plain to `odd`.

        `unended` is the number of the line without a line feed, 0 where each
        has one; `unusual` says whether one of them has a NUL, or may have too
        long a word.
        """
        lines: list[Line] = []
        add = lines.append
        split = _VALUE.split
        known = self._by_key
        counted = _COUNTERS.match
        kinds = self._kinds
        number = before
        for raw in raws:
            number += 1
            counters = None
            body = raw
            if raw[:1] != "-":
                if not raw:
                    add(BlankLine(number, raw))
                    continue
                kind = kinds[raw[0]]
                if kind != "rule":
                    add(_OTHER[kind](number, raw))
                    continue
                if raw == "COMMIT" and number != unended:
                    add(CommitLine(number, raw))
                    continue
                found = counted(raw)
                if found is None:
                    add(self._odd(number, raw, unended, odd))
                    continue
                body = raw[found.end() :]
                counters = CountersText(found[1], found[2], 0, found.end() - 1)
            if unusual and (len(raw) > WORD_LIMIT or "\0" in raw):
                add(self._odd(number, raw, unended, odd))
                continue
            parts = split(body)
            key = "\n".join(parts[::2])
            try:
                shape = known[key]
            except KeyError:
                shape = self._new_key(key)
            if shape is None:
                add(self._odd(number, raw, unended, odd))
            else:
                add(RuleLine(number, raw, counters, shape, parts[1::2]))
        return lines

    def _parse_cut(self, source: Source, raws: list[str]) -> Document:
        """As _parse, for a file with lines longer than the real tool's buffer: it sees them in pieces."""
        lines: list[Line] = []
        joined = []
        complete = source.text.endswith("\n")
        for number, raw in enumerate(raws, 1):
            whole = raw + "\n" if complete or number < len(raws) else raw
            for at in range(0, len(whole), LINE_LIMIT):
                piece = whole[at : at + LINE_LIMIT]
                ended = piece.endswith("\n")
                lines.append(self._line(number, piece[:-1] if ended else piece, ended))
                if not ended:
                    joined.append(len(lines) - 1)
        odd = [line for line in lines if line.__class__ is RuleLine]
        return Document(source, lines, frozenset(joined), tuple(odd))

    def _line(self, number: int, raw: str, ended: bool) -> Line:
        if not raw:
            return BlankLine(number, raw)
        kind = self._kinds[raw[0]]
        if kind != "rule":
            return _OTHER[kind](number, raw)
        if raw == "COMMIT" and ended:
            return CommitLine(number, raw)
        return self._slow(number, raw, ended)

    def _new_key(self, key: str) -> Shape | None:
        """The shape of a plain line's key, or None when such lines are not plain."""
        found = _HEAD(key)
        first, rest = (found[0], key[found.end() :]) if found is not None else ("", key)
        if not first and rest[:1] in (" ", "\n"):
            self._by_key[key] = None  # blanks before the first word
            return None
        head = self._heads.get(first)
        if head is None:
            literals = [self._literal(text) for text in first.split("\n")[:-1]]
            head = self._heads[first] = self._part(tuple([w for each in literals for w in each.words]))
        try:
            tail = self._tails[rest]
        except KeyError:
            tail = self._tails[rest] = None if _SPACED(rest) else self._new_tail(rest)
        shape = None
        if tail is not None and len(head.words) + len(tail.words) <= ARGUMENT_LIMIT - 4:
            shape = self._shape(head, tail)
        self._by_key[key] = shape
        return shape

    def _literal(self, text: str) -> _Literal:
        found = self._literals.get(text)
        if found is None:
            found = self._literals[text] = _literal(text)
        return found

    def _new_tail(self, rest: str) -> Part | None:
        literals = [self._literal(text) for text in rest.split("\n")]
        words: list[str | None] = []
        for literal in literals:
            if literal.odd:
                return None
            words += literal.words
        for literal in literals[:-1]:
            if literal.decides:
                return None
        return self._part(tuple(words[:-1]))

    def _part(self, words: tuple[str | None, ...]) -> Part:
        part = self._parts.get(words)
        if part is None:
            part = self._parts[words] = Part(words)
        return part

    def _shape(self, head: Part, tail: Part) -> Shape:
        shape = self._shapes.get((head, tail))
        if shape is None:
            shape = self._shapes[head, tail] = Shape(head, tail)
        return shape

    def _odd(self, number: int, raw: str, unended: int, odd: list[RuleLine]) -> RuleLine:
        """A line that is not plain, noted as one."""
        odd.append(self._slow(number, raw, number != unended))
        return odd[-1]

    def _slow(self, number: int, raw: str, ended: bool) -> RuleLine:
        text = raw + "\n" if ended else raw
        try:
            counters, text, begin = split_counters(text)
        except BadCounters as error:
            return RuleLine(number, raw, None, None, [], str(error))
        words = split_words(text, begin)
        if any(len(w.text) > WORD_LIMIT for w in words):
            return RuleLine(number, raw, counters, None, [], f"a word is longer than {WORD_LIMIT} bytes")
        if len(words) > ARGUMENT_LIMIT - 3:
            return RuleLine(
                number, raw, counters, None, [], f"more than {ARGUMENT_LIMIT - 3} words in one rule"
            )
        shaped: list[str | None] = []
        values: list[str] = []
        before = ""
        for word in words:
            if word.text[:1] in ("-", "!") or _decides(before):
                shaped.append(word.text)
            else:
                shaped.append(None)
                # As written, if that reads back to the same word; it does not when the quote never closes.
                written = text[word.start : word.end]
                values.append(written if word.quoted or '"' not in written else _quote(word.text))
            before = word.text
        at = head_end(tuple(shaped))
        head, tail = self._part(tuple(shaped[:at])), self._part(tuple(shaped[at:]))
        return RuleLine(number, raw, counters, self._shape(head, tail), values)


class Unread:
    """The lines of a file that was read in part: the others are read when somebody asks, each once."""

    def __init__(
        self,
        parser: Parser,
        source: Source,
        here: tuple[int, int, list[Line]],
        after: tuple[int, int],
        others: list[Line],
    ) -> None:
        self._parser = parser
        self._text = source.text
        self._first, self._begin, self._here = here
        self._after = after  # the number of the first line after those read, and where it begins
        self._known = {line.number: line for line in others}
        self._raws: list[list[str] | None] = [None, None]  # before and after them

    def line(self, number: int) -> Line:
        """The line of that number."""
        at = number - self._first
        if 0 <= at < len(self._here):
            return self._here[at]
        found = self._known.get(number)
        if found is None:
            (found,) = self._read(range(number, number + 1))
            self._known[number] = found
        return found

    def row(self, numbers: range) -> list[Line]:
        """The lines of these numbers, one after the other."""
        known = self._known
        unread = numbers.stop <= self._first or numbers.start >= self._after[0]
        if not unread or any(number in known for number in numbers):
            return [self.line(number) for number in numbers]
        lines = self._read(numbers)
        known.update(zip(numbers, lines, strict=True))
        return lines

    def _read(self, numbers: range) -> list[Line]:
        """Read some lines, all before or all behind those that were read at once."""
        behind = numbers.start >= self._first
        first, begin, end = (*self._after, len(self._text)) if behind else (1, 0, self._begin)
        raws = self._raws[behind]
        if raws is None:
            raws = self._raws[behind] = self._text[begin:end].split("\n")
        wanted = raws[numbers.start - first : numbers.stop - first]
        unended = first + len(raws) - 1
        return self._parser._lines(wanted, numbers.start - 1, unended, True, [])


class _Literal(NamedTuple):
    """What stands between two values of a plain line."""

    words: tuple[str | None, ...]  # with None for the value that follows
    odd: bool  # has a quote in it, so the line is not plain
    decides: bool  # a value that follows would decide how the line reads


def _literal(text: str) -> _Literal:
    words = tuple([word for word in text.split(" ") if word])
    last = words[-1] if words else ""
    # After -j and -g a value may follow: it is the name of a chain, or of a target without options.
    decides = last not in ("-j", "-g") and _decides(last)
    return _Literal((*words, None), '"' in text, decides)


def _split(source: Source) -> tuple[list[str], list[int], int]:
    """The lines of a text, the index of the last one where that does not end, and the greatest length."""
    raws = source.lines
    joined: list[int] = []
    if raws[-1] == "":
        raws = raws[:-1]
    else:
        joined.append(len(raws) - 1)
    return raws, joined, max(map(len, raws), default=0)


def middle(text: str, part: float = 0.5) -> tuple[int, int]:
    """Where the line begins with which the second half of the rules does, by their length; 0 without rules.

    And where the rules of its section end.  `part` is the part of them that
    stands before, where that is not the half.
    """
    spans = []
    rule = RULE.search(text)
    while rule is not None:
        commit = _COMMIT.search(text, rule.start())
        end = len(text) if commit is None else commit.start()
        spans.append((rule.start(), end))
        rule = RULE.search(text, end)
    left = int(sum(end - begin for begin, end in spans) * part)
    for begin, end in spans:
        if left < end - begin:
            return text.rfind("\n", 0, begin + left + 1) + 1, end
        left -= end - begin
    return 0, 0


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_OTHER: dict[str, type[CommentLine | TableLine | ChainLine]] = {
    "comment": CommentLine,
    "table": TableLine,
    "chain": ChainLine,
}

_default: Parser | None = None


def parse(source: Source) -> Document:
    """Parse one text with the process's own Parser.  Never raises."""
    global _default  # noqa: PLW0603  # a memo: what it holds changes no result
    if _default is None:
        _default = Parser()
    return _default.parse(source)


def words_of(line: RuleLine) -> list[str]:
    """The words of a rule line as the binder sees them; [] when it could not be cut."""
    if line.shape is None:
        return []
    values = iter(line.values)
    return [unquote(next(values)) if w is None else w for w in line.shape.words]


__all__ = ["Parser", "middle", "parse", "words_of"]
