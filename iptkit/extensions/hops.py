"""How many hops a packet may still go: what -m ttl (IPv4) and -m hl (IPv6) have in common."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.spec import Match
from iptkit.values.faults import BadValue

if TYPE_CHECKING:
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# struct ipt_ttl_info and ip6t_hl_info: a mode, and the number to compare with
_STRUCT = struct.Struct("=BB")
_EQ, _NE, _LT, _GT = range(4)


class Hops(Match):
    """Three options, of which exactly one is given: equal, less, greater, in this order."""

    __slots__ = ()

    def encode(self, family: Family) -> bytes:
        equal, less, greater = self.values
        if equal is not None:
            return _STRUCT.pack(_NE if self.inverted else _EQ, equal)
        if less is not None:
            return _STRUCT.pack(_LT, less)
        return _STRUCT.pack(_GT, greater)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _STRUCT.size:
            raise BadValue(f"{cls.name}: {len(payload)} bytes from the kernel, {_STRUCT.size} expected")
        mode, value = _STRUCT.unpack_from(payload)
        if mode > _GT:
            raise BadValue(f"{cls.name}: mode {mode} from the kernel")
        values: list[Any] = [None, None, None]
        values[max(mode - 1, 0)] = value
        return cls(tuple(values), 1 if mode == _NE else 0)

    def matches(self, packet: Packet, world: World) -> bool | None:
        equal, less, greater = self.values
        if equal is not None:
            return (packet.ttl == equal) is not bool(self.inverted)
        if less is not None:
            return bool(packet.ttl < less)
        return bool(packet.ttl > greater)


__all__ = ["Hops"]
