"""Match addresses by what the routing table takes them for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.connections import NameSet
from iptkit.extensions.layout import Bits, Layout, Number
from iptkit.extensions.spec import Flag, Match, Option, Place, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.spec import RuleFacts
    from iptkit.extensions.world import World
    from iptkit.values.context import Family
    from iptkit.values.packet import Packet

# XT_ADDRTYPE_*, linux/netfilter/xt_addrtype.h; each is 1 << RTN_*, linux/rtnetlink.h
ADDRESS_TYPES = {
    name: 1 << number
    for number, name in enumerate(
        (
            "UNSPEC",
            "UNICAST",
            "LOCAL",
            "BROADCAST",
            "ANYCAST",
            "MULTICAST",
            "BLACKHOLE",
            "UNREACHABLE",
            "PROHIBIT",
            "THROW",
            "NAT",
            "XRESOLVE",
        )
    )
}
# addrtype_mt_checkentry_v1, net/netfilter/xt_addrtype.c
_NOT_IN_IPV6 = ("BROADCAST", "BLACKHOLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE")
_TYPES = NameSet(ADDRESS_TYPES, "type[,...]", "address type")


_LOOKED_UP6 = ADDRESS_TYPES["LOCAL"] | ADDRESS_TYPES["ANYCAST"] | ADDRESS_TYPES["UNREACHABLE"]


def _is_of(types: int, address: int, interface: str | None, family: Family, world: World) -> bool | None:
    """Is the address of one of the kinds?"""
    if family == 6:
        # Of these all are asked for, of the others, in the routing table, any.
        group = address >> 120 == 0xFF
        if types & ADDRESS_TYPES["MULTICAST"] and not group:
            return False
        mapped = address >> 32 == 0xFFFF
        if types & ADDRESS_TYPES["UNICAST"] and (group or not address or mapped):
            return False
        if types & ADDRESS_TYPES["UNSPEC"] and address:
            return False
        types &= _LOOKED_UP6
        if not types:
            return True
    found = world.address_type(address, interface)
    return None if found is None else bool(types & ADDRESS_TYPES[found])


class AddrType(Match, name="addrtype"):
    """Match packets by the kind of their addresses, as the machine's routing tables tell it.

    LOCAL is an address of this machine, UNICAST one that is routed elsewhere,
    BROADCAST, MULTICAST and ANYCAST what they say, UNREACHABLE, BLACKHOLE,
    PROHIBIT and THROW what a route of that kind leads to, UNSPEC 0.0.0.0 or
    an address without a route; NAT and XRESOLVE are not used by any kernel.
    Names may be cut short, in any case.

    IPv6 has no BROADCAST, BLACKHOLE, PROHIBIT, THROW, NAT and XRESOLVE.  With
    --limit-iface-in the address is looked up on the interface the packet came
    in by alone (not in OUTPUT and POSTROUTING, where there is none), with
    --limit-iface-out on the one it leaves by (not in PREROUTING and INPUT).
    """

    revision = 1
    at_least_one = ("src_type", "dst_type")
    src_type = Option("--src-type", type=_TYPES, invert=True, doc="kind of the source address")
    dst_type = Option("--dst-type", type=_TYPES, invert=True, doc="kind of the destination address")
    limit_iface_in = Flag(
        "--limit-iface-in", excludes=("limit_iface_out",), doc="look on the incoming interface only"
    )
    limit_iface_out = Flag(
        "--limit-iface-out", excludes=("limit_iface_in",), doc="look on the outgoing interface only"
    )
    # struct xt_addrtype_info_v1
    layout = Layout(
        Number("src_type", "H"),
        Number("dst_type", "H"),
        Bits("I", given={4: "limit_iface_in", 8: "limit_iface_out"}, inverted={1: "src_type", 2: "dst_type"}),
    )
    facts = ("header",)
    certain = True
    example = "-m addrtype --dst-type LOCAL -j ACCEPT"

    def place(self) -> Place:
        if self.limit_iface_in:
            return Place(hooks=("PREROUTING", "INPUT", "FORWARD"), nft_user_chains=False)
        if self.limit_iface_out:
            return Place(hooks=("FORWARD", "OUTPUT", "POSTROUTING"), nft_user_chains=False)
        return self.where

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        if rule.family == 4:
            return
        for field, bits in (("src_type", self.src_type), ("dst_type", self.dst_type)):
            wrong = [name for name in _NOT_IN_IPV6 if (bits or 0) & ADDRESS_TYPES[name]]
            if wrong:
                yield Problem(f"the kernel refuses {', '.join(wrong)} for IPv6", field)

    def matches(self, packet: Packet, world: World) -> bool | None:
        # addrtype_mt_v1, net/netfilter/xt_addrtype.c
        of_source, of_destination, limited_in, limited_out = self.values
        interface = None
        if limited_in:
            interface = packet.in_interface
        elif limited_out:
            interface = packet.out_interface
        unknown = False
        for types, address, bit in ((of_source, packet.src, 1), (of_destination, packet.dst, 2)):
            if types:
                found = _is_of(types, address, interface, packet.family, world)
                if found is None:
                    unknown = True
                elif found is bool(self.inverted & bit):
                    return False
        return None if unknown else True


EXTENSIONS: tuple[Any, ...] = (AddrType,)
