"""Rewriting a packet's header."""

from __future__ import annotations

from iptkit.evaluator.wire import build
from iptkit.values.checksum import ones_sum
from iptkit.values.packet import Packet

FIELDS = {"src": "10.0.0.1", "dst": "10.0.0.2", "proto": "udp", "sport": 1, "dport": 2}


def test_lowering_the_ttl_keeps_a_right_checksum_right_and_a_wrong_one_as_wrong() -> None:
    data = bytearray(build(FIELDS, 4)[0])
    data[8] = 64
    for check in range(0x10000):
        data[10], data[11] = check >> 8, check & 0xFF
        lowered = Packet(data)
        lowered.lower_ttl()
        assert lowered.ttl == lowered.data[8] == 63
        assert ones_sum(lowered.data[:20]) % 0xFFFF == ones_sum(data[:20]) % 0xFFFF


def test_the_hop_limit_is_lowered() -> None:
    packet = Packet(build(FIELDS | {"src": "2001:db8::1", "dst": "2001:db8::2", "ttl": 9}, 6)[0])
    packet.lower_ttl()
    assert (packet.ttl, packet.data[7]) == (8, 8)
