"""Shell where a save file is expected."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iptkit.lint.check import FileCheck
from iptkit.ruleset.interpret import word_spans
from iptkit.syntax.document import CommentLine, RuleLine
from iptkit.text.diagnostic import Severity, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import Facts
    from iptkit.text.diagnostic import Diagnostic

_COMMAND = (
    r"[ \t]*((?:\S*/)?ip6?tables(?:-\S*)?"
    r"|sudo|echo|export|set|modprobe|sysctl|if|then|fi|for|do|done|[A-Za-z_][A-Za-z0-9_]*=\S*)(?=\s|\Z)"
)
# In a word: a variable, a substitution; as words: operators and redirections.
_EXPANDED = r"(?:\A|(?<=[/:=,.\-a-z0-9]))\$(?:[A-Za-z_]|\{|\()|`"
_OPERATOR = r"[12]?>{1,2}&?|&&|\|\||.*;\Z"
# One of these stands in every line that has such a word.
_SIGNS = (r"\$(?=[A-Za-z_{(])", "`", r">(?<=[ 12>]>)", "&&", r"\|\|", r";(?=[ \n])")
# Names of sets may be nearly anything, and are, in rulesets that programs write.
_TAKES_A_NAME = ("--match-set", "--set", "--add-set", "--del-set", "--map-set")


class ShellLine(FileCheck, code="IPT016"):
    """The line is shell.

    What: A line begins with iptables, sudo, echo, a variable's assignment or the like; or a rule has a
        variable, a command substitution, `&&`, `||`, a redirection or a word that ends in `;`, unquoted.
    Why: iptables-restore runs no shell.  Such a line is refused, or loads with the characters as they stand:
        `-i $IF` is an interface called $IF.
    Example:
        iptables -A INPUT -i lo -j ACCEPT
    Instead:
        -A INPUT -i lo -j ACCEPT
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        said = set()
        for number in facts.meant.odd_starts:
            line = facts.line(number)
            hit = re.match(_COMMAND, line.raw)
            if hit and not isinstance(line, CommentLine):
                said.add(number)
                yield self._finding(Span(number, *hit.span(1)), hit[1], number in facts.refused)
        for line in facts.lines_with(*_SIGNS):
            if isinstance(line, RuleLine) and line.number not in said:
                yield from self._in_words(facts, line)

    def _in_words(self, facts: Facts, line: RuleLine) -> Iterator[Diagnostic]:
        before = ""
        for start, end in word_spans(line):
            word = line.raw[start:end]
            if (
                '"' not in word
                and before not in _TAKES_A_NAME
                and (re.search(_EXPANDED, word) or re.match(_OPERATOR, word))
            ):
                yield self._finding(Span(line.number, start, end), word, line.number in facts.refused)
                return
            before = word

    def _finding(self, span: Span, word: str, refused: bool) -> Diagnostic:
        return self.found(
            span,
            f"{word} is shell, and no shell reads this file"
            + ("" if refused else ": it is taken as it stands"),
            "write what the shell would make of it",
            severity=Severity.ERROR if refused else Severity.WARNING,
        )
