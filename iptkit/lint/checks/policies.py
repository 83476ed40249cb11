"""What the policies of filter let in, and what they keep out that should come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.lint.asked import (
    ACK,
    DPORT,
    DST,
    ESTABLISHED,
    FLAGS,
    FRAGMENT,
    HOPS,
    ICMP,
    ICMP6,
    IN,
    LOOPBACK,
    NEW,
    NOT_LOOPBACK,
    PROTO,
    RELATED,
    SRC,
    STATE,
    SYN,
    TCP,
    UNTRACKED,
    interface,
)
from iptkit.lint.check import SectionCheck, whole
from iptkit.lint.conditions import is_verdict, names_target
from iptkit.lint.intervals import TooMuch, box_within, difference, one
from iptkit.syntax.document import ChainLine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import SectionFacts
    from iptkit.lint.flow import Flow
    from iptkit.lint.intervals import Box
    from iptkit.ruleset.model import Rule
    from iptkit.text.diagnostic import Diagnostic

_LOCALHOST = {4: 0x7F000001, 6: 1}  # 127.0.0.1, ::1
_LINK_LOCAL = 0xFE80 << 112 | 1  # fe80::1
_PACKET_TOO_BIG, _NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT = 2, 135, 136
_ICMP6_NAMES = {
    _PACKET_TOO_BIG: "packet-too-big",
    _NEIGHBOUR_SOLICITATION: "neighbour-solicitation",
    _NEIGHBOUR_ADVERTISEMENT: "neighbour-advertisement",
}


def policy_of(section: SectionFacts, name: str) -> tuple[str, ChainLine] | None:
    """The policy of a built-in chain of filter and the line that says it; None where no line does."""
    line = section.chain_lines.get(name)
    if section.name != "filter" or not isinstance(line, ChainLine) or line.policy == "-":
        return None
    policy = section.chains[name].policy
    return (policy, line) if policy else None


class _PolicyAccept(SectionCheck):
    of_table = True
    chain = ""

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        found = policy_of(section, self.chain)
        flow = section.flow if found and found[0] == "ACCEPT" else None
        if found and flow is not None and flow.comes_to_policy(self.chain):
            yield self.found(
                whole(found[1]),
                f"what no rule of {self.chain} decides is accepted",
                f":{self.chain} DROP [0:0], and rules for what is to be accepted",
            )


class InputPolicyAccept(_PolicyAccept, code="IPT301"):
    """INPUT accepts what no rule decides.

    What: The filter table declares INPUT with policy ACCEPT, and some packet can reach the policy.
    Why: What was not thought of gets in.
    Example:
        :INPUT ACCEPT [0:0]
        -A INPUT -p tcp --dport 23 -j DROP
    Instead:
        :INPUT DROP [0:0]
    """

    chain = "INPUT"


class ForwardPolicyAccept(_PolicyAccept, code="IPT302"):
    """FORWARD accepts what no rule decides.

    What: The filter table declares FORWARD with policy ACCEPT, and some packet can reach the policy.
    Why: As soon as the machine forwards at all, it forwards everything that was not thought of.
    Example:
        :FORWARD ACCEPT [0:0]
    Instead:
        :FORWARD DROP [0:0]
    """

    chain = "FORWARD"


class _NotAccepted(SectionCheck):
    """A check of something that INPUT, where it refuses by default, should accept."""

    of_table = True
    message = ""
    rule = ""

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        found = policy_of(section, "INPUT")
        flow = section.flow if found else None
        if not found or flow is None or flow.is_long("INPUT"):
            return
        if found[0] == "ACCEPT" and flow.comes_to_policy("INPUT"):
            return
        try:
            packets = self.packets(section, flow)
        except TooMuch:
            return
        if packets is not None and not flow.is_accepted("INPUT", packets):
            yield self.found(whole(found[1]), self.message, self.rule)

    def packets(self, section: SectionFacts, flow: Flow) -> Box | None:
        """What should be accepted, some of it at least."""
        raise TypeError(f"{type(self).__name__} names no packets")  # pragma: no cover


class NoLoopbackAccept(_NotAccepted, code="IPT303"):
    """Nothing gets through to the machine's own services.

    What: INPUT refuses by default, and no new TCP connection over lo from 127.0.0.1 (::1) to itself is
        accepted, but perhaps to ports that a rule names.
    Why: Programs on the machine talk to each other over lo.
    Example:
        :INPUT DROP [0:0]
        -A INPUT -p tcp --dport 22 -j ACCEPT
    Instead:
        -A INPUT -i lo -j ACCEPT
    """

    message = "connections of the machine to itself, over lo, are refused"
    rule = "-A INPUT -i lo -j ACCEPT"

    def packets(self, section: SectionFacts, flow: Flow) -> Box | None:
        ports = difference(flow.asked.domain(DPORT), flow.named_ports("INPUT"))
        localhost = one(_LOCALHOST[section.facts.family])
        new: Box = {PROTO: one(TCP), FLAGS: one(SYN), STATE: one(NEW), FRAGMENT: one(0)}
        return {IN: LOOPBACK, SRC: localhost, DST: localhost, DPORT: ports, **new} if ports else None


class NoEstablishedAccept(_NotAccepted, code="IPT304"):
    """Answers to what the machine asks for are refused.

    What: INPUT refuses by default, and no TCP packet of an established connection is accepted that comes from
        outside, but perhaps to ports that a rule names.
    Why: The machine can send, and hears nothing back.
    Example:
        :INPUT DROP [0:0]
        -A INPUT -i lo -j ACCEPT
    Instead:
        -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    """

    message = "replies to connections of the machine are refused"
    rule = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"

    def packets(self, section: SectionFacts, flow: Flow) -> Box | None:
        ports = difference(flow.asked.domain(DPORT), flow.named_ports("INPUT"))
        reply: Box = {PROTO: one(TCP), FLAGS: one(ACK), STATE: one(ESTABLISHED), FRAGMENT: one(0)}
        return {IN: NOT_LOOPBACK, DPORT: ports, **reply} if ports else None


class Icmpv6EssentialBlocked(SectionCheck, code="IPT312"):
    """ICMPv6 that IPv6 does not work without is refused.

    What: INPUT refuses, whatever the interface, one of neighbour solicitation, neighbour advertisement (from
        fe80::1, hop limit 255, state UNTRACKED) and packet too big (state RELATED).
    Why: Without the first two nobody on the link finds the machine, or it them; without the third large
        packets vanish.
    Example:
        :INPUT DROP [0:0]
        -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    Instead:
        -A INPUT -p ipv6-icmp -j ACCEPT
    """

    of_table = True

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        if section.facts.family != 6 or section.name != "filter":
            return
        flow = section.flow
        if flow is None or flow.is_large or flow.is_long("INPUT"):
            return
        blocked: dict[int, tuple[ChainLine | Rule, list[str]]] = {}
        for kind, name in _ICMP6_NAMES.items():
            packets = self._packets(kind)
            refuser = self._refuser(section, flow, packets)
            if refuser is not None:
                number = refuser.number if isinstance(refuser, ChainLine) else refuser.line.number
                blocked.setdefault(number, (refuser, []))[1].append(name)
        for refuser, names in blocked.values():
            yield self.found(
                whole(refuser if isinstance(refuser, ChainLine) else refuser.line),
                f"this refuses ICMPv6 {', '.join(names)}, which IPv6 needs",
                "-A INPUT -p ipv6-icmp -j ACCEPT before it",
            )

    def _packets(self, kind: int) -> Box:
        packets: Box = {
            IN: NOT_LOOPBACK,
            PROTO: one(ICMP6),
            ICMP: one(kind << 8),
            FRAGMENT: one(0),
            STATE: one(RELATED),
        }
        if kind != _PACKET_TOO_BIG:
            packets.update({STATE: one(UNTRACKED), HOPS: one(255), SRC: one(_LINK_LOCAL)})
        return packets

    def _refuser(self, section: SectionFacts, flow: Flow, packets: Box) -> ChainLine | Rule | None:
        """The rule or the policy that refuses all of these packets; None where some may be accepted."""
        if flow.is_accepted("INPUT", packets):
            return None
        policy = policy_of(section, "INPUT")
        to_policy = flow.comes_to_policy("INPUT", packets)
        if to_policy and (policy is None or policy[0] == "ACCEPT"):
            return None
        # Of rules for one interface or network and what refuses the rest, it is the rest that matters.
        usual = {**packets, IN: interface("iptkit-any0")}
        last: Rule | None = None
        try:
            for name, item in flow.walked("INPUT"):
                refuses = is_verdict(item.target) and names_target(item.target) != "ACCEPT"
                if refuses and not item.changing and flow.is_live(name, item, usual):
                    last = item.rule
                    if any(box_within(usual, box) for box in item.region):
                        return last
        except TooMuch:
            return None
        return policy[1] if to_policy and policy is not None else last
