from __future__ import annotations

import pytest

from iptkit.evaluator.flow import parse_flow
from iptkit.evaluator.packetline import BadLine

SOURCES = {"client": "in0", "firewall": ""}


def test_reads_scripts() -> None:
    text = """# a comment
0.5 client udp 10.0.1.2:1 > 10.0.2.2:2  => FORWARD NEW, mark=0x1  # another
+2  sysctl net.netfilter.nf_conntrack_udp_timeout=5

flush
+1
"""
    first, second, third, fourth = parse_flow(text, 4, SOURCES)
    assert (first.number, first.time, first.relative) == (2, 0.5, False)
    assert first.packet is not None
    assert first.packet.packet["dport"] == 2
    assert first.text == "client udp 10.0.1.2:1 > 10.0.2.2:2"
    assert [(each.name, each.value) for each in first.expected] == [
        ("verdict", "FORWARD"),
        ("state", "NEW"),
        ("mark", "0x1"),
    ]
    assert (second.command, second.words) == ("sysctl", ("net.netfilter.nf_conntrack_udp_timeout=5",))
    assert second.relative
    assert third.command == "flush"
    assert (fourth.command, fourth.time) == ("wait", 1.0)


@pytest.mark.parametrize(
    ("line", "at", "message"),
    [
        ("+x client udp 10.0.1.2 > 10.0.2.2", "+x", "no time"),
        ("0 clint udp 10.0.1.2 > 10.0.2.2", "clint", "did you mean 'client'"),
        ("0 flsh", "flsh", "did you mean 'flush'"),
        ("0 flush all", "all", "stands alone"),
        ("0 sysctl a", "a", "NAME=VALUE"),
        ("0 client udp 10.0.1.2 > 10.0.2.2 =>", "=>", "what is expected"),
        ("0 client udp 10.0.1.2 > 10.0.2.2 => DORP", "DORP", "did you mean 'DROP'"),
        ("0 client udp 10.0.1.2 > 10.0.2.2 => by", "by", "stands a rule"),
        ("0 client udp 10.0.1.2 > 10.0.2.2 => by INPUT", "INPUT", "no rule"),
        ("0 client udp 10.0.1.2 > 10.0.2.2 => tll=3", "tll=3", "did you mean 'ttl='"),
        ("0 => DROP", "=>", "nothing stands before"),
    ],
)
def test_points_at_what_is_wrong(line: str, at: str, message: str) -> None:
    with pytest.raises(BadLine, match=message) as caught:
        list(parse_flow(f"\n{line}\n", 4, SOURCES))
    assert caught.value.line == 2
    assert line[caught.value.start : caught.value.end] == at
