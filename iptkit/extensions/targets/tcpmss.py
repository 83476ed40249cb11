"""Change the largest segment that TCP connections agree on."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import BYTES, Flag, Given, Option, Place, Problem, Target
from iptkit.extensions.tcp_options import option_length
from iptkit.extensions.world import DROP, Unknown
from iptkit.values.checksum import mend
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT16_MAX, parse_uint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.spec import RuleFacts
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

_INFO = struct.Struct("=H")  # struct xt_tcpmss_info, linux/netfilter/xt_TCPMSS.h
_CLAMP = 0xFFFF  # XT_TCPMSS_CLAMP_PMTU
_SYN = 0x02


class SegmentSize(UInt):
    """Bytes of a segment; the largest is what is left in 65535 for it by an IP and a TCP header."""

    def parse(self, text: str, context: Context) -> int:
        return parse_uint(text, 0, UINT16_MAX - (20 if context.family == 4 else 40))


class Tcpmss(Target, name="TCPMSS"):
    """Change the MSS option of SYN packets, for paths that lose ICMP and with it path MTU discovery.

    Needs `-p tcp` and, on the legacy backend, a flags condition such as `--syn`
    or `--tcp-flags SYN,RST SYN`.  Of the two options the last one counts.
    """

    protocols = (6,)
    revision = 0
    effect = "drops"
    aware = False
    changes = ("length",)
    at_least_one = ("set_mss", "clamp_mss_to_pmtu")
    set_mss = Option(
        "--set-mss",
        type=SegmentSize(),
        doc="lower the MSS to this many bytes, or put it in where there is none",
    )
    clamp_mss_to_pmtu = Flag(
        "--clamp-mss-to-pmtu", doc="lower the MSS to the path's MTU less 40 bytes (60 for IPv6)"
    )
    rewrites = ("tcpmss", "tcp", "length", *BYTES)
    example = "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        last = list(given)[-1:]
        return {field: given[field] for field in last}

    def place(self) -> Place:
        if self.clamp_mss_to_pmtu:
            return Place(hooks=("FORWARD", "OUTPUT", "POSTROUTING"), nft_user_chains=False)
        return self.where

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        # The kernel wants a `-m tcp` whose flags, SYN among them, must be set (find_syn_match, xt_TCPMSS.c).
        from iptkit.extensions.matches.tcp import Tcp

        for match in rule.matches:
            if isinstance(match, Tcp) and match.tcp_flags is not None:
                _, wanted = match.tcp_flags
                if wanted & _SYN and not match.is_inverted("tcp_flags"):
                    return
        if rule.protocol == 6 and not rule.protocol_inverted:
            yield Problem(
                "TCPMSS works on SYN packets only, and the rule lets others through",
                "",
                "IPT121",
                "add --tcp-flags SYN,RST SYN",
                ("legacy",),
            )

    def encode(self, family: Family) -> bytes:
        return _INFO.pack(_CLAMP if self.set_mss is None else self.set_mss)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"TCPMSS: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        (size,) = _INFO.unpack_from(payload)
        return cls.of(clamp_mss_to_pmtu=True) if size == _CLAMP else cls.of(set_mss=size)

    def act(self, packet: Packet, world: World) -> str | None:
        # tcpmss_mangle_packet, net/netfilter/xt_TCPMSS.c
        if packet.fragment_offset:
            return None
        data, at = packet.data, packet.l4
        length = len(data) - at
        header = data[at + 12] >> 2 & 0x3C if length >= 20 else 0
        if not 20 <= header <= length:
            return DROP
        size = self.set_mss
        if size is None:
            least = 40 if packet.family == 4 else 60
            mtu = world.path_mtu(packet)
            if mtu is None:
                raise Unknown("the MTU of the route")
            if mtu <= least:
                return DROP
            size = mtu - least & 0xFFFF
        place, last = at + 20, at + header - 4
        while place <= last:
            if data[place] == 2 and data[place + 1] == 4:
                was = data[place + 2] << 8 | data[place + 3]
                if was > size:
                    # As if it stood at an even place: where it does not, the checksum is wrong afterwards.
                    mend(data, at + 16, was, size)
                    data[place + 2], data[place + 3] = size >> 8, size & 0xFF
                return None
            place += option_length(data, place)
        # Behind the header stands data, or there is no room for the option.
        if length > header or header >= 60:
            return None
        size = min(size, 536 if packet.family == 4 else 1220)
        self._insert(packet, size)
        return None

    @staticmethod
    def _insert(packet: Packet, size: int) -> None:
        """Put the option before all others."""
        data, at = packet.data, packet.l4
        # Longer by four bytes, which are 0x0204 and the size; the header by one word of four.
        mend(data, at + 16, 0, 4 + 0x0204 + size + 0x1000)
        data[at + 12] += 0x10
        data[at + 20 : at + 20] = (0x02040000 | size).to_bytes(4, "big")
        packet.set_length(packet.length + 4)


EXTENSIONS: tuple[Any, ...] = (Tcpmss,)
