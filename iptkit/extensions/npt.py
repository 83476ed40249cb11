"""What DNPT and SNPT share: prefixes of IPv6 networks, swapped without keeping state (RFC 6296)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.hosts import HostAndMask, HostMask, prefix_mask
from iptkit.extensions.layout import Layout, Pad
from iptkit.extensions.spec import Option, Problem, Target
from iptkit.values.addresses import show_address6, show_network6
from iptkit.values.checksum import ones_sum
from iptkit.values.packet import ICMPV6

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension, Given, RuleFacts
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

LONGEST = 64  # bits
PARAMETER_PROBLEM6 = 4  # an ICMPv6 type, RFC 4443


class Prefix(HostMask):
    """`address[/length]`, its host bits kept, its length always shown."""

    metavar = "prefix/length"

    def show(self, value: HostAndMask) -> str:
        _, address, length = value
        return f"{show_address6(address)}/{length}"


class PrefixStruct:
    """Two prefixes: the addresses of both, then the lengths of both."""

    __slots__ = ("fields", "size")

    def __init__(self, *fields: str) -> None:
        self.fields = fields
        self.size = 17 * len(fields)

    def write(self, use: Extension, family: Family) -> bytes:
        prefixes = [getattr(use, field) or (family, 0, 0) for field in self.fields]
        return b"".join(address.to_bytes(16, "big") for _, address, _ in prefixes) + bytes(
            length for _, _, length in prefixes
        )

    def read(self, piece: bytes, into: Reading) -> None:
        lengths = piece[16 * len(self.fields) :]
        for place, field in enumerate(self.fields):
            address = int.from_bytes(piece[16 * place : 16 * place + 16], "big")
            if address or lengths[place]:
                into.values[field] = (into.context.family, address, lengths[place])


def _fold(total: int) -> int:
    return (total & 0xFFFF) + (total >> 16)


class PrefixTranslation(Target):
    readdresses = True
    """Swaps a prefix.  ::/0 is taken as no prefix, and save does not print it."""

    revision = 0
    src_pfx = Option("--src-pfx", type=Prefix(), required=True, doc="the prefix to take away")
    dst_pfx = Option("--dst-pfx", type=Prefix(), required=True, doc="the prefix to put there")
    # struct ip6t_npt_tginfo, linux/netfilter_ipv6/ip6t_NPT.h; the kernel works out the last field
    layout = Layout(PrefixStruct("src_pfx", "dst_pfx"), Pad(2))

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return {field: found for field, found in given.items() if found.value[1:] != (0, 0)}

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        for field, value in (("src_pfx", self.src_pfx), ("dst_pfx", self.dst_pfx)):
            if value is None:
                continue
            _, address, length = value
            mask = prefix_mask(length, 128)
            if length > LONGEST:
                yield Problem(
                    f"{self.name}: the kernel takes prefixes of up to {LONGEST} bits, not {length}", field
                )
            elif address & ~mask:
                yield Problem(
                    f"{self.name}: the kernel takes no prefix with bits behind its length",
                    field,
                    "IPT125",
                    f"write {show_network6(address & mask, mask)}",
                )

    def mapped(self, address: int) -> tuple[int, bool]:
        """The address with its prefix swapped, and whether a word was left for its sum to be kept.

        ip6t_npt_map_pfx, net/ipv6/netfilter/ip6t_NPT.c
        """
        _, source, source_length = self.src_pfx or (6, 0, 0)
        _, destination, destination_length = self.dst_pfx or (6, 0, 0)
        length = max(source_length, destination_length)
        mask = prefix_mask(length, 128)
        found = bytearray((address & ~mask | destination & mask).to_bytes(16, "big"))
        if length <= 48:
            place = 6
        else:
            place = next((at for at in range(8, 16, 2) if found[at : at + 2] != b"\xff\xff"), -1)
            if place < 0:
                return int.from_bytes(found, "big"), False
        # Sums with end-around carry, where 0xffff is the other zero
        adjustment = _fold(
            ones_sum(source.to_bytes(16, "big")) + (~ones_sum(destination.to_bytes(16, "big")) & 0xFFFF)
        )
        total = _fold((found[place] << 8 | found[place + 1]) + adjustment)
        if total == 0xFFFF:
            total = 0
        found[place : place + 2] = total.to_bytes(2, "big")
        return int.from_bytes(found, "big"), True

    def map_quoted(self, packet: Packet, offset: int) -> None:
        """Swap the prefix of an address in the packet that an ICMPv6 error quotes, at that offset of it."""
        data, at = packet.data, packet.l4 + 8 + offset
        if data[6] != ICMPV6 or len(data) < packet.l4 + 48 or not 1 <= data[packet.l4] <= 4:
            return
        _, prefix, length = self.src_pfx or (6, 0, 0)
        address = int.from_bytes(data[at : at + 16], "big")
        if address & prefix_mask(length, 128) == prefix:
            data[at : at + 16] = self.mapped(address)[0].to_bytes(16, "big")
