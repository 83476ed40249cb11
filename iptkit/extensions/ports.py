"""Ports as option values, shared by the matches that have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.spec import PortsAsked
from iptkit.text.pattern import Pattern
from iptkit.values.ports import parse_port_range_tcp, parse_port_range_udp, show_port_range

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.extensions.spec import Match
    from iptkit.values.context import Context

PortRange = tuple[int, int]


# A port, or two with a colon between them, as iptables-save prints them.
_USUAL = Pattern("([1-9][0-9]{0,3}|[1-5][0-9]{4})(?::([1-9][0-9]{0,3}|[1-5][0-9]{4}))?")


def _is_usual(text: str) -> bool:
    found = _USUAL.fullmatch(text)
    if found is None:
        return False
    low, high = found.groups()
    return high is None or int(low) < int(high)


def asked_of_one(match: Match) -> dict[str, PortsAsked]:
    """As spec.Match.asked_ports, for a match with --sport and --dport."""
    found = {}
    for option in match.options:
        value = match.values[option.index]
        if value is not None and option.field in ("sport", "dport"):
            found[option.field] = PortsAsked((value,), match.is_inverted(option.field))
    return found


class TcpPorts:
    """`port[:port]` as -m tcp and -m sctp read it."""

    metavar = "port[:port]"
    words = 1
    code = "IPT126"

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol

    def parse(self, text: str, context: Context) -> PortRange:
        return parse_port_range_tcp(text, self.protocol)

    def usual(self, context: Context) -> Callable[[str], object]:
        """As spec.ValueType.usual."""
        return _is_usual

    def show(self, value: PortRange) -> str:
        return show_port_range(*value)


class UdpPorts:
    """`port[:port]` as -m udp and -m dccp read it: wider, and wrapping at 65536."""

    metavar = "port[:port]"
    words = 1
    code = "IPT126"

    def parse(self, text: str, context: Context) -> PortRange:
        return parse_port_range_udp(text)

    def usual(self, context: Context) -> Callable[[str], object]:
        """As spec.ValueType.usual."""
        return _is_usual

    def show(self, value: PortRange) -> str:
        return show_port_range(*value)
