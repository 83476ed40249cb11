"""Ports as option values, shared by the matches that have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.ports import parse_port_range_tcp, parse_port_range_udp, show_port_range

if TYPE_CHECKING:
    from iptkit.values.context import Context

PortRange = tuple[int, int]


class TcpPorts:
    """`port[:port]` as -m tcp and -m sctp read it."""

    metavar = "port[:port]"
    words = 1
    code = "IPT126"

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol

    def parse(self, text: str, context: Context) -> PortRange:
        return parse_port_range_tcp(text, self.protocol)

    def show(self, value: PortRange) -> str:
        return show_port_range(*value)


class UdpPorts:
    """`port[:port]` as -m udp and -m dccp read it: wider, and wrapping at 65536."""

    metavar = "port[:port]"
    words = 1
    code = "IPT126"

    def parse(self, text: str, context: Context) -> PortRange:
        return parse_port_range_udp(text)

    def show(self, value: PortRange) -> str:
        return show_port_range(*value)
