"""Rules as iptables-save would write them, and counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import FileCheck, SectionCheck, whole
from iptkit.lint.savedform import SavedForms
from iptkit.syntax.document import ChainLine, RuleLine
from iptkit.text.diagnostic import Edit, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import Facts, SectionFacts
    from iptkit.text.diagnostic import Diagnostic


class NonCanonical(SectionCheck, code="IPT601"):
    """iptables-save would write this rule in another way.

    What: A rule that loads, and is saved in other words: options in another order, services by number, masks,
        matches that come by themselves, quotes that are not needed.  Counters do not count.
    Why: Only a file as iptables-save writes it can be compared with what is loaded, line by line.
    Example:
        -A INPUT --dport 22 -p tcp -j ACCEPT
    Instead:
        -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        forms = SavedForms(section)
        for line, rules in forms.unlike():
            saved = "\n".join(forms.line(rule) for rule in rules)
            start = line.counters.end if line.counters is not None else 0
            start += len(line.raw[start:]) - len(line.raw[start:].lstrip(" \t"))
            if len(rules) == 1:
                message, hint = "iptables-save writes this rule in another way", saved
            else:
                message, hint = f"iptables-save makes {len(rules)} rules of this one", ""
            fix = (Edit(Span(line.number, start, len(line.raw)), saved, True),)
            yield self.found(whole(line), message, hint, fix=fix)


class CountersInVcs(FileCheck, code="IPT602"):
    """The file has counters in it.

    What: A chain line or rule has counters that are not zero.  Reported once, at the first.
    Why: They change with every packet.  A file that is kept under version control then differs with every
        save.
    Example:
        :INPUT DROP [4711:815162]
    Instead:
        :INPUT DROP [0:0]
    """

    once = True

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for line in facts.document.lines:
            if line.__class__ is ChainLine:
                text = line.counters
                if text and text != "[0:0]" and text.strip("[]:0123456789") == "" and text.strip("[]:0"):
                    start = line.raw.rfind(text)
                    yield self._finding(Span(line.number, start, start + len(text)))
                    return
            elif line.__class__ is RuleLine:
                given = line.counters
                if given is not None and (given.packets.strip("0") or given.octets.strip("0")):
                    yield self._finding(Span(line.number, given.start, given.end))
                    return

    def _finding(self, span: Span) -> Diagnostic:
        return self.found(span, "counters change with every packet", "save without -c")
