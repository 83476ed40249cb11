"""The benchmarks' rulesets are what they say, and the measuring measures."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmarks import generate
from benchmarks.measure import Failure, Sample, namespaces, run
from benchmarks.run import BOUNDS, Case, Result, exceeded, growth, table
from benchmarks.shapes import MOST
from iptkit import api
from iptkit.syntax.document import RuleLine

ROOT = Path(__file__).resolve().parents[2]
KINDS = sorted(generate.KINDS)
every_kind = pytest.mark.parametrize("kind", KINDS)
measuring = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("iptables-legacy-restore") is None or not namespaces(),
    reason="it takes root, network namespaces and iptables-legacy",
)


def text(kind: str, rules: int, seed: int = 1, *, edited: bool = False) -> str:
    lines = generate.KINDS[kind](rules, seed)
    return "".join(line + "\n" for line in (generate.edited(lines) if edited else lines))


@every_kind
def test_rulesets_are_what_is_asked_for(kind: str) -> None:
    made = text(kind, 1000)
    assert made == text(kind, 1000)
    assert made != text(kind, 1000, seed=2)
    rules = sum("-A " in line for line in made.split("\n"))
    assert rules == 1000 if kind != "kube" else 1000 <= rules < 1020


@every_kind
@pytest.mark.parametrize("edited", [False, True])
def test_rulesets_are_canonical(kind: str, edited: bool) -> None:
    """So that every tool has the same to do."""
    made = text(kind, 1000, edited=edited)
    document = api.parse(made)
    outcome = api.interpret(document, counters=True)
    assert not outcome.diagnostics
    assert api.canonical(document, outcome, counters=True) == made


@every_kind
def test_edits(kind: str) -> None:
    old, new = (api.load(text(kind, 2000, edited=edited)) for edited in (False, True))
    assert not api.diff(old, new).same


@every_kind
def test_the_program_prints_them(kind: str) -> None:
    for edited in (False, True):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.generate", kind, "500", *(["--edited"] if edited else [])],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == text(kind, 500, edited=edited)


def test_every_rule_is_another_shape() -> None:
    document = api.parse(text("shapes", 2000))
    shapes = [line.shape for line in document.lines if isinstance(line, RuleLine)]
    assert len(set(shapes)) == len(shapes) == 2000
    with pytest.raises(ValueError, match="combinations"):
        next(generate.KINDS["shapes"](MOST + 1, 1))


def result(name: str, rules: int, ours: float, real: float, peak: int = 50) -> Result:
    case = Case(name, "mixed", rules, ["iptkit"], ["real"])
    # The medians are what counts.
    return Result(
        case,
        [Sample(s, s, peak * 1024) for s in (9.0, ours, 0.0)],
        [Sample(real, real, 1024), Sample(real, real, 1024)],
    )


def test_bounds() -> None:
    results = [result("lint", 10_000, 0.2, 0.1, 60), result("lint", 100_000, 3.0, 1.0, 300)]
    grown = growth(results)
    assert grown == {"lint mixed 10000 to 100000": pytest.approx(15)}
    bounds = tomllib.loads(BOUNDS.read_text(encoding="utf-8"))
    assert exceeded(results, grown, bounds) == [
        "ratio of lint mixed 100000: 3, at most 1.5",
        "mebibytes of lint mixed 100000: 300, at most 250",
        "growth of lint mixed 10000 to 100000: 15, at most 12",
    ]
    assert not exceeded([result("lint", 100_000, 1.4, 1.0)], {}, bounds)
    assert "lint mixed 100000            3.000 s   1.000 s   3.00   300 MiB     1 MiB" in table(
        results, grown
    )


@measuring
def test_measure() -> None:
    environment = {"PATH": os.environ["PATH"]}
    sample = run(["sleep", "0.1"], environment, "/")
    assert 0.1 <= sample.seconds < 2
    assert sample.peak > 0
    # The namespace is a new one: it has loopback alone, and that is down.
    run(["sh", "-c", "test $(ls /proc/self/net/dev_snmp6 2>/dev/null | wc -l) -le 1"], environment, "/")
    assert run(["sh", "-c", "exit 3"], environment, "/", 3).seconds < 2
    with pytest.raises(Failure, match=r"oh no"):
        run(["sh", "-c", "echo oh no >&2; exit 3"], environment, "/")
    with pytest.raises(Failure):
        run(["/no/such/program"], environment, "/")


@measuring
@pytest.mark.kernel
def test_a_small_run(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--sizes", "60", "--rounds", "1"]
    words += ["--only", "lint kube 60", "--only", "diff mixed 60"]
    done = subprocess.run([*words, "--json"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["schema"] == "iptkit-benchmark/1"
    assert [each["name"] for each in found["results"]] == ["diff mixed 60", "lint kube 60"]
    for each, side in itertools.product(found["results"], ("iptkit", "real")):
        assert each[side]["median_seconds"] > 0
        assert each[side]["peak_mebibytes"] > 0
    tight = tmp_path / "bounds.toml"
    tight.write_text('[seconds]\n"lint kube *" = 0.0001\n')
    words[-4:] = ["--only", "lint kube 60", "--bounds", str(tight)]
    done = subprocess.run([*words, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "lint kube 60" in done.stdout
    assert "too much: seconds of lint kube 60" in done.stderr
