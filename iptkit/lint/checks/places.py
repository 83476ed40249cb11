"""Where targets and matches may stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from iptkit.lint.check import Fault, SectionCheck, word_of
from iptkit.lint.optionvalues import INTERFACES
from iptkit.text.diagnostic import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.ruleset.model import Rule
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

    # In which chains there is no such interface.
    _WITHOUT: ClassVar = {"-i": {"OUTPUT", "POSTROUTING"}, "-o": {"INPUT", "PREROUTING"}}

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        from_builtin = section.calls.nft.from_builtin
        for core in INTERFACES:
            if all(getattr(bound, core.ref) is None for bound in section.heads):
                continue
            without = self._WITHOUT[core.flag]
            never: set[str] = set()
            somewhere: set[str] = set()
            for builtin, chains in from_builtin.items():
                (never if builtin in without else somewhere).update(chains)
            never -= somewhere
            never.difference_update(section.builtins)
            without_it = {section.chains[name] for name in never & section.chains.keys()}
            for bound, head in section.heads.items() if without_it else ():
                if getattr(bound, core.ref) is None or without_it.isdisjoint(head.chains):
                    continue
                inverted = getattr(bound, core.inverted)
                for rule, chain in zip(head.rules, head.chains, strict=True):
                    if chain in without_it:
                        yield self._finding(section, rule, chain.name, core.flag, inverted)

    def _finding(
        self, section: SectionFacts, rule: Rule, chain: str, flag: str, inverted: bool
    ) -> Diagnostic:
        names = " and ".join(section.calls.nft.hooks(chain))
        kind = "input" if flag == "-i" else "output"
        return self.found(
            word_of(rule.line, rule.bound.where[flag[1]]),
            f"{chain} is called from {names} alone, where there is no {kind} interface: "
            f"this is {'always' if inverted else 'never'} true",
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
        for rule, _, word in section.with_target("QUEUE"):
            yield self.found(
                word_of(rule.line, word),
                "nf_tables has no target QUEUE",
                "NFQUEUE --queue-num 0",
                backends=("nft",),
            )
