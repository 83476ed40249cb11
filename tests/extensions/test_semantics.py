"""What matches answer and targets do, by example; tests/kernel/test_semantics.py asks a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iptkit import api
from iptkit.conntrack.entry import Entry
from iptkit.evaluator import wire
from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target
from iptkit.extensions.spec import Match, Target
from iptkit.extensions.world import (
    ASSURED,
    CONFIRMED,
    SEEN_REPLY,
    SRC_NAT,
    CountedDrop,
    HotDrop,
    Owner,
    Unknown,
)
from iptkit.values.jhash import jhash, jhash2, jhash_1word, jhash_2words, jhash_3words
from iptkit.values.packet import CT_UNTRACKED, Packet
from iptkit.values.tuples import Tuple
from tests.extensions.stub import World

if TYPE_CHECKING:
    from iptkit.values.context import Family

CLIENT, SERVER = 0x0A000102, 0x0A000202  # 10.0.1.2, 10.0.2.2
BASE: dict[int, dict[str, Any]] = {
    4: {"src": "10.0.1.2", "dst": "10.0.2.2"},
    6: {"src": "fd00:1::2", "dst": "fd00:2::2"},
}


def packet(family: Family = 4, /, **fields: Any) -> Packet:
    (data,) = wire.build(BASE[family] | fields, family)
    found = Packet(data)
    found.in_interface = "eth0"
    found.link_type = "unicast"
    return found


def rule(text: str, family: Family = 4, table: str = "mangle", chain: str = "PREROUTING") -> Any:
    ruleset = api.load(f"*{table}\n-A {chain} {text}\nCOMMIT\n", family)
    (found,) = ruleset.tables[table].chains[chain].rules
    return found


def answer(
    text: str, given: Packet, world: Any = None, chain: str = "PREROUTING", table: str = "mangle"
) -> Any:
    """True, False, None, "drop", or "counted" for a drop that the rule counts."""
    found = rule(text, given.family, chain=chain, table=table)
    world = world or World(given.family)
    unknown = False
    try:
        if not found.conditions.matches(given):
            return False
        for number, match in enumerate(found.matches):
            world.place = (text, number)
            met = match.matches(given, world)
            if met is None:
                unknown = True
            elif not met:
                return False
    except CountedDrop:
        return "counted"
    except HotDrop:
        return "drop"
    return None if unknown else True


TCP: dict[str, Any] = {"proto": "tcp", "sport": 40000, "dport": 80}
UDP: dict[str, Any] = {"proto": "udp", "sport": 1024, "dport": 53}
CASES: list[tuple[str, dict[str, Any], Any]] = [
    # a rule's own conditions
    ("-s 10.0.1.0/24", UDP, True),
    ("! -s 10.0.1.0/24", UDP, False),
    ("! -d 0.0.0.0/0", UDP, False),
    ("-i eth+", UDP, True),
    ("-i eth", UDP, False),
    ("! -i eth1", UDP, True),
    ("-p udp", UDP, True),
    ("! -p udp", UDP, False),
    ("-f", UDP, False),
    ("! -f", UDP, True),
    ("-f", {**UDP, "frag_off": 16}, True),
    ("! -f", {**UDP, "frag_off": 16}, False),
    # tcp, udp
    ("-p tcp --dport 80", TCP, True),
    ("-p tcp --dport 81:90", TCP, False),
    ("-p tcp ! --dport 81:90 --sport 40000", TCP, True),
    ("-p tcp --dport 80", {**TCP, "frag_off": 16}, False),
    ("-p tcp --dport 80", {**TCP, "frag_off": 8}, "drop"),
    ("-p tcp --dport 80", {**TCP, "truncate": 19}, "drop"),
    ("-p tcp --syn", {**TCP, "flags": "S"}, True),
    ("-p tcp --syn", {**TCP, "flags": "SA"}, False),
    ("-p tcp ! --syn", {**TCP, "flags": "SA"}, True),
    ("-p tcp --tcp-flags ALL NONE", {**TCP, "flags": ""}, True),
    ("-p tcp --tcp-flags ALL SYN", {**TCP, "flags": "SEC"}, True),
    ("-p tcp --tcp-option 2", {**TCP, "options": [{"mss": 1460}]}, True),
    ("-p tcp --tcp-option 8", {**TCP, "options": [{"mss": 1460}]}, False),
    ("-p tcp ! --tcp-option 8", {**TCP, "options": [{"mss": 1460}]}, True),
    ("-p tcp ! --tcp-option 8", TCP, True),
    ("-p tcp --tcp-option 2", {**TCP, "doff": 4}, "drop"),
    ("-p udp --dport 53", UDP, True),
    ("-p udp --dport 53", {**UDP, "truncate": 7}, "drop"),
    ("-p udp -m multiport --dports 1,53,100:200", UDP, True),
    ("-p udp -m multiport --ports 1024", UDP, True),
    ("-p udp -m multiport ! --sports 1024", UDP, False),
    ("-p udp -m multiport --sports 1024", {**UDP, "truncate": 3}, "drop"),
    # icmp
    ("-p icmp --icmp-type echo-request", {"proto": "icmp", "type": 8}, True),
    ("-p icmp --icmp-type 3/1", {"proto": "icmp", "type": 3, "code": 1}, True),
    ("-p icmp ! --icmp-type 3/1", {"proto": "icmp", "type": 3, "code": 2}, True),
    ("-p icmp --icmp-type any", {"proto": "icmp", "type": 13}, True),
    ("-p icmp ! --icmp-type any", {"proto": "icmp", "type": 13}, False),
    # fields of the IP header
    ("-m ttl --ttl-eq 64", UDP, True),
    ("-m ttl ! --ttl-eq 64", UDP, False),
    ("-m ttl --ttl-lt 64", UDP, False),
    ("-m ttl --ttl-gt 63", UDP, True),
    ("-m tos --tos 0x10/0x3f", {**UDP, "tos": 0x50}, True),
    ("-m dscp --dscp-class EF", {**UDP, "tos": 0xB9}, True),
    ("-m ecn --ecn-ip-ect 1", {**UDP, "tos": 0xB9}, True),
    ("-p tcp -m ecn --ecn-tcp-ece ! --ecn-tcp-cwr", {**TCP, "flags": "SE"}, True),
    ("-p tcp -m ecn --ecn-tcp-ece", {**TCP, "flags": "S"}, False),
    ("-m length --length 28:40", UDP, True),
    ("-m length ! --length 28:40", UDP, False),
    ("-m iprange --src-range 10.0.1.1-10.0.1.3", UDP, True),
    ("-m iprange --src-range 10.0.1.1-10.0.1.3 ! --dst-range 10.0.2.2-10.0.2.9", UDP, False),
    ("-m iprange --src-range 10.0.1.3-10.0.1.1", UDP, False),
    # contents
    ('-m u32 --u32 "6&0xFF=17"', UDP, True),
    ('-m u32 --u32 "0>>22&0x3C@0&0xFFFF=53"', UDP, True),
    ('-m u32 --u32 "6&0xFF=17 && 0>>22&0x3C@0>>16=1:1000"', UDP, False),
    ('-m u32 ! --u32 "200=0"', UDP, True),
    ('-m string --string "evil" --algo bm', {**UDP, "payload": "so evil"}, True),
    ('-m string --string "EVIL" --algo kmp --icase', {**UDP, "payload": "so evil"}, True),
    ('-m string --string "evil" --algo bm --from 31 --to 35', {**UDP, "payload": "so evil"}, True),
    ('-m string --string "evil" --algo bm --from 31 --to 34', {**UDP, "payload": "so evil"}, False),
    ('-m string --string "evil" --algo bm --from 32', {**UDP, "payload": "so evil"}, False),
    ('-m string ! --hex-string "|de ad|" --algo bm', {**UDP, "payload": {"hex": "00dead"}}, False),
    ('-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"', TCP, True),
    ('-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"', UDP, False),
    ('-m bpf --bytecode "2,48 0 0 999,6 0 0 1"', UDP, False),
    ("-p tcp -m tcpmss --mss 1000:1460", {**TCP, "options": [{"mss": 1460}]}, True),
    ("-p tcp -m tcpmss ! --mss 1000:1460", TCP, True),
    ("-p tcp -m tcpmss --mss 1000:1460", {**TCP, "doff": 3}, "drop"),
    # where a packet comes from
    ("-m mark --mark 0", UDP, True),
    ("-m mark --mark 1/1", UDP, False),
    ("-m pkttype --pkt-type unicast", UDP, True),
    ("-m mac --mac-source 02:00:00:00:00:01", UDP, None),
    ("-m devgroup --src-group 3", UDP, True),
    ("-m devgroup ! --src-group 2/1", UDP, True),
    ("-m physdev --physdev-in eth0", UDP, False),
    ("-m physdev ! --physdev-is-in", UDP, True),
    ("-m policy --dir in --pol none", UDP, True),
    ("-m policy --dir in --pol ipsec", UDP, False),
    ("-m rpfilter", UDP, False),
    ("-m rpfilter --loose --invert", UDP, False),
    ("-m cpu --cpu 0", UDP, None),
    ("-m comment --comment x", UDP, True),
    # time: the world's is Tuesday, 14 November 2023, 22:13:20
    ("-m time --weekdays Tue --monthdays 14", UDP, True),
    ("-m time --weekdays Mon,Wed", UDP, False),
    ("-m time ! --monthdays 14", UDP, False),
    ("-m time --timestart 22:00 --timestop 22:13:20", UDP, True),
    ("-m time --timestart 22:13:21 --timestop 23:00", UDP, False),
    ("-m time --timestart 22:00 --timestop 03:00", UDP, True),
    ("-m time --datestart 2023-11-15", UDP, False),
    ("-m time --datestop 2023-11-14T22:13:20", UDP, True),
    # connections, without one
    ("-m conntrack --ctstate INVALID", UDP, True),
    ("-m conntrack ! --ctstate NEW", UDP, True),
    ("-m conntrack --ctstate INVALID --ctproto 17", UDP, True),
    ("-m conntrack --ctproto 17", UDP, False),
    ("-m conntrack ! --ctproto 17", UDP, False),
    ("-m connmark ! --mark 1", UDP, False),
    ("-m connlabel ! --label 1", UDP, True),
    ("-m helper --helper ftp", UDP, False),
]


@pytest.mark.parametrize(
    ("text", "fields", "expected"), CASES, ids=[f"{n}: {c[0]}" for n, c in enumerate(CASES)]
)
def test_ipv4(text: str, fields: dict[str, Any], expected: Any) -> None:
    assert answer(text, packet(4, **fields)) is expected or answer(text, packet(4, **fields)) == expected


CASES6: list[tuple[str, dict[str, Any], Any]] = [
    ("-s fd00:1::/64 -p udp --dport 53", UDP, True),
    ("-p icmpv6 --icmpv6-type echo-request", {"proto": "icmpv6", "type": 128}, True),
    ("-p icmpv6 --icmpv6-type 255", {"proto": "icmpv6", "type": 128}, False),
    ("-m hl --hl-eq 64", UDP, True),
    ("-m length --length 49", {**UDP, "payload": "x"}, True),
    ("-m iprange --src-range fd00:1::-fd00:1::ff", UDP, True),
    ("-m ipv6header --header prot", UDP, True),
    ("-m ipv6header --header dst --soft", UDP, False),
    ("-m frag --fragmore", UDP, False),
    ("-m rt", UDP, False),
    ("-m hbh", UDP, False),
]


@pytest.mark.parametrize(("text", "fields", "expected"), CASES6, ids=[c[0] for c in CASES6])
def test_ipv6(text: str, fields: dict[str, Any], expected: Any) -> None:
    assert answer(text, packet(6, **fields)) is expected


def test_every_match_answers_and_every_target_acts() -> None:
    for family in (4, 6):
        for name in MATCHES:
            found = find_match(name, family)
            assert found is None or found.matches is not Match.matches, name
        for name in TARGETS:
            target = find_target(name, family)
            assert target is None or target.act is not Target.act, name


def connection(**fields: Any) -> Entry:
    entry = Entry(
        Tuple(4, CLIENT, 1024, SERVER, 53, 17),
        Tuple(4, SERVER, 53, CLIENT, 1024, 17),
    )
    entry.status = CONFIRMED
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


CONNECTED: list[tuple[str, dict[str, Any], int, bool]] = [
    ("--ctstate NEW", {}, 2, True),
    ("--ctstate ESTABLISHED", {}, 3, True),
    ("--ctstate RELATED", {}, 4, True),
    ("! --ctstate NEW", {}, 2, False),
    ("--ctstate SNAT", {"status": CONFIRMED | SRC_NAT}, 3, True),
    ("--ctstate DNAT", {"status": CONFIRMED | SRC_NAT}, 3, False),
    ("--ctstatus NONE", {}, 2, False),
    ("! --ctstatus NONE", {}, 2, True),
    ("--ctstatus ASSURED", {"status": CONFIRMED | ASSURED}, 3, True),
    ("--ctstatus SEEN_REPLY,EXPECTED", {"status": SEEN_REPLY}, 3, True),
    ("--ctdir REPLY", {}, 3, True),
    ("--ctdir ORIGINAL", {}, 3, False),
    ("--ctorigsrc 10.0.1.0/24 ! --ctreplsrc 10.0.1.0/24", {}, 2, True),
    ("--ctorigdst 10.0.2.3", {}, 2, False),
    ("--ctproto udp --ctorigdstport 50:60", {}, 2, True),
    ("! --ctorigsrcport 1024", {}, 2, False),
    ("--ctexpire 20:30", {"deadline": 1_700_000_025.5}, 2, True),
    ("--ctexpire 0", {"status": 0, "deadline": 30.0}, 2, True),
]


@pytest.mark.parametrize(("words", "fields", "ctinfo", "expected"), CONNECTED)
def test_conntrack(words: str, fields: dict[str, Any], ctinfo: int, expected: bool) -> None:
    given = packet(**UDP)
    given.connection, given.ctinfo = connection(**fields), ctinfo
    assert answer(f"-m conntrack {words}", given) is expected


def test_what_connections_carry() -> None:
    given = packet(**UDP)
    given.connection = entry = connection(mark=0x12, packets=[2, 3], bytes=[100, 500])
    assert answer("-m connmark --mark 2/0xf", given)
    assert answer("-m connbytes --connbytes 5:5 --connbytes-mode packets --connbytes-dir both", given)
    assert answer("-m connbytes --connbytes 500 --connbytes-mode bytes --connbytes-dir reply", given)
    assert answer("-m connbytes --connbytes 50:60 --connbytes-mode avgpkt --connbytes-dir original", given)
    assert not answer(
        "-m connbytes ! --connbytes 50:60 --connbytes-mode avgpkt --connbytes-dir original", given
    )
    assert not answer("-m connlabel --label 5", given)
    assert answer("-m connlabel --label 5 --set", given)
    assert entry.labels == 1 << 5
    entry.master = connection(helper="ftp")
    assert answer("-m helper --helper ftp-2121", given)
    assert answer('-m helper --helper ""', given)
    assert not answer("-m helper ! --helper ftp", given)


def test_untracked_packets() -> None:
    given = packet(**UDP)
    given.ctinfo = CT_UNTRACKED
    assert answer("-m conntrack --ctstate UNTRACKED", given)
    assert not answer("-m conntrack --ctstate INVALID", given)


def test_address_types() -> None:
    world = World()
    world.types = {CLIENT: "UNICAST", SERVER: "LOCAL"}
    assert answer("-m addrtype --dst-type LOCAL", packet(**UDP), world)
    assert not answer("-m addrtype --dst-type LOCAL ! --src-type UNICAST", packet(**UDP), world)
    assert answer("-m addrtype --src-type MULTICAST", packet(**UDP), World()) is None


def test_owners() -> None:
    def met(words: str, owner: Owner | None) -> Any:
        given = packet(**UDP)
        given.owner = owner
        return answer(f"-m owner {words}", given, chain="OUTPUT")

    assert met("--uid-owner 0", Owner(0, 0)) is True
    assert met("! --uid-owner 0-10", Owner(0, 0)) is False
    assert met("--gid-owner 5", Owner(0, 0)) is False
    assert met("--gid-owner 5 --suppl-groups", Owner(0, 0, (4, 5))) is True
    assert met("--uid-owner 0", Owner()) is None
    assert met("--uid-owner 0", None) is False
    assert met("! --socket-exists", None) is True
    assert met("! --socket-exists", Owner(0, 0)) is False


def hits(text: str, packets: list[tuple[float, Packet]], world: Any = None) -> list[Any]:
    world = world or World()
    start = world.now
    out = []
    for after, given in packets:
        world.now = start + after
        out.append(answer(text, given, world))
    return out


def test_limits() -> None:
    one = packet(**UDP)
    times = (0, 0, 0, 0.9, 1.0, 1.1, 5, 5, 5)
    assert hits("-m limit --limit 1/sec --limit-burst 2", [(after, one) for after in times]) == [
        True, True, False, False, True, False, True, True, False,
    ]  # fmt: skip
    assert hits("-m quota --quota 70", [(0, one)] * 4) == [True, True, False, False]
    assert hits("-m quota ! --quota 70", [(0, one)] * 3) == [False, False, True]
    assert hits("-m statistic --mode nth --every 3 --packet 1", [(0, one)] * 5) == [
        False, True, False, False, True,
    ]  # fmt: skip
    assert hits("-m statistic --mode random --probability 0", [(0, one)]) == [False]
    assert hits("-m statistic --mode random --probability 1", [(0, one)]) == [True]


def test_hash_limits() -> None:
    one, other = packet(**UDP), packet(**{**UDP, "src": "10.0.1.3"})
    upto = "-m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 1 --hashlimit-mode srcip --hashlimit-name a"
    assert hits(upto, [(0, one), (0, one), (0, other), (0.5, one), (1, one)]) == [
        True,
        False,
        True,
        False,
        True,
    ]
    above = upto.replace("upto", "above")
    assert hits(above, [(0, one), (0, one), (1, one)]) == [False, True, False]
    shared = upto.replace(" --hashlimit-mode srcip", "")
    assert hits(shared, [(0, one), (0, other)]) == [True, False]
    # A second has 1024 bytes, and one time more comes with the burst.
    octets = (
        "-m hashlimit --hashlimit-upto 1kb/s --hashlimit-burst 1kb --hashlimit-mode dstip --hashlimit-name b"
    )
    big = packet(**UDP, payload={"len": 600})
    assert hits(octets, [(0, big)] * 4) == [True, True, False, False]


def test_recent() -> None:
    world = World()
    one = packet(**UDP)
    assert hits("-m recent --rcheck --name r", [(0, one)], world) == [False]
    assert hits("-m recent --set --name r", [(0, one)], world) == [True]
    assert hits("-m recent ! --rcheck --name r", [(0, one)], world) == [False]
    assert (
        hits("-m recent --update --seconds 10 --hitcount 3 --name r", [(0, one), (1, one)], world)
        == [False] * 2
    )
    assert hits("-m recent --set --name r", [(0, one), (1, one)], world) == [True] * 2
    assert hits("-m recent --update --seconds 10 --hitcount 3 --name r", [(1, one)], world) == [True]
    world.now += 20
    assert hits("-m recent --rcheck --seconds 10 --name r", [(0, one)], world) == [False]
    assert hits("-m recent --rcheck --rttl --name r", [(0, packet(**UDP, ttl=9))], world) == [False]
    assert hits("-m recent --remove --name r", [(0, one), (0, one)], world) == [True, False]


def test_counting_connections() -> None:
    world = World()
    text = "-m connlimit --connlimit-above 1 --connlimit-mask 24"
    answers = []
    for port in (1, 1, 2, 3):
        given = packet(**{**UDP, "sport": port})
        tuple_ = Tuple(4, CLIENT, port, SERVER, 53, 17)
        given.connection = Entry(tuple_, tuple_)
        answers.append(answer(text, given, world))
        given.connection.status = CONFIRMED
        world.connections[tuple_] = given.connection
        world.now += 1
    assert answers == [False, False, True, True]


def test_sctp_and_dccp_that_are_cut_off() -> None:
    cut = {"proto": "sctp", "chunks": [], "sport": 1, "dport": 2}
    assert answer("-p sctp --chunk-types any DATA", packet(**cut)) == "drop"
    assert answer("-p sctp ! --chunk-types any DATA", packet(**cut)) == "counted"
    assert answer("-p sctp --sport 1", packet(**cut)) is True


# -- targets


def act(text: str, given: Packet, world: Any = None, table: str = "mangle", chain: str = "PREROUTING") -> Any:
    found = rule(text, given.family, table, chain)
    world = world or World(given.family)
    world.place = text
    return found.target.act(given, world)


def is_sound(given: Packet) -> bool:
    """Do all checksums fit?"""
    from iptkit.values.checksum import ones_sum, pseudo_sum

    size = 4 if given.family == 4 else 16
    src, dst = given.src.to_bytes(size, "big"), given.dst.to_bytes(size, "big")
    start = pseudo_sum(src, dst, given.proto, len(given.data) - given.l4)
    header = given.family == 6 or ones_sum(given.data[: given.l4]) == 0xFFFF
    return header and ones_sum(given.data[given.l4 :], start) == 0xFFFF


REWRITES: list[tuple[str, dict[str, Any], str, int]] = [
    ("-j TOS --set-tos 0x10/0x3f", {**UDP, "tos": 0xC3}, "tos", 0xD0),
    ("-j TOS --xor-tos 0x03", {**UDP, "tos": 1}, "tos", 2),
    ("-j DSCP --set-dscp 46", {**UDP, "tos": 1}, "tos", 0xB9),
    ("-j TTL --ttl-set 7", UDP, "ttl", 7),
    ("-j TTL --ttl-inc 250", UDP, "ttl", 255),
    ("-j TTL --ttl-dec 100", UDP, "ttl", 0),
    ("-j ECN --ecn-ip-ect 2", {**UDP, "tos": 0xB9}, "tos", 0xBA),
    ("-p tcp -j ECN --ecn-tcp-remove", {**TCP, "flags": "SEC"}, "tcp_flags", 0x02),
    ("-p tcp -j ECN --ecn-tcp-cwr 1", {**TCP, "flags": "S"}, "tcp_flags", 0x82),
]


@pytest.mark.parametrize(("text", "fields", "attribute", "value"), REWRITES)
def test_rewriting(text: str, fields: dict[str, Any], attribute: str, value: int) -> None:
    given = packet(**fields)
    assert act(text, given) is None
    assert getattr(given, attribute) == value
    assert is_sound(given)
    assert getattr(Packet(given.data), attribute) == value


def test_segment_sizes() -> None:
    world = World()
    text = "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000"
    lowered = packet(**TCP, options=[{"nop": 1}, {"mss": 1460}, {"nop": 3}])
    assert act(text, lowered) is None
    assert lowered.data[43:45] == (1000).to_bytes(2, "big")
    assert not is_sound(lowered)  # at an odd place the kernel gets the checksum wrong
    even = packet(**TCP, options=[{"nop": 2}, {"mss": 1460}, {"nop": 2}])
    act(text, even)
    assert even.data[44:46] == (1000).to_bytes(2, "big")
    assert is_sound(even)
    kept = packet(**TCP, options=[{"mss": 900}])
    act(text, kept)
    assert kept.data[42:44] == (900).to_bytes(2, "big")
    put_in = packet(**TCP)
    act(text, put_in)
    assert put_in.length == len(put_in.data) == 44
    assert put_in.data[40:44] == b"\x02\x04" + (536).to_bytes(2, "big")
    assert is_sound(put_in)
    world.mtu = 1400
    clamped = packet(**TCP, options=[{"mss": 1460}])
    act("-p tcp --syn -j TCPMSS --clamp-mss-to-pmtu", clamped, world, chain="POSTROUTING")
    assert clamped.data[42:44] == (1360).to_bytes(2, "big")
    world.mtu = None
    with pytest.raises(Unknown):
        act("-p tcp --syn -j TCPMSS --clamp-mss-to-pmtu", clamped, world, chain="POSTROUTING")


def test_stripping_options() -> None:
    given = packet(**TCP, options=[{"mss": 1460}, {"wscale": 7}, {"ts": [1, 2]}, {"nop": 3}])
    assert act("-p tcp -j TCPOPTSTRIP --strip-options wscale,timestamp", given) is None
    assert given.data[40:60] == b"\x02\x04\x05\xb4" + b"\x01" * 16
    assert is_sound(given)


def test_marks() -> None:
    given = packet(**UDP)
    given.mark = 0xF0
    act("-j MARK --set-xmark 0x3/0xf0", given)
    assert given.mark == 0x3
    act("-j MARK --or-mark 0x10", given)
    assert given.mark == 0x13
    given.connection = entry = connection(mark=0xFF00)
    act("-j CONNMARK --save-mark --nfmask 0xf --ctmask 0xff", given)
    assert entry.mark == 0xFF03
    act("-j CONNMARK --restore-mark --right-shift-mark 8", given)
    assert given.mark == 0xFF
    act("-j CONNMARK --set-mark 1 --left-shift-mark 4", given)
    assert entry.mark == 0x10


def test_translation_asks_the_world() -> None:
    world = World()
    given = packet(**UDP)
    assert (
        act("-p udp -j DNAT --to-destination 10.9.0.1-10.9.0.3:5000-5100/53", given, world, "nat") == "ACCEPT"
    )
    kind, range_ = world.done.pop()
    assert kind == "DNAT"
    assert range_.addresses == (0x0A090001, 0x0A090003)
    assert (range_.ports, range_.base_port) == ((5000, 5100), 53)
    act("-j SNAT --to-source 192.0.2.1 --persistent --random-fully", given, world, "nat", "POSTROUTING")
    kind, range_ = world.done.pop()
    assert (kind, range_.persistent, range_.random_fully, range_.ports) == ("SNAT", True, True, None)
    act("-j MASQUERADE", given, world, "nat", "POSTROUTING")
    assert world.done.pop()[1].addresses == (0x0A000001, 0x0A000001)
    act("-j REDIRECT", given, world, "nat")
    assert world.done.pop()[1].addresses == (0x0A000002, 0x0A000002)
    world.hook = "OUTPUT"
    act("-j REDIRECT", given, world, "nat", "OUTPUT")
    assert world.done.pop()[1].addresses == (0x7F000001, 0x7F000001)
    world.hook = "PREROUTING"
    act("-j NETMAP --to 192.168.7.0/24", given, world, "nat")
    kind, range_ = world.done.pop()
    assert (kind, range_.addresses, range_.netmap) == ("DNAT", (0xC0A80702, 0xC0A80702), True)


def test_templates() -> None:
    world = World()
    given = packet(**UDP)
    assert act("-j CT --notrack", given, world, "raw") is None
    assert world.done.pop() == ("template", None)
    act("-p udp -j CT --zone-orig 7 --helper tftp", given, world, "raw")
    template = world.done.pop()[1]
    assert (template.zone, template.zone_dir, template.helper) == (7, 1, "tftp")
    given.ctinfo = CT_UNTRACKED
    act("-j CT --zone 1", given, world, "raw")
    assert not world.done


def test_logging_and_refusing() -> None:
    world = World()
    given = packet(**UDP)
    assert act('-j LOG --log-prefix "a b" --log-level 6', given, world) is None
    assert act("-j NFLOG --nflog-group 3 --nflog-prefix x", given, world) is None
    assert world.done[0] == ("LOG", "a b", 0, 6)
    assert world.done[1] == ("NFLOG", "x", 3, 4)
    assert act("-j REJECT", given, world, "filter", "INPUT") == "DROP"
    assert world.done[-1] == ("reject", "icmp-port-unreachable")
    with pytest.raises(Unknown):
        act("-j NFQUEUE", given, world)
    world.listening = False
    assert act("-j NFQUEUE", given, world) == "QUEUE"
    assert act("-j NFQUEUE --queue-bypass", given, world) == "ACCEPT"
    assert act("-j TEE --gateway 10.0.1.9 --oif eth1", given, world) is None
    assert ("copy", 0x0A000109, "eth1") in world.done
    assert act("-p udp -j TPROXY --on-port 99 --tproxy-mark 1", given, world) == "DROP"
    world.listening = True
    assert act("-p udp -j TPROXY --on-port 99 --tproxy-mark 1", given, world) == "ACCEPT"
    assert given.mark == 1


def test_the_syn_proxy_greets() -> None:
    world = World()
    text = "-p tcp -m tcp --dport 80 -j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460"
    given = packet(
        **TCP, flags="S", seq=9, options=[{"mss": 1400}, {"sackok": 1}, {"ts": [5, 0]}, {"nop": 2}]
    )
    assert act(text, given, world, "filter", "INPUT") == "STOLEN"
    _, sent = world.done.pop()
    assert (sent.src, sent.dst, sent.sport, sent.dport) == (SERVER, CLIENT, 80, 40000)
    assert sent.tcp_flags == 0x12
    assert sent.data[28:32] == (10).to_bytes(4, "big")
    assert sent.data[40:48] == b"\x02\x04\x05\xb4\x04\x02\x08\x0a"
    assert is_sound(sent)
    assert act(text, packet(**TCP, flags="SA"), world, "filter", "INPUT") is None
    with pytest.raises(Unknown):
        act(text, packet(**TCP, flags="A"), world, "filter", "INPUT")


def test_rates_are_measured_and_compared() -> None:
    world = World()
    one = packet(**UDP, payload={"len": 972})
    measure = "-j RATEEST --rateest-name r --rateest-interval 250ms --rateest-ewmalog 500ms"
    compare = "-m rateest --rateest r --rateest-gt --rateest-pps 5"
    rule(measure).target.loaded(world)
    assert answer(compare, one, world) is False
    for _ in range(40):
        act(measure, one, world)
        world.now += 0.05
    assert answer(compare, one, world) is True
    assert answer("-m rateest --rateest r ! --rateest-lt --rateest-bps 80kbit", one, world) is True
    world.now += 30
    assert answer(compare, one, world) is False


def test_prefixes_are_swapped_without_a_trace_in_checksums() -> None:
    given = packet(6, **UDP)
    assert act("-j DNPT --src-pfx fd00:2::/48 --dst-pfx 2001:db8:7::/48", given) is None
    assert given.dst >> 80 == 0x20010DB80007
    assert is_sound(given)
    back = packet(6, **{**UDP, "src": wire.address_text(given.dst.to_bytes(16, "big"))})
    act("-j SNPT --src-pfx 2001:db8:7::/48 --dst-pfx fd00:2::/48", back, chain="POSTROUTING")
    assert back.src == packet(6, **UDP).dst


def test_jenkins_hash() -> None:
    """The numbers that lookup3 is known to give, and words hashed as the bytes they are."""
    assert jhash(b"", 0) == 0xDEADBEEF
    assert jhash(b"Four score and seven years ago", 0) == 0x17770551
    assert jhash(b"Four score and seven years ago", 1) == 0xCD628161
    words = (1, 0xFFFFFFFF, 77, 5)
    data = b"".join(word.to_bytes(4, "little") for word in words)
    assert jhash2(words, 9) == jhash(data, 9)
    assert jhash_3words(*words[:3], 9) == jhash2(words[:3], 9)
    assert jhash_2words(*words[:2], 9) == jhash2(words[:2], 9)
    assert jhash_1word(words[0], 9) == jhash2(words[:1], 9)
