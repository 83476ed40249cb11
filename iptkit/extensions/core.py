"""What every rule has, extension or not: addresses, interfaces, protocol, fragment flag, and where it jumps.

The options are those of iptables' own table (iptables/xshared.c, iptables.c);
their values are read by iptkit.values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.world import HotDrop
from iptkit.text.pattern import Pattern
from iptkit.text.record import NamedTuple
from iptkit.values.addresses import (
    HostName,
    parse_networks4,
    parse_networks6,
    show_network4,
    show_network6,
)
from iptkit.values.faults import BadValue
from iptkit.values.interfaces import parse_interface
from iptkit.values.names import protocol_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

Network = tuple[int, int]  # address, already masked, and mask


_OCTET = "(?:[1-9]?[0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"


class Networks:
    """The value of -s and -d: one or more networks, in the order iptables makes rules of them."""

    # One network, with no bits outside its mask (those masks, that is, which end with an octet).
    _USUAL = Pattern(rf"{_OCTET}\.(?:{_OCTET}\.(?:{_OCTET}\.(?:{_OCTET}/32|0/24)|0\.0/16)|0\.0\.0/8)")

    metavar = "address[/mask][,...]"
    words = 1
    code = "IPT125"

    def parse(self, text: str, context: Context) -> tuple[Network, ...]:
        try:
            return parse_networks4(text) if context.family == 4 else parse_networks6(text)
        except HostName as error:
            return self._resolved(text, context, error)

    def usual(self, context: Context) -> Callable[[str], object] | None:
        """As spec.ValueType.usual; such a value also makes one rule and no more."""
        return self._USUAL.fullmatch if context.family == 4 else None

    def _resolved(self, text: str, context: Context, error: HostName) -> tuple[Network, ...]:
        host, family = context.names.host, context.family

        def resolve(name: str) -> tuple[int, ...] | None:
            return host(name, family)

        try:
            return parse_networks4(text, resolve) if family == 4 else parse_networks6(text, resolve)
        except HostName:
            raise BadValue(
                f"{error.name!r} is a host name and cannot be looked up here", "IPT218", "write the address"
            ) from None


class InterfaceName:
    """The value of -i and -o."""

    metavar = "name[+]"
    words = 1
    code = "IPT139"

    def parse(self, text: str, context: Context) -> str:
        return parse_interface(text)


class CoreOption(NamedTuple):
    """One option of iptables itself: letter, long names, how many words it takes (-1: one or none)."""

    letter: str
    names: tuple[str, ...]
    words: int
    doc: str


# In the order of iptables' table, which is the order getopt looks in.
CORE_OPTIONS = (
    CoreOption("A", ("append",), 1, "append a rule to the end of a chain"),
    CoreOption("D", ("delete",), 1, "delete a rule, by number or as written"),
    CoreOption("C", ("check",), 1, "fail unless such a rule exists"),
    CoreOption("I", ("insert",), 1, "insert a rule, at a position or in front"),
    CoreOption("R", ("replace",), 1, "replace the rule at a position"),
    CoreOption("L", ("list",), -1, "list rules"),
    CoreOption("S", ("list-rules",), -1, "print rules"),
    CoreOption("F", ("flush",), -1, "delete all rules of a chain or table"),
    CoreOption("Z", ("zero",), -1, "zero the counters of a chain or table"),
    CoreOption("N", ("new-chain",), 1, "make a chain"),
    CoreOption("X", ("delete-chain",), -1, "delete a chain, or all that are the user's"),
    CoreOption("E", ("rename-chain",), 1, "rename a chain"),
    CoreOption("P", ("policy",), 1, "set the policy of a built-in chain"),
    CoreOption("s", ("source", "src"), 1, "source address, network or comma list"),
    CoreOption("d", ("destination", "dst"), 1, "destination address, network or comma list"),
    CoreOption("p", ("protocol",), 1, "protocol, by name or number"),
    CoreOption("i", ("in-interface",), 1, "interface a packet came in by; a final + stands for any ending"),
    CoreOption("j", ("jump",), 1, "what to do with a packet that matches"),
    CoreOption("t", ("table",), 1, ""),
    CoreOption("m", ("match",), 1, "load a match"),
    CoreOption("n", ("numeric",), 0, ""),
    CoreOption("o", ("out-interface",), 1, "interface a packet leaves by; a final + stands for any ending"),
    CoreOption("v", ("verbose",), 0, ""),
    CoreOption("w", ("wait",), -1, ""),
    CoreOption("W", ("wait-interval",), -1, ""),
    CoreOption("x", ("exact",), 0, ""),
    CoreOption("f", ("fragments",), 0, "second and further fragments (IPv4)"),
    CoreOption("V", ("version",), 0, ""),
    CoreOption("h", ("help",), -1, ""),
    CoreOption("0", ("line-numbers",), 0, ""),
    CoreOption("M", ("modprobe",), 1, ""),
    CoreOption("c", ("set-counters",), 1, "packet and byte counters of the rule"),
    CoreOption("g", ("goto",), 1, "go on in a chain and do not come back"),
    CoreOption("4", ("ipv4",), 0, ""),
    CoreOption("6", ("ipv6",), 0, ""),
)
BY_LETTER = {option.letter: option for option in CORE_OPTIONS}
LONG_NAMES: tuple[tuple[str, CoreOption], ...] = tuple(
    ("--" + name, option) for option in CORE_OPTIONS for name in option.names
)

VERDICTS = ("ACCEPT", "DROP", "QUEUE", "RETURN")


# What an IPv6 packet's protocol is where its headers are cut off, or a later fragment begins with another
# of them: ipv6_find_hdr() finds no protocol then.
UNFINISHED6 = frozenset((0, 43, 44, 51, 60))


def interface_matches(pattern: str, name: str) -> bool:
    """Is it the interface that -i or -o names?  A final + stands for any ending."""
    return name.startswith(pattern[:-1]) if pattern[-1] == "+" else name == pattern


def _source_test(address: int, mask: int, inverted: bool) -> Callable[[Packet], bool]:
    if inverted:
        return lambda packet: packet.src & mask != address
    return lambda packet: packet.src & mask == address


def _destination_test(address: int, mask: int, inverted: bool) -> Callable[[Packet], bool]:
    if inverted:
        return lambda packet: packet.dst & mask != address
    return lambda packet: packet.dst & mask == address


def _in_test(pattern: str, inverted: bool) -> Callable[[Packet], bool]:
    if pattern[-1] == "+":
        start = pattern[:-1]
        return lambda packet: packet.in_interface.startswith(start) is not inverted
    if inverted:
        return lambda packet: packet.in_interface != pattern
    return lambda packet: packet.in_interface == pattern


def _out_test(pattern: str, inverted: bool) -> Callable[[Packet], bool]:
    if pattern[-1] == "+":
        start = pattern[:-1]
        return lambda packet: packet.out_interface.startswith(start) is not inverted
    if inverted:
        return lambda packet: packet.out_interface != pattern
    return lambda packet: packet.out_interface == pattern


def _protocol_test(family: Family, protocol: int, inverted: bool) -> Callable[[Packet], bool]:
    if family == 4:
        if inverted:
            return lambda packet: packet.proto != protocol
        return lambda packet: packet.proto == protocol

    def same(packet: Packet) -> bool:
        found = packet.proto
        if found in UNFINISHED6:
            raise HotDrop
        return (found == protocol) is not inverted

    return same


class Conditions(NamedTuple):
    """The conditions of a rule that belong to no match."""

    family: Family
    source: Network | None = None
    source_inverted: bool = False
    destination: Network | None = None
    destination_inverted: bool = False
    in_interface: str = ""
    in_inverted: bool = False
    out_interface: str = ""
    out_inverted: bool = False
    protocol: int = 0
    protocol_inverted: bool = False
    fragment: bool = False
    fragment_inverted: bool = False

    def save(self) -> str:
        """As iptables-save prints them, each piece led by a blank."""
        out = ""
        show = show_network4 if self.family == 4 else show_network6
        if self.source is not None and (self.source != (0, 0) or self.source_inverted):
            out = f"{' !' if self.source_inverted else ''} -s {show(*self.source)}"
        if self.destination is not None and (self.destination != (0, 0) or self.destination_inverted):
            out += f"{' !' if self.destination_inverted else ''} -d {show(*self.destination)}"
        if self.in_interface:
            out += interface_words("-i", self.in_interface, self.in_inverted)
        if self.out_interface:
            out += interface_words("-o", self.out_interface, self.out_inverted)
        if self.protocol:
            out += f"{' !' if self.protocol_inverted else ''} -p {protocol_name(self.protocol)}"
        if self.fragment:
            out += " ! -f" if self.fragment_inverted else " -f"
        return out

    def matches(self, packet: Packet) -> bool:
        """Does the packet meet them all?

        As ip_packet_match and ip6_packet_match (net/ipv4/netfilter/ip_tables.c,
        net/ipv6/netfilter/ip6_tables.c).  Raises HotDrop for IPv6 headers that
        end before the protocol asked for is found.
        """
        source, destination = self.source, self.destination
        if source is not None and (packet.src & source[1] == source[0]) is self.source_inverted:
            return False
        if (
            destination is not None
            and (packet.dst & destination[1] == destination[0]) is self.destination_inverted
        ):
            return False
        if self.in_interface and (
            interface_matches(self.in_interface, packet.in_interface) is self.in_inverted
        ):
            return False
        if self.out_interface and (
            interface_matches(self.out_interface, packet.out_interface) is self.out_inverted
        ):
            return False
        if self.protocol:
            if self.family == 6 and packet.proto in UNFINISHED6:
                raise HotDrop
            if (packet.proto == self.protocol) is self.protocol_inverted:
                return False
        return not self.fragment or (packet.fragment_offset > 0) is not self.fragment_inverted

    def compiled(self) -> Callable[[Packet], bool] | None:
        """The same as a function of its own, as quick as may be; None where every packet meets them."""
        tests = tuple(self._tests())
        if not tests:
            return None
        if len(tests) == 1:
            return tests[0]
        if len(tests) == 2:
            first, second = tests
            return lambda packet: first(packet) and second(packet)
        if len(tests) == 3:
            first, second, third = tests
            return lambda packet: first(packet) and second(packet) and third(packet)

        def met(packet: Packet) -> bool:
            for test in tests:  # noqa: SIM110  # quicker than all() of a generator
                if not test(packet):
                    return False
            return True

        return met

    def _tests(self) -> Iterator[Callable[[Packet], bool]]:
        """One test for each condition, in the kernel's order."""
        if self.source is not None and (self.source[1] or self.source_inverted):
            yield _source_test(*self.source, self.source_inverted)
        if self.destination is not None and (self.destination[1] or self.destination_inverted):
            yield _destination_test(*self.destination, self.destination_inverted)
        if self.in_interface and (self.in_interface != "+" or self.in_inverted):
            yield _in_test(self.in_interface, self.in_inverted)
        if self.out_interface and (self.out_interface != "+" or self.out_inverted):
            yield _out_test(self.out_interface, self.out_inverted)
        if self.protocol:
            yield _protocol_test(self.family, self.protocol, self.protocol_inverted)
        if self.fragment:
            inverted = self.fragment_inverted
            yield lambda packet: (packet.fragment_offset > 0) is not inverted


def interface_words(flag: str, name: str, inverted: bool) -> str:
    # "+" alone has an empty mask, and iptables-save prints nothing for it.
    if name == "+":
        return ""
    return f"{' !' if inverted else ''} {flag} {name}"


class Verdict:
    """A standard target: ACCEPT, DROP, QUEUE or RETURN.

    `decides`, `logs` and `harmless` are as those of spec.Extension.
    """

    __slots__ = ("decides", "name")
    kind = "verdict"
    logs = False
    harmless = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.decides = name != "RETURN"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verdict) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def text(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<verdict {self.name}>"


class Jump:
    """A jump to a user chain; a goto does not come back."""

    __slots__ = ("chain", "goto")
    kind = "jump"

    def __init__(self, chain: str, goto: bool) -> None:
        self.chain = chain
        self.goto = goto

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Jump) and self.chain == other.chain and self.goto == other.goto

    def __hash__(self) -> int:
        return hash((self.chain, self.goto))

    def text(self) -> str:
        return self.chain

    def __repr__(self) -> str:
        return f"<{'goto' if self.goto else 'jump'} {self.chain}>"


NETWORKS: Any = Networks()
INTERFACE: Any = InterfaceName()

BUILTIN_CHAINS = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "raw": ("PREROUTING", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}
CHAIN_NAME_LIMIT = 28  # bytes; XT_EXTENSION_MAXNAMELEN - 1
