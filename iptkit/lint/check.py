"""How a check is declared.

A check is a class.  Its docstring is its manual (`iptkit rule CODE`): a first
line, and the parts What, Why, Example and Instead.  Its base says what it
looks at, so that the engine visits each thing once, however many checks look
and however many rules there are:

    Fault          nothing: the finding is made while the file is read
    FileCheck      the file as a whole
    SectionCheck   each `*table` section
    UseCheck       each way in which rules use certain matches or targets
    ValueCheck     each distinct value of certain options

    class UselessReturn(SectionCheck, code="IPT208"):
        \"\"\"A RETURN at the end of a chain does what the end does.

        What: ...
        \"\"\"

        def look(self, section: SectionFacts) -> Iterator[Diagnostic]: ...

Codes, names, severities and how safe a fix is come from iptkit.text.codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from iptkit.ruleset.interpret import word_spans
from iptkit.syntax.document import RuleLine
from iptkit.text.codes import CODES
from iptkit.text.diagnostic import BOTH, Diagnostic, Severity, Span
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import Facts, SectionFacts, UseFacts
    from iptkit.lint.optionvalues import OptionValue
    from iptkit.syntax.document import BlankLine
    from iptkit.text.diagnostic import Edit

SEVERITIES = {"E": Severity.ERROR, "W": Severity.WARNING, "I": Severity.INFO}


class Note(NamedTuple):
    """What is said about a use or a value: it is repeated at every rule that has it.

    `word` counts the words of the use from its name, or those of the value.
    """

    message: str
    hint: str = ""
    severity: Severity | None = None
    backends: tuple[str, ...] = ()
    word: int = 0


class Check:
    """Base of all checks.  `code` is given at the class statement; the rest follows from it.

    `once` says that it reports the first of what it finds in a file, and no more.
    """

    code: ClassVar[str] = ""
    name: ClassVar[str] = ""
    severities: ClassVar[tuple[Severity, ...]] = ()
    fix: ClassVar[str] = "none"  # how safe its fix is: safe, unsafe or none
    once: ClassVar[bool] = False

    def __init_subclass__(cls, *, code: str = "") -> None:
        if code:
            cls.code = code
            cls.name, letters, cls.fix = CODES[code]
            cls.severities = tuple(SEVERITIES[letter] for letter in letters.split("/"))

    def found(
        self,
        span: Span,
        message: str,
        hint: str = "",
        *,
        severity: Severity | None = None,
        backends: tuple[str, ...] = (),
        related: tuple[tuple[Span, str], ...] = (),
        fix: tuple[Edit, ...] = (),
    ) -> Diagnostic:
        """A finding of this check.  Without a severity it is the first the catalogue gives it."""
        severity = severity or self.severities[0]
        if severity is Severity.ERROR:
            backends = backends or BOTH
        return Diagnostic(self.code, self.name, severity, message, span, hint, related, backends, fix)

    def noted(self, line: BlankLine, word: int, note: Note) -> Diagnostic:
        """A note as a finding, at a word of a line."""
        return self.found(
            word_of(line, word), note.message, note.hint, severity=note.severity, backends=note.backends
        )


class Fault(Check):
    """A check whose finding is made by whoever reads the file: parser, binder, interpreter."""


class FileCheck(Check):
    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        """Look at the file as a whole."""
        raise TypeError(f"{type(self).__name__} says nothing")  # pragma: no cover


class SectionCheck(Check):
    """Looks at a section.

    `of_table` says that it asks about the table as a whole or about its chain
    lines: where its rules are looked at in shares, the first share asks.
    """

    of_table: ClassVar[bool] = False

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        """Look at one table section, as it stands at its COMMIT."""
        raise TypeError(f"{type(self).__name__} says nothing")  # pragma: no cover


class UseCheck(Check):
    """Looks at matches and targets by name, once for each set of options they are used with."""

    extensions: ClassVar[tuple[str, ...]] = ()

    def look(self, use: UseFacts) -> Iterator[Note]:
        """Look at one way of using an extension; what is said holds for all rules that do."""
        raise TypeError(f"{type(self).__name__} says nothing")  # pragma: no cover


class ValueCheck(Check):
    """Looks at the values of certain options, named as iptables-save prints them.

    Of the options in `options` all values, of those in `odd_options` the ones
    that iptables-save would not print as they are.  Of these only such in
    which `pattern` finds something, in the words as written; of options that
    take any text only those of more than `longer_than` bytes.
    """

    options: ClassVar[tuple[str, ...]] = ()
    odd_options: ClassVar[tuple[str, ...]] = ()
    pattern: ClassVar[str] = ""
    longer_than: ClassVar[int] = 0

    def look(self, value: OptionValue) -> Iterator[Note]:
        """Look at one value; what is said holds wherever it stands."""
        raise TypeError(f"{type(self).__name__} says nothing")  # pragma: no cover


_BLANKS = ("", " ", "\t", "\r")


def whole(line: BlankLine) -> Span:
    """The span of all of a line, without the blanks around it."""
    raw = line.raw
    if raw[:1] not in _BLANKS and raw[-1] not in _BLANKS:
        return Span(line.number, 0, len(raw))
    start = len(raw) - len(raw.lstrip(" \t"))
    return Span(line.number, start, max(start, len(raw.rstrip(" \t\r"))))


def word_of(line: BlankLine, index: int) -> Span:
    """The span of one word of a rule line, or of all of it where there is no such word."""
    if index >= 0 and isinstance(line, RuleLine):
        span = _usual_span(line, index)
        if span is not None:
            return span
        spans = word_spans(line)
        if index < len(spans):
            return Span(line.number, *spans[index])
    return whole(line)


def _usual_span(line: RuleLine, index: int) -> Span | None:
    """The same without cutting the line, where one blank parts its words; None when that is not so."""
    shape, raw = line.shape, line.raw
    if shape is None or index >= len(shape.head.words) + len(shape.tail.words):
        return None
    begin = 0
    if line.counters is not None:
        begin = line.counters.end + 1
        if raw[begin - 1] != " ":
            return None
        raw = raw[begin:]
    words = raw.split(" ", index + 1)[: index + 1]
    text = " ".join(words)
    if "" in words or '"' in text or "\t" in text or "\0" in text:
        return None
    end = begin + len(text)
    return Span(line.number, end - len(words[-1]), end)
