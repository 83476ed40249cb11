"""NAT and helpers, against what a Linux 6.18 kernel did with packets of our own (fixtures/flows/*.jsonl).

A line is a scenario and what was seen at each step: the verdict, the state
each packet had, the packets that left or were delivered, as hex, what was
expected, what was noted, and after the last step the table of connections.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from iptkit import api

FLOWS = Path(__file__).parents[2] / "fixtures" / "flows"


def _records() -> list[Any]:
    return [
        pytest.param(record, id=record["name"])
        for name in ("nat.jsonl", "helpers.jsonl")
        for record in map(json.loads, (FLOWS / name).read_text().splitlines())
    ]


def _line(text: str) -> str:
    """A line of the table without the time that is left, and without the number of users."""
    text = re.sub(r" use=\d+", "", text)
    return re.sub(r"^(\S+\s+\d+\s+\S+\s+\d+) \d+", r"\1 T", text)


def _seen(step: dict[str, Any], *, last: bool) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "verdict": step.get("verdict"),
        "ct": [each["state"] + ("/" + each["dir"] if each.get("dir") else "") for each in step.get("ct", [])],
        "out": [f"{each['at']} {each['hex']}" for each in step.get("out", []) if each.get("hex")],
        "local": [each["hex"] for each in step.get("local", []) if each.get("hex")],
        "expect": sorted(re.sub(r"^\s*\d+ ", "", line) for line in step.get("expect", [])),
        "notes": step.get("invalid_reason"),
    }
    if last:
        seen["conntrack"] = [_line(entry["line"]) for entry in step["conntrack"]]
    return {name: value for name, value in seen.items() if value}


@pytest.mark.parametrize("record", _records())
def test_flow(record: dict[str, Any]) -> None:
    steps = api.run_scenario(record["scenario"])["steps"]
    count = len(steps)
    assert [_seen(step, last=place == count - 1) for place, step in enumerate(steps)] == record["seen"]
