"""Set or clear the ECN bits of IP and TCP headers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import BYTES, Flag, Given, Option, Place, Problem, Target
from iptkit.extensions.world import DROP
from iptkit.values.faults import BadValue
from iptkit.values.packet import CWR, ECE, TCP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.spec import RuleFacts
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# struct ipt_ECN_info, linux/netfilter_ipv4/ipt_ECN.h: what to set, the IP codepoint, the TCP bits
_INFO = struct.Struct("=BBB")
_BITS = {"ecn_tcp_ece": 0x10, "ecn_tcp_cwr": 0x20, "ecn_ip_ect": 0x01}
_ECE, _CWR = 1, 2


class Ecn(Target, name="ECN", families=(4,)):
    """Set bits of Explicit Congestion Notification (RFC 3168), to work around what mishandles them.

    --ecn-tcp-remove clears both TCP bits, and takes back an --ecn-ip-ect
    that stands before it.  What is done to TCP needs -p tcp.  Valid in mangle
    only, and for IPv4.
    """

    where = Place(tables=("mangle",))
    ecn_tcp_ece = Option(
        "--ecn-tcp-ece", type=UInt(1), excludes=("ecn_tcp_remove",), doc="set TCP's ECN-Echo bit to 0 or 1"
    )
    ecn_tcp_cwr = Option(
        "--ecn-tcp-cwr",
        type=UInt(1),
        excludes=("ecn_tcp_remove",),
        doc="set TCP's Congestion Window Reduced bit to 0 or 1",
    )
    ecn_ip_ect = Option("--ecn-ip-ect", type=UInt(3), doc="set the codepoint of the IP header, 0 to 3")
    ecn_tcp_remove = Flag(
        "--ecn-tcp-remove", excludes=("ecn_tcp_ece", "ecn_tcp_cwr"), doc="clear both bits of TCP"
    )
    at_least_one = ("ecn_tcp_ece", "ecn_tcp_cwr", "ecn_ip_ect", "ecn_tcp_remove")
    rewrites = ("tos", "ecn", *BYTES)
    example = "-p tcp -j ECN --ecn-tcp-remove"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        if "ecn_tcp_remove" not in given:
            return given
        out = {"ecn_tcp_ece": Given(0, False), "ecn_tcp_cwr": Given(0, False)}
        if list(given)[-1] == "ecn_ip_ect":
            out["ecn_ip_ect"] = given["ecn_ip_ect"]
        return out

    def save(self) -> Iterator[str]:
        if (self.ecn_tcp_ece, self.ecn_tcp_cwr, self.ecn_ip_ect) == (0, 0, None):
            return iter(("--ecn-tcp-remove",))
        return super().save()

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        # ecn_tg_check, net/ipv4/netfilter/ipt_ECN.c
        if rule.protocol == 6 and not rule.protocol_inverted:
            return
        for field in ("ecn_tcp_ece", "ecn_tcp_cwr"):
            if getattr(self, field) is not None:
                yield Problem("what ECN does to TCP needs -p tcp", field, "IPT120", "add -p tcp")
                return

    def encode(self, family: Family) -> bytes:
        operation = 0
        for field, bit in _BITS.items():
            if getattr(self, field) is not None:
                operation |= bit
        tcp = (_ECE if self.ecn_tcp_ece else 0) | (_CWR if self.ecn_tcp_cwr else 0)
        return _INFO.pack(operation, self.ecn_ip_ect or 0, tcp)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"ECN: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        operation, codepoint, tcp = _INFO.unpack_from(payload)
        values = {
            "ecn_tcp_ece": 1 if tcp & _ECE else 0,
            "ecn_tcp_cwr": 1 if tcp & _CWR else 0,
            "ecn_ip_ect": codepoint,
        }
        return cls.of(**{field: values[field] for field, bit in _BITS.items() if operation & bit})

    def act(self, packet: Packet, world: World) -> str | None:
        # ecn_tg, net/ipv4/netfilter/ipt_ECN.c
        ect = self.ecn_ip_ect
        if ect is not None and packet.tos & 3 != ect:
            packet.set_tos(packet.tos & ~3 | ect)
        if (self.ecn_tcp_ece is None and self.ecn_tcp_cwr is None) or packet.proto != TCP:
            return None
        if len(packet.data) < packet.l4 + 20:
            return DROP
        at = packet.l4 + 12
        flags = packet.data[at + 1]
        for wanted, bit in ((self.ecn_tcp_ece, ECE), (self.ecn_tcp_cwr, CWR)):
            if wanted is not None:
                flags = flags | bit if wanted else flags & ~bit
        if flags != packet.data[at + 1]:
            packet.set_upper_word(12, packet.data[at] << 8 | flags)
        return None


EXTENSIONS: tuple[Any, ...] = (Ecn,)
