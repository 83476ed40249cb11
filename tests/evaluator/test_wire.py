from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from iptkit.evaluator.wire import BadField, build, describe

if TYPE_CHECKING:
    from pathlib import Path

    from iptkit.values.context import Family

ADDRESSES: dict[str, dict[str, str]] = {
    "ipv4": {"client": "10.0.1.2", "server": "10.0.2.2", "firewall": "10.0.2.1"},
    "ipv6": {"client": "fd00:1::2", "server": "fd00:2::2", "firewall": "fd00:2::1"},
}


def test_builds_and_reads_what_was_recorded(truth_files: list[Path]) -> None:
    count = 0
    for path in truth_files:
        for line in path.read_text().splitlines():
            record = json.loads(line)
            scenario = record["scenario"]
            addresses = ADDRESSES[scenario["family"]]
            family: Family = 4 if scenario["family"] == "ipv4" else 6
            base = scenario.get("ident_base", 0x4000)
            for place, step in enumerate(record["truth"].get("steps", ())):
                given = scenario["steps"][place]
                if "packet" not in given:
                    continue
                side = given["from"]
                other = addresses["client" if side == "server" else "server"]
                packet = {"src": addresses[side], "dst": other, **given["packet"]}
                made = build(packet, family, ident=base + place + 1)
                assert [each.hex() for each in made] == step["wire"], (record["name"], place)
                for seen in (*step.get("out", ()), *step.get("local", ())):
                    if seen.get("hex"):
                        assert describe(bytes.fromhex(seen["hex"])) == seen["packet"]
                        count += 1
    assert count


@pytest.mark.parametrize(
    ("packet", "field", "message"),
    [
        ({"dportt": 1}, "packet.dportt", "did you mean 'dport'"),
        ({"dport": 65536}, "packet.dport", "between 0 and 65535"),
        ({"dport": "http"}, "packet.dport", "whole number"),
        ({"proto": "tpc"}, "packet.proto", "did you mean 'tcp'"),
        ({"proto": "tcp", "flags": "SX"}, "packet.flags", "'X' is no TCP flag"),
        ({"src": "10.0.0.256"}, "packet.src", "no IPv4 address"),
        ({"payload": {"hex": "0"}}, "packet.payload.hex", "hexadecimal"),
        ({"payload": "\u20ac"}, "packet.payload", "no byte"),
        ({"frag": {"sizes": [8], "only": [4]}}, "packet.frag.only", "there is no piece 4"),
        (
            {"proto": "icmp", "type": 3, "inner": {"src": "1.2.3.4", "dst": "x"}},
            "packet.inner.dst",
            "no IPv4 address",
        ),
        ({"proto": "sctp", "chunks": [{"type": "inti"}]}, "packet.chunks[0].type", "did you mean 'init'"),
    ],
)
def test_names_the_field_that_makes_no_sense(packet: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(BadField, match=message.replace("'", ".")) as caught:
        build({"src": "10.0.0.1", "dst": "10.0.0.2", **packet}, 4)
    assert caught.value.field == field


def test_describes_what_is_cut() -> None:
    whole = build({"src": "10.0.0.1", "dst": "10.0.0.2", "proto": "tcp"}, 4)[0]
    for length in range(len(whole)):
        assert isinstance(describe(whole[:length]), dict)
    assert describe(whole[:14])["truncated"]
