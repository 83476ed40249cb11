"""Match the ECN bits of IP and TCP headers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.headers6 import transport_at
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Flag, Match, Option, Problem
from iptkit.values.faults import BadValue
from iptkit.values.packet import CWR, ECE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.spec import RuleFacts
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# struct xt_ecn_info, linux/netfilter/xt_ecn.h: what to look at, what of it is inverted, the codepoint
_STRUCT = struct.Struct("=BBBx")
_BITS = {"ecn_tcp_ece": 0x10, "ecn_tcp_cwr": 0x20, "ecn_ip_ect": 0x01}


class Ecn(Match, name="ecn"):
    """Match Explicit Congestion Notification (RFC 3168): its codepoint in the IP header, its flags in TCP's.

    Codepoint 0 is a packet without ECN, 1 and 2 are ECT(1) and ECT(0), 3 is
    congestion experienced. At least one option is given; those for TCP need
    `-p tcp`.
    """

    revision = 0
    at_least_one = ("ecn_tcp_ece", "ecn_tcp_cwr", "ecn_ip_ect")
    ecn_tcp_ece = Flag("--ecn-tcp-ece", invert=True, doc="TCP's ECN-Echo flag is set")
    ecn_tcp_cwr = Flag("--ecn-tcp-cwr", invert=True, doc="TCP's Congestion Window Reduced flag is set")
    ecn_ip_ect = Option("--ecn-ip-ect", type=UInt(3), invert=True, doc="codepoint in the IP header, 0 to 3")
    certain = True
    rewritable = True
    example = "-p tcp -m ecn --ecn-tcp-ece -j LOG"

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        # ecn_mt_check4 and ecn_mt_check6, net/netfilter/xt_ecn.c
        field = "ecn_tcp_ece" if self.ecn_tcp_ece else "ecn_tcp_cwr" if self.ecn_tcp_cwr else ""
        if field and (rule.protocol != 6 or rule.protocol_inverted):
            yield Problem(f"{getattr(Ecn, field).flag} needs -p tcp", field, "IPT120", "add -p tcp")

    def encode(self, family: Family) -> bytes:
        looked_at = inverted = 0
        for field, bit in _BITS.items():
            if getattr(self, field) is not None:
                looked_at |= bit
                inverted |= bit if self.is_inverted(field) else 0
        return _STRUCT.pack(looked_at, inverted, self.ecn_ip_ect or 0)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _STRUCT.size:
            raise BadValue(f"ecn: {len(payload)} bytes from the kernel, {_STRUCT.size} expected")
        looked_at, inverted, codepoint = _STRUCT.unpack_from(payload)
        given: dict[str, Any] = {field: True for field, bit in _BITS.items() if looked_at & bit}
        if "ecn_ip_ect" in given:
            given["ecn_ip_ect"] = codepoint
        return cls.of(inverted=tuple(f for f in given if inverted & _BITS[f]), **given)

    def matches(self, packet: Packet, world: World) -> bool | None:
        # ecn_mt4 and ecn_mt6, net/netfilter/xt_ecn.c
        if self.ecn_ip_ect is not None and (packet.tos & 3 == self.ecn_ip_ect) is self.is_inverted(
            "ecn_ip_ect"
        ):
            return False
        if self.ecn_tcp_ece is None and self.ecn_tcp_cwr is None:
            return True
        data, at = packet.data, transport_at(packet)
        if len(data) < at + 20:
            return False
        for field, bit in (("ecn_tcp_ece", ECE), ("ecn_tcp_cwr", CWR)):
            if getattr(self, field) and bool(data[at + 13] & bit) is self.is_inverted(field):
                return False
        return True


EXTENSIONS: tuple[Any, ...] = (Ecn,)
