"""What is open to everyone: ACCEPT rules that say too little about who may come in."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

from iptkit.extensions.core import NETWORKS
from iptkit.lint.asked import (
    DPORT,
    FLAGS,
    FRAGMENT,
    HOPS,
    ICMP,
    ICMP4,
    ICMP6,
    IN,
    NEW,
    NO_INTERFACE,
    NOT_LOOPBACK,
    OUT,
    PROTO,
    RELATED,
    SOME_INTERFACE,
    SRC,
    STATE,
    SYN,
    TCP,
    UDP,
    network,
)
from iptkit.lint.check import FileCheck, SectionCheck, whole
from iptkit.lint.conditions import (
    NEW as NEW_BIT,
)
from iptkit.lint.conditions import (
    STATE_FLAGS,
    STATE_MATCHES,
    is_accept,
    is_unconditional,
    may_say_nothing,
    names_target,
)
from iptkit.lint.intervals import difference, is_within, one, union
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from iptkit.extensions.spec import Extension
    from iptkit.lint.facts import Facts, PartFacts, SectionFacts
    from iptkit.lint.flow import Flow
    from iptkit.lint.intervals import Box, Span
    from iptkit.ruleset.bound import Bound
    from iptkit.ruleset.model import Chain, Rule
    from iptkit.text.diagnostic import Diagnostic

_DESTINATION = ("--dport", "--dports", "--ports")
_SOURCE = ("--sport", "--sports")
# Matches about protocol, ports, flags and rate: they keep nobody out for where he comes from.
_OPEN_MATCHES = frozenset(("comment", "tcp", "udp", "multiport", "limit", "hashlimit", "connlimit"))
_MAY_BE_OPEN = _OPEN_MATCHES | set(STATE_MATCHES)
_WIDE = 1000  # ports
_MOST_TRIED = 200  # rules of a large section, until one is found
_INPUT: Box = {IN: SOME_INTERFACE, OUT: NO_INTERFACE}
_ARRIVING = _INPUT  # in PREROUTING
_INCOMING: Box = {IN: SOME_INTERFACE}
_INPUT_AND_FORWARD = ("INPUT", "FORWARD")
_FRAGMENTATION_NEEDED = 3 << 8 | 4
_REDIRECT = {4: 5, 6: 137}


# -- who may come


def names_source(rule: Rule) -> bool:
    """Has a rule a condition on the source address or the input interface?"""
    given = rule.conditions
    return (
        (given.source is not None and (given.source != (0, 0) or given.source_inverted))
        or given.in_interface not in ("", "+")
        or (given.in_interface == "+" and given.in_inverted)
    )


def is_open(rule: Rule, *, also: tuple[str, ...] = ()) -> bool:
    """Does a rule leave open who may come?

    It has no source, no interface, and no match but on ports, flags, state NEW and rate, or `also` some.
    """
    if names_source(rule) or rule.bound.opaque:
        return False
    for use in rule.matches:
        if use.name in STATE_MATCHES:
            if not also and not _asks_new(use):
                return False
        elif use.name not in _OPEN_MATCHES and use.name not in also:
            return False
    return True


def _asks_new(use: Extension) -> bool:
    """Is a use of conntrack about the state alone, with NEW in it?"""
    for option, value in zip(use.options, use.values, strict=True):
        if value is not None:
            inverted = bool(use.inverted >> option.index & 1)
            if option.flag not in STATE_FLAGS or bool(value & NEW_BIT) == inverted:
                return False
    return True


def open_chains(
    section: SectionFacts, flow: Flow, builtins: tuple[str, ...], is_open: Callable[[Rule], bool]
) -> set[str]:
    """The chains that built-in chains lead to by such jumps alone, and these themselves."""
    seen = {name for name in builtins if name in section.chains}
    pending = list(seen)
    while pending:
        caller = pending.pop()
        for to, rule in section.calls.of(caller):
            if (
                to not in seen
                and rule.line.number not in section.dead
                and is_open(rule)
                and flow.may_match(section.chains[caller], rule, {})
            ):
                seen.add(to)
                pending.append(to)
    return seen


def using(
    section: SectionFacts,
    chains: Container[str],
    parts: Iterable[PartFacts],
    heads: Callable[[SectionFacts, Bound], bool] | None = None,
    *,
    accepting: bool = False,
) -> Iterator[Used]:
    """The rules of some parts in some chains, each line once, in their order.

    `heads` is asked about the parts of their shapes that have addresses and
    interfaces.  With `accepting` rules that surely do not accept are left out.
    """
    found: dict[int, Used] = {}
    known: dict[Bound, bool] = {}
    refused = section.refused
    for part in parts:
        rows = section.accepting(part) if accepting else zip(part.rules, part.chains, strict=True)
        for rule, chain in rows:
            if chain.name not in chains:
                continue
            if heads is not None:
                head = rule.bound.earlier or rule.bound
                may_be = known.get(head)
                if may_be is None:
                    may_be = known[head] = heads(section, head)
                if not may_be:
                    continue
            number = rule.line.number
            if number not in found and number not in refused:
                found[number] = Used(rule, chain)
    for number in sorted(found):
        yield found[number]


def _below(section: SectionFacts, *builtins: str) -> Container[str]:
    """The chains that built-in chains lead to, and these themselves."""
    graph = section.calls.nft
    return graph.below(tuple([name for name in builtins if name in graph.from_builtin]))


def _may_lack_source(section: SectionFacts, bound: Bound) -> bool:
    """May rules of a shape be without source and input interface?"""
    return (bound.source is None or section.facts.any_network) and (
        bound.in_interface is None or section.facts.any_interface
    )


def _may_lack_sender(section: SectionFacts, bound: Bound) -> bool:
    """May rules of a shape be without source?"""
    return bound.source is None or section.facts.any_network


def _may_lack_destination(section: SectionFacts, bound: Bound) -> bool:
    """May rules of a shape be without destination and input interface?"""
    return (bound.destination is None or section.facts.any_network) and (
        bound.in_interface is None or section.facts.any_interface
    )


class Used(NamedTuple):
    """A rule, and the chain it stands in."""

    rule: Rule
    chain: Chain


# -- ports


def _naming_ports(section: SectionFacts) -> list[Used]:
    """The rules that INPUT leads to and that accept what goes to ports they name, wherever it comes from."""
    parts = [part for part in section.parts_with(*_DESTINATION) if _may_be_open(part.bound)]
    found = using(section, _below(section, "INPUT"), parts, _may_lack_source, accepting=True)
    return [used for used in found if not names_source(used.rule)]


def _may_be_open(bound: Bound) -> bool:
    return (
        not bound.protocol_inverted
        and not bound.opaque
        and all(placed.segment.cls.name in _MAY_BE_OPEN for placed in bound.matches)
    )


class _PortOpen(SectionCheck):
    """A check of ACCEPT rules that take new connections from anywhere."""

    protocols: tuple[tuple[int, frozenset[int]], ...] = ()

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        flow = None
        reached: set[str] | None = None
        if section.name != "filter":
            return
        for rule, chain in section.kept(_naming_ports):
            if not any(rule.bound.protocol == protocol for protocol, _ in self.protocols):
                continue
            flow = flow or section.flow
            if flow is None:
                return
            if reached is None:
                reached = open_chains(section, flow, ("INPUT",), is_open)
            if chain.name not in reached or not is_open(rule):
                continue
            found = self._open(section, flow, rule, chain)
            if found:
                yield self.found(whole(rule.line), self.says(found), "-s, -i or a set")

    def _open(self, section: SectionFacts, flow: Flow, rule: Rule, chain: Chain) -> str:
        for protocol, ports in self.protocols:
            if rule.bound.protocol == protocol:
                named = self._named(flow, rule, ports)
                if named and rule.line.number not in section.dead:
                    new: Box = {**_INPUT, PROTO: one(protocol), STATE: one(NEW), FRAGMENT: one(0)}
                    new[FLAGS] = one(SYN)
                    live = [span for span in named if flow.may_match(chain, rule, {**new, DPORT: span})]
                    if live:
                        return ", ".join(_show(span) for span in live)
        return ""

    def _named(self, flow: Flow, rule: Rule, ports: frozenset[int]) -> list[Span]:
        """Those of the ports that a rule names."""
        spans = [span for negated, span in flow.asked.named_ports(rule, _DESTINATION) if not negated]
        if not spans:
            return []
        named = union(spans)
        return [one(port) for port in sorted(ports) if is_within(one(port), named)]

    def says(self, ports: str) -> str:
        return f"anyone may connect to port {ports}"


def _show(span: Span) -> str:
    return ",".join(str(low) if low == high else f"{low}:{high}" for low, high in span)


class AdminPortOpen(_PortOpen, code="IPT306"):
    """Administration is open to everyone.

    What: INPUT, or a chain it leads to, accepts new TCP connections from any source to one of the ports 22,
        23, 2375, 2376, 3389, 5900, 5985, 5986, 8006, 10000, and names it.  Limits of rate do not count.
    Why: These are tried all day long by everybody.
    Example:
        -A INPUT -p tcp --dport 22 -j ACCEPT
    Instead:
        -A INPUT -s 10.0.0.0/8 -p tcp --dport 22 -j ACCEPT
    """

    protocols = ((TCP, frozenset((22, 23, 2375, 2376, 3389, 5900, 5985, 5986, 8006, 10000))),)


class DatastorePortOpen(_PortOpen, code="IPT307"):
    """A database is open to everyone.

    What: As admin-port-open, for the ports 1433, 1521, 2379, 3306, 5432, 5984, 6379, 9042, 9200, 11211 and
        27017; 11211 with UDP too.
    Why: Many databases ask for no password, and all hold what others want.
    Example:
        -A INPUT -p tcp --dport 6379 -j ACCEPT
    Instead:
        -A INPUT -s 10.0.5.0/24 -p tcp --dport 6379 -j ACCEPT
    """

    protocols = (
        (TCP, frozenset((1433, 1521, 2379, 3306, 5432, 5984, 6379, 9042, 9200, 11211, 27017))),
        (UDP, frozenset((11211,))),
    )


class AmplifierPortOpen(_PortOpen, code="IPT316"):
    """A service that answers with more than it is asked is open to everyone.

    What: As admin-port-open, for the UDP ports 17, 19, 69, 111, 137, 161, 389, 1900 and 3702.
    Why: The sender of a UDP packet can be forged, and the answers then flood somebody else.
    Example:
        -A INPUT -p udp --dport 1900 -j ACCEPT
    Instead:
        -A INPUT -i br-lan -p udp --dport 1900 -j ACCEPT
    """

    protocols = ((UDP, frozenset((17, 19, 69, 111, 137, 161, 389, 1900, 3702))),)

    def says(self, ports: str) -> str:
        return f"anyone may send to UDP port {ports}, which answers with more than it gets"


class WidePortRange(_PortOpen, code="IPT318"):
    """A wide range of ports is open to everyone.

    What: As admin-port-open, for a range of more than 1000 TCP ports.
    Why: Whatever is started there later is open as well.
    Example:
        -A INPUT -p tcp --dport 1024:65535 -j ACCEPT
    Instead:
        (name the ports)
    """

    protocols = ((TCP, frozenset()),)

    def _named(self, flow: Flow, rule: Rule, ports: frozenset[int]) -> list[Span]:
        spans = [span for negated, span in flow.asked.named_ports(rule, _DESTINATION) if not negated]
        return [((low, high),) for span in spans for low, high in span if high - low >= _WIDE]

    def says(self, ports: str) -> str:
        return f"anyone may connect to all the ports {ports}"


class SourcePortTrust(SectionCheck, code="IPT308"):
    """A source port is taken for a proof.

    What: An ACCEPT rule of INPUT or FORWARD, or a chain they lead to, has a source port, but neither
        destination port nor source address, and takes packets that begin a connection.
    Why: Who sends picks the source port.  Whoever uses that one gets in, to every port.
    Example:
        -A INPUT -p udp --sport 53 -j ACCEPT
    Instead:
        -A INPUT -p udp --sport 53 -m conntrack --ctstate ESTABLISHED -j ACCEPT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        flow = None
        reached: set[str] | None = None
        new: Box = {**_INCOMING, STATE: one(NEW), FLAGS: one(SYN), FRAGMENT: one(0)}
        if section.name != "filter":
            return
        parts = [part for part in section.parts_with(*_SOURCE) if not part.bound.opaque]
        for rule, chain in using(
            section, _below(section, *_INPUT_AND_FORWARD), parts, _may_lack_sender, accepting=True
        ):
            if _names_sender(rule):
                continue
            flow = flow or section.flow
            if flow is None:
                return
            if not self._trusts(flow, rule) or not flow.may_match(chain, rule, new):
                continue
            if reached is None:
                reached = open_chains(section, flow, _INPUT_AND_FORWARD, lambda rule: not _names_sender(rule))
            if chain.name in reached:
                yield self.found(
                    whole(rule.line),
                    "whoever sends from this port gets in, to any port",
                    "--ctstate ESTABLISHED, or a destination port",
                )

    def _trusts(self, flow: Flow, rule: Rule) -> bool:
        whole_range = flow.asked.domain(DPORT)
        ports = [span for _, span in flow.asked.named_ports(rule, _SOURCE) if span != whole_range]
        to = [span for _, span in flow.asked.named_ports(rule, _DESTINATION) if span != whole_range]
        return bool(ports) and not to


def _names_sender(rule: Rule) -> bool:
    """Has a rule a condition on the source address?"""
    given = rule.conditions
    if given.source is not None and (given.source != (0, 0) or given.source_inverted):
        return True
    if rule.bound.opaque:
        return True
    for use in rule.matches:
        if use.name == "set" or (use.name == "iprange" and use.values[0] is not None):
            return True
    return False


class AnyAnyAccept(SectionCheck, code="IPT305"):
    """Everything is accepted.

    What: A rule without any condition accepts, in INPUT or FORWARD of filter, or in a chain they lead to by
        jumps without conditions.
    Why: The policy and all rules behind it are worth nothing.
    Example:
        -A FORWARD -j ACCEPT
    Instead:
        -A FORWARD -i br0 -o eth0 -j ACCEPT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        flow = None
        reached: set[str] | None = None
        if section.name != "filter":
            return
        parts = [part for bound, part in section.parts.items() if may_say_nothing(bound)]
        for rule, chain in using(
            section, _below(section, *_INPUT_AND_FORWARD), parts, _may_lack_source, accepting=True
        ):
            if not is_unconditional(rule):
                continue
            flow = flow or section.flow
            if flow is None:
                return
            if reached is None:
                reached = open_chains(section, flow, _INPUT_AND_FORWARD, is_unconditional)
            if (
                chain.name in reached
                and rule.line.number not in section.dead
                and flow.may_match(chain, rule, {})
            ):
                yield self.found(whole(rule.line), "this accepts every packet that comes here", "a condition")


# -- ICMP


class IcmpAllDropped(SectionCheck, code="IPT311"):
    """All ICMP is dropped, errors too.

    What: IPv4: a rule with -p icmp and no type, and DROP or REJECT, in INPUT, FORWARD or a chain they lead
        to, which a message "fragmentation needed" of state RELATED can reach and match.
    Why: Without these messages path MTU discovery breaks: connections open, and hang with the first large
        packet.
    Example:
        -A INPUT -p icmp -j DROP
    Instead:
        -A INPUT -p icmp -m icmp --icmp-type 3 -j ACCEPT
        -A INPUT -p icmp -j DROP
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        if section.name != "filter" or section.facts.family != 4:
            return
        message: Box = {
            **_INCOMING,
            PROTO: one(ICMP4),
            ICMP: one(_FRAGMENTATION_NEEDED),
            STATE: one(RELATED),
            FRAGMENT: one(0),
        }
        parts = [part for bound, part in section.parts.items() if _is_icmp(bound)]
        for rule, chain in using(section, _below(section, *_INPUT_AND_FORWARD), parts):
            if names_target(section.target_of(rule)) in ("DROP", "REJECT") and not _names_type(rule):
                flow = section.flow
                if flow is None:
                    return
                if flow.may_match(chain, rule, message):
                    yield self.found(
                        whole(rule.line),
                        "this drops ICMP errors that connections depend on",
                        "accept state RELATED, or --icmp-type 3, before it",
                    )


def _is_icmp(bound: Bound) -> bool:
    return bound.protocol == ICMP4 and not bound.protocol_inverted


def _names_type(rule: Rule) -> bool:
    """Does a rule ask for a type of ICMP message, other than any?"""
    for use in rule.matches:
        if use.name == "icmp" and use.values[0] is not None:
            return bool(use.values[0][0] != 255 or use.inverted)
    return False


class IcmpRedirectAccept(SectionCheck, code="IPT317"):
    """Redirects are accepted from anyone.

    What: A rule of INPUT, FORWARD or a chain they lead to accepts ICMP type 5 (ICMPv6 type 137, with another
        hop limit than 255) by name, from any source.
    Why: A redirect tells the machine to send its packets elsewhere.  Whoever can forge one can read along.
    Example:
        -A INPUT -p icmp --icmp-type redirect -j ACCEPT
    Instead:
        (remove the rule)
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        flow = None
        family = section.facts.family
        kind = _REDIRECT[family]
        reached: set[str] | None = None
        if section.name != "filter":
            return
        parts = section.parts_with("--icmp-type", "--icmpv6-type")
        for rule, chain in using(
            section, _below(section, *_INPUT_AND_FORWARD), parts, _may_lack_source, accepting=True
        ):
            if not _names_redirect(rule, kind):
                continue
            flow = flow or section.flow
            if flow is None:
                return
            packets: Box = {**_INCOMING, PROTO: one(ICMP4 if family == 4 else ICMP6)}
            packets[ICMP] = ((kind << 8, kind << 8 | 0xFF),)
            if family == 6:
                packets[HOPS] = difference(flow.asked.domain(HOPS), one(255))
            if _is_open_icmp(rule) and flow.may_match(chain, rule, packets):
                if reached is None:
                    reached = open_chains(section, flow, _INPUT_AND_FORWARD, _is_open_icmp)
                if chain.name in reached:
                    yield self.found(whole(rule.line), "anyone may redirect this machine", "remove the rule")


def _names_redirect(rule: Rule, kind: int) -> bool:
    for use in rule.matches:
        if use.name in ("icmp", "icmp6") and use.values[0] is not None:
            return bool(use.values[0][0] == kind and not use.inverted)
    return False


def _is_open_icmp(rule: Rule) -> bool:
    return is_open(rule, also=("icmp", "icmp6", "hl", "ttl"))


# -- the rest


class NewWithoutSyn(FileCheck, code="IPT309"):
    """What is NEW need not be the start of a connection.

    What: A rule with -p tcp, a list of states with NEW in it, and ACCEPT, which a TCP packet of state NEW
        without SYN can reach and match.  Reported once, at the first.
    Why: The first packet that connection tracking sees is NEW, SYN or not: scans with odd flags get in.
    Example:
        -A INPUT -p tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT
    Instead:
        -A INPUT -p tcp --dport 80 --syn -m conntrack --ctstate NEW -j ACCEPT
    """

    once = True

    def look(self, facts: Facts) -> Iterator[Diagnostic]:
        for section in facts.sections:
            rules = [
                (rule.line.number, rule, chain)
                for stated in section.stated
                if stated.part.bound.protocol == TCP
                for rule, chain, _ in stated.rules(NEW_BIT)
            ]
            flow = section.flow if rules else None
            if flow is None:
                continue
            without: Box = {PROTO: one(TCP), STATE: one(NEW), FRAGMENT: one(0)}
            without[FLAGS] = union(one(flags) for flags in range(0x40) if not flags & SYN)
            gone: set[str] = set()  # chains to whose later rules no such packet comes
            rules.sort(key=itemgetter(0))
            most = section.part_of(_MOST_TRIED) if flow.is_large else None
            for _, rule, chain in rules[:most]:
                if (
                    rule.bound.protocol_inverted
                    or chain.name in gone
                    or not is_accept(section.target_of(rule))
                    or rule.line.number in section.refused
                ):
                    continue
                if flow.may_match(chain, rule, without):
                    yield self.found(
                        whole(rule.line), "this takes TCP packets of state NEW that are no SYN", "add --syn"
                    )
                    return
                if not flow.comes_to(chain, rule, without):
                    gone.add(chain.name)


class LoopbackSpoofAccept(SectionCheck, code="IPT315"):
    """Loopback addresses are accepted from outside.

    What: An ACCEPT rule of INPUT with -s within 127.0.0.0/8 (::1) that packets from an interface other than
        lo can reach and match.
    Why: Whoever sends from 127.0.0.1 over the network gets in, where the kernel does not drop it.
    Example:
        -A INPUT -s 127.0.0.1/32 -j ACCEPT
    Instead:
        -A INPUT -i lo -j ACCEPT
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        if section.name != "filter":
            return
        family = section.facts.family
        local: Span = one(1) if family == 6 else ((0x7F000000, 0x7FFFFFFF),)
        first, shift = (0, 64) if family == 6 else (127, 24)
        chain = section.chains["INPUT"]
        for rule in chain.rules:
            bound = rule.bound
            if bound.source is None or bound.source_inverted:
                continue
            nets = rule.value(bound.source, NETWORKS)
            spans = [
                network(net[0], net[1], 32 if family == 4 else 128)
                for net in nets
                if net[0] >> shift == first
            ]
            span = next((span for span in spans if span is not None and is_within(span, local)), None)
            if span is None or not is_accept(section.target_of(rule)):
                continue
            if rule.line.number in section.refused:
                continue
            flow = section.flow
            if flow is None:
                return
            if flow.may_match(chain, rule, {IN: NOT_LOOPBACK, SRC: span}):
                yield self.found(
                    whole(rule.line), "this accepts loopback addresses from any interface", "-i lo"
                )


class DnatUnscoped(SectionCheck, code="IPT319"):
    """Traffic is redirected wherever it was going.

    What: A DNAT or REDIRECT rule that PREROUTING of nat leads to names no destination, input interface or
        set, and neither does a jump on the way to it.
    Why: It catches what only passes through as well: connections of the network behind to anywhere.
    Example:
        -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.2
    Instead:
        -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.2
    """

    def look(self, section: SectionFacts) -> Iterator[Diagnostic]:
        if section.name != "nat":
            return
        targets = {id(each.rule) for each in section.bare_targets.get("REDIRECT", ())}
        wanted = _may_redirect if targets else _redirects
        parts = [part for bound, part in section.parts.items() if wanted(bound)]
        flow = section.flow if parts else None
        if flow is None:
            return
        reached = open_chains(
            section, flow, ("PREROUTING",), lambda rule: not _names_destination(section, rule)
        )
        for rule, chain in using(section, reached, parts, _may_lack_destination):
            if (
                (rule.bound.part.target is not None or id(rule) in targets)
                and not _names_destination(section, rule)
                and rule.line.number not in section.dead
                and flow.may_match(chain, rule, _ARRIVING)
            ):
                yield self.found(
                    whole(rule.line), "this catches what is only passing through, too", "-d or -i"
                )


def _may_redirect(bound: Bound) -> bool:
    """May rules of a shape be such with DNAT or REDIRECT?"""
    # REDIRECT may stand without options.
    return bound.jumps is not None or _redirects(bound)


def _redirects(bound: Bound) -> bool:
    """Is DNAT or REDIRECT the target, with options?"""
    return bound.target is not None and bound.target.segment.cls.name in ("DNAT", "REDIRECT")


def _names_destination(section: SectionFacts, rule: Rule) -> bool:
    """Has a rule a condition on where packets go, or where they came in?"""
    bound = rule.bound
    if bound.opaque:
        return True
    if bound.destination is not None and (
        bound.destination_inverted or not section.facts.any_network or rule.conditions.destination != (0, 0)
    ):
        return True
    if bound.in_interface is not None:
        name = rule.conditions.in_interface
        if name and (name != "+" or bound.in_inverted):
            return True
    return any(
        placed.segment.cls.name == "set"
        or any(option.flag in ("--dst-type", "--dst-range") for option, _, _, _ in placed.segment.fields)
        for placed in bound.part.matches
    )
