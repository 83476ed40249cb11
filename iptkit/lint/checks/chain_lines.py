"""The lines that declare chains: `:NAME POLICY [packets:bytes]`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iptkit.extensions.core import BUILTIN_CHAINS
from iptkit.extensions.registry import TARGETS
from iptkit.lint.check import Fault, FileCheck, SectionCheck, whole, word_of
from iptkit.syntax.document import ChainLine, RuleLine, TableLine
from iptkit.text.diagnostic import Severity, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import Facts, SectionFacts
    from iptkit.syntax.document import Line
    from iptkit.text.diagnostic import Diagnostic

_COUNTERS = r"\[[0-9]+:[0-9]+\]\Z"
_LARGEST = 2**64 - 1


def name_span(line: Line) -> Span:
    """The name in a chain line, or in -N NAME."""
    if isinstance(line, ChainLine):
        start = line.raw.find(line.name or "", 1)
        return Span(line.number, start, start + len(line.name or ""))
    return word_of(line, 1)


class DuplicateChain(FileCheck, code="IPT024"):
    """A chain is declared twice in one section.

    What: A second line `:NAME ...` or -N NAME for a chain that the section has declared already.
    Why: For a user chain the legacy tool refuses the file; nf_tables takes it, and with --noflush the second
        line empties the chain.  Of a built-in chain's two policies the later counts.
    Example:
        :WEB - [0:0]
        :WEB - [0:0]
    Instead:
        :WEB - [0:0]
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        declared = sum(
            sum([line.__class__ is ChainLine for line in section.chain_lines.values()])
            for section in facts.sections
        )
        if sum([line.__class__ is ChainLine for line in facts.other_lines]) == declared:
            return
        seen: dict[str, ChainLine] = {}
        table = ""
        for line in facts.other_lines:
            if isinstance(line, TableLine):
                seen = {}
                table = line.name
            elif isinstance(line, ChainLine) and line.name is not None and line.number not in facts.refused:
                before = seen.setdefault(line.name, line)
                if before is not line:
                    builtin = line.name in BUILTIN_CHAINS.get(table, ())
                    yield self.found(
                        name_span(line),
                        f"{line.name} is declared twice, and "
                        + ("this policy counts" if builtin else "what was added to it before is gone"),
                        severity=Severity.WARNING,
                        related=((name_span(before), "the first is here"),),
                    )


class BadPolicy(Fault, code="IPT025"):
    """A chain line has no policy, or none there is.

    What: The word after the name is missing, or for a built-in chain none of ACCEPT, DROP and `-`.
    Why: The file is refused.  A policy cannot be REJECT or RETURN; `-` leaves it as it is.
    Example:
        :INPUT REJECT [0:0]
    Instead:
        :INPUT DROP [0:0]
    """


class PolicyOnUserChain(Fault, code="IPT026"):
    """A user chain is given a policy.

    What: The line of a chain that is not built into this table has a policy other than `-`.
    Why: Only built-in chains have policies.  The legacy tool refuses the file, nf_tables ignores the word.
    Example:
        :WEB DROP [0:0]
    Instead:
        :WEB - [0:0]
    """


class BadCounter(FileCheck, code="IPT027"):
    """Counters are not `[packets:bytes]`.

    What: What stands where counters belong is not two decimal numbers of up to 64 bits in brackets.
    Why: Without -c nobody looks at most of it and the file loads; with -c a chain line's counters are
        refused.  Before a rule a missing bracket or colon is refused always.
    Example:
        :INPUT ACCEPT [a:b]
    Instead:
        :INPUT ACCEPT [0:0]
    """

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        refused = facts.refused
        # Those before a plain rule are good.
        for line in (*facts.other_lines, *facts.document.odd):
            if line.__class__ is ChainLine:
                text = line.counters
                if text is None or text == "[0:0]" or line.number in refused:
                    continue
                if not re.match(_COUNTERS, text):
                    if not text.startswith("#"):
                        start = line.raw.rfind(text)
                        yield self._finding(
                            Span(line.number, start, start + len(text)), "these are no counters"
                        )
                elif not _fits(*text[1:-1].split(":")):
                    start = line.raw.rfind(text)
                    yield self._finding(
                        Span(line.number, start, start + len(text)), "a counter has 64 bits at most"
                    )
            elif line.__class__ is RuleLine and line.counters is not None:
                given = line.counters
                packets, octets = given.packets, given.octets
                if packets.isdecimal() and octets.isdecimal() and len(packets) < 20 and len(octets) < 20:
                    continue
                if line.number not in refused and not (
                    packets.isdecimal() and octets.isdecimal() and _fits(packets, octets)
                ):
                    yield self._finding(
                        Span(line.number, given.start, given.end), "these are no counters of 64 bits"
                    )

    def _finding(self, span: Span, message: str) -> Diagnostic:
        return self.found(span, message, "[packets:bytes]", severity=Severity.WARNING)


def _fits(packets: str, octets: str) -> bool:
    # int() takes no more than 4300 digits.
    return all(
        len(n) <= 40 and int(n) <= _LARGEST for n in (packets.lstrip("0") or "0", octets.lstrip("0") or "0")
    )


class ChainName(SectionCheck, code="IPT106"):
    """A chain cannot have this name.

    What: The name has more than 28 bytes, a blank in it, or begins with `-` or `!`.
    Why: Both tools refuse more than 28 bytes.  A name in a chain line that begins with `-` or `!` is refused
        by nf_tables alone.
    Example:
        :this-name-is-longer-than-28-bytes - [0:0]
    Instead:
        :shorter-name - [0:0]
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for name, line in section.chain_lines.items():
            if name[:1] in ("-", "!"):
                yield self.found(
                    name_span(line),
                    f"the name of a chain may not begin with {name[0]}",
                    "begin it with a letter",
                    backends=("nft",),
                )


class ChainHidesTarget(SectionCheck, code="IPT107"):
    """A chain has the name of a target.

    What: A user chain is called like a target: ACCEPT, DROP, QUEUE and RETURN are refused; LOG, REJECT and
        the like load.
    Why: From the line on, `-j LOG` in this table is a jump to the chain, and the target cannot be had.
    Example:
        :LOG - [0:0]
        -A INPUT -j LOG
    Instead:
        :LOGIT - [0:0]
        -A INPUT -j LOGIT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for name in section.chain_lines.keys() & TARGETS.keys():
            yield self.found(
                name_span(section.chain_lines[name]),
                f"this chain hides the target {name}: -j {name} is now a jump",
                "another name",
                severity=Severity.WARNING,
            )


class NatPolicyDrop(SectionCheck, code="IPT217"):
    """A chain of the nat table drops by policy.

    What: A built-in chain of nat is declared with policy DROP.
    Why: The nat chains see the first packet of each connection.  One that no rule handles is dropped there,
        where nobody looks for a filter.
    Example:
        *nat
        :PREROUTING DROP [0:0]
    Instead:
        *nat
        :PREROUTING ACCEPT [0:0]
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        if section.name == "nat":
            for name in section.declared_builtins:
                line = section.chain_lines[name]
                if section.chains[name].policy == "DROP":
                    start = line.raw.find("DROP", len(name) + 1)
                    yield self.found(
                        Span(line.number, start, start + 4),
                        f"{name} of nat drops connections that no rule handles",
                        "ACCEPT here, and drop in filter",
                    )


class UndeclaredPolicy(SectionCheck, code="IPT224"):
    """Some policies of filter are not said.

    What: A section of filter declares one or two of INPUT, FORWARD and OUTPUT, not all three.
    Why: The policy of the others stays what it was before, whatever that is.
    Example:
        *filter
        :INPUT DROP [0:0]
        COMMIT
    Instead:
        *filter
        :INPUT DROP [0:0]
        :FORWARD DROP [0:0]
        :OUTPUT ACCEPT [0:0]
        COMMIT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        if section.name != "filter" or not section.declared_builtins:
            return
        missing = [name for name in BUILTIN_CHAINS["filter"] if name not in section.declared_builtins]
        if missing:
            yield self.found(
                whole(section.section.line),
                f"the policy of {' and '.join(missing)} is not said, and stays what it was",
                f"a line such as :{missing[0]} DROP [0:0]",
            )
