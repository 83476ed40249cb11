"""The machine around the rules: its interfaces, their addresses, and its routes.

A topology is declared: from what `ip -j addr` and `ip -j route` print
(iproute2), or one of those kept here.  Nothing is asked of the machine that
runs this.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from iptkit.evaluator.wire import BadField, Fields, address_bytes, suggestion
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iptkit.values.context import Family

LOOPBACK = "lo"
KINDS = (
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "unreachable",
    "prohibit",
    "blackhole",
    "throw",
)


class Address(NamedTuple):
    """An address of an interface, as a whole number, and the length of its network's prefix."""

    family: Family
    address: int
    length: int
    secondary: bool = False
    broadcast: int | None = None


class Interface:
    """A network interface.

    `group` is the device group (`ip link set group`), `index` its number,
    `arp` and `multicast` the flags of `ip link`.
    """

    __slots__ = ("addresses", "arp", "group", "index", "mac", "mtu", "multicast", "name", "up")

    def __init__(
        self,
        name: str,
        addresses: Iterable[Address] = (),
        *,
        index: int = 0,
        mtu: int = 1500,
        mac: bytes = bytes(6),
        group: int | None = 0,
        arp: bool = True,
        multicast: bool = True,
        up: bool = True,
    ) -> None:
        self.name = name
        self.addresses = list(addresses)
        self.index = index
        self.mtu = mtu
        self.mac = mac
        self.group = group
        self.arp = arp
        self.multicast = multicast
        self.up = up


class Route:
    """A route: what becomes of packets to a network.

    kind       one of KINDS, as `ip route` names them
    interface  by which they leave, "" where the kind has none
    gateway    the next hop, None where the destination itself is
    source     the address preferred for packets of the machine's own
    others     further next hops of a multipath route, each (interface, gateway)
    """

    __slots__ = ("family", "gateway", "interface", "kind", "length", "metric", "network", "others", "source")

    def __init__(
        self,
        family: Family,
        network: int,
        length: int,
        interface: str = "",
        *,
        kind: str = "unicast",
        gateway: int | None = None,
        source: int | None = None,
        metric: int = 0,
        others: tuple[tuple[str, int | None], ...] = (),
    ) -> None:
        self.family = family
        self.network = network
        self.length = length
        self.interface = interface
        self.kind = kind
        self.gateway = gateway
        self.source = source
        self.metric = metric
        self.others = others

    def by(self, interface: str, gateway: int | None) -> Route:
        """The same route by another of its next hops."""
        return Route(
            self.family,
            self.network,
            self.length,
            interface,
            kind=self.kind,
            gateway=gateway,
            source=self.source,
            metric=self.metric,
        )

    def __repr__(self) -> str:
        return f"<{self.kind} route {self.network:#x}/{self.length} {self.interface}>"


class Topology:
    """Interfaces by name, in the order of their indexes, and the routes of the main table."""

    __slots__ = ("interfaces", "routes")

    def __init__(self, interfaces: Iterable[Interface], routes: Iterable[Route] = ()) -> None:
        self.interfaces = {each.name: each for each in interfaces}
        if LOOPBACK not in self.interfaces:
            own = [Address(4, 0x7F000001, 8), Address(6, 1, 128)]
            lo = Interface(LOOPBACK, own, index=1, mtu=65536, arp=False, multicast=False)
            self.interfaces = {LOOPBACK: lo, **self.interfaces}
        self.routes = list(routes)

    def connected(self, family: Family) -> Iterator[Route]:
        """The routes that addresses bring with them."""
        width = 32 if family == 4 else 128
        for interface in self.interfaces.values():
            if interface.name == LOOPBACK or not interface.up:
                continue
            for each in interface.addresses:
                if each.family == family and each.length < width:
                    mask = -1 << (width - each.length) & ((1 << width) - 1)
                    source = each.address if family == 4 else None
                    yield Route(family, each.address & mask, each.length, interface.name, source=source)


def _number(text: str) -> tuple[Family, int]:
    family: Family = 6 if ":" in text else 4
    return family, int.from_bytes(address_bytes(text, family), "big")


def network(text: str) -> tuple[Family, int, int]:
    """Family, first address and prefix length of `10.0.0.0/8` or `10.0.0.1`.  Raises ValueError."""
    plain, slash, length = text.partition("/")
    family, first = _number(plain)
    width = 32 if family == 4 else 128
    bits = int(length) if slash else width
    if not 0 <= bits <= width:
        raise ValueError(text)
    return family, first, bits


def two_networks() -> Topology:
    """The default: a firewall between a network of clients and a network of servers.

    10.0.1.0/24 and fd00:1::/64 are at in0, 10.0.2.0/24 and fd00:2::/64 at
    out0, where the default route leads, too.
    """

    def interface(name: str, index: int, four: str, six: str, mac: int) -> Interface:
        own = []
        for text in (four, six):
            family, first, length = network(text)
            own.append(Address(family, first, length))
        return Interface(name, own, index=index, mac=bytes((2, 0, 0, 0, mac, 1)), arp=False, multicast=False)

    def route(to: str, device: str = "", via: str = "", kind: str = "unicast") -> Route:
        family, first, length = network(to)
        return Route(family, first, length, device, kind=kind, gateway=_number(via)[1] if via else None)

    return Topology(
        (
            interface("in0", 2, "10.0.1.1/24", "fd00:1::1/64", 1),
            interface("out0", 3, "10.0.2.1/24", "fd00:2::1/64", 2),
        ),
        (
            route("0.0.0.0/0", "out0", "10.0.2.2"),
            route("192.168.0.0/16", "in0", "10.0.1.2"),
            route("10.0.99.0/24", kind="unreachable"),
            route("10.0.98.0/24", kind="prohibit"),
            route("10.0.97.0/24", kind="blackhole"),
            route("::/0", "out0", "fd00:2::2"),
            route("fd00:a::/32", "in0", "fd00:1::2"),
            route("fd00:99::/32", kind="unreachable"),
            route("fd00:98::/32", kind="prohibit"),
            route("fd00:97::/32", kind="blackhole"),
        ),
    )


# -- what iproute2 prints


def read_topology(texts: Iterable[tuple[str, str]]) -> Topology:
    """The topology that JSON of `ip -j addr`, `ip -j route` and `ip -6 -j route` tells.

    `texts` are pairs of a name (for messages) and a text, which may hold
    several of these one after the other.  Raises BadField.
    """
    interfaces: list[Interface] = []
    routes: list[Route] = []
    for name, text in texts:
        for value in _values(name, text):
            if not isinstance(value, list):
                raise BadField(name, "must be a list, as `ip -j addr` and `ip -j route` print it")
            for place, item in enumerate(value):
                fields = Fields(item, f"{name}[{place}]")
                if "ifname" in fields.given:
                    interfaces.append(_read_interface(fields))
                elif "dst" in fields.given:
                    route = _read_route(fields)
                    if route is not None:
                        routes.append(route)
                elif fields.given:  # `ip -4 -j addr` prints {} for an interface without such addresses
                    raise BadField(fields.path, "has neither `ifname` nor `dst`: neither interface nor route")
    if not interfaces:
        raise BadField("topology", "names no interface; give it what `ip -j addr` prints")
    topology = Topology(interfaces, routes)
    for route in routes:
        for device, _ in ((route.interface, None), *route.others):
            if device and device not in topology.interfaces:
                raise BadField("topology", f"a route leaves by {device!r}, which is not among the interfaces")
    return topology


def _values(name: str, text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise BadField(f"{name}:{error.lineno}:{error.colno}", f"is no JSON: {error.msg}") from None
        yield value


def _read_interface(fields: Fields) -> Interface:
    flags = fields.items("flags")
    own = []
    for place, item in enumerate(fields.items("addr_info")):
        each = Fields(item, f"{fields.at('addr_info')}[{place}]")
        if not each.given:
            continue
        family: Family = 6 if each.text("family") == "inet6" else 4
        if each.text("family") not in ("inet", "inet6"):
            continue
        width = 32 if family == 4 else 128
        own.append(
            Address(
                family,
                int.from_bytes(each.address("local", family), "big"),
                each.number("prefixlen", width, 0, width),
                each.flag("secondary"),
                int.from_bytes(each.address("broadcast", 4), "big") if "broadcast" in each.given else None,
            )
        )
    mac = fields.text("address")
    group = fields.text("group", "default")
    return Interface(
        fields.text("ifname"),
        own,
        index=fields.number("ifindex", 0),
        mtu=fields.number("mtu", 1500),
        mac=bytes.fromhex(mac.replace(":", "")) if len(mac) == 17 else bytes(6),
        group=0 if group == "default" else int(group) if group.isdecimal() else None,
        arp="NOARP" not in flags,
        multicast="MULTICAST" in flags,
        up="UP" in flags if flags else True,
    )


def _read_route(fields: Fields) -> Route | None:
    if fields.given.get("table", "main") != "main":
        return None  # the local table follows from the addresses; others need rules
    kind = fields.text("type", "unicast")
    if kind not in KINDS:
        raise BadField(fields.at("type"), f"{kind!r} is no kind of route{suggestion(kind, KINDS)}")
    gateway = _gateway(fields)
    to = fields.text("dst")
    if to == "default":
        source_family: Family = 6 if _family_hint(fields) == 6 else 4
        to = "::/0" if source_family == 6 else "0.0.0.0/0"
    try:
        family, first, length = network(to)
    except ValueError:
        raise BadField(fields.at("dst"), f"{to!r} is no network") from None
    source = fields.text("prefsrc")
    hops = [
        (hop.text("dev"), _gateway(hop))
        for place, item in enumerate(fields.items("nexthops"))
        for hop in (Fields(item, f"{fields.at('nexthops')}[{place}]"),)
    ]
    device = fields.text("dev") if kind in ("unicast", "local", "broadcast", "anycast", "multicast") else ""
    if hops and not device:
        device, gateway = hops.pop(0)
    return Route(
        family,
        first,
        length,
        device,
        kind=kind,
        gateway=gateway,
        source=_number(source)[1] if source else None,
        metric=fields.number("metric", 0),
        others=tuple(hops),
    )


def _gateway(fields: Fields) -> int | None:
    text = fields.text("gateway")
    if not text and "via" in fields.given:
        text = Fields(fields.given["via"], fields.at("via")).text("host")
    try:
        return _number(text)[1] if text else None
    except ValueError:
        raise BadField(fields.at("gateway"), f"{text!r} is no address") from None


def _family_hint(fields: Fields) -> int:
    """Of which family a default route is: `ip -6 route` alone prints `pref`."""
    text = fields.text("gateway") + fields.text("prefsrc")
    if not text:
        hops = fields.items("nexthops")
        text = str(hops[0].get("gateway", "")) if hops else ""
    return 6 if ":" in text or "pref" in fields.given else 4
