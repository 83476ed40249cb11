"""The recordings of a real kernel, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

TRUTH = Path(__file__).parents[3] / "shared" / "kernel_truth"


@pytest.fixture(scope="session")
def truth_files() -> list[Path]:
    if not TRUTH.is_dir():
        pytest.skip(f"no recordings of the kernel at {TRUTH}")
    return sorted(TRUTH.glob("*.jsonl"))
