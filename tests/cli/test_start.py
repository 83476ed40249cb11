"""The short way into `iptkit lint FILE` does what the long one does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from iptkit.cli.start import plain_lint

ROOT = Path(__file__).parents[2]
RULESETS = ROOT / "fixtures" / "rulesets"
WEB = str(RULESETS / "web-server.save")
EDITED = str(RULESETS / "web-server-edited.save")


@pytest.mark.parametrize(
    ("words", "files", "exit_zero"),
    [
        (["iptkit", "lint", "a"], ["a"], False),
        (["/usr/bin/iptkit", "lint", "a", "--exit-zero", "-"], ["a", "-"], True),
        (["iptkit", "lint"], [], False),
        (["iptkit", "lint", "--exit-zero"], [], True),
        (["iptkit", "lint", "a", "-6"], [], False),
        (["iptkit", "lint", "--", "-a"], [], False),
        (["iptkit", "-h"], [], False),
        (["iptkit"], [], False),
        (["iptables-restore", "lint", "a"], [], False),
    ],
)
def test_what_is_plain(words: list[str], files: list[str], exit_zero: bool) -> None:
    assert plain_lint(words) == (files, exit_zero)


def test_completion_is_not_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_IPTKIT_COMPLETE", "bash_complete")
    assert plain_lint(["iptkit", "lint", "a"]) == ([], False)


@pytest.mark.parametrize("files", [[WEB], [WEB, EDITED], ["/nowhere/to/be/found"], [str(ROOT)]])
def test_both_ways_say_the_same(files: list[str]) -> None:
    ended = [
        subprocess.run(
            [sys.executable, "-m", "iptkit", "lint", *words],
            cwd=ROOT,
            capture_output=True,
            check=False,
            timeout=60,
        )
        for words in (files, ["-4", *files])
    ]
    short, long = ((each.returncode, each.stdout, each.stderr) for each in ended)
    assert short == long


def test_it_imports_no_click() -> None:
    code = f"""
import os, sys
os._exit = lambda status: (print(status, *sys.modules), sys.exit(0))
sys.argv = ["iptkit", "lint", "--exit-zero", {WEB!r}]
from iptkit.cli.start import program
program()
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    status, *modules = run.stdout.splitlines()[-1].split()
    assert status == "0"
    assert not {"click", "inspect", "iptkit.kernel"} & set(modules)
