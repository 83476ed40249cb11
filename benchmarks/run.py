#!/usr/bin/env python3
"""Measure iptkit beside the real tools: same files, same run, one after the other in turn.  See README.md."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measure import Failure, Sample, namespaces, run  # noqa: E402  # after the path to it

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA = "iptkit-benchmark/1"
BOUNDS = ROOT / "benchmarks" / "bounds.toml"
SIZES = (10_000, 100_000)
SMALL = 120
SHAPES = 10_000
RESTORE = "iptables-legacy-restore"
SAVE = "iptables-legacy-save"
KIB = 1024


class Case(NamedTuple):
    """One thing that iptkit does, and what the real tools do instead."""

    command: str
    kind: str
    rules: int
    ours: list[str]
    real: list[str]
    status: int = 0  # of ours

    @property
    def name(self) -> str:
        return f"{self.command} {self.kind} {self.rules}"


class Result(NamedTuple):
    case: Case
    ours: list[Sample]
    real: list[Sample]

    @property
    def seconds(self) -> float:
        return statistics.median(sample.seconds for sample in self.ours)

    @property
    def real_seconds(self) -> float:
        return statistics.median(sample.seconds for sample in self.real)

    @property
    def ratio(self) -> float:
        return self.seconds / self.real_seconds

    @property
    def mebibytes(self) -> float:
        return max(sample.peak for sample in self.ours) / KIB

    @property
    def real_mebibytes(self) -> float:
        return max(sample.peak for sample in self.real) / KIB


class Files:
    """The rulesets, each made when it is first asked for."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed

    def file(self, kind: str, rules: int, *, edited: bool = False) -> str:
        path = self.folder / f"{kind}-{rules}{'-edited' if edited else ''}.save"
        if not path.exists():
            words = [sys.executable, "-m", "benchmarks.generate", kind, str(rules), "--seed", str(self.seed)]
            with path.open("wb") as out:
                subprocess.run([*words, *(["--edited"] if edited else [])], stdout=out, cwd=ROOT, check=True)
        return str(path)


def cases(files: Files, sizes: list[int], program: list[str]) -> Iterator[Case]:
    """Everything that is measured; a case's files are made when it is reached."""
    for rules in sizes:
        for kind in ("mixed", "kube"):
            file = files.file(kind, rules)
            yield Case(
                "lint", kind, rules, [*program, "lint", "--exit-zero", file], [RESTORE, "--test", file]
            )
            yield Case(
                "restore",
                kind,
                rules,
                [*program, "restore", "--backend", "legacy", "-c", file],
                [RESTORE, "-c", file],
            )
            loaded = shell(f'{RESTORE} -c "$1" && {SAVE} -c', file)
            yield Case("fmt", kind, rules, [*program, "fmt", "-c", file], loaded)
            edited = files.file(kind, rules, edited=True)
            both = shell(f'{RESTORE} --test "$1" && {RESTORE} --test "$2"', file, edited)
            yield Case("diff", kind, rules, [*program, "diff", file, edited], both, 1)
    file = files.file("mixed", SMALL)
    yield Case("lint", "mixed", SMALL, [*program, "lint", "--exit-zero", file], [RESTORE, "--test", file])
    rules = min(SHAPES, max(sizes))
    file = files.file("shapes", rules)
    for name, words in (("test", ["restore", "--test"]), ("lint", ["lint", "--exit-zero"])):
        yield Case(name, "shapes", rules, [*program, *words, file], [RESTORE, "--test", file])


def shell(script: str, *arguments: str) -> list[str]:
    return ["sh", "-c", script, "sh", *arguments]


def measured(case: Case, rounds: int, environment: Mapping[str, str]) -> Result:
    """Run both in turn; the first run of each, which warms the caches, is not counted."""
    ours: list[Sample] = []
    real: list[Sample] = []
    for _ in range(rounds + 1):
        ours.append(run(case.ours, environment, str(ROOT), case.status))
        real.append(run(case.real, environment, str(ROOT)))
    return Result(case, ours[1:], real[1:])


def growth(results: list[Result]) -> dict[str, float]:
    """For each command and kind that was measured at two sizes, ten times apart: how the time grew."""
    by_name = {result.case.name: result for result in results}
    out = {}
    for result in results:
        case = result.case
        larger = by_name.get(case._replace(rules=case.rules * 10).name)
        if larger is not None:
            out[f"{case.command} {case.kind} {case.rules} to {case.rules * 10}"] = (
                larger.seconds / result.seconds
            )
    return out


def exceeded(
    results: list[Result], grown: dict[str, float], bounds: dict[str, dict[str, float]]
) -> list[str]:
    """What is above its bound, in words.  Raises KeyError for a kind of bound there is not."""
    values: dict[str, dict[str, float]] = {
        "ratio": {result.case.name: result.ratio for result in results},
        "seconds": {result.case.name: result.seconds for result in results},
        "mebibytes": {result.case.name: result.mebibytes for result in results},
        "growth": grown,
    }
    out = []
    for what, patterns in bounds.items():
        for pattern, most in patterns.items():
            out += [
                f"{what} of {name}: {value:.3g}, at most {most:g}"
                for name, value in values[what].items()
                if fnmatch.fnmatchcase(name, pattern) and value > most
            ]
    return out


def table(results: list[Result], grown: dict[str, float]) -> str:
    head = f"{'':26} {'iptkit':>9} {'real':>9} {'ratio':>6} {'peak':>9} {'real':>9}\n"
    rows = "".join(
        f"{result.case.name:26} {result.seconds:7.3f} s {result.real_seconds:7.3f} s {result.ratio:6.2f}"
        f" {result.mebibytes:5.0f} MiB {result.real_mebibytes:5.0f} MiB\n"
        for result in results
    )
    more = "".join(f"{name:37} {value:6.2f} times the time\n" for name, value in grown.items())
    return head + rows + ("\n" + more if more else "")


def document(
    results: list[Result], grown: dict[str, float], over: list[str], given: argparse.Namespace
) -> dict[str, Any]:
    def side(command: list[str], samples: list[Sample], seconds: float, mebibytes: float) -> dict[str, Any]:
        return {
            "command": shlex.join(command),
            "median_seconds": round(seconds, 4),
            "seconds": [round(sample.seconds, 4) for sample in samples],
            "median_cpu_seconds": round(statistics.median(sample.cpu for sample in samples), 4),
            "peak_mebibytes": round(mebibytes, 1),
        }

    version = subprocess.run([RESTORE, "--version"], capture_output=True, text=True, check=False)
    return {
        "schema": SCHEMA,
        "machine": {
            "python": platform.python_version(),
            "kernel": platform.release(),
            "iptables": version.stdout.strip(),
            "processors": os.cpu_count(),
        },
        "rounds": given.rounds,
        "seed": given.seed,
        "results": [
            {
                "name": result.case.name,
                "rules": result.case.rules,
                "iptkit": side(result.case.ours, result.ours, result.seconds, result.mebibytes),
                "real": side(result.case.real, result.real, result.real_seconds, result.real_mebibytes),
                "ratio": round(result.ratio, 3),
            }
            for result in results
        ],
        "growth": {name: round(value, 2) for name, value in grown.items()},
        "exceeded": over,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if a bound is exceeded")
    parser.add_argument("--bounds", type=Path, default=BOUNDS, help="the file with the bounds")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is run and counted (5)")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="rules of the large files")
    parser.add_argument("--seed", type=int, default=1, help="of the rulesets")
    parser.add_argument(
        "--only", action="append", metavar="PATTERN", help="only what is called so, as 'lint * 100000'"
    )
    parser.add_argument(
        "--program", default=shlex.join([sys.executable, "-m", "iptkit"]), help="how iptkit is called"
    )
    return parser.parse_args()


def main() -> int:
    given = arguments()
    missing = [tool for tool in (RESTORE, SAVE) if shutil.which(tool) is None]
    if missing:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 2
    if not namespaces():
        print("it takes root, to make network namespaces", file=sys.stderr)
        return 2
    bounds = tomllib.loads(given.bounds.read_text(encoding="utf-8"))
    results = []
    with tempfile.TemporaryDirectory(prefix="iptkit-benchmark-") as folder:
        environment = {
            **os.environ,
            "XTABLES_LOCKFILE": os.path.join(folder, "lock"),
            "PYTHONPATH": str(ROOT),
        }
        try:
            for case in cases(Files(Path(folder), given.seed), given.sizes, shlex.split(given.program)):
                if given.only and not any(fnmatch.fnmatchcase(case.name, each) for each in given.only):
                    continue
                print(f"{case.name} ...", file=sys.stderr, flush=True)
                results.append(measured(case, given.rounds, environment))
        except Failure as failure:
            print(failure, file=sys.stderr)
            return 2
    grown = growth(results)
    over = exceeded(results, grown, bounds)
    if given.json:
        print(json.dumps(document(results, grown, over, given), indent=1))
    else:
        print(table(results, grown), end="")
    for line in over:
        print(f"too much: {line}", file=sys.stderr)
    return 1 if over and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
