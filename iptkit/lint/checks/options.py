"""Options: known, complete, in order, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import Fault, SectionCheck, word_of
from iptkit.text.diagnostic import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.text.diagnostic import Diagnostic


class PortWithoutProto(Fault, code="IPT120"):
    """An option needs a protocol that the rule does not name.

    What: Ports, TCP flags, ICMP types, or a match or target that works on one protocol only, in a rule
        without -p of that protocol.  `! -p tcp` does not count, though nf_tables lets --dport through there.
    Why: Where the protocol is another, the bytes at that place are no port.  Refused by iptables or, at
        COMMIT, by the kernel.
    Example:
        -A INPUT --dport 22 -j ACCEPT
    Instead:
        -A INPUT -p tcp --dport 22 -j ACCEPT
    """


class TcpmssWithoutSyn(Fault, code="IPT121"):
    """TCPMSS stands in a rule that takes more than SYN packets.

    What: -j TCPMSS without --syn or --tcp-flags that only packets with SYN pass.
    Why: Only a SYN carries the segment size.  The legacy kernel refuses the rule; nf_tables takes it, and
        changes what can be changed.
    Example:
        -A FORWARD -p tcp -j TCPMSS --clamp-mss-to-pmtu
    Instead:
        -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
    """


class UnknownOption(Fault, code="IPT130"):
    """There is no such option here.

    What: An option that neither iptables nor a match or target named in the rule has, or a word that belongs
        to no option.  Unique abbreviations of long options are known.
    Why: The line is refused.
    Example:
        -A INPUT -p tcp --dprot 22 -j ACCEPT
    Instead:
        -A INPUT -p tcp --dport 22 -j ACCEPT
    """


class UnknownMatch(Fault, code="IPT131"):
    """There is no such match.

    What: -m names none of the matches; case matters.
    Why: The line is refused.
    Example:
        -m TCP
    Instead:
        -m tcp
    """


class MissingArgument(Fault, code="IPT132"):
    """An option has no value.

    What: An option that takes a value is the last word of its line.
    Why: The line is refused.
    Example:
        -A INPUT -j
    Instead:
        -A INPUT -j DROP
    """


class MissingOption(Fault, code="IPT133"):
    """A match or target lacks an option it needs.

    What: `-m mark` without --mark, `-j DNAT` without --to-destination, and the like; or an option without the
        one it belongs to.
    Why: The line is refused.
    Example:
        -A INPUT -m mac -j DROP
    Instead:
        -A INPUT -m mac --mac-source 02:00:00:00:00:01 -j DROP
    """


class OptionOrder(Fault, code="IPT134"):
    """An option stands before what brings it.

    What: --dport before -p tcp, --ctstate before -m conntrack, an option of a target before its -j.
    Why: Words are read from left to right, and an option is known only after its match, protocol or target.
    Example:
        -A INPUT --dport 22 -p tcp -j ACCEPT
    Instead:
        -A INPUT -p tcp --dport 22 -j ACCEPT
    """


class RepeatedOption(Fault, code="IPT135"):
    """An option is given twice.

    What: The same option stands twice in a rule, or twice for one use of a match.
    Why: The line is refused.  A match may be named twice, and each use has its options.
    Example:
        -s 10.0.0.1 -s 10.0.0.2
    Instead:
        -s 10.0.0.1,10.0.0.2
    """


class ExclusiveOption(Fault, code="IPT136"):
    """Two options exclude each other.

    What: Options stand together of which the match or target takes one at a time.
    Why: The line is refused.
    Example:
        -m recent --set --update
    Instead:
        -m recent --update
    """


class OldNegation(Fault, code="IPT137"):
    """The ! stands in the wrong place.

    What: `!` after an option instead of before it, as iptables once had it; or before what cannot be negated.
    Why: The line is refused since iptables 1.4.3.
    Example:
        -s ! 10.0.0.0/8
    Instead:
        ! -s 10.0.0.0/8
    """


class GluedOption(SectionCheck, code="IPT140"):
    """A value is glued to its option.

    What: `-ptcp`, `-s10.0.0.1`, `--jump=DROP`: the value of -p, -s, -d, -j, -i or -o in the same word.
    Why: iptables 1.8.9 takes the whole word for the value.  There is no protocol `-ptcp`, and the line is
        refused; `-ieth0` loads, and means an interface called `-ieth0`.
    Example:
        -A INPUT -ptcp -j ACCEPT
    Instead:
        -A INPUT -p tcp -j ACCEPT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for flag, part, word, at in section.literals:
            # Of the word `-ieth0` the binder says that it stands behind the option, as iptables does.
            if flag in ("-i", "-o") and part.bound.shape.words[at - 1] == word:
                for line, _ in part.lines():
                    yield self.found(
                        word_of(line, at - 1),
                        f'this is an interface called "{word}"',
                        f"a blank after {flag}",
                        severity=Severity.WARNING,
                    )
