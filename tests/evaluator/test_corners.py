"""fixtures/scenarios: corners of a machine's behaviour, each recorded from a real kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iptkit import api
from tests.evaluator.comparing import differences

FILE = Path(__file__).resolve().parents[2] / "fixtures" / "scenarios" / "corners.jsonl"
RECORDS: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text().splitlines()]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["name"])
def test_does_what_the_kernel_did(record: dict[str, Any]) -> None:
    assert not differences(record, api.run_scenario(record["scenario"]))


def test_connlimit_counts_an_invalid_packet_by_its_own_addresses() -> None:
    """Not by those of the connection it fails to belong to; seen on Linux 6.18."""
    rules = "*filter\n-A INPUT -p tcp -m connlimit --connlimit-above 1 --connlimit-mask 32 -j DROP\nCOMMIT\n"
    client = {"src": "10.0.1.3", "dst": "10.0.2.1", "proto": "tcp", "sport": 2000, "dport": 80}
    firewall = {"src": "10.0.2.1", "dst": "10.0.1.3", "proto": "tcp", "sport": 80, "dport": 2000}
    steps = [
        {"from": "client", "packet": client | {"flags": "RA", "seq": 1000, "ack": 5000}},
        {"from": "firewall", "packet": firewall | {"flags": "A", "seq": 5000, "ack": 1000}},
        {"from": "client", "packet": client | {"flags": "S", "seq": 1000}},
        {"from": "client", "packet": client | {"flags": "FA", "seq": 1000, "ack": 5000}},
    ]
    found = api.run_scenario({"family": "ipv4", "rules": rules, "steps": steps})
    # The third stands in for the first; the fourth has a connection, which is another one to count.
    assert [step["verdict"] for step in found["steps"]] == ["INPUT", "OUTPUT", "INPUT", "DROP"]
