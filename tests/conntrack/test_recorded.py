"""Tracking, packet by packet, as a Linux 6.18 kernel did it with packets of our own making.

fixtures/flows/tracking.jsonl holds what was sent and what /proc/net/nf_conntrack
and nf_conntrack_log_invalid said then; `table` is left out where it is as before.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from iptkit.conntrack import dump
from iptkit.conntrack.settings import Settings
from iptkit.conntrack.tracker import Tracker
from iptkit.values.packet import CT_UNTRACKED, Packet

FLOWS = Path(__file__).parents[2] / "fixtures" / "flows" / "tracking.jsonl"
RECORDS = [json.loads(line) for line in FLOWS.read_text(encoding="ascii").splitlines()]
STATES = ("ESTABLISHED", "RELATED", "NEW")


def seen(packet: Packet) -> str:
    if packet.connection is None:
        return "UNTRACKED" if packet.ctinfo == CT_UNTRACKED else "INVALID"
    return f"{STATES[packet.ctinfo % 3]}/{('ORIGINAL', 'REPLY')[packet.ctinfo // 3]}"


def without_time(line: str) -> tuple[str, int]:
    """A line without its timeout, and the timeout."""
    found = re.match(r"(\S+ +\d+ \S+ +\d+ )(\d+)( .*)", line)
    assert found is not None
    return found[1] + found[3], int(found[2])


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["name"])
def test_the_kernel_did_the_same(record: dict[str, Any]) -> None:
    settings = Settings({"nf_conntrack_acct": 1, **record.get("sysctl", {})})
    tracker = Tracker(settings)
    now = 0.0
    table: list[str] = []
    for place, step in enumerate(record["steps"]):
        now += step.get("advance", 0.001)
        if "wire" in step:
            packet = Packet(bytes.fromhex(step["wire"]))
            tracker.notes.clear()
            assert tracker.track(packet, "PREROUTING", now) == "ACCEPT"
            assert tracker.confirm(packet, now) == "ACCEPT"
            assert seen(packet) == step["seen"], place
            assert tracker.notes == step.get("notes", []), place
        table = step.get("table", table)
        entries = sorted(tracker.entries(now), key=dump.sort_key)
        ours = [without_time(dump.proc_line(entry, now).removesuffix(" use=2")) for entry in entries]
        theirs = [without_time(line) for line in table]
        assert [line for line, _ in ours] == [line for line, _ in theirs], place
        assert all(abs(ours[i][1] - theirs[i][1]) <= 2 for i in range(len(ours))), place
