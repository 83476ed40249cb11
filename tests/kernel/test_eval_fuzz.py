"""Random rulesets and packets: the kernel is asked, and the evaluator must say the same."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from iptkit import api
from iptkit.evaluator import scenario
from tests.evaluator.comparing import differences

ORACLE = Path(__file__).parents[3] / "shared" / "tools" / "kernel_oracle.py"
COUNT = 100
TRIES = 400  # at where the ticks of a recording began


@pytest.mark.kernel
def test_agrees_with_the_kernel_on_random_scenarios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        if found and "connlimit" in record["scenario"]["rules"] and _hangs_on_ticks(record, monkeypatch):
            continue
        wrong += [f"{record['name']}: {each}" for each in found]
    assert not wrong, f"seed {seed}:\n" + "\n".join(wrong[:10])


def _hangs_on_ticks(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Does the evaluator agree, once its packets come in the same ticks of the clock as the kernel's?

    connlimit does not look for the same connection twice in a tick (4 ms), and a
    fast machine records several packets in one.  Where the first tick began is not
    known, and the times are those of the notes, in whole milliseconds: each packet
    came up to one before.
    """
    steps, times = record["scenario"]["steps"], [seen["t"] for seen in record["truth"]["steps"]]
    with monkeypatch.context() as patch:
        patch.setattr(scenario, "TICK", 0.0)
        start = scenario.START
        for attempt in range(TRIES):
            chance = random.Random(attempt)  # noqa: S311  # the same ones each time
            patch.setattr(scenario, "START", start + chance.uniform(0, 0.004))
            came = [0.0]
            for time in times[1:]:
                came.append(max(came[-1], time - (chance.uniform(0, 0.001) if attempt % 2 else 0)))
            given = copy.deepcopy(record["scenario"])
            for step, before, after in zip(given["steps"][1:], came, came[1:], strict=False):
                step["advance"] = step.get("advance", 0) + after - before
            assert len(came) == len(steps)
            if not differences(record, api.run_scenario(given)):
                return True
    return False
