"""Random rulesets and packets: the kernel is asked, and the evaluator must say the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from iptkit import api
from tests.evaluator.comparing import differences

ORACLE = Path(__file__).parents[3] / "shared" / "tools" / "kernel_oracle.py"
COUNT = 100


@pytest.mark.kernel
def test_agrees_with_the_kernel_on_random_scenarios(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces")
    if not ORACLE.exists():
        pytest.skip(f"nobody to ask the kernel: there is no {ORACLE}")
    environment = {**os.environ, "XTABLES_LOCKFILE": str(tmp_path / "lock")}
    able = subprocess.run(
        [sys.executable, ORACLE, "selftest"], env=environment, capture_output=True, text=True, check=False
    )
    if able.returncode:
        pytest.skip(f"this machine cannot ask the kernel: {able.stderr[-200:] or able.stdout[-200:]}")
    seed = f"test-{random.randrange(10**9)}"  # noqa: S311  # nothing secret
    out = tmp_path / "fuzz.jsonl"
    subprocess.run(
        [sys.executable, ORACLE, "--fuzz", seed, str(COUNT), "--stable", "--jobs", "1", "--out", out],
        env=environment,
        capture_output=True,
        check=True,
        timeout=300,
    )
    wrong = []
    for line in out.read_text().splitlines():
        record = json.loads(line)
        found = differences(record, api.run_scenario(record["scenario"]))
        wrong += [f"{record['name']}: {each}" for each in found]
    assert not wrong, f"seed {seed}:\n" + "\n".join(wrong[:10])
