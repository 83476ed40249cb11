from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iptkit import api
from iptkit.evaluator.machine import Machine, read_packet
from iptkit.evaluator.scenario import completed
from iptkit.evaluator.wire import build

if TYPE_CHECKING:
    from iptkit.ruleset.model import Ruleset
    from iptkit.values.context import Family

RULES = """*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp
-A PREROUTING -p udp -m udp --dport 9 -j CT --notrack
-A PREROUTING -m {hops} --{hops}-lt 3 -j TRACE
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A FORWARD -p tcp -j TCPOPTSTRIP --strip-options timestamp,wscale
-A FORWARD -m length --length 100:200 -j MARK --set-xmark 0x1/0xffffffff
-A POSTROUTING -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff
-A OUTPUT -j DSCP --set-dscp 0x0a
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 80
-A POSTROUTING -o out0 -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate INVALID -j LOG
-A FORWARD -p tcp -m tcp --dport 23 -j REJECT --reject-with tcp-reset
-A FORWARD -p udp -m udp --dport 7 -j REJECT
-A FORWARD -p {icmp} -m {icmp_match} --{icmp_option} 3/1
-A FORWARD -m string --string "abc" --algo bm
-A FORWARD -p sctp -m sctp --chunk-types any INIT
-A INPUT -m recent --set --name x
COMMIT
"""


@functools.cache
def rules(family: Family) -> Ruleset:
    four = {"hops": "ttl", "icmp": "icmp", "icmp_match": "icmp", "icmp_option": "icmp-type"}
    six = {"hops": "hl", "icmp": "ipv6-icmp", "icmp_match": "icmp6", "icmp_option": "icmpv6-type"}
    return api.load(RULES.format(**(four if family == 4 else six)), family)


def machine(family: Family) -> Machine:
    made = Machine(rules(family), all_tables=True)
    made.answering = made.sockets = made.tracing = True
    return made


ADDRESSES: dict[int, list[str]] = {
    4: "10.0.1.2 10.0.2.2 10.0.1.1 10.0.2.1 10.0.99.1 255.255.255.255 224.0.0.1 127.0.0.1 0.0.0.0".split(),
    6: "fd00:1::2 fd00:2::2 fd00:1::1 fd00:2::1 fd00:99::1 ff02::1 fe80::1 ::1 ::".split(),
}
PROTOCOLS = "tcp udp icmp icmpv6 sctp dccp udplite gre esp ah".split()


def some_packet(chance: random.Random, family: Family) -> bytes:
    """A packet, with something wrong about it more often than not."""
    packet: dict[str, Any] = {
        "src": chance.choice(ADDRESSES[family]),
        "dst": chance.choice(ADDRESSES[family]),
        "proto": chance.choice(PROTOCOLS),
        "payload": {"len": chance.choice((0, 1, 7, 100, 1400)), "byte": 97},
        "ttl": chance.choice((0, 1, 2, 64)),
    }
    if packet["proto"] in ("icmp", "icmpv6"):
        packet["type"] = chance.choice((0, 3, 8, 11, 1, 128, 129, 137))
        packet["inner"] = {"src": packet["dst"], "dst": packet["src"], "proto": chance.choice(PROTOCOLS[:2])}
    elif packet["proto"] in ("tcp", "udp", "sctp"):
        packet["dport"] = chance.choice((7, 9, 21, 23, 80, 8080))
    data = bytearray(build(packet, family)[0])
    for _ in range(chance.randrange(4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.3:
        del data[chance.randrange(20 if family == 4 else 40, len(data)) :]
    return bytes(data)


@pytest.mark.parametrize("family", [4, 6])
def test_stands_any_packet(family: Family) -> None:
    chance = random.Random(family)  # noqa: S311  # nothing secret
    here = machine(family)
    for _ in range(3000):
        data = some_packet(chance, family)
        if chance.random() < 0.2:
            packet = completed(data, family)
            if packet is not None and packet.family == family:
                here.send_out(packet)
        else:
            packet = read_packet(data)
            if packet is not None and packet.family == family:
                here.receive(packet, chance.choice(("in0", "out0")))
        here.now += 0.01
        here.forget_notes()


@given(st.binary(max_size=120), st.sampled_from([4, 6]))
@settings(max_examples=200, deadline=None)
def test_stands_any_bytes(data: bytes, family: Family) -> None:
    packet = read_packet(bytes((family << 4 | 5,)) + data)
    if packet is not None and packet.family == family:
        machine(family).receive(packet, "in0")


def test_the_index_changes_nothing() -> None:
    """With and without lookup by index: the same counters, whatever comes."""
    text = ["*filter", ":FORWARD DROP [0:0]", ":A - [0:0]"]
    chance = random.Random(5)  # noqa: S311  # nothing secret
    for number in range(60):
        pieces = [
            f"-s 10.0.{chance.randrange(3)}.0/24" if chance.random() < 0.5 else "",
            f"-p {chance.choice(['tcp', 'udp'])}" if chance.random() < 0.7 else "",
            f"-i {chance.choice(['in0', 'out0', 'in+'])}" if chance.random() < 0.3 else "",
        ]
        if pieces[1]:
            pieces.append(f"-m {pieces[1][3:]} --dport {chance.choice(['7', '9:30', '80'])}")
        target = chance.choice(["", "-j ACCEPT", "-j A", "-g A", "-j RETURN", "-j MARK --set-mark 1"])
        text.append(
            f"-A {chance.choice(['FORWARD', 'A']) if number > 20 else 'A'} {' '.join(pieces)} {target}"
        )
    ruleset = api.load(
        "\n".join([*[line for line in text if "-A A " not in line or " A" not in line[5:]], "COMMIT\n"])
    )
    plain, indexed = (Machine(ruleset, indexed=how) for how in (False, True))
    for _ in range(500):
        data = some_packet(chance, 4)
        side = chance.choice(("in0", "out0"))
        for here in (plain, indexed):
            packet = read_packet(data)
            if packet is not None and packet.family == 4:
                here.receive(packet, side)
    assert plain.snapshot_counters() == indexed.snapshot_counters()
