"""The same file has the same findings each time, and however its lines are read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks import mixed
from iptkit import api

ROOT = Path(__file__).parents[2]


def test_findings_do_not_hang_on_the_order_of_sets(tmp_path: Path) -> None:
    path = tmp_path / "mixed.save"
    path.write_text("".join(f"{line}\n" for line in mixed.lines(1000, 1)))
    said = {
        subprocess.run(
            [sys.executable, "-m", "iptkit", "lint", str(path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=False,
            timeout=60,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(said) == 1
    assert said != {b""}


def test_quotes_in_pieces_of_a_long_line_are_no_pair() -> None:
    text = f'*filter\n-A INPUT -m comment --comment "{"x" * 10300}" -j ACCEPT\nCOMMIT\n'
    found = api.lint(api.parse(text))
    assert [each.code for each in found if each.code == "IPT013"] == ["IPT013", "IPT013"]
