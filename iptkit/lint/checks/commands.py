"""Commands: what a line of a section does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import FileCheck, SectionCheck, word_of
from iptkit.syntax.document import CommitLine, RuleLine, TableLine
from iptkit.syntax.parser import words_of
from iptkit.text.diagnostic import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import Facts, SectionFacts
    from iptkit.text.diagnostic import Diagnostic

_DOES = {
    "I": "inserts a rule in front of others",
    "D": "deletes a rule",
    "R": "replaces a rule",
    "N": "makes a chain",
    "P": "sets a policy",
    "F": "deletes all rules of a chain",
    "X": "deletes a chain",
    "Z": "zeroes counters",
    "E": "renames a chain",
    "C": "asks whether a rule is there",
}


class CommandInTable(FileCheck, code="IPT019"):
    """A command other than -A.

    What: -I, -D, -R, -N, -P, -F, -X, -Z, -E or -C in a table section.
    Why: iptables-restore runs it, and the file no longer says what the table will hold: that depends on the
        order of its lines and, with --noflush, on what was loaded before.  iptables-nft-restore 1.8.9
        crashes on -R and on -Z with a rule's number, and refuses -E.
    Example:
        -I INPUT 1 -i lo -j ACCEPT
    Instead:
        -A INPUT -i lo -j ACCEPT
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for line, bound in facts.odd_commands:
            command = bound.command[:1]
            if command not in _DOES or bound.faults or bound.ends or line.number in facts.refused:
                continue
            crashes = command in "RE" or (command == "Z" and bound.position is not None)
            yield self.found(
                word_of(line, bound.where.get("command", -1)),
                f"-{command} {_DOES[command]}"
                + (", which iptables-nft-restore cannot do from a file" if crashes else ""),
                "declare the chain" if command == "N" else "",
                severity=Severity.ERROR if crashes else Severity.WARNING,
                backends=("nft",) if crashes else (),
            )


class BadCommand(FileCheck, code="IPT020"):
    """The line is no complete command.

    What: A line that gives no command or two, no chain, a rule's number that is not there, or deletes a chain
        that is in use.  -L and -S load, and print while the file is loaded.
    Why: The line is refused.
    Example:
        -A
    Instead:
        -A INPUT -j ACCEPT
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for line, bound in facts.odd_commands:
            if bound.command in ("L", "S") and not bound.faults and line.number not in facts.refused:
                yield self.found(
                    word_of(line, bound.where.get("command", -1)),
                    f"-{bound.command} prints rules while the file is loaded",
                    "remove the line",
                    severity=Severity.WARNING,
                )


class NoflushAppend(SectionCheck, code="IPT028"):
    """A section fills built-in chains and declares none.

    What: There is no line such as `:INPUT ...` for any built-in chain, and -A adds to one.  Reported at the
        first such -A; not where -F of the chain or -D of the rule comes before it.
    Why: Loaded plainly, the section empties the table and leaves the policies as they were.  Loaded with
        --noflush, each time adds the rules once more.
    Example:
        *filter
        -A INPUT -p tcp -m tcp --dport 80 -j ACCEPT
        COMMIT
    Instead:
        *filter
        :WEB - [0:0]
        -A WEB -p tcp -m tcp --dport 80 -j ACCEPT
        COMMIT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        if section.declared_builtins:
            return
        appended = {
            rule.line.number
            for chain in section.chains.values()
            if chain.builtin
            for rule in chain.rules
            if rule.bound.command == "A"
        }
        if not appended:
            return
        flushed: set[str] = set()
        deleted: set[tuple[str, ...]] = set()
        for line in self._lines(section):
            words = words_of(line)
            if words[:1] == ["-F"]:
                flushed.update(words[1:2] or section.chains)
            elif words[:1] == ["-D"]:
                deleted.add(tuple(words[1:]))
            elif line.number in appended and words[1] not in flushed and tuple(words[1:]) not in deleted:
                yield self.found(
                    word_of(line, 1),
                    f"this adds to {words[1]}, and the section declares no built-in chain",
                    f"a line such as :{words[1]} ACCEPT [0:0], or a chain of its own",
                )
                return

    def _lines(self, section: SectionFacts) -> Iterator[RuleLine]:
        inside = False
        for line in section.facts.document.lines:
            if line is section.section.line:
                inside = True
            elif inside and isinstance(line, (TableLine, CommitLine)):
                return
            elif inside and isinstance(line, RuleLine):
                yield line


class FamilyPrefix(FileCheck, code="IPT029"):
    """A rule is for one family only.

    What: A rule begins with -4 or -6.
    Why: The tool of the other family skips the line without a word; the rest of the file it loads.
    Example:
        -6 -A INPUT -s fe80::/10 -j ACCEPT
    Instead:
        (a file for each family)
    """

    _PREFIXES = ("-4", "-6", "--ipv4", "--ipv6")

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for line, bound in facts.odd_commands:
            if bound.shape.words[:1] and bound.shape.words[0] in self._PREFIXES:
                mine = words_of(line)[0].endswith(str(facts.family))
                yield self.found(
                    word_of(line, 0),
                    "only the other family's tool skips this line" if mine else "this line is skipped",
                    "keep a file for each family",
                )
