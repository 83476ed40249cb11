"""What DNPT and SNPT share: prefixes of IPv6 networks, swapped without keeping state (RFC 6296)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.hosts import HostAndMask, HostMask, prefix_mask
from iptkit.extensions.layout import Layout, Pad
from iptkit.extensions.spec import Option, Problem, Target
from iptkit.values.addresses import show_address6, show_network6

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension, Given, RuleFacts
    from iptkit.values.context import Context, Family

LONGEST = 64  # bits


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


class PrefixTranslation(Target):
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
