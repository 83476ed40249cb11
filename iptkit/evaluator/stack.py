"""What the machine's own stack answers to packets delivered to it, where no program listens.

Facts: net/ipv4/icmp.c, udp.c, tcp_ipv4.c, ip_input.c and net/ipv6, Linux 6.18.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from iptkit.evaluator import answers
from iptkit.evaluator.ip6options import Problem, check_delivered
from iptkit.values.checksum import ones_sum
from iptkit.values.packet import ICMP, ICMPV6, NO_NEXT, TCP, UDP, UDPLITE

if TYPE_CHECKING:
    from iptkit.evaluator.machine import Machine
    from iptkit.values.packet import Packet

# Protocols with a handler, which takes what nobody waits for without a word.
SILENT = frozenset((2, 103))  # IGMP, PIM
ECHO, ECHO_REPLY, TIMESTAMP, TIMESTAMP_REPLY = 8, 0, 13, 14
ECHO6, ECHO_REPLY6, SOLICITATION6, ADVERTISEMENT6 = 128, 129, 135, 136


def answer(machine: Machine, packet: Packet) -> None:
    """Send what the stack sends."""
    proto = packet.proto
    if packet.headers:
        try:
            check_delivered(packet)
        except Problem as problem:
            if problem.code >= 0:
                machine.icmp_error(packet, 4, problem.code, problem.at)
            return
    if proto == ICMP and packet.family == 4:
        _icmp(machine, packet)
    elif proto == ICMPV6 and packet.family == 6:
        _icmp6(machine, packet)
    elif proto == TCP:
        _tcp(machine, packet)
    elif proto in (UDP, UDPLITE):
        _udp(machine, packet)
    elif packet.family == 4:
        if proto not in SILENT:
            machine.icmp_error(packet, 3, 2)
    elif proto != NO_NEXT:
        machine.icmp_error(packet, 4, 1, _next_header_at(packet))


def _next_header_at(packet: Packet) -> int:
    """Where the header stands that names the protocol."""
    return packet.headers[-1].at if packet.headers else 6


def _right(packet: Packet) -> bool:
    if packet.proto == ICMP:
        return ones_sum(packet.data[packet.l4 :]) == 0xFFFF
    return answers.sum_is_right(packet, any_protocol=True)


def _unicast(packet: Packet) -> bool:
    route = packet.route
    return route is None or route.kind not in ("broadcast", "multicast")


def _icmp(machine: Machine, packet: Packet) -> None:
    data, at = packet.data, packet.l4
    if len(data) < at + 8 or not _right(packet):
        return
    kind, code = data[at], data[at + 1]
    if not _unicast(packet) and machine.sysctls.get("net.ipv4.icmp_echo_ignore_broadcasts"):
        return
    body = bytes(data[at + 8 :])
    if kind == ECHO and not machine.sysctls.get("net.ipv4.icmp_echo_ignore_all"):
        reply = ECHO_REPLY
    elif kind == TIMESTAMP and len(body) >= 4:
        reply = TIMESTAMP_REPLY
        # Milliseconds since midnight, UTC: received, sent (RFC 792).
        now = int(machine.now * 1000) % 86_400_000
        body = body[:4] + struct.pack("!II", now, now)
        code = 0
    else:
        return
    source = packet.dst or machine.source_towards(packet.src)
    if not _unicast(packet):
        source = machine.routing.outward_address(packet.in_interface, packet.src) or 0
    known = packet.ip_options
    options = known.echo(packet, source, machine.now) if known is not None else b""
    rest = bytes(data[at + 4 : at + 8])
    machine.answer(
        answers.icmp_message(
            4,
            source,
            packet.src,
            reply,
            code,
            rest,
            body,
            tos=packet.tos,
            ttl=machine.default_ttl(),
            options=options,
        ),
        packet,
    )


def _icmp6(machine: Machine, packet: Packet) -> None:
    data, at = packet.data, packet.l4
    if len(data) < at + 8 or not _right(packet):
        return
    kind = data[at]
    source = packet.dst
    if packet.route is None or packet.route.kind != "local":
        source = machine.routing.source6(packet.in_interface, packet.src) or 0
    if kind == ECHO6 and not machine.sysctls.get("net.ipv6.icmp.echo_ignore_all"):
        machine.answer(
            answers.icmp_message(
                6, source, packet.src, ECHO_REPLY6, 0, bytes(data[at + 4 : at + 8]), data[at + 8 :]
            ),
            packet,
        )
    elif kind == SOLICITATION6 and len(data) >= at + 24 and packet.ttl == 255:
        _advertise(machine, packet, bytes(data[at + 8 : at + 24]))


def _advertise(machine: Machine, packet: Packet, target: bytes) -> None:
    """A neighbour asks who has an address (RFC 4861 section 7.2.4)."""
    own = int.from_bytes(target, "big")
    found = machine.topology.interfaces.get(packet.in_interface)
    if found is None or not machine.routing.has_address(packet.in_interface, own):
        return
    flags = 0xA0000000 if machine.sysctls.forwarding6() else 0x20000000  # router, override
    to = packet.src
    if to:
        flags |= 0x40000000  # solicited
    else:
        to = 0xFF02 << 112 | 1
    option = bytes((2, 1)) + found.mac if found.arp else b""
    machine.answer(
        answers.icmp_message(
            6, own, to, ADVERTISEMENT6, 0, flags.to_bytes(4, "big"), target + option, ttl=255
        ),
        packet,
    )


def _tcp(machine: Machine, packet: Packet) -> None:
    data, at = packet.data, packet.l4
    if not _unicast(packet) or len(data) < at + 20 or not _right(packet):
        return
    header = (data[at + 12] >> 4) * 4
    if header < 20 or len(data) < at + header:
        return
    # The answer has the segment's class of service, without its ECN bits (tcp_v4_send_reset).
    tos = packet.tos & 0xFC if packet.family == 4 else 0
    found = answers.reset(packet, partial=packet.family == 6, tos=tos, ttl=machine.default_ttl())
    if found is not None:
        machine.answer(found, packet)


def _udp(machine: Machine, packet: Packet) -> None:
    data, at = packet.data, packet.l4
    if len(data) < at + 8:
        return
    length = data[at + 4] << 8 | data[at + 5]
    has_sum = data[at + 6] or data[at + 7]
    if packet.proto == UDP and (length < 8 or length > len(data) - at):
        return
    if not has_sum and packet.family == 6:
        return
    # UDP's length may be less than what is there: the rest is cut off before the sum is looked at.
    covered = length if packet.proto == UDP else len(data) - at
    if has_sum and not answers.covered_sum_is_right(packet, covered):
        return
    if _unicast(packet):
        machine.icmp_error(packet, *((3, 3) if packet.family == 4 else (1, 4)))
