"""Sets of addresses, ports and so on (ipset), as `-m set` and `-j SET` ask them.

They are read from what `ipset save` prints, or a person writes for `ipset
restore`.  What matches what is as in net/netfilter/ipset/ of Linux 6.18, the
text as in ipset(8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.hosts import prefix_mask
from iptkit.text.record import NamedTuple
from iptkit.values.names import protocol_name
from iptkit.values.numbers import UINT8_MAX, UINT32_MAX, parse_uint
from iptkit.values.packet import ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE
from iptkit.values.ports import parse_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iptkit.values.context import Family
    from iptkit.values.packet import Packet

# What the elements of each type are made of; the place of a member is its `src` or `dst`.
FIELDS = {
    "bitmap:ip": ("ip",),
    "bitmap:ip,mac": ("ip", "mac"),
    "bitmap:port": ("plain_port",),
    "hash:ip": ("ip",),
    "hash:mac": ("mac",),
    "hash:ip,mac": ("ip", "mac"),
    "hash:ip,mark": ("ip", "mark"),
    "hash:ip,port": ("ip", "port"),
    "hash:ip,port,ip": ("ip", "port", "ip"),
    "hash:ip,port,net": ("ip", "port", "net"),
    "hash:net": ("net",),
    "hash:net,net": ("net", "net"),
    "hash:net,port": ("net", "port"),
    "hash:net,port,net": ("net", "port", "net"),
    "hash:net,iface": ("net", "iface"),
    "list:set": ("set",),
}
_NO_FAMILY = ("bitmap:port", "list:set", "hash:mac")
# Upper layers whose ports a set knows, and how long their headers are at least
_PORT_HEADERS = {TCP: 20, UDP: 8, UDPLITE: 8, SCTP: 12}
_ICMP_NAMES = {
    0x0000: "echo-reply",
    0x0300: "network-unreachable",
    0x0301: "host-unreachable",
    0x0302: "protocol-unreachable",
    0x0303: "port-unreachable",
    0x0304: "fragmentation-needed",
    0x0305: "source-route-failed",
    0x0306: "network-unknown",
    0x0307: "host-unknown",
    0x0309: "network-prohibited",
    0x030A: "host-prohibited",
    0x030B: "TOS-network-unreachable",
    0x030C: "TOS-host-unreachable",
    0x030D: "communication-prohibited",
    0x030E: "host-precedence-violation",
    0x030F: "precedence-cutoff",
    0x0400: "source-quench",
    0x0500: "network-redirect",
    0x0501: "host-redirect",
    0x0502: "TOS-network-redirect",
    0x0503: "TOS-host-redirect",
    0x0800: "echo-request",
    0x0900: "router-advertisement",
    0x0A00: "router-solicitation",
    0x0B00: "ttl-zero-during-transit",
    0x0B01: "ttl-zero-during-reassembly",
    0x0C00: "ip-header-bad",
    0x0C01: "required-option-missing",
    0x0D00: "timestamp-request",
    0x0E00: "timestamp-reply",
    0x1100: "address-mask-request",
    0x1200: "address-mask-reply",
}
_ICMP6_NAMES = {
    0x0100: "no-route",
    0x0101: "communication-prohibited",
    0x0103: "address-unreachable",
    0x0104: "port-unreachable",
    0x0200: "packet-too-big",
    0x0300: "ttl-zero-during-transit",
    0x0301: "ttl-zero-during-reassembly",
    0x0400: "bad-header",
    0x0401: "unknown-header-type",
    0x0402: "unknown-option",
    0x8000: "echo-request",
    0x8100: "echo-reply",
    0x8500: "router-solicitation",
    0x8600: "router-advertisement",
    0x8700: "neighbour-solicitation",
    0x8800: "neighbour-advertisement",
    0x8900: "redirect",
}
_ALIASES = {"ping": 0x0800, "pong": 0x0000}

Key = tuple[Any, ...]


class SetError(ValueError):
    """A line of the text that ipset would refuse; the message has the line's number."""


class Asked(NamedTuple):
    """What a rule says besides the set's name.

    dimensions     for each, is the packet's source meant?
    no_counting    `! --update-counters`; `no_subcounting` the same in the sets of a list
    packets, bytes comparisons of counters: operator ("eq", "ne", "lt", "gt") and number
    """

    dimensions: tuple[bool, ...]
    return_nomatch: bool = False
    no_counting: bool = False
    no_subcounting: bool = False
    packets: tuple[str, int] | None = None
    bytes: tuple[str, int] | None = None


class Element:
    """What a set keeps of an element besides its key.  `ends` is when it times out, 0 for never."""

    __slots__ = ("bytes", "comment", "ends", "mark", "nomatch", "packets", "priority", "queue")

    def __init__(self) -> None:
        self.ends = 0.0
        self.packets = self.bytes = 0
        self.comment: str | None = None
        self.nomatch = False
        self.mark: tuple[int, int] | None = None
        self.priority: int | None = None
        self.queue: int | None = None


class Set:
    """One set: its elements by key, in the order they were put in."""

    def __init__(self, name: str, kind: str, options: dict[str, Any], sets: dict[str, Set]) -> None:
        self.name = name
        self.kind = kind
        self.fields = FIELDS[kind]
        self.options = options
        self.sets = sets
        self.family: Family | None = None if kind in _NO_FAMILY else options.get("family", 4)
        self.bits = 128 if self.family == 6 else 32
        self.elements: dict[Key, Element] = {}
        # The prefix lengths of each network of a key, and how many elements have them
        self.lengths: list[dict[int, int]] = [{} for field in self.fields if field == "net"]
        self.timeout: int | None = options.get("timeout")
        self.counters = "counters" in options
        netmask = options.get("netmask")
        self.mask = prefix_mask(self.bits if netmask is None else netmask, self.bits)
        if "bitmask" in options:
            self.mask = options["bitmask"]

    # -- keys

    def key_of(self, packet: Packet, sources: tuple[bool, ...], *, adding: bool = False) -> Key | None:
        """The packet's key, None where it has no such thing.

        Networks are whole addresses; to add or delete, they have the prefix length used for that.
        """
        if len(sources) < len(self.fields) or (self.family is not None and self.family != packet.family):
            return None
        key: list[Any] = []
        network = 0
        for field, source in zip(self.fields, sources, strict=False):
            part: Any
            if field == "ip":
                part = (packet.src if source else packet.dst) & self.mask
                if not part and self.kind in ("hash:ip", "hash:ip,port", "hash:ip,mac", "hash:ip,mark"):
                    return None
            elif field == "net":
                length = self.bits
                if adding and self.lengths[network]:
                    length = max(self.lengths[network])
                address = (packet.src if source else packet.dst) & prefix_mask(length, self.bits)
                part = (address, length)
                network += 1
            elif field in ("port", "plain_port"):
                part = port_of(packet, source)
                if part is not None and field == "plain_port":
                    part = part[1] if part[0] in (TCP, UDP) else None
            elif field == "mac":
                part = packet.source_mac if source else packet.destination_mac
                if part is not None and not any(part):
                    part = None
            elif field == "mark":
                part = packet.mark & self.options.get("markmask", UINT32_MAX)
            else:
                part = (packet.in_interface if source else packet.out_interface, False, False)
                if not part[0]:
                    return None
            if part is None:
                return None
            key.append(part)
        if self.kind.startswith("bitmap:"):
            low, high = self.options["range"]
            if not low <= key[0] <= high:
                return None
        return tuple(key)

    # -- asking

    def test(self, packet: Packet, asked: Asked, now: float) -> tuple[bool, Element | None]:
        """Is the packet in the set (ip_set_test)?  Also gives the element that it met."""
        if len(asked.dimensions) < len(self.fields):
            return False, None
        if self.kind == "list:set":
            return self._test_list(packet, asked, now)
        key = self.key_of(packet, asked.dimensions)
        if key is None:
            return False, None
        if self.kind == "bitmap:ip,mac":
            return self._test_mac(key, packet, asked, now)
        for found in self._candidates(key):
            if self._met(found, packet, asked, now):
                # Only sets of networks know of --return-nomatch.
                return not self.lengths or found.nomatch is asked.return_nomatch, found
        return False, None

    def _test_mac(self, key: Key, packet: Packet, asked: Asked, now: float) -> tuple[bool, Element | None]:
        found = self.elements.get((key[0], None))
        if found is not None:
            # An address without a MAC takes that of the first packet.
            self.elements[key] = self.elements.pop((key[0], None))
            return True, found
        found = self.elements.get(key)
        if found is None or not self._met(found, packet, asked, now):
            return False, None
        return True, found

    def _test_list(self, packet: Packet, asked: Asked, now: float) -> tuple[bool, Element | None]:
        inner = asked._replace(
            packets=None, bytes=None, no_counting=asked.no_counting or asked.no_subcounting
        )
        for (name,), element in self.elements.items():
            member = self.sets.get(name)
            if member is None or expired(element, now):
                continue
            met, within = member.test(packet, inner, now)
            if met and self._met(element, packet, asked, now):
                return True, element if "skbinfo" in self.options else within
        return False, None

    def _candidates(self, key: Key) -> Iterator[Element]:
        """The elements that the key may be, the narrowest networks first (mtype_test_cidrs)."""
        nets = [place for place, field in enumerate(self.fields) if field == "net"]
        if not nets:
            found = self.elements.get(key)
            if found is not None:
                yield found
            return
        parts = list(key)
        for first in sorted(self.lengths[0], reverse=True):
            parts[nets[0]] = (key[nets[0]][0] & prefix_mask(first, self.bits), first)
            if len(nets) == 1:
                if self.fields[-1] == "iface":
                    yield from self._of_interface(tuple(parts))
                    if any(other[0] == parts[0] for other in self.elements):
                        # A network that is there for other interfaces hides the wider ones.
                        return
                elif tuple(parts) in self.elements:
                    yield self.elements[tuple(parts)]
                continue
            for second in sorted(self.lengths[1], reverse=True):
                parts[nets[1]] = (key[nets[1]][0] & prefix_mask(second, self.bits), second)
                if tuple(parts) in self.elements:
                    yield self.elements[tuple(parts)]

    def _of_interface(self, key: Key) -> Iterator[Element]:
        network, (name, _, _) = key
        for (other, (pattern, wildcard, physical)), element in self.elements.items():
            if other != network or physical:
                continue
            if name.startswith(pattern) if wildcard else name == pattern:
                yield element

    def _met(self, element: Element, packet: Packet, asked: Asked, now: float) -> bool:
        """ip_set_match_extensions: time out, count, compare what was counted."""
        if expired(element, now):
            return False
        if self.counters:
            if not asked.no_counting:
                element.packets += 1
                element.bytes += packet.length
            return compares(element.packets, asked.packets) and compares(element.bytes, asked.bytes)
        return True

    # -- changing

    def add(
        self, packet: Packet, sources: tuple[bool, ...], now: float, *, exist: bool, timeout: int | None
    ) -> bool:
        """What `-j SET --add-set` does; False without a key, or where its element is there already."""
        if self.kind == "list:set":
            return any(
                self.sets[name].add(packet, sources, now, exist=exist, timeout=timeout)
                for (name,) in self.elements
                if name in self.sets
            )
        key = self.key_of(packet, sources, adding=True)
        if key is None:
            return False
        element = Element()
        element.packets, element.bytes = 1, packet.length
        return self.put(key, element, now, exist=exist, timeout=timeout)

    def delete(self, packet: Packet, sources: tuple[bool, ...], now: float) -> bool:
        """What `-j SET --del-set` does."""
        if self.kind == "list:set":
            return any(
                self.sets[name].delete(packet, sources, now) for (name,) in self.elements if name in self.sets
            )
        key = self.key_of(packet, sources, adding=True)
        found = None if key is None else self.elements.get(key)
        if key is None or found is None:
            return False
        self.remove(key)
        return not expired(found, now)

    def put(self, key: Key, element: Element, now: float, *, exist: bool, timeout: int | None) -> bool:
        """Put an element in, in the place of one that is there where `exist` or it has timed out."""
        there = self.elements.get(key)
        if there is not None:
            if not exist and not expired(there, now):
                return False
            self.remove(key)
        elif self.kind.startswith("hash:") and len(self.elements) >= self.options.get("maxelem", 65536):
            for old in [each for each, held in self.elements.items() if expired(held, now)]:
                self.remove(old)
            if len(self.elements) >= self.options.get("maxelem", 65536):
                if "forceadd" not in self.options:
                    return False
                self.remove(next(iter(self.elements)))
        if self.timeout is not None:
            seconds = self.timeout if timeout is None else timeout
            element.ends = now + seconds if seconds else 0.0
        self.elements[key] = element
        for number, length in enumerate(self._lengths_of(key)):
            self.lengths[number][length] = self.lengths[number].get(length, 0) + 1
        return True

    def remove(self, key: Key) -> None:
        del self.elements[key]
        for number, length in enumerate(self._lengths_of(key)):
            left = self.lengths[number][length] - 1
            if left:
                self.lengths[number][length] = left
            else:
                del self.lengths[number][length]

    def _lengths_of(self, key: Key) -> list[int]:
        return [part[1] for field, part in zip(self.fields, key, strict=True) if field == "net"]

    # -- text

    def save(self, now: float) -> Iterator[str]:
        """The lines of `ipset save -s`, without the two numbers that are the kernel's own choice."""
        yield f"create {self.name} {self.kind}{self._header()}"
        live = [(key, element) for key, element in self.elements.items() if not expired(element, now)]
        if self.kind != "list:set":
            live.sort(key=lambda pair: (_order(pair[0][0]), self.show(pair[0])))
        for key, element in live:
            wildcard = self.fields[-1] == "iface" and key[-1][1]
            yield f"add {self.name} {self.show(key)}{self._extensions(element, now, wildcard=wildcard)}"

    def _header(self) -> str:
        options = self.options
        out = ""
        if self.kind.startswith("hash:"):
            if self.family is not None:
                out = f" family {'inet6' if self.family == 6 else 'inet'}"
            if "markmask" in options:
                out += f" markmask 0x{options['markmask']:08x}"
            out += f" hashsize {options.get('hashsize', 1024)} maxelem {options.get('maxelem', 65536)}"
        elif self.kind.startswith("bitmap:"):
            low, high = options["range"]
            if self.kind == "bitmap:port":
                out = f" range {low}-{high}"
            else:
                out = f" range {_show_address(low, 4)}-{_show_address(high, 4)}"
        else:
            out = f" size {options.get('size', 8)}"
        if options.get("netmask") is not None:
            out += f" netmask {options['netmask']}"
        if "bitmask" in options:
            out += f" bitmask {_show_address(options['bitmask'], self.family or 4)}"
        if self.timeout is not None:
            out += f" timeout {self.timeout}"
        for flag in ("counters", "comment", "skbinfo"):
            if flag in options:
                out += f" {flag}"
        return out

    def show(self, key: Key) -> str:
        """An element as ipset writes it."""
        return ",".join(
            self._show_part(field, part)
            for field, part in zip(self.fields, key, strict=True)
            if part is not None
        )

    def _show_part(self, field: str, part: Any) -> str:
        family = self.family or 4
        if field == "ip":
            return _show_address(part, family)
        if field == "net":
            address, length = part
            return _show_address(address, family) + (f"/{length}" if length != self.bits else "")
        if field == "port":
            return _show_port(*part)
        if field == "mac":
            return ":".join(f"{byte:02X}" for byte in part)
        if field == "mark":
            return f"0x{part:08x}"
        if field == "iface":
            name, _, physical = part  # a wildcard is told behind the element
            return f"physdev:{name}" if physical else f"{name}"
        return str(part)

    def _extensions(self, element: Element, now: float, *, wildcard: bool = False) -> str:
        out = ""
        if self.timeout is not None:
            left = max(int(element.ends - now), 1) if element.ends else 0
            out += f" timeout {left}"
        if wildcard:
            out += " wildcard"
        if element.nomatch:
            out += " nomatch"
        if self.counters:
            out += f" packets {element.packets} bytes {element.bytes}"
        if element.comment is not None:
            out += f' comment "{element.comment}"'
        if element.mark is not None:
            value, mask = element.mark
            out += f" skbmark {value:#x}" + ("" if mask == UINT32_MAX else f"/{mask:#x}")
        if element.priority is not None:
            out += f" skbprio {element.priority >> 16:x}:{element.priority & 0xFFFF:x}"
        if element.queue is not None:
            out += f" skbqueue {element.queue}"
        return out


def expired(element: Element, now: float) -> bool:
    return 0 < element.ends <= now


def compares(number: int, wanted: tuple[str, int] | None) -> bool:
    """Does a counter compare so?"""
    if wanted is None:
        return True
    operator, other = wanted
    if operator == "eq":
        return number == other
    if operator == "ne":
        return number != other
    return number < other if operator == "lt" else number > other


def port_of(packet: Packet, source: bool) -> tuple[int, int] | None:
    """Protocol and port as sets know them; for ICMP type << 8 | code (ip_set_getport.c)."""
    proto = packet.proto
    size = 8 if proto in (ICMP, ICMPV6) else _PORT_HEADERS.get(proto, 0)
    if packet.fragment_offset:
        return None if packet.family == 6 or size else (proto, 0)
    if not size:
        return proto, 0
    if len(packet.data) < packet.l4 + size:
        return None
    if proto in (ICMP, ICMPV6):
        return proto, packet.data[packet.l4] << 8 | packet.data[packet.l4 + 1]
    return proto, packet.sport if source else packet.dport


# -- reading


def read_sets(text: str, now: float = 0.0) -> dict[str, Set]:
    """The sets of a text with the lines of `ipset save` or `ipset restore`, by name.  Raises SetError."""
    import shlex  # as ipaddress below: every rule with -m set loads this module, and few read sets

    sets: dict[str, Set] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped[0] == "#" or stripped == "COMMIT":
            continue
        try:
            _run(shlex.split(stripped), sets, now)
        except (ValueError, KeyError, IndexError) as error:
            raise SetError(f"line {number}: {error}") from None
    return sets


def save_sets(sets: dict[str, Set], now: float = 0.0) -> str:
    """All sets as `ipset save -s` prints them, lists of sets last."""
    ordered = sorted(sets.values(), key=lambda each: each.kind == "list:set")
    return "".join(f"{line}\n" for each in ordered for line in each.save(now))


def _run(words: list[str], sets: dict[str, Set], now: float) -> None:
    exist = False
    for flag in ("-!", "-exist", "--exist"):
        if flag in words:
            exist = True
            words.remove(flag)
    command, name, *rest = words
    command = command.lstrip("-")
    if command in ("create", "N"):
        if name not in sets:
            sets[name] = _create(name, rest[0], rest[1:], sets)
        elif not exist:
            raise ValueError(f"the set {name} is there already")
    elif command in ("add", "A", "del", "D"):
        found = sets[name]
        element, timeout = _element(found, rest[1:])
        for key in _keys(found, rest[0], rest[1:]):
            if command in ("del", "D"):
                if key in found.elements:
                    found.remove(key)
                elif not exist:
                    raise ValueError(f"{rest[0]} is not in {name}")
                continue
            copy = Element()
            for slot in Element.__slots__:
                setattr(copy, slot, getattr(element, slot))
            if not found.put(key, copy, now, exist=exist, timeout=timeout):
                raise ValueError(f"{rest[0]} cannot be put into {name}")
    elif command in ("flush", "F"):
        for key in list(sets[name].elements):
            sets[name].remove(key)
    elif command in ("destroy", "X"):
        del sets[name]
    else:
        raise ValueError(f"no command is called {command}")


_NUMBERS = ("hashsize", "maxelem", "timeout", "size", "netmask", "bucketsize", "initval", "markmask")
_FLAGS = ("counters", "comment", "skbinfo", "forceadd")
_FAMILIES: dict[str, Family] = {"inet": 4, "inet4": 4, "ipv4": 4, "-4": 4, "inet6": 6, "ipv6": 6, "-6": 6}


def _create(name: str, kind: str, words: list[str], sets: dict[str, Set]) -> Set:
    if kind not in FIELDS:
        raise ValueError(f"no type of set is called {kind}")
    options: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if word in _FLAGS:
            options[word] = True
        elif word == "family":
            options["family"] = _FAMILIES[next(rest)]
        elif word in _NUMBERS:
            options[word] = parse_uint(next(rest).removeprefix("/"))
        elif word == "bitmask":
            mask = next(rest)
            options["bitmask"] = _address(mask, 6 if ":" in mask else 4)
        elif word == "range":
            options["range"] = _range(next(rest), kind)
        elif word not in ("from", "to", "nomatch"):
            raise ValueError(f"{kind} has no option {word}")
    if options.get("netmask") in (32, 128):
        del options["netmask"]
    return Set(name, kind, options, sets)


def _range(text: str, kind: str) -> tuple[int, int]:
    if kind == "bitmap:port":
        low, _, high = text.partition("-")
        return parse_port(low, "tcp"), parse_port(high, "tcp")
    return _addresses(text, 4)


def _addresses(text: str, family: int) -> tuple[int, int]:
    """The first and last address of `address`, `address/length` or `address-address`."""
    first, dash, last = text.partition("-")
    if dash:
        return _address(first, family), _address(last, family)
    host, slash, length = text.partition("/")
    bits = 32 if family == 4 else 128
    address = _address(host, family)
    if not slash:
        return address, address
    mask = prefix_mask(parse_uint(length, 0, bits), bits)
    return address & mask, address | mask ^ prefix_mask(bits, bits)


def _address(text: str, family: int) -> int:
    import ipaddress

    text = text.strip("[]")
    return int(ipaddress.IPv4Address(text) if family == 4 else ipaddress.IPv6Address(text))


def _keys(found: Set, text: str, words: list[str]) -> list[Key]:
    """The keys that an element stands for: a range is several."""
    pieces = text.split(",")
    if len(pieces) > len(found.fields):
        raise ValueError(f"{text} has more parts than {found.kind}")
    keys: list[Key] = [()]
    for number, field in enumerate(found.fields):
        piece = pieces[number] if number < len(pieces) else None
        if piece is None and field != "mac":
            raise ValueError(f"{text} has fewer parts than {found.kind}")
        parts: list[Any] = [None] if piece is None else _READERS[field](piece, found)
        if field == "iface":
            parts = [(name, "wildcard" in words, physical) for name, _, physical in parts]
        keys = [(*key, part) for key in keys for part in parts]
    return keys


def _read_ip(text: str, found: Set) -> list[Any]:
    low, high = _addresses(text, found.family or 4)
    return list(dict.fromkeys(address & found.mask for address in range(low, high + 1)))


def _read_net(text: str, found: Set) -> list[Any]:
    family, bits = found.family or 4, found.bits
    if "-" not in text:
        host, slash, length_text = text.partition("/")
        length = parse_uint(length_text, 0, bits) if slash else bits
        return [(_address(host, family) & prefix_mask(length, bits), length)]
    low, high = _addresses(text, family)
    parts = []
    while low <= high:
        size = min((low & -low).bit_length() - 1 if low else bits, (high - low + 1).bit_length() - 1)
        parts.append((low, bits - size))
        low += 1 << size
    return parts


def _read_port(text: str, found: Set) -> list[Any]:
    name, colon, ports = text.rpartition(":")
    proto = _protocol(name) if colon else TCP
    if proto in (ICMP, ICMPV6):
        return [(proto, _icmp(ports, _ICMP_NAMES if proto == ICMP else _ICMP6_NAMES))]
    if proto not in _PORT_HEADERS:
        return [(proto, 0)]
    low, dash, high = ports.partition("-")
    first = _port(low)
    return [(proto, port) for port in range(first, (_port(high) if dash else first) + 1)]


def _port(text: str) -> int:
    return parse_port(text, None)


def _read_plain_port(text: str, found: Set) -> list[Any]:
    low, dash, high = text.rpartition(":")[2].partition("-")
    first = _port(low)
    return list(range(first, (_port(high) if dash else first) + 1))


def _protocol(text: str) -> int:
    from iptkit.values.names import parse_protocol

    return {"icmpv6": ICMPV6, "ipv6-icmp": ICMPV6}.get(text) or parse_protocol(text)


def _icmp(text: str, names: dict[int, str]) -> int:
    for number, name in names.items():
        if name == text:
            return number
    if text in _ALIASES:
        return _ALIASES[text]
    kind, _, code = text.partition("/")
    return parse_uint(kind, 0, UINT8_MAX) << 8 | parse_uint(code or "0", 0, UINT8_MAX)


def _read_mac(text: str, found: Set) -> list[Any]:
    return [bytes(int(piece, 16) for piece in text.split(":"))]


def _read_mark(text: str, found: Set) -> list[Any]:
    return [parse_uint(text) & found.options.get("markmask", UINT32_MAX)]


def _read_interface(text: str, found: Set) -> list[Any]:
    physical = text.startswith("physdev:")
    return [(text.removeprefix("physdev:"), False, physical)]


def _read_set(text: str, found: Set) -> list[Any]:
    if text not in found.sets:
        raise ValueError(f"there is no set {text}")
    return [text]


_READERS: dict[str, Callable[[str, Set], list[Any]]] = {
    "ip": _read_ip,
    "net": _read_net,
    "port": _read_port,
    "plain_port": _read_plain_port,
    "mac": _read_mac,
    "mark": _read_mark,
    "iface": _read_interface,
    "set": _read_set,
}


def _element(found: Set, words: list[str]) -> tuple[Element, int | None]:
    """What stands behind an element."""
    element = Element()
    timeout: int | None = None
    rest = iter(words)
    for word in rest:
        if word == "timeout":
            timeout = parse_uint(next(rest))
        elif word == "nomatch":
            element.nomatch = True
        elif word == "packets":
            element.packets = int(next(rest), 0)
        elif word == "bytes":
            element.bytes = int(next(rest), 0)
        elif word == "comment":
            element.comment = next(rest)
        elif word == "skbmark":
            value, slash, mask = next(rest).partition("/")
            element.mark = (parse_uint(value), parse_uint(mask) if slash else UINT32_MAX)
        elif word == "skbprio":
            major, _, minor = next(rest).partition(":")
            element.priority = int(major, 16) << 16 | int(minor, 16)
        elif word == "skbqueue":
            element.queue = parse_uint(next(rest), 0, 0xFFFF)
        elif word in ("before", "after"):
            next(rest)
        elif word != "wildcard":
            raise ValueError(f"{found.kind} has no option {word}")
    return element, timeout


# -- writing


def _show_address(address: int, family: int) -> str:
    import ipaddress

    return str(ipaddress.IPv4Address(address) if family == 4 else ipaddress.IPv6Address(address))


def _show_port(proto: int, port: int) -> str:
    if proto in (ICMP, ICMPV6):
        names = _ICMP_NAMES if proto == ICMP else _ICMP6_NAMES
        shown = names.get(port, f"{port >> 8}/{port & 0xFF}")
        return f"{'icmp' if proto == ICMP else 'ipv6-icmp'}:{shown}"
    return f"{protocol_name(proto)}:{port}"


def _order(part: Any) -> int:
    """Where ipset -s puts an element: by its first address or port."""
    first = part[0] if isinstance(part, tuple) else part
    return first if isinstance(first, int) else 0


__all__ = ["Asked", "Element", "Set", "SetError", "compares", "expired", "port_of", "read_sets", "save_sets"]
