"""Addresses as option values, shared by the extensions that have libxtables' host options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.addresses import (
    MASK4_ALL,
    MASK6_ALL,
    HostName,
    parse_host4,
    parse_host6,
    show_address4,
    show_address6,
)
from iptkit.values.faults import BadValue
from iptkit.values.numbers import parse_uint
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension
    from iptkit.values.context import Context, Family

# A value knows its family, since save writes IPv4 and IPv6 differently.
Host = tuple[int, int]  # family, address
HostAndMask = tuple[int, int, int]  # family, address, prefix length


def read_host(text: str, context: Context) -> int:
    """The address that getaddrinfo finds for `text`, which may be a name that the context knows.

    Raises BadValue.
    """
    try:
        return parse_host4(text) if context.family == 4 else parse_host6(text)
    except HostName as error:
        found = context.names.host(error.name, context.family)
        if found is None:
            raise BadValue(
                f"{quote(error.name)} is a host name and cannot be looked up here",
                "IPT218",
                "write the address",
            ) from None
        if len(found) != 1:
            raise BadValue(f"{quote(error.name)} has {len(found)} addresses, and only one fits") from None
        return found[0]


class HostAddress:
    """An address, or a name that stands for one (XTTYPE_HOST, libxtables/xtoptions.c)."""

    metavar = "address"
    words = 1
    code = "IPT125"

    def parse(self, text: str, context: Context) -> Host:
        return context.family, read_host(text, context)

    def show(self, value: Host) -> str:
        family, address = value
        return show_address4(address) if family == 4 else show_address6(address)


class HostMask:
    """`address[/mask]`, one of them, its host bits kept (XTTYPE_HOSTMASK, libxtables/xtoptions.c).

    The mask is a prefix length or an address; one with holes in it counts as
    all ones, as does IPv4's `/33`, which is the address 0.0.0.33.
    """

    metavar = "address[/mask]"
    words = 1
    code = "IPT125"

    def parse(self, text: str, context: Context) -> HostAndMask:
        host, slash, mask = text.partition("/")
        address = read_host(host, context)
        bits = 32 if context.family == 4 else 128
        return context.family, address, read_prefix_length(mask, context.family) if slash else bits

    def show(self, value: HostAndMask) -> str:
        family, address, length = value
        host = show_address4(address) if family == 4 else show_address6(address)
        return host if length == (32 if family == 4 else 128) else f"{host}/{length}"


class PrefixLength:
    """A mask by itself, as a prefix length or an address (XTTYPE_PLENMASK, libxtables/xtoptions.c)."""

    metavar = "length"
    words = 1
    code = "IPT125"

    def parse(self, text: str, context: Context) -> int:
        return read_prefix_length(text, context.family)

    def show(self, value: int) -> str:
        return str(value)


def read_prefix_length(text: str, family: Family) -> int:
    """The length of a mask given as a number of bits or as an address; a mask with holes counts as all ones.

    Raises BadValue.
    """
    bits = 32 if family == 4 else 128
    try:
        return parse_uint(text, 0, bits)
    except ValueError:
        pass
    try:
        mask = parse_host4(text) if family == 4 else parse_host6(text)
    except ValueError:
        like = "255.255.255.0" if family == 4 else "ffff:ffff::"
        raise BadValue(
            f"mask must be a number of bits from 0 to {bits} or like {like}, not {quote(text)}"
        ) from None
    return prefix_length(mask, bits)


def prefix_length(mask: int, bits: int) -> int:
    """How many leading ones a mask of `bits` bits has, `bits` when there is a hole between them."""
    length = bits - (mask ^ ((1 << bits) - 1)).bit_length()
    return length if mask == prefix_mask(length, bits) else bits


def prefix_mask(length: int, bits: int) -> int:
    """The mask of `length` leading ones in `bits` bits."""
    every = MASK4_ALL if bits == 32 else MASK6_ALL
    return every >> (bits - length) << (bits - length)


def pack_host(address: int, family: int) -> bytes:
    """An address as the kernel's union nf_inet_addr, 16 bytes (linux/netfilter.h)."""
    if family == 4:
        return address.to_bytes(4, "big").ljust(16, b"\0")
    return address.to_bytes(16, "big")


def unpack_host(piece: bytes, family: Family) -> int:
    """The address in a union nf_inet_addr of that family."""
    return int.from_bytes(piece[:4] if family == 4 else piece[:16], "big")


class HostBytes:
    """A `HostAddress` option in a struct: the kernel's union nf_inet_addr.  It is always read."""

    __slots__ = ("field", "size")

    def __init__(self, field: str) -> None:
        self.field = field
        self.size = 16

    def write(self, use: Extension, family: Family) -> bytes:
        host: Host | None = getattr(use, self.field)
        return bytes(self.size) if host is None else pack_host(host[1], family)

    def read(self, piece: bytes, into: Reading) -> None:
        family = into.context.family
        into.values[self.field] = (family, unpack_host(piece, family))
