"""What was once, and what took its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.check import Note, SectionCheck, ShapeCheck, WordCheck, word_of
from iptkit.lint.facts import names_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import OptionValue, SectionFacts, ShapeFacts
    from iptkit.text.diagnostic import Diagnostic


class StateMatch(ShapeCheck, code="IPT501"):
    """-m state is the old form of -m conntrack.

    What: A rule uses -m state.
    Why: -m conntrack --ctstate does the same and more.  The kernel has had no other for many years.
    Example:
        -m state --state NEW
    Instead:
        -m conntrack --ctstate NEW
    """

    def look(self, shape: ShapeFacts) -> Iterator[Note]:
        for placed in shape.bound.matches:
            if placed.segment.cls.name == "state":
                yield Note("-m state is the old form of -m conntrack", placed.word, "-m conntrack --ctstate")
                return


class _OldTarget(SectionCheck):
    """A target by its name, with or without options."""

    target = ""
    message = ""
    hint = ""

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for shape in section.shapes.values():
            bound = shape.bound
            at = bound.where.get("j", -2) + 1
            if bound.target is not None:
                if bound.target.segment.cls.name == self.target:
                    for line in shape.lines():
                        yield self.found(word_of(line, at), self.message, self.hint)
            elif isinstance(bound.jump, int) and self.target in bound.memos[bound.jump]:
                for rule in shape.rules:
                    target = rule.values[bound.jump]
                    if names_target(target) == self.target:
                        yield self.found(word_of(rule.line, at), self.message, self.hint)


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


class SourceQuench(WordCheck, code="IPT505"):
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
            yield Note("nobody sends source quench any more (RFC 6633)", 0, "remove the rule")
