"""How a check is declared.

A check is a class.  Its docstring is its manual (`iptkit rule CODE`): a first
line, and the parts What, Why, Example and Instead.  Its base says what it
looks at, so that the engine visits each thing once, however many checks look:

    Fault          nothing: the finding is made while the file is read
    FileCheck      the file as a whole
    SectionCheck   each `*table` section
    ShapeCheck     each distinct shape of rules in a section
    WordCheck      each distinct value of certain options

    class UselessReturn(SectionCheck, code="IPT208"):
        \"\"\"A RETURN at the end of a chain does what the end does.

        What: ...
        \"\"\"

        def look(self, section: SectionFacts) -> Iterator[Diagnostic]: ...

Codes, names, severities and how safe a fix is come from iptkit.text.codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from iptkit.ruleset.interpret import word_spans
from iptkit.text.codes import BY_NAME, CODES
from iptkit.text.diagnostic import BOTH, Diagnostic, Severity, Span

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

    from iptkit.lint.facts import Facts, OptionValue, SectionFacts, ShapeFacts
    from iptkit.syntax.document import BlankLine
    from iptkit.text.diagnostic import Edit

SEVERITIES = {"E": Severity.ERROR, "W": Severity.WARNING, "I": Severity.INFO}


class Note(NamedTuple):
    """What is said about a shape or a value: it is repeated at every rule that has it.

    `word` is the index of the word at fault among the words of the line, -1
    for the whole line; for a value, 0 is its first word.
    """

    message: str
    word: int = -1
    hint: str = ""
    severity: Severity | None = None
    backends: tuple[str, ...] = ()


class Check:
    """Base of all checks.  `code` is given at the class statement; the rest follows from it."""

    code: ClassVar[str] = ""
    name: ClassVar[str] = ""
    severities: ClassVar[tuple[Severity, ...]] = ()
    fix: ClassVar[str] = "none"  # how safe its fix is: safe, unsafe or none

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


class Fault(Check):
    """A check whose finding is made by whoever reads the file: parser, binder, interpreter."""


class FileCheck(Check):
    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        """Look at the file as a whole."""
        raise TypeError(f"{type(self).__name__} says nothing")  # pragma: no cover


class SectionCheck(Check):
    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        """Look at one table section, as it stands at its COMMIT."""
        raise TypeError(f"{type(self).__name__} says nothing")  # pragma: no cover


class ShapeCheck(Check):
    def look(self, shape: ShapeFacts) -> Iterator[Note]:
        """Look at one shape of a section; what is said holds for all rules that have it."""
        raise TypeError(f"{type(self).__name__} says nothing")  # pragma: no cover


class WordCheck(Check):
    """Looks at the values of the options named in `options`: `-s`, `--log-prefix`, ….

    Only values of more than `longer_than` bytes are looked at, as written, in
    which `pattern` finds something.  With `odd_only` a value written exactly
    as iptables-save writes it is passed over.
    """

    options: ClassVar[tuple[str, ...]] = ()
    pattern: ClassVar[re.Pattern[str] | None] = None
    longer_than: ClassVar[int] = 0
    odd_only: ClassVar[bool] = False

    def look(self, value: OptionValue) -> Iterator[Note]:
        """Look at one value; what is said holds wherever it stands."""
        raise TypeError(f"{type(self).__name__} says nothing")  # pragma: no cover


def whole(line: BlankLine) -> Span:
    """The span of all of a line, without the blanks around it."""
    raw = line.raw
    start = len(raw) - len(raw.lstrip(" \t"))
    return Span(line.number, start, max(start, len(raw.rstrip(" \t\r"))))


def word_of(line: BlankLine, index: int) -> Span:
    """The span of one word of a rule line, or of all of it where there is no such word."""
    spans = word_spans(line) if index >= 0 and line.kind == "rule" else []  # type: ignore[arg-type]  # kind says RuleLine
    if index < len(spans):
        return Span(line.number, *spans[index])
    return whole(line)


__all__ = [
    "BOTH",
    "BY_NAME",
    "Check",
    "Fault",
    "FileCheck",
    "Note",
    "SectionCheck",
    "ShapeCheck",
    "WordCheck",
    "whole",
    "word_of",
]
