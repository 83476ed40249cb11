"""What the kernel did with the packets of its own records, without rules and NAT between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iptkit.conntrack import dump
from iptkit.conntrack.settings import Settings
from iptkit.conntrack.tracker import Tracker
from iptkit.values.packet import CT_UNTRACKED, Packet

TRUTH = Path(__file__).parents[2].parent / "shared" / "kernel_truth"
CATEGORIES = ("tcp_matrix", "tcp_states", "tcp_window", "udp", "icmp", "icmpv6", "protos", "timeouts")
NAMES = ("ESTABLISHED", "RELATED", "NEW")
THROUGH = {"FORWARD", "INPUT", "OUTPUT"}


def _records(category: str) -> list[dict[str, Any]]:
    path = TRUTH / f"{category}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here: the kernel's records are not part of the source")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _plain(record: dict[str, Any]) -> bool:
    """Can it be replayed by the tracker alone: no targets that touch tracking, no local answers?"""
    rules = record["scenario"]["rules"]
    steps = record["scenario"]["steps"]
    return (
        "steps" in record["truth"]
        and "*nat" not in rules
        and "-j CT" not in rules
        and not any("cmd" in step for step in steps)
        and not any(seen["kind"] == "generated" for step in record["truth"]["steps"] for seen in step["ct"])
        and not any(len(step["ct"]) > 1 for step in record["truth"]["steps"])
    )


def _advance(tracker: Tracker, step: dict[str, Any], now: float) -> float:
    for name, value in step.get("sysctl", {}).items():
        if "nf_conntrack" in name:
            tracker.settings.set(name, value)
    return now + 0.001 + float(step.get("advance", 0))


def _state(packet: Packet) -> tuple[str, str | None]:
    if packet.connection is None:
        return ("UNTRACKED" if packet.ctinfo == CT_UNTRACKED else "INVALID"), None
    return NAMES[packet.ctinfo % 3], ("ORIGINAL", "REPLY")[packet.ctinfo // 3]


def _comparable(record: dict[str, Any]) -> dict[str, Any]:
    unlike = ("timeout", "line", "use", "delta-time")
    kept = {key: value for key, value in record.items() if key not in unlike}
    kept["status"] = [bit for bit in kept["status"] if not bit.endswith("NAT_DONE")]
    return kept


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_kernel_did_the_same(category: str) -> None:
    replayed = 0
    for record in filter(_plain, _records(category)):
        scenario = record["scenario"]
        settings = Settings({"nf_conntrack_acct": 1})
        for name, value in scenario.get("sysctl", {}).items():
            if "nf_conntrack" in name:
                settings.set(name, value)
        tracker = Tracker(settings)
        now = 1000.0
        replayed += 1
        for step, truth in zip(scenario["steps"], record["truth"]["steps"], strict=True):
            where = f"{record['name']}, step {truth['i']}"
            now = _advance(tracker, step, now)
            if "packet" in step:
                for _ in range(step.get("repeat", 1)):
                    packet = Packet(bytes.fromhex(truth["wire"][0]))
                    tracker.notes.clear()
                    hook = "OUTPUT" if step["from"] == "firewall" else "PREROUTING"
                    verdict = tracker.track(packet, hook, now)
                    if truth["verdict"] in THROUGH:
                        assert verdict == "ACCEPT", where
                        assert tracker.confirm(packet, now) == "ACCEPT", where
                for seen in truth["ct"]:
                    assert _state(packet) == (seen["state"], seen["dir"]), where
                assert tracker.notes == (truth.get("invalid_reason") or []), where
            ours = sorted(tracker.entries(now), key=dump.sort_key)
            assert len(ours) == len(truth["conntrack"]), where
            for entry, theirs in zip(ours, truth["conntrack"], strict=True):
                mine = dump.record(entry, now)
                assert _comparable(mine) == _comparable(theirs), where
                assert abs(mine["timeout"] - theirs["timeout"]) <= 2, where
    assert replayed


def test_every_line_the_kernel_printed_is_read_and_printed_again() -> None:
    lines = 0
    for path in sorted(TRUTH.glob("*.jsonl")) or [TRUTH / "icmp.jsonl"]:
        for record in _records(path.stem):
            for step in record["truth"].get("steps", []):
                for theirs in step.get("conntrack", []):
                    line = theirs.get("line")
                    if line is None:
                        continue
                    entry = dump.parse(line, 1000.0)
                    assert dump.proc_line(entry, 1000.0, theirs["use"]) == line
                    lines += 1
    assert lines
