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
