"""Random packets, and random uses of matches that some of them meet, to hold against a kernel.

Values come from small pools, so that conditions are met about as often as not.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from iptkit.values.checksum import checksum

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from iptkit.values.context import Family

ADDRESSES4 = (
    "10.0.0.1",
    "10.0.0.7",
    "10.0.1.9",
    "10.9.255.254",
    "172.16.3.4",
    "192.0.2.33",
    "198.51.100.200",
)
ADDRESSES6 = (
    "fd00::1",
    "fd00::7",
    "fd00:1::9",
    "2001:db8::33",
    "2001:db8:ff::c8",
    "fe80::211:22ff:fe33:4455",
)
PORTS = (1, 22, 53, 80, 443, 1023, 1024, 8080, 40000, 65535)
TEXTS = (b"evil", b"EVIL", b"GET / HTTP/1.1\r\nHost: a\r\n", b"abcabcabd", b"\x00\xde\xad", b"x", b"")


def address_bytes(text: str) -> bytes:
    import ipaddress

    return ipaddress.ip_address(text).packed


# -- packets


def packets(random: Random, family: Family, count: int) -> list[bytes]:
    return [packet(random, family) for _ in range(count)]


def packet(random: Random, family: Family) -> bytes:
    """A packet that the IP stack takes in; what it carries may be cut short or wrong."""
    proto = random.choice(
        (6, 6, 6, 6, 17, 17, 17, 1 if family == 4 else 58, 50, 51, 108, 132, 33, 136, 47, 253)
    )
    if family == 6 and random.random() < 0.05:
        proto = 135
    upper = _UPPER.get(proto, _unknown)(random)
    if random.random() < 0.08:
        upper = upper[: random.randrange(len(upper) + 1)]
    if family == 4:
        return _packet4(random, proto, upper)
    return _packet6(random, proto, upper)


def _packet4(random: Random, proto: int, upper: bytes) -> bytes:
    options = random.choice((b"", b"", b"", b"\x01\x01\x01\x00", bytes(8)))
    fragment = random.choice((0,) * 8 + (0x4000, 0x2000, 0x0001, 0x2001, 0x0010))
    source, destination = (address_bytes(random.choice(ADDRESSES4)) for _ in range(2))
    tos, ttl = random.choice((0, 0x10, 0x08, 0xB8, 0x03, 0x02, 0xFF)), random.choice((1, 2, 63, 64, 128, 255))
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45 + len(options) // 4,
        tos,
        20 + len(options) + len(upper),
        random.randrange(65536),
        fragment,
        ttl,
        proto,
        0,
        source,
        destination,
    )
    header += options
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + upper


def _packet6(random: Random, proto: int, upper: bytes) -> bytes:
    source, destination = (address_bytes(random.choice(ADDRESSES6)) for _ in range(2))
    rest, following = upper, proto
    for kind in sorted(random.sample((60, 43, 44, 51), random.choice((0, 0, 0, 1, 1, 2))), reverse=True):
        rest, following = _HEADERS[kind](random, following) + rest, kind
    if random.random() < 0.1:
        rest, following = bytes((following, 0, 1, 4, 0, 0, 0, 0)) + rest, 0
    if random.random() < 0.04:
        rest = rest[: random.randrange(len(rest) + 1)] if following != 0 else rest
    if random.random() < 0.03:
        rest, following = b"", 59
    traffic_class = random.choice((0, 0x10, 0xB8, 0x03, 0x02, 0xFF))
    first = 6 << 28 | traffic_class << 20 | random.choice((0, 0x12345))
    hops = random.choice((1, 2, 63, 64, 128, 255))
    return struct.pack("!IHBB16s16s", first, len(rest), following, hops, source, destination) + rest


def _options6(random: Random, following: int) -> bytes:
    options = random.choice((b"\x01\x04\0\0\0\0", b"\x01\x02\0\0\0\0", b"\x05\x02\0\0\x01\0", b"\0" * 6))
    more = random.choice((b"", b"", b"\x03\x06" + bytes(6), b"\x01\x06" + bytes(6)))
    return bytes((following, len(more) // 8)) + options + more


def _routing6(random: Random, following: int) -> bytes:
    kind = random.choice((0, 0, 2, 4, 4))
    number = random.choice((0, 1, 2, 3))
    addresses = b"".join(address_bytes(random.choice(ADDRESSES6)) for _ in range(number))
    left = random.randrange(4)
    if kind == 4:
        last = random.choice((max(number - 1, 0), number))
        return bytes((following, number * 2, kind, left, last, 0, 0, random.choice((0, 1)))) + addresses
    return bytes((following, number * 2, kind, left, 0, 0, 0, random.choice((0, 0, 1)))) + addresses


def _fragment6(random: Random, following: int) -> bytes:
    return struct.pack(
        "!BBHI",
        following,
        random.choice((0, 0, 1)),
        random.choice((0, 1, 1, 8, 9, 6)),
        random.choice((1, 77, 1 << 31)),
    )


def _authentication(random: Random, following: int) -> bytes:
    return struct.pack(
        "!BBHII",
        following,
        random.choice((1, 4)),
        random.choice((0, 0, 5)),
        random.choice((5, 500, 1 << 31)),
        9,
    ) + bytes(12)


_HEADERS: dict[int, Callable[[Random, int], bytes]] = {
    60: _options6,
    43: _routing6,
    44: _fragment6,
    51: _authentication,
}


def _tcp(random: Random) -> bytes:
    options = b"".join(
        random.sample(
            (
                b"\x02\x04\x05\xb4",
                b"\x03\x03\x07\x01",
                b"\x04\x02\x01\x01",
                b"\x08\x0a" + bytes(8) + b"\x01\x01",
                b"\x02\x04\x00\x10",
            ),
            random.choice((0, 0, 1, 2, 3)),
        )
    )
    if random.random() < 0.08:
        options = random.choice(
            (b"\x05\x00\x01\x01", b"\x02\x00\x00\x00", b"\x00\x00\x00\x00", b"\x02\x05\x05\x05")
        )
    offset = 5 + len(options) // 4
    if random.random() < 0.05:
        offset = random.randrange(16)
    flags = random.choice((0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x00, 0x3F, 0xFF, 0xC2, 0x42, 0x29))
    return (
        struct.pack(
            "!HHIIBBHHH",
            random.choice(PORTS),
            random.choice(PORTS),
            random.randrange(1 << 32),
            0,
            offset << 4,
            flags,
            1000,
            0,
            0,
        )
        + options
        + random.choice(TEXTS)
    )


def _udp(random: Random) -> bytes:
    text = random.choice(TEXTS) + random.choice(TEXTS)
    return struct.pack("!HHHH", random.choice(PORTS), random.choice(PORTS), 8 + len(text), 0) + text


def _icmp(random: Random) -> bytes:
    kind = random.choice((0, 3, 3, 5, 8, 8, 11, 13, 128, 129, 1, 2, 4, 135, 255))
    return bytes((kind, random.choice((0, 0, 1, 3, 4)), 0, 0, 0, 1, 0, 2)) + random.choice(TEXTS)


def _esp(random: Random) -> bytes:
    return struct.pack("!II", random.choice((5, 500, 1 << 31)), 1) + bytes(8)


def _ah(random: Random) -> bytes:
    return _authentication(random, random.choice((6, 59)))


def _ipcomp(random: Random) -> bytes:
    return struct.pack("!BBH", 6, random.choice((0, 1)), random.choice((0, 5, 500))) + bytes(8)


def _sctp(random: Random) -> bytes:
    chunks = b"".join(
        struct.pack("!BBH", kind, random.choice((0, 1, 3, 15)), 4 + 4 * size) + bytes(4 * size)
        for kind, size in zip(
            random.choices((0, 1, 3, 6, 10, 14, 192), k=random.choice((1, 1, 2, 3))),
            random.choices((0, 1, 4), k=3),
            strict=False,
        )
    )
    if random.random() < 0.06:
        chunks += b"\0\0\0\0"
    return struct.pack("!HHII", random.choice(PORTS), random.choice(PORTS), 7, 0) + chunks


def _dccp(random: Random) -> bytes:
    kind, extended = random.randrange(16), random.choice((0, 1))
    size = 12 + 4 * extended + {0: 4, 1: 12, 2: 0, 3: 8, 4: 8, 5: 8, 6: 8, 8: 8, 9: 8}.get(kind, 12)
    options = random.choice((b"", b"\x20\x03\x01\x00", b"\x21\x04\x01\x00", b"\x00\x01\x02\x00"))
    offset = (size + len(options)) // 4 if random.random() > 0.06 else random.randrange(20)
    header = struct.pack(
        "!HHBBHBBH", random.choice(PORTS), random.choice(PORTS), offset, 0, 0, kind << 1 | extended, 0, 0
    )
    return header + bytes(size - 12) + options + random.choice(TEXTS)


def _mobility(random: Random) -> bytes:
    return bytes((random.choice((59, 59, 59, 6)), 0, random.choice((0, 1, 5, 6, 200)), 0, 0, 0, 0, 0))


def _unknown(random: Random) -> bytes:
    return random.choice(TEXTS) + b"...."


_UPPER: dict[int, Callable[[Random], bytes]] = {
    6: _tcp,
    17: _udp,
    136: _udp,
    1: _icmp,
    58: _icmp,
    50: _esp,
    51: _ah,
    108: _ipcomp,
    132: _sctp,
    33: _dccp,
    135: _mobility,
}


# -- uses of matches


def use(random: Random, family: Family, name: str) -> str:
    """A random use of a match, with the -p that it needs before it."""
    return _USES[name](random, family)


def names(family: Family) -> list[str]:
    """The matches there are uses of."""
    only = {4: ("icmp", "ttl"), 6: ("icmp6", "hl", "frag", "hbh", "dst", "rt", "mh", "ipv6header", "srh")}
    other = only[10 - family]
    return [name for name in _USES if name not in other]


def _not(random: Random) -> str:
    return random.choice(("", "", "! "))


def _range(random: Random, pool: tuple[int, ...], separator: str = ":") -> str:
    low, high = sorted((random.choice(pool), random.choice(pool)))
    return str(low) if random.random() < 0.4 else f"{low}{separator}{high}"


def _ports(random: Random) -> str:
    out = ""
    if random.random() < 0.6:
        out += f" {_not(random)}--sport {_range(random, PORTS)}"
    if random.random() < 0.6:
        out += f" {_not(random)}--dport {_range(random, PORTS)}"
    return out


_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")


def _use_tcp(random: Random, family: Family) -> str:
    out = f"-p tcp -m tcp{_ports(random)}"
    kind = random.randrange(4)
    if kind == 0:
        out += f" {_not(random)}--syn"
    elif kind == 1:
        looked = random.sample(_FLAGS, random.randrange(1, 6))
        are_set = random.sample(looked, random.randrange(len(looked) + 1)) or ["NONE"]
        out += f" {_not(random)}--tcp-flags {','.join(looked)} {','.join(are_set)}"
    if random.random() < 0.3:
        out += f" {_not(random)}--tcp-option {random.choice((2, 3, 4, 5, 8))}"
    return out


def _use_multiport(random: Random, family: Family) -> str:
    proto = random.choice(("tcp", "udp", "udplite", "sctp", "dccp"))
    ports = ",".join(_range(random, PORTS) for _ in range(random.randrange(1, 6)))
    ports = ",".join(
        piece for piece in ports.split(",") if len(set(piece.split(":"))) == len(piece.split(":"))
    )
    side = random.choice(("sports", "dports", "ports"))
    return f"-p {proto} -m multiport {_not(random)}--{side} {ports or 80}"


def _address(random: Random, family: Family) -> str:
    return random.choice(ADDRESSES4 if family == 4 else ADDRESSES6)


def _use_core(random: Random, family: Family) -> str:
    out = ""
    lengths = (0, 1, 8, 9, 16, 24, 31, 32) if family == 4 else (0, 1, 16, 33, 64, 127, 128)
    for flag in ("-s", "-d"):
        if random.random() < 0.5:
            out += f" {_not(random)}{flag} {_address(random, family)}/{random.choice(lengths)}"
    if random.random() < 0.3:
        out += f" {_not(random)}-i {random.choice(('tun0', 'tun+', 'tun1', 't+', 'tun', 'lo'))}"
    if random.random() < 0.4:
        out += f" {_not(random)}-p {random.choice((6, 17, 1, 58, 50, 51, 132, 253, 59))}"
    if family == 4 and random.random() < 0.3:
        out += f" {_not(random)}-f"
    return out


def _use_icmp(random: Random, family: Family) -> str:
    kind = random.choice(("any", "3", "3/1", "8", "0", "5/0", "11", "255"))
    return f"-p icmp -m icmp {_not(random)}--icmp-type {kind}"


def _use_icmp6(random: Random, family: Family) -> str:
    kind = random.choice(("1", "1/4", "128", "129", "2", "135/0", "255"))
    return f"-p icmpv6 -m icmp6 {_not(random)}--icmpv6-type {kind}"


def _use_iprange(random: Random, family: Family) -> str:
    pool = sorted(ADDRESSES4 if family == 4 else ADDRESSES6, key=address_bytes)
    out = "-m iprange"
    for flag in random.sample(("--src-range", "--dst-range"), random.choice((1, 2))):
        low, high = sorted((random.randrange(len(pool)), random.randrange(len(pool))))
        out += f" {_not(random)}{flag} {pool[low]}-{pool[high]}"
    return out


def _use_u32(random: Random, family: Family) -> str:
    tests = (
        "6&0xFF=6,17",
        "0&0xFFFF=0x1d:0x40",
        "0>>22&0x3C@0&0xFFFF=53,80",
        "8>>24=1:64",
        "0>>22&0x3C@12>>26&0x3C@0=0:0xffffffff",
        "16=0x0a000001",
        "4&0x1fffff=0",
        "40=0:0x7fffffff",
        "36<<4>>8=0:0xffff",
        "2000=0",
        "12&0xff000000=0x0a000000 && 16&0xff=7:200",
    )
    return f'-m u32 {_not(random)}--u32 "{random.choice(tests)}"'


def _use_string(random: Random, family: Family) -> str:
    pattern = random.choice(("evil", "GET", "abcabd", "x", "Host: a", "abc", "b"))
    out = f'-m string {_not(random)}--string "{pattern}" --algo {random.choice(("bm", "kmp"))}'
    if random.random() < 0.2:
        out = f'-m string {_not(random)}--hex-string "|00de|" --algo {random.choice(("bm", "kmp"))}'
    if random.random() < 0.4:
        out += f" --from {random.choice((0, 20, 28, 30, 40, 41, 60))}"
    elif random.random() < 0.4:
        out += f" --to {random.choice((28, 32, 36, 44, 48, 52, 64, 70, 100))}"
    return out + (" --icase" if random.random() < 0.3 else "")


_PROGRAMS = (
    "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0",
    "4,48 0 0 6,21 0 1 17,6 0 0 1,6 0 0 0",
    "6,177 0 0 0,72 0 0 2,21 1 0 53,21 0 1 80,6 0 0 65535,6 0 0 0",
    "3,128 0 0 0,116 0 0 2,22 0 0 0",
    "4,48 0 0 60,37 0 1 64,6 0 0 1,6 0 0 0",
    "7,40 0 0 2,2 0 0 3,97 0 0 3,128 0 0 0,29 0 1 0,6 0 0 1,6 0 0 0",
    "8,0 0 0 7,7 0 0 0,32 0 0 0,92 0 0 0,148 0 0 5,69 0 1 4,6 0 0 1,6 0 0 0",
    "6,48 0 0 4294963204,21 0 2 0,48 0 0 4294963200,22 0 0 0,6 0 0 1,6 0 0 0",
    "5,32 0 0 4293918732,84 0 0 4278190080,21 0 1 167772160,6 0 0 1,6 0 0 0",
    "5,1 0 0 0,48 0 0 8,60 0 0 0,6 0 0 1,6 0 0 0",
    "2,135 0 0 0,22 0 0 0",
)


def _use_bpf(random: Random, family: Family) -> str:
    return f'-m bpf --bytecode "{random.choice(_PROGRAMS)}"'


def _use_sctp(random: Random, family: Family) -> str:
    out = f"-p sctp -m sctp{_ports(random)}"
    if random.random() < 0.7:
        chunk = (
            "DATA",
            "INIT",
            "SACK",
            "ABORT",
            "COOKIE_ECHO",
            "SHUTDOWN_COMPLETE",
            "FORWARD_TSN",
            "DATA:be",
            "DATA:B",
            "ABORT:T",
        )
        chosen = {name.partition(":")[0]: name for name in random.sample(chunk, random.randrange(1, 5))}
        kind = random.choice(("any", "all", "only"))
        out += f" {_not(random)}--chunk-types {kind} {','.join(chosen.values())}"
    return out


def _use_dccp(random: Random, family: Family) -> str:
    out = f"-p dccp -m dccp{_ports(random)}"
    if random.random() < 0.6:
        types = random.sample(("REQUEST", "RESPONSE", "DATA", "ACK", "RESET", "SYNC", "INVALID"), 3)
        out += f" {_not(random)}--dccp-types {','.join(types)}"
    if random.random() < 0.4:
        out += f" {_not(random)}--dccp-option {random.choice((1, 2, 32, 33))}"
    return out


def _use_ah(random: Random, family: Family) -> str:
    out = "-p ah -m ah" if family == 4 else "-m ah"
    out += f" {_not(random)}--ahspi {_range(random, (5, 500, 1 << 31))}"
    if family == 6:
        if random.random() < 0.4:
            out += f" {_not(random)}--ahlen {random.choice((12, 24))}"
        if random.random() < 0.4:
            out += " --ahres"
    return out


def _use_frag(random: Random, family: Family) -> str:
    out = f"-m frag {_not(random)}--fragid {_range(random, (1, 77, 1 << 31))}"
    out += random.choice(("", " --fragres")) + random.choice(("", " --fragfirst"))
    return out + random.choice(("", " --fragmore", " --fraglast"))


def _use_options6(name: str) -> Callable[[Random, Family], str]:
    def made(random: Random, family: Family) -> str:
        out = f"-m {name}"
        if random.random() < 0.5:
            out += f" {_not(random)}--{name}-len {random.choice((8, 16))}"
        if random.random() < 0.7:
            options = random.choice(
                ("1:4", "1", "1:2", "5:2", "5:2,0", "1:4,3:6", "1:4,1:6", "0,0", "3", "1,1")
            )
            out += f" --{name}-opts {options}"
        return out

    return made


def _use_rt(random: Random, family: Family) -> str:
    out = "-m rt"
    kind = random.choice(("", "", " --rt-type 0", f" {_not(random)}--rt-type {random.choice((0, 2, 4))}"))
    out += kind
    if random.random() < 0.5:
        out += f" {_not(random)}--rt-segsleft {_range(random, (0, 1, 2, 3))}"
    if random.random() < 0.3:
        out += f" {_not(random)}--rt-len {random.choice((8, 24, 40))}"
    if kind == " --rt-type 0":
        out += random.choice(("", " --rt-0-res"))
        if random.random() < 0.6:
            out += f" --rt-0-addrs {','.join(random.choices(ADDRESSES6, k=random.choice((1, 2))))}"
            out += random.choice(("", " --rt-0-not-strict"))
    return out


def _use_ipv6header(random: Random, family: Family) -> str:
    headers = ("hop", "dst", "route", "frag", "auth", "esp", "none", "prot")
    chosen = ",".join(random.sample(headers, random.randrange(1, 5)))
    return f"-m ipv6header {_not(random)}--header {chosen}{random.choice(('', ' --soft'))}"


def _use_srh(random: Random, family: Family) -> str:
    out = "-m srh"
    if random.random() < 0.4:
        out += f" {_not(random)}--srh-next-hdr {random.choice((6, 17))}"
    if random.random() < 0.4:
        out += f" {_not(random)}--srh-hdr-len-{random.choice(('eq', 'gt', 'lt'))} {random.choice((0, 2, 4))}"
    if random.random() < 0.4:
        out += (
            f" {_not(random)}--srh-segs-left-{random.choice(('eq', 'gt', 'lt'))} {random.choice((0, 1, 2))}"
        )
    if random.random() < 0.4:
        out += (
            f" {_not(random)}--srh-last-entry-{random.choice(('eq', 'gt', 'lt'))} {random.choice((0, 1, 2))}"
        )
    if random.random() < 0.3:
        out += f" {_not(random)}--srh-tag {random.choice((0, 1, 256))}"
    for name in ("psid", "nsid", "lsid"):
        if random.random() < 0.2:
            out += f" {_not(random)}--srh-{name} {random.choice(ADDRESSES6)}/{random.choice((16, 64, 128))}"
    return out


def _use_ecn(random: Random, family: Family) -> str:
    tcp = "".join(
        f" {_not(random)}{flag}" for flag in ("--ecn-tcp-ece", "--ecn-tcp-cwr") if random.random() < 0.4
    )
    ip = f" {_not(random)}--ecn-ip-ect {random.randrange(4)}" if not tcp or random.random() < 0.5 else ""
    return f"{'-p tcp ' if tcp else ''}-m ecn{tcp}{ip}"


def _use_hops(name: str) -> Callable[[Random, Family], str]:
    def made(random: Random, family: Family) -> str:
        kind = random.choice(("eq", "eq", "lt", "gt"))
        sign = _not(random) if kind == "eq" else ""
        return f"-m {name} {sign}--{name}-{kind} {random.choice((0, 1, 2, 63, 64, 255))}"

    return made


_USES: dict[str, Callable[[Random, Family], str]] = {
    "core": _use_core,
    "tcp": _use_tcp,
    "udp": lambda random, family: f"-p udp -m udp{_ports(random)}",
    "multiport": _use_multiport,
    "icmp": _use_icmp,
    "icmp6": _use_icmp6,
    "mark": lambda random, family: (
        f"-m mark {_not(random)}--mark {random.choice(('0', '1', '0/0xff', '0x10/0xf0'))}"
    ),
    "iprange": _use_iprange,
    "ttl": _use_hops("ttl"),
    "hl": _use_hops("hl"),
    "tos": lambda random, family: (
        f"-m tos {_not(random)}--tos {random.choice(('0x10', '0x10/0x3f', '0', '0xb8/0xfc', '3/3'))}"
    ),
    "dscp": lambda random, family: f"-m dscp {_not(random)}--dscp {random.choice((0, 4, 46, 63))}",
    "ecn": _use_ecn,
    "length": lambda random, family: (
        f"-m length {_not(random)}--length {_range(random, (20, 28, 40, 44, 60, 64, 90))}"
    ),
    "u32": _use_u32,
    "string": _use_string,
    "bpf": _use_bpf,
    "esp": lambda random, family: f"-p esp -m esp {_not(random)}--espspi {_range(random, (5, 500, 1 << 31))}",
    "ah": _use_ah,
    "ipcomp": lambda random, family: (
        f"-p ipcomp -m ipcomp {_not(random)}--ipcompspi {_range(random, (0, 5, 500))}"
    ),
    "sctp": _use_sctp,
    "dccp": _use_dccp,
    "tcpmss": lambda random, family: (
        f"-p tcp -m tcpmss {_not(random)}--mss {_range(random, (16, 536, 1460, 1500))}"
    ),
    "comment": lambda random, family: "-m comment --comment hello",
    "frag": _use_frag,
    "hbh": _use_options6("hbh"),
    "dst": _use_options6("dst"),
    "rt": _use_rt,
    "mh": lambda random, family: (
        f"-p mobility-header -m mh {_not(random)}--mh-type {_range(random, (0, 1, 5, 6, 200))}"
    ),
    "ipv6header": _use_ipv6header,
    "srh": _use_srh,
    "quota": lambda random, family: f"-m quota {_not(random)}--quota {random.choice((0, 60, 300, 5000))}",
    "limit": lambda random, family: (
        f"-m limit --limit {random.choice(('1/hour', '3/day'))} --limit-burst {random.choice((1, 3))}"
    ),
    "statistic": lambda random, family: (
        f"-m statistic --mode nth {_not(random)}--every {random.choice((1, 2, 5))} --packet 0"
    ),
}

# -- sets

_SETS4 = """
create ip hash:ip counters
add ip 10.0.0.1
add ip 10.0.1.9 packets 3 bytes 100
create masked hash:ip netmask 24
add masked 10.0.0.0
create port hash:ip,port counters
add port 10.0.0.7,tcp:80
add port 10.0.0.7,udp:53
add port 10.0.0.1,icmp:echo-request
add port 172.16.3.4,gre:0
add port 10.0.0.1-10.0.0.9,tcp:22-53
create ipportip hash:ip,port,ip
add ipportip 10.0.0.1,tcp:80,10.0.0.7
add ipportip 10.0.0.1,udp:1023-1024,10.0.0.7
create ipportnet hash:ip,port,net
add ipportnet 10.0.0.1,tcp:80,10.0.0.0/24
add ipportnet 10.0.0.1,tcp:80,10.0.0.0/29 nomatch
add ipportnet 192.0.2.33,udp:53,172.16.0.0/12
create net hash:net counters comment
add net 10.0.0.0/8 comment "ten of them"
add net 10.0.0.0/30 nomatch
add net 172.16.3.0-172.16.3.9
create netport hash:net,port
add netport 10.0.0.0/23,tcp:0-1024
add netport 10.0.1.0/24,udp:53 nomatch
add netport 10.0.0.0/16,udp:53
create iface hash:net,iface
add iface 10.0.0.0/8,tun0
add iface 10.0.1.0/24,tun1
add iface 172.16.0.0/16,tun wildcard
create ports bitmap:port range 0-9000
add ports 53
add ports 400-450
create bits bitmap:ip range 10.0.0.0/16 netmask 24 counters
add bits 10.0.1.0
create list list:set counters
add list ip
add list net
"""
_SETS6 = """
create ip hash:ip family inet6 counters
add ip fd00::1
add ip fd00:1::9 packets 3 bytes 100
create masked hash:ip family inet6 netmask 64
add masked fd00::
create port hash:ip,port family inet6 counters
add port fd00::7,tcp:80
add port fd00::7,udp:53
add port fd00::1,icmpv6:echo-request
create ipportip hash:ip,port,ip family inet6
add ipportip fd00::1,tcp:80,fd00::7
create ipportnet hash:ip,port,net family inet6
add ipportnet fd00::1,tcp:80,fd00::/64
add ipportnet fd00::1,tcp:80,fd00::/125 nomatch
create net hash:net family inet6 counters
add net fd00::/16
add net fd00::/126 nomatch
create netport hash:net,port family inet6
add netport fd00::/32,tcp:0-1024
add netport 2001:db8::/48,udp:53 nomatch
add netport 2001:db8::/32,udp:53
create iface hash:net,iface family inet6
add iface fd00::/16,tun0
add iface fd00:1::/32,tun1
create ports bitmap:port range 0-9000
add ports 53
add ports 400-450
create list list:set counters
add list ip
add list net
"""
_DIMENSIONS = {
    "ip": 1,
    "masked": 1,
    "net": 1,
    "ports": 1,
    "bits": 1,
    "list": 1,
    "ipportip": 3,
    "ipportnet": 3,
}


def sets(family: Family) -> str:
    """Sets of all types that kernels have, for `ipset restore`."""
    return _SETS4 if family == 4 else _SETS6


def set_use(random: Random, family: Family) -> str:
    """A random use of `-m set`."""
    name = random.choice([line.split()[1] for line in sets(family).split("\n") if line.startswith("create")])
    sides = ",".join(random.choice(("src", "dst")) for _ in range(_DIMENSIONS.get(name, 2)))
    counters = ("--packets-gt 2", "! --packets-eq 1", "--bytes-lt 500", "! --update-counters --packets-lt 9")
    more = random.choice(
        ("", "", "--return-nomatch", "! --update-counters", "! --update-subcounters", *counters)
    )
    return f"-m set {_not(random)}--match-set {name} {sides} {more}"


__all__ = ["names", "packet", "packets", "set_use", "sets", "use"]
