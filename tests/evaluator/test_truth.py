"""Every recorded experiment with a real kernel, computed anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from iptkit import api
from tests.evaluator.comparing import differences
from tests.evaluator.conftest import TRUTH

if TYPE_CHECKING:
    from pathlib import Path

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
