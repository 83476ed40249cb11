"""Where packets go: the kernel's decisions on a declared topology.

The local table comes first, then the longest prefix of the main one
(net/ipv4/fib_trie.c, net/ipv6/route.c).  There are no policy rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.evaluator.topology import LOOPBACK, Route

if TYPE_CHECKING:
    from iptkit.evaluator.topology import Topology
    from iptkit.values.context import Family

CACHED = 65536  # destinations remembered; the cache starts anew when it is full


class Routing:
    """The routes of one family."""

    def __init__(self, topology: Topology, family: Family) -> None:
        self.topology = topology
        self.family = family
        self.width = 32 if family == 4 else 128
        self._local: dict[int, Route] = {}
        self._broadcast: dict[int, Route] = {}
        self._by_length: dict[int, dict[int, Route]] = {}
        self._cache: dict[int, Route | None] = {}
        self._fill_local()
        self._links: dict[str, Route] = {}  # where link-local addresses are, by interface
        for route in (*topology.connected(family), *topology.routes):
            if family == 6 and _is_link_local(route.network):
                self._links.setdefault(route.interface, route)
            elif route.family == family and route.kind != "throw":
                same = self._by_length.setdefault(route.length, {})
                shift = self.width - route.length
                known = same.get(route.network >> shift)
                if known is None or route.metric < known.metric:
                    same[route.network >> shift] = route
        self._lengths = sorted(self._by_length, reverse=True)

    def _fill_local(self) -> None:
        for interface in self.topology.interfaces.values():
            for each in interface.addresses:
                if each.family != self.family:
                    continue
                self._local.setdefault(
                    each.address, self._own(each.address, "local", interface.name, each.address)
                )
                if self.family == 4 and each.length < 31:
                    last = each.address | (1 << (32 - each.length)) - 1
                    for address in (last, each.broadcast):
                        if address:
                            self._broadcast[address] = self._own(
                                address, "broadcast", interface.name, each.address
                            )
                elif self.family == 6 and each.length < 127:
                    # The subnet-router anycast address, which a router listens to (RFC 4291).
                    first = each.address >> (128 - each.length) << (128 - each.length)
                    self._local.setdefault(first, self._own(first, "anycast", interface.name, each.address))

    def _own(self, address: int, kind: str, interface: str, source: int) -> Route:
        return Route(self.family, address, self.width, interface, kind=kind, source=source)

    def lookup(self, destination: int, interface: str = "") -> Route | None:
        """The route to an address; None for none.

        `interface` tells where a link-local or multicast address of IPv6 is meant.
        """
        try:
            return self._cache[destination]
        except KeyError:
            pass
        if self.family == 6 and _is_link_local(destination):
            found = self._local.get(destination) or self._links.get(interface)
            if found is not None:
                return found
            # Only what leaves by the very interface will do, be it the default route.
            found = self.main(destination)
            return found if found is not None and interface in ("", found.interface) else None
        found = self._find(destination)
        if len(self._cache) >= CACHED:
            self._cache.clear()
        self._cache[destination] = found
        return found

    def _find(self, destination: int) -> Route | None:
        found = self._local.get(destination) or self._broadcast.get(destination)
        if found is not None:
            return found
        if self.family == 4:
            top = destination >> 24
            if top == 127:
                return self._own(destination, "local", LOOPBACK, 0x7F000001)
            if destination == 0xFFFFFFFF:
                return self._own(destination, "broadcast", "", 0)
            if top >> 4 == 14:
                return self._own(destination, "multicast", "", 0)
        elif destination >> 120 == 0xFF:
            return self._own(destination, "multicast", "", 0)
        return self.main(destination)

    def main(self, destination: int) -> Route | None:
        """What the main table alone says."""
        for length in self._lengths:
            route = self._by_length[length].get(destination >> (self.width - length))
            if route is not None:
                return route
        return None

    def way_out(self, destination: int, interface: str = "") -> Route | None:
        """The route of the machine's own packets: groups are spoken to where the main table says."""
        if not destination:  # 0.0.0.0 and :: are this very machine
            own = 0x7F000001 if self.family == 4 else 1
            return self._own(own, "local", LOOPBACK, own)
        found = self.lookup(destination, interface)
        if found is None or found.kind != "multicast" or found.interface:
            return found
        if self.family == 6:
            # The first interface is the one asked, as long as none is named.
            names = [name for name in self.topology.interfaces if name != LOOPBACK]
            return Route(6, destination, 128, interface or names[0], kind="multicast") if names else None
        by = self.main(destination)
        if by is None or by.kind != "unicast":
            return by
        return Route(self.family, destination, self.width, by.interface, kind="multicast", source=by.source)

    # -- addresses

    def is_own(self, address: int) -> bool:
        """Is it an address of one of the interfaces?"""
        return address in self._local and self._local[address].kind == "local"

    def interface_of(self, address: int) -> str:
        """The interface that has an address of this machine; "" for none."""
        if self.family == 4 and address >> 24 == 127:
            return LOOPBACK
        route = self._local.get(address)
        return route.interface if route is not None and route.kind == "local" else ""

    def has_address(self, interface: str, address: int) -> bool:
        found = self.topology.interfaces.get(interface)
        return found is not None and any(
            each.address == address and each.family == self.family for each in found.addresses
        )

    def kind_of(self, address: int) -> str:
        """The type of an address, as `ip route get` and inet_addr_type() have it: "local", "unicast" ..."""
        if self.family == 4:
            if address in (0, 0xFFFFFFFF):
                return "broadcast"
            if address >> 28 == 14:
                return "multicast"
        route = self.lookup(address)
        return "unreachable" if route is None else route.kind

    def outward_address(self, interface: str, near: int | None = None) -> int | None:
        """The IPv4 address by which others know an interface, or else the machine (inet_select_addr).

        Those of 127.0.0.0/8 are for the machine alone, their scope being host; other addresses of the
        loopback come before those of other interfaces.
        """
        found = self.first_address(interface, near, outward=True)
        for name in (LOOPBACK, *self.topology.interfaces):
            if found is not None:
                break
            found = self.first_address(name, outward=True)
        return found

    def first_address(self, interface: str, near: int | None = None, *, outward: bool = False) -> int | None:
        """The address an interface speaks with: in the network of `near`, or the first.

        `outward`: IPv4, and none that is for the machine alone.
        """
        found = self.topology.interfaces.get(interface)
        if found is None:
            return None
        first = None
        for each in found.addresses:
            if each.family != self.family or each.secondary or (outward and each.address >> 24 == 127):
                continue
            shift = self.width - each.length
            if near is not None and each.address >> shift == near >> shift:
                return each.address
            if first is None:
                first = each.address
        return first

    def address_of_scope(self, interface: str, scope: int) -> int | None:
        """The first IPv6 address of an interface that has this scope (nf_nat_redirect_ipv6)."""
        found = self.topology.interfaces.get(interface)
        own = found.addresses if found is not None else ()
        fitting = (each.address for each in own if each.family == 6 and scope6(each.address) == scope)
        return next(fitting, None)

    def source_for(self, route: Route, destination: int) -> int | None:
        """The address that the machine's own packets by a route have."""
        if self.family == 6:
            if route.source is not None and route.kind != "anycast":
                return route.source
            return self.source6(route.interface, destination)
        if route.source:
            return route.source
        near = route.gateway if route.gateway is not None else destination
        found = self.first_address(route.interface, near)
        return self.outward_address(route.interface) if found is None else found

    def source6(self, interface: str, destination: int) -> int | None:
        """The best source for a destination: scope, interface, prefix (ipv6_dev_get_saddr, RFC 6724)."""
        best: int | None = None
        rank: tuple[int, ...] = ()
        wanted = scope6(destination)
        for each in self.topology.interfaces.values():
            for own in each.addresses:
                if own.family != 6:
                    continue
                scope = scope6(own.address)
                fits = -scope if scope >= wanted else scope - 16
                common = 128 - (own.address ^ destination).bit_length()
                here = (
                    own.address == destination,
                    fits,
                    each.name == interface,
                    _label6(own.address) == _label6(destination),
                    common,
                )
                if best is None or here > rank:
                    best, rank = own.address, here
        return best


def _is_link_local(address: int) -> bool:
    return address >> 118 == 0x3FA  # fe80::/10


def scope6(address: int) -> int:
    """The scope of an IPv6 address: 1 interface, 2 link, 5 site, 14 global (RFC 4291)."""
    if address >> 120 == 0xFF:
        return address >> 112 & 15
    if address == 1:
        return 1
    if address >> 118 == 0x3FA:
        return 2
    return 5 if address >> 118 == 0x3FB else 14


def _label6(address: int) -> int:
    """The label of RFC 6724's policy table, as far as it tells ordinary addresses apart."""
    if address == 1:
        return 0
    if address >> 121 == 0x7E:  # fc00::/7
        return 5
    if address >> 112 == 0x2002:
        return 2
    if address >> 32 == 0xFFFF:
        return 4
    return 1
