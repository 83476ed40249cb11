"""What was once, and what took its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import Note, SectionCheck, UseCheck, ValueCheck, word_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts, UseFacts
    from iptkit.lint.optionvalues import OptionValue
    from iptkit.text.diagnostic import Diagnostic


class StateMatch(UseCheck, code="IPT501"):
    """-m state is the old form of -m conntrack.

    What: A rule uses -m state.
    Why: -m conntrack --ctstate does the same and more.  The kernel has had no other for many years.
    Example:
        -m state --state NEW
    Instead:
        -m conntrack --ctstate NEW
    """

    extensions = ("state",)

    def look(self, use: UseFacts) -> Iterator[Note]:
        yield Note("-m state is the old form of -m conntrack", "-m conntrack --ctstate")


class _OldTarget(SectionCheck):
    """A target by its name, with or without options."""

    target = ""
    message = ""
    hint = ""

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for rule, _, word in section.with_target(self.target):
            yield self.found(word_of(rule.line, word), self.message, self.hint)


class Ulog(_OldTarget, code="IPT502"):
    """The target ULOG is gone.

    What: A rule with -j ULOG.
    Why: It was taken out of Linux 3.17, and every kernel since refuses it.
    Example:
        -j ULOG --ulog-nlgroup 1
    Instead:
        -j NFLOG --nflog-group 1
    """

    target = "ULOG"
    message = "no kernel since Linux 3.17 has ULOG"
    hint = "NFLOG"


class ClusterIp(_OldTarget, code="IPT503"):
    """The target CLUSTERIP is gone.

    What: A rule with -j CLUSTERIP.
    Why: It was taken out of current kernels.
    Example:
        -j CLUSTERIP --new ...
    Instead:
        -m cluster
    """

    target = "CLUSTERIP"
    message = "current kernels have no CLUSTERIP"
    hint = "-m cluster"


class NotrackTarget(_OldTarget, code="IPT504"):
    """-j NOTRACK is the old form of -j CT --notrack.

    What: A rule with -j NOTRACK.
    Why: It is kept as CT --notrack, and saved so.
    Example:
        -j NOTRACK
    Instead:
        -j CT --notrack
    """

    target = "NOTRACK"
    message = "-j NOTRACK is the old form of -j CT --notrack"
    hint = "-j CT --notrack"


class SourceQuench(ValueCheck, code="IPT505"):
    """ICMP source quench is obsolete.

    What: ICMP type 4, by name or number.
    Why: RFC 6633 withdrew it in 2012: hosts must not send it, and ignore it.
    Example:
        --icmp-type source-quench
    Instead:
        (remove the rule)
    """

    options = ("--icmp-type",)

    def look(self, value: OptionValue) -> Iterator[Note]:
        if isinstance(value.value, tuple) and value.value[:1] == (4,):
            yield Note("nobody sends source quench any more (RFC 6633)", "remove the rule")
