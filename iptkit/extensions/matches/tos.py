"""Match the type of service of a packet."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.service_types import TosMask
from iptkit.extensions.spec import Match, Option
from iptkit.values.faults import BadValue

if TYPE_CHECKING:
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# struct xt_tos_match_info, linux/netfilter/xt_dscp.h: mask, value, invert
_INFO = struct.Struct("=BBB")


class Tos(Match, name="tos"):
    """Match the type of service byte (IPv4) or traffic class (IPv6), ANDed with a mask.

    A name stands for a value under the mask 0x3f: Minimize-Delay 0x10,
    Maximize-Throughput 0x08, Maximize-Reliability 0x04, Minimize-Cost 0x02,
    Normal-Service 0.  For DSCP see the match dscp.
    """

    revision = 1
    tos = Option("--tos", type=TosMask(), invert=True, required=True, doc="value and mask, or a name")
    rewritable = True
    facts = ("tos",)
    certain = True
    example = "-m tos --tos 0x10/0x3f -j ACCEPT"

    def encode(self, family: Family) -> bytes:
        value, mask = self.tos or (0, 0)
        return _INFO.pack(mask, value, 1 if self.inverted else 0)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"tos: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        mask, value, inverted = _INFO.unpack_from(payload)
        return cls.of(tos=(value, mask), inverted=("tos",) if inverted else ())

    def matches(self, packet: Packet, world: World) -> bool | None:
        value, mask = self.values[0]
        return (packet.tos & mask == value) is not bool(self.inverted)


EXTENSIONS: tuple[Any, ...] = (Tos,)
