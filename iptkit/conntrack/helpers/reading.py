"""What helpers share: finding what was said, and saying it differently.

Facts: net/netfilter/nf_nat_helper.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack import manip, seqadj
from iptkit.conntrack.expect import ADDED, BUSY
from iptkit.extensions.world import CONFIRMED, DROP, DST_NAT, FIXED_TIMEOUT, SRC_NAT
from iptkit.values.packet import CT_ESTABLISHED, CT_ESTABLISHED_REPLY

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.expect import Expectation
    from iptkit.conntrack.nat import Nat
    from iptkit.values.packet import Packet

NATTED = SRC_NAT | DST_NAT
_DIGITS = b"0123456789"
_ATTEMPTS = 128


def established(packet: Packet) -> bool:
    """Was there traffic both ways?"""
    return packet.ctinfo in (CT_ESTABLISHED, CT_ESTABLISHED_REPLY)


def tcp_data(packet: Packet) -> int:
    """Where TCP's payload begins; -1 where there is none."""
    data, at = packet.data, packet.l4
    if len(data) < at + 20:
        return -1
    start = at + (data[at + 12] >> 4) * 4
    return start if start < len(data) else -1


def udp_data(packet: Packet) -> int:
    """Where UDP's payload begins; -1 where there is none."""
    start = packet.l4 + 8
    return start if start < len(packet.data) else -1


def sequence(packet: Packet) -> int:
    """TCP's sequence number."""
    return int.from_bytes(packet.data[packet.l4 + 4 : packet.l4 + 8], "big")


def dropped(nat: Nat, entry: Entry, why: str) -> str:
    """Drop the packet, and say why (nf_ct_helper_log)."""
    nat.tracker.notes.append(f"nf_ct_{entry.helper}: dropping packet: {why}")
    return DROP


def refresh(entry: Entry, seconds: float, now: float) -> None:
    """Let the connection live so many seconds from now (nf_ct_refresh)."""
    if not entry.status & FIXED_TIMEOUT:
        entry.deadline = now + seconds if entry.status & CONFIRMED else seconds


def number(data: bytes, at: int, base: int = 10) -> tuple[int, int]:
    """Read a number as simple_strtoul does: the number, 64 bits of it, and where it ends.

    Base 0 takes 0x for hexadecimal and a leading 0 for octal.
    """
    digits = _DIGITS
    if base == 0:
        base = 10
        if data[at : at + 1] == b"0":
            base = 8
            following = data[at + 1 : at + 3].lower()
            if len(following) == 2 and following[:1] == b"x" and following[1:] in b"0123456789abcdef":
                base, at = 16, at + 2
    if base == 16:
        digits = b"0123456789abcdefABCDEF"
    elif base == 8:
        digits = b"01234567"
    end = at
    while end < len(data) and data[end] in digits:
        end += 1
    if end == at:
        return 0, at
    return int(data[at:end], base) & 0xFFFFFFFFFFFFFFFF, end


def find_port(nat: Nat, expectation: Expectation, port: int, now: float) -> int:
    """Expect it at this port of the other side, or at another that is free; 0: there is none.

    nf_nat_exp_find_port: it tries chance ports above.
    """
    lowest, room = port, 65535 - port
    attempts = min(room, _ATTEMPTS)
    while True:
        expectation.tuple_ = expectation.tuple_._replace(destination=port)
        said = nat.expectations.add(expectation, now)
        if said == ADDED:
            return port
        attempts -= 1
        if said != BUSY or attempts < 0:
            return 0
        # Of what chance may give, take what will not clash again.
        port = int(nat.choose("NAT helper: the port", range(65534, lowest, -1))) if room > 1 else lowest
        taken = {each.tuple_.destination for each in nat.expectations}
        while port in taken and port > lowest:
            port -= 1


def mangle_tcp(
    packet: Packet, entry: Entry, direction: int, start: int, length: int, new: bytes, *, shift: bool = True
) -> bool:
    """Say something else on a TCP connection; `start` is the place within the payload."""
    seq = sequence(packet)
    if not manip.replace_payload(packet, start, length, new):
        return False
    if shift and len(new) != length:
        seqadj.shift(entry, direction, seq, len(new) - length)
    return True


def mangle_udp(packet: Packet, start: int, length: int, new: bytes) -> bool:
    """Say something else in a UDP datagram; `start` is the place within the payload."""
    return manip.replace_payload(packet, start, length, new)


def quad(address: int) -> str:
    """An IPv4 address in dotted quads."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def full6(address: int) -> str:
    """An IPv6 address with nothing left out, as the kernel's %pI6 writes it."""
    text = f"{address:032x}"
    return ":".join(text[at : at + 4] for at in range(0, 32, 4))
