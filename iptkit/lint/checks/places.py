"""Where targets and matches may stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from iptkit.extensions.core import Verdict
from iptkit.lint.check import Fault, SectionCheck, word_of
from iptkit.text.diagnostic import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.text.diagnostic import Diagnostic


class TargetWrongTable(Fault, code="IPT110"):
    """The target may not stand in this table.

    What: The table never takes the target, whatever the chain.
    Why: The kernel refuses the table, at COMMIT and without naming the rule, even where nothing calls the
        chain.  --test does not see it.
    Example:
        *mangle
        -A PREROUTING -j REJECT
    Instead:
        *filter
        -A FORWARD -j REJECT
    """


class TargetWrongHook(Fault, code="IPT111"):
    """The target may not stand in this chain.

    What: The table takes the target, but not in a built-in chain from which the rule's chain is reached, by
        -j or -g, directly or through other chains.
    Why: The kernel refuses the table.  The legacy kernel does not look behind an unconditional verdict and
        nf_tables does; for some targets nf_tables does not look into user chains.
    Example:
        *nat
        :FW - [0:0]
        -A POSTROUTING -j FW
        -A FW -p tcp -j DNAT --to-destination 10.0.0.2
    Instead:
        *nat
        :FW - [0:0]
        -A PREROUTING -j FW
        -A FW -p tcp -j DNAT --to-destination 10.0.0.2
    """


class MatchWrongHook(Fault, code="IPT112"):
    """The match may not stand in this chain.

    What: A match that is bound to hooks or tables stands where one of them cannot be: owner in INPUT, mac in
        OUTPUT, rpfilter outside PREROUTING, and so on.
    Why: The kernel refuses the table.
    Example:
        -A INPUT -m owner --uid-owner 0 -j ACCEPT
    Instead:
        -A OUTPUT -m owner --uid-owner 0 -j ACCEPT
    """


class InterfaceDirection(SectionCheck, code="IPT113"):
    """There is no such interface in this chain.

    What: -o in INPUT or PREROUTING, or -i in OUTPUT or POSTROUTING; or the same in a user chain that only
        such chains lead to.
    Why: In a built-in chain the tools refuse it.  In a user chain it loads, and the condition is never true;
        negated, always.
    Example:
        -A INPUT -o eth0 -j ACCEPT
    Instead:
        -A INPUT -i eth0 -j ACCEPT
    """

    _WITHOUT: ClassVar = {
        "-i": frozenset(("OUTPUT", "POSTROUTING")),
        "-o": frozenset(("INPUT", "PREROUTING")),
    }

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for shape in section.shapes.values():
            bound = shape.bound
            if not bound.hooked:
                continue
            hooks = section.calls.hooks
            for flag, given, inverted in (
                ("-i", bound.in_interface, bound.in_inverted),
                ("-o", bound.out_interface, bound.out_inverted),
            ):
                if given is None:
                    continue
                without = self._WITHOUT[flag]
                for rule, chain in zip(shape.rules, shape.chains, strict=True):
                    leading = hooks.get(chain.name)
                    if chain.builtin or not leading or not leading <= without:
                        continue
                    names = " and ".join(name for name in section.chains if name in leading)
                    yield self.found(
                        word_of(rule.line, bound.where[flag[1]]),
                        f"{chain.name} is called from {names} alone, where there is no "
                        + ("input" if flag == "-i" else "output")
                        + f" interface: this is {'always' if inverted else 'never'} true",
                        severity=Severity.WARNING,
                    )


class DropInNat(Fault, code="IPT114"):
    """A rule of the nat table drops.

    What: -j DROP in any chain of nat.
    Why: Both tools refuse it by name.  The nat chains see only the first packet of a connection, so filtering
        there is never what is wanted.
    Example:
        *nat
        -A PREROUTING -p udp -j DROP
    Instead:
        *raw
        -A PREROUTING -p udp -j DROP
    """


class TargetNotInNft(SectionCheck, code="IPT115"):
    """nf_tables does not have this target.

    What: -j QUEUE, which hands packets to a program.
    Why: iptables-nft refuses it.  NFQUEUE does the same with both.
    Example:
        -A INPUT -j QUEUE
    Instead:
        -A INPUT -j NFQUEUE --queue-num 0
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        for shape in section.shapes.values():
            jump = shape.bound.jump
            if not isinstance(jump, int) or "QUEUE" not in shape.bound.memos[jump]:
                continue
            for line, rule in zip(shape.lines(), shape.rules, strict=False):
                target = rule.values[jump]
                if isinstance(target, Verdict) and target.name == "QUEUE":
                    yield self.found(
                        word_of(line, shape.bound.shape.holes[jump]),
                        "nf_tables has no target QUEUE",
                        "NFQUEUE --queue-num 0",
                        backends=("nft",),
                    )
