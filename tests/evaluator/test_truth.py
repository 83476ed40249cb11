"""Every recorded experiment with a real kernel, computed anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from iptkit import api
from iptkit.evaluator.machine import Machine
from tests.evaluator.comparing import FIELDS, differences
from tests.evaluator.conftest import TRUTH

if TYPE_CHECKING:
    from pathlib import Path

UNTRACED = [field for field in FIELDS if field not in ("verdict", "trace", "dropped_by")]
FILES: list[Path | None] = [*sorted(TRUTH.glob("*.jsonl"))] or [None]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem if path else "none")
def test_does_what_the_kernel_did(path: Path | None) -> None:
    if path is None:
        pytest.skip(f"no recordings of the kernel at {TRUTH}")
    wrong = []
    for line in path.read_text().splitlines():
        record = json.loads(line)
        found = differences(record, api.run_scenario(record["scenario"]))
        wrong += [f"{record['name']}: {each}" for each in found]
    assert not wrong, "\n".join(wrong[:10])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem if path else "none")
def test_does_so_untraced(path: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is traced, what packets before did is remembered: the same must come of it."""
    if path is None:
        pytest.skip(f"no recordings of the kernel at {TRUTH}")
    monkeypatch.setattr(Machine, "tracing", property(lambda _: False, lambda _, value: None), raising=False)
    wrong = []
    for line in path.read_text().splitlines():
        record = json.loads(line)
        found = differences(record, api.run_scenario(record["scenario"]), UNTRACED)
        wrong += [f"{record['name']}: {each}" for each in found]
    assert not wrong, "\n".join(wrong[:10])
