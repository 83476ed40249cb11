"""IPv4 and IPv6 addresses and networks, as integers, and the several ways in which options read them.

============================  =======================================  ======================
read by                       takes (IPv4)                             functions
============================  =======================================  ======================
core `-s`, `-d`               a list of networks; ``10.1`` is          `parse_networks4`/`6`
                              10.1.0.0; octal and hexadecimal bytes;
                              whatever the C library resolves
`-m conntrack`, `-j TEE`...   what the C library resolves: ``10.1``    `parse_host4`/`6`
(libxtables' host options)    is 10.0.0.1
`-m iprange`                  numbers only; ``10.1`` is 10.1.0.0       `parse_address4_lax`
`-j DNAT`, `-j SNAT`          four plain decimal bytes                 `parse_address4`/`6`
============================  =======================================  ======================

All observed on iptables 1.8.9 with glibc 2.36.
"""

from __future__ import annotations

# The C half of `socket`: the whole module takes 5 ms to import.
from _socket import AF_INET, AF_INET6, inet_ntoa, inet_ntop, inet_pton

from iptkit.values.numbers import BLANKS, DIGITS, UINT8_MAX, UINT32_MAX, parse_uint
from iptkit.values.wording import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Resolver = Callable[[str], tuple[int, ...] | None]

MASK4_ALL = 0xFFFFFFFF
MASK6_ALL = (1 << 128) - 1

_PREFIX_TO_MASK4 = {str(bits): MASK4_ALL >> (32 - bits) << (32 - bits) for bits in range(33)}
_PREFIX_TO_MASK6 = {str(bits): MASK6_ALL >> (128 - bits) << (128 - bits) for bits in range(129)}
_MASK4_SUFFIX = {mask: "/" + prefix for prefix, mask in _PREFIX_TO_MASK4.items()}
_MASK6_SUFFIX = {mask: "/" + prefix for prefix, mask in _PREFIX_TO_MASK6.items()}

# libxtables copies one item of a list into 256 bytes, and a dotted IPv4 address into 20.
_ITEM_MAX = 255
_DOTTED_MAX = 19

_from_bytes = int.from_bytes


class HostName(ValueError):
    """A name where an address may stand: what it means is up to the machine that loads the rules.

    `name` is the word itself, without a mask. An address with an interface as its zone
    (``fe80::1%eth0``) counts too, since loading asks whether the interface exists. `mask` is the mask
    written after the name (all ones when none is), where a network was read, else None.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
        self.mask: int | None = None

    def __str__(self) -> str:
        return f"{quote(self.name)} is a host name, which is looked up when the rules are loaded"


def parse_networks4(text: str, resolve: Resolver | None = None) -> tuple[tuple[int, int], ...]:
    """Return the (address, mask) pairs of a comma list of IPv4 networks, in its order, as `-s` reads it.

    Addresses come masked. An item's mask is a prefix length (``/024`` is octal, 20) or four dotted
    bytes, in any pattern of bits; without one it is all ones. Under a mask of zero the address is not
    looked at: ``any/0`` and ``/0`` are (0, 0). Blanks may lead an item. A name gives what `resolve` knows
    of it. Raises ValueError for a bad item, else HostName when the list has a name that stays unknown.
    """
    if "," not in text and resolve is None:
        address, mask = _read_network4(text)
        return ((address & mask, mask),)
    return _read_list(text, _read_network4, resolve)


def parse_networks6(text: str, resolve: Resolver | None = None) -> tuple[tuple[int, int], ...]:
    """Return the (address, mask) pairs of a comma list of IPv6 networks: `parse_networks4` for IPv6.

    An item's mask is a prefix length or an IPv6 address. Raises ValueError, HostName.
    """
    if "," not in text and resolve is None:
        address, mask = _read_network6(text)
        return ((address & mask, mask),)
    return _read_list(text, _read_network6, resolve)


def host_bits4(text: str) -> bool:
    """Tell whether an item of the list has an address bit outside of its mask, which loading drops.

    For a list that `parse_networks4` takes; raises as that does. A name counts as having none.
    """
    for item in text.split(","):
        try:
            address, mask = _read_network4(item, keep_host=True)
        except HostName:
            continue
        if address & ~mask:
            return True
    return False


def host_bits6(text: str) -> bool:
    """Tell what `host_bits4` tells, for a list that `parse_networks6` takes."""
    for item in text.split(","):
        try:
            address, mask = _read_network6(item, keep_host=True)
        except HostName:
            continue
        if address & ~mask:
            return True
    return False


def _read_list(
    text: str, read: Callable[[str], tuple[int, int]], resolve: Resolver | None
) -> tuple[tuple[int, int], ...]:
    networks = []
    unknown: HostName | None = None
    for item in text.split(","):
        try:
            address, mask = read(item)
        except HostName as found:
            addresses = resolve(found.name) if resolve else None
            if addresses and found.mask is not None:
                networks += [(address & found.mask, found.mask) for address in addresses]
            else:
                # A later item may be plainly wrong, which matters more than a name that may resolve.
                unknown = unknown or found
        else:
            networks.append((address & mask, mask))
    if unknown is not None:
        raise unknown
    return tuple(networks)


def _read_network4(item: str, keep_host: bool = False) -> tuple[int, int]:
    """Return address and mask of one network, the address not masked.

    With `keep_host` an address under a zero mask is read too, if it is one.
    """
    host, slash, mask_text = item.rpartition("/")
    if slash:
        mask = _PREFIX_TO_MASK4.get(mask_text, -1)
        if mask < 0:
            _check_length(item)
            mask = parse_mask4(mask_text)
        if not mask:
            _check_length(item)
            return (_peek(host.lstrip(BLANKS), parse_core_host4) if keep_host else 0), 0
    else:
        host, mask = item, MASK4_ALL
    try:
        return _from_bytes(inet_pton(AF_INET, host), "big"), mask
    except (OSError, ValueError):
        _check_length(item)
    try:
        return parse_core_host4(host.lstrip(BLANKS)), mask
    except HostName as found:
        found.mask = mask
        raise


def _read_network6(item: str, keep_host: bool = False) -> tuple[int, int]:
    host, slash, mask_text = item.rpartition("/")
    if slash:
        mask = _PREFIX_TO_MASK6.get(mask_text, -1)
        if mask < 0:
            _check_length(item)
            mask = parse_mask6(mask_text)
        if not mask:
            _check_length(item)
            return (_peek(host.lstrip(BLANKS), parse_host6) if keep_host else 0), 0
    else:
        host, mask = item, MASK6_ALL
    try:
        return _from_bytes(inet_pton(AF_INET6, host), "big"), mask
    except (OSError, ValueError):
        _check_length(item)
    try:
        return parse_host6(host.lstrip(BLANKS)), mask
    except HostName as found:
        found.mask = mask
        raise


def _peek(host: str, parse: Callable[[str], int]) -> int:
    try:
        return parse(host)
    except ValueError:
        return 0


def _check_length(item: str) -> None:
    if len(item.lstrip(BLANKS)) > _ITEM_MAX:
        raise ValueError(f"an address takes at most {_ITEM_MAX} bytes, {quote(item)} has {len(item)}")


def parse_mask4(text: str) -> int:
    """Return the mask that `-s` takes after the slash: a prefix length from 0 to 32, or four bytes.

    Either in decimal, octal or hexadecimal. Raises ValueError.
    """
    mask = _octets4(text, complete=False)
    if mask >= 0:
        return mask
    try:
        bits = parse_uint(text, 0, 32)
    except ValueError:
        raise ValueError(
            f"mask must be a number of bits from 0 to 32 or like 255.255.255.0, not {quote(text)}"
        ) from None
    return MASK4_ALL >> (32 - bits) << (32 - bits)


def parse_mask6(text: str) -> int:
    """Return the mask that `-s` takes after the slash: a prefix length from 0 to 128, or an address.

    Raises ValueError.
    """
    try:
        return _from_bytes(inet_pton(AF_INET6, text), "big")
    except (OSError, ValueError):
        pass
    try:
        bits = parse_uint(text, 0, 128)
    except ValueError:
        raise ValueError(
            f"mask must be a number of bits from 0 to 128 or like ffff:ffff::, not {quote(text)}"
        ) from None
    return MASK6_ALL >> (128 - bits) << (128 - bits)


def parse_address4(text: str) -> int:
    """Return an IPv4 address of exactly four decimal bytes without leading zeros (C's inet_pton).

    Raises ValueError.
    """
    try:
        return _from_bytes(inet_pton(AF_INET, text), "big")
    except (OSError, ValueError):
        raise ValueError(_bad_address4(text)) from None


def parse_address4_lax(text: str) -> int:
    """Return an IPv4 address of one to four bytes, as libxtables' `xtables_numeric_to_ipaddr` does.

    Missing bytes at the end are zero (``10.1`` is 10.1.0.0), each byte may be octal or hexadecimal, have
    blanks and a ``+`` before it, and what is past the 19th character is not seen. Raises ValueError.
    """
    try:
        return _from_bytes(inet_pton(AF_INET, text), "big")  # four plain bytes: the usual form
    except (OSError, ValueError):
        address = _octets4(text, complete=True)
    if address < 0:
        raise ValueError(_bad_address4(text))
    return address


def parse_address6(text: str) -> int:
    """Return an IPv6 address in any of its textual forms (RFC 4291; C's inet_pton), without a zone.

    Raises ValueError.
    """
    try:
        return _from_bytes(inet_pton(AF_INET6, text), "big")
    except (OSError, ValueError):
        raise ValueError(_bad_address6(text)) from None


def parse_core_host4(text: str) -> int:
    """Return an address as `-s` reads it: `parse_address4_lax`, else `parse_host4`.

    Raises ValueError, HostName.
    """
    address = _octets4(text, complete=True)
    return address if address >= 0 else parse_host4(text)


def parse_host4(text: str) -> int:
    """Return an IPv4 address as glibc's getaddrinfo reads it: the forms of inet_aton, or IPv4-mapped IPv6.

    ``10.1`` is 10.0.0.1, ``256`` is 0.0.1.0, ``::ffff:10.0.0.1`` is 10.0.0.1. The form of libxtables' host
    options (`-j TEE --gateway`, `-m conntrack --ctorigsrc`). Raises ValueError, HostName.
    """
    address = _aton4(text)
    if address >= 0:
        return address
    if ":" in text:
        mapped, zone = _split_zone(text)
        if mapped >> 32 == 0xFFFF and (zone is None or _is_zone_index(zone)):
            return mapped & UINT32_MAX
        if mapped >= 0:
            raise ValueError(f"must be an IPv4 address, {quote(text)} is IPv6")
    elif _may_be_name(text):
        raise HostName(text)
    raise ValueError(_bad_address4(text))


def parse_host6(text: str) -> int:
    """Return an IPv6 address as glibc's getaddrinfo reads it; a zone (``%2``) is dropped.

    A zone is the index of an interface, or for link-local addresses its name, which raises HostName.
    Raises ValueError, HostName.
    """
    address, zone = _split_zone(text)
    if address >= 0:
        if zone is None or _is_zone_index(zone):
            return address
        # fe80::/10 and ff?2::/16 are the link-local unicast and multicast addresses (RFC 4291).
        link_local = address >> 118 == 0x3FA or (address >> 112) & 0xFF0F == 0xFF02
        if link_local and 0 < len(zone) < 16:
            raise HostName(text)
        raise ValueError(f"the zone {quote(zone)} must be an interface's number (or name, link-local only)")
    if _may_be_name(text):
        raise HostName(text)
    if _aton4(text) >= 0:
        raise ValueError(f"must be an IPv6 address, {quote(text)} is IPv4")
    raise ValueError(_bad_address6(text))


def _octets4(text: str, complete: bool) -> int:
    """Return the address made of dotted bytes, or -1; with `complete` fewer than four will do."""
    parts = text[:_DOTTED_MAX].split(".", 3)
    if len(parts) < 4 and not complete:
        return -1
    address = 0
    try:
        for part in parts:
            address = address << 8 | parse_uint(part, 0, UINT8_MAX)
    except ValueError:
        return -1
    return address << 8 * (4 - len(parts))


def _aton4(text: str) -> int:
    """Return the address in one of inet_aton's forms, the last part filling what is left, or -1."""
    *leading, last = text.split(".")
    if len(leading) > 3:
        return -1
    address = 0
    try:
        for part in leading:
            if part[:1] not in DIGITS:
                return -1
            address = address << 8 | parse_uint(part, 0, UINT8_MAX)
        if not last or last[0] not in DIGITS:
            return -1
        left = 8 * (4 - len(leading))
        return address << left | parse_uint(last, 0, (1 << left) - 1)
    except ValueError:
        return -1


def _split_zone(text: str) -> tuple[int, str | None]:
    """Return the IPv6 address before a ``%`` (or -1) and the zone after it (or None)."""
    host, percent, zone = text.partition("%")
    try:
        return _from_bytes(inet_pton(AF_INET6, host), "big"), zone if percent else None
    except (OSError, ValueError):
        return -1, None


def _is_zone_index(zone: str) -> bool:
    return zone.isdecimal() and len(zone) < 20 and int(zone) <= UINT32_MAX


def _may_be_name(text: str) -> bool:
    """Tell whether a word is a host name by RFC 1123, with underscores; the last label is no number."""
    if not text.isascii() or len(text) > 254:
        return False
    labels = text.removesuffix(".").split(".")
    for label in labels:
        if not label.replace("-", "a").replace("_", "a").isalnum() or label[0] == "-" or len(label) > 63:
            return False
    last = labels[-1]
    return not last.isdecimal() and last[:2] not in ("0x", "0X")


def _bad_address4(text: str) -> str:
    return f"must be an IPv4 address like 192.0.2.1, not {quote(text)}"


def _bad_address6(text: str) -> str:
    return f"must be an IPv6 address like 2001:db8::1, not {quote(text)}"


def show_address4(address: int) -> str:
    """Return the four dotted bytes of an address."""
    return inet_ntoa(address.to_bytes(4, "big"))


def show_address6(address: int) -> str:
    """Return an address as glibc's inet_ntop does.

    Unlike RFC 5952 it writes the last 32 bits as IPv4 whenever exactly the first 96 are zero:
    ``::1:2`` becomes ``::0.1.0.2``.
    """
    # Other C libraries differ in just these two ranges.
    high = address >> 32
    if high == 0 and address > 0xFFFF:
        return "::" + inet_ntoa(address.to_bytes(4, "big"))
    if high == 0xFFFF:
        return "::ffff:" + inet_ntoa((address & UINT32_MAX).to_bytes(4, "big"))
    return inet_ntop(AF_INET6, address.to_bytes(16, "big"))


def show_network4(address: int, mask: int) -> str:
    """Return ``ADDRESS/BITS``, or ``ADDRESS/MASK`` when the mask is no prefix, as iptables-save does."""
    suffix = _MASK4_SUFFIX.get(mask)
    if suffix is None:
        suffix = "/" + inet_ntoa(mask.to_bytes(4, "big"))
    return inet_ntoa(address.to_bytes(4, "big")) + suffix


def show_network6(address: int, mask: int) -> str:
    """Return ``ADDRESS/BITS``, or ``ADDRESS/MASK`` when the mask is no prefix, as ip6tables-save does."""
    return show_address6(address) + (_MASK6_SUFFIX.get(mask) or "/" + show_address6(mask))
