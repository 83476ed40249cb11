"""Packets out of captures: what the link layer says of them, and where they came in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.evaluator.machine import device_of, read_packet
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from iptkit.evaluator.machine import Machine
    from iptkit.values.packet import Packet

# LINKTYPE_ numbers of www.tcpdump.org/linktypes.html
NULL, ETHERNET, RAW, LINUX_COOKED, IPV4, IPV6, LINUX_COOKED2 = 0, 1, 101, 113, 228, 229, 276
KNOWN = (NULL, ETHERNET, 12, 14, RAW, LINUX_COOKED, IPV4, IPV6, LINUX_COOKED2)
_TAGS = frozenset((0x8100, 0x88A8, 0x9100))
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}


class Frame(NamedTuple):
    """A captured frame taken apart.

    data         the IP packet; empty where the frame carries another protocol
    source, destination  MAC addresses, None where the capture has none
    """

    data: bytes
    source: bytes | None = None
    destination: bytes | None = None


def take_apart(link: int, frame: bytes, family: int) -> Frame:
    """The IP packet of a family in a captured frame."""
    if link == ETHERNET:
        at = 12
        while int.from_bytes(frame[at : at + 2], "big") in _TAGS:
            at += 4
        data = frame[at + 2 :] if int.from_bytes(frame[at : at + 2], "big") == _ETHERTYPES[family] else b""
        return Frame(data, frame[6:12], frame[:6])
    if link == LINUX_COOKED:
        same = int.from_bytes(frame[14:16], "big") == _ETHERTYPES[family]
        return Frame(frame[16:] if same else b"", frame[6:12] if frame[4:6] == b"\0\6" else None)
    if link == LINUX_COOKED2:
        same = int.from_bytes(frame[:2], "big") == _ETHERTYPES[family]
        return Frame(frame[20:] if same else b"", frame[12:18] if frame[11:12] == b"\6" else None)
    data = frame[4:] if link == NULL else frame
    return Frame(data if data[:1] and data[0] >> 4 == family else b"")


def send_frame(machine: Machine, frame: Frame, interface: str) -> tuple[Packet | None, bool]:
    """Send a captured packet through: the packet, and whether the machine itself was its sender.

    It comes in by `interface`, or, where that is "", by the one that leads to
    its source.  None: no machine takes such a packet, or nothing tells where
    it comes in.
    """
    packet = read_packet(frame.data)
    if packet is None or packet.family != machine.family:
        return None, False
    if machine.routing.is_own(packet.src):
        machine.send_out(packet)
        return packet, True
    if not interface:
        route = machine.routing.lookup(packet.src)
        if route is None or route.kind != "unicast":
            return None, False
        interface = device_of(route)
    packet.source_mac, packet.destination_mac = frame.source, frame.destination
    if frame.destination is not None and frame.destination[:1]:
        first = frame.destination[0]
        packet.link_type = (
            "broadcast" if frame.destination == b"\xff" * 6 else "multicast" if first & 1 else "unicast"
        )
    machine.receive(packet, interface)
    return packet, False
