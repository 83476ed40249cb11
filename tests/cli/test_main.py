"""The program as a whole: its commands, its start, its end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from iptkit.cli.main import COMMANDS, main

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
RULESETS = ROOT / "fixtures" / "rulesets"
WEB = str(RULESETS / "web-server.save")
EDITED = str(RULESETS / "web-server-edited.save")
# These keep the exit status of the programs they stand in for.
AS_THE_TOOLS = ("restore", "save")
# What nobody should pay for who reads a ruleset of known options.
COSTLY = {"lark", "dataclasses", "asyncio", "rich", "iptc", "multiprocessing", "unittest", "xml"}


class Ended(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def iptkit(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a command here, without the price of another process."""

    def run(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, *capfd.readouterr())

    return run


def python(code: str, *arguments: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=ROOT,
    ).stdout


def test_help_lists_every_command(iptkit: Callable[..., Ended]) -> None:
    shown = iptkit("--help")
    assert shown.status == 0
    assert re.findall(r"^  ([a-z][a-z-]*)  ", shown.out, re.M) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(iptkit: Callable[..., Ended], command: str) -> None:
    shown = iptkit(command, "--help")
    assert shown.status == 0
    assert shown.out.startswith(f"Usage: iptkit {command} ")
    assert "--help" in shown.out
    assert not shown.err


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_there_is_not_is_refused(iptkit: Callable[..., Ended], command: str) -> None:
    refused = iptkit(command, "--no-such-option")
    assert refused.status == (1 if command in AS_THE_TOOLS else 2)
    assert "no-such-option" in refused.err


def test_a_command_there_is_not_ends_with_2(iptkit: Callable[..., Ended]) -> None:
    refused = iptkit("restor")
    assert refused.status == 2
    assert "restor" in refused.err
    assert not refused.out


def test_version_is_the_packages(iptkit: Callable[..., Ended]) -> None:
    from iptkit import __version__

    assert iptkit("--version").out.split()[-1] == __version__


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("restore", "--help"),
        ("restore", "--plan", "--backend", "memory", WEB),
        ("restore", "--test", "--verbose", WEB),
        ("save", "--backend", "memory", "--state", WEB),
        ("fmt", WEB),
        ("fmt", "--diff", EDITED),
        ("lint", EDITED),
        ("lint", "--format", "json", EDITED),
        ("rule",),
        ("rule", "IPT209"),
        ("diff", WEB, EDITED),
        ("diff", "--format", "json", WEB, EDITED),
        ("diff", "--format", "restore", WEB, EDITED),
        ("parse", EDITED),
        ("parse", "--format", "text", EDITED),
    ],
    ids=" ".join,
)
def test_a_reader_that_went_away_is_no_fault(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "iptkit", *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
            cwd=ROOT,
        )
    finally:
        os.close(writing)
    assert not ended.stderr


@pytest.mark.parametrize("command", ["fmt", "lint", "parse", "restore"])
def test_a_file_that_is_not_there_is_said(iptkit: Callable[..., Ended], command: str) -> None:
    refused = iptkit(command, "/no/such/file")
    assert refused.status == (1 if command in AS_THE_TOOLS else 2)
    assert "/no/such/file" in refused.err


def test_each_module_imports_alone() -> None:
    """None relies on another having been imported before it: each is the first in a process of its own.

    They share what was compiled.
    """
    code = """
import importlib, os, sys
import click, json, lark, subprocess  # others' modules, once
failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        importlib.import_module(name)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
print(*failed)
"""
    assert python(code, *modules(), PYTHONDONTWRITEBYTECODE="") == "\n"


def modules() -> list[str]:
    found = []
    for path in sorted((ROOT / "iptkit").rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        if parts[-1] != "__main__":  # importing it runs the program
            found.append(".".join(parts))
    return found


def test_the_api_is_light() -> None:
    loaded = set(python("import iptkit.api, sys; print(*sys.modules)").split())
    assert not loaded & (COSTLY | {"click", "subprocess", "argparse"})


def test_the_package_itself_imports_nothing() -> None:
    loaded = set(python("import iptkit, sys; print(*sys.modules)").split())
    assert {name for name in loaded if name.startswith("iptkit")} == {"iptkit"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("lint", WEB),
        ("lint", EDITED),
        ("lint", "-6", str(RULESETS / "ipv6-host.save")),
        ("fmt", str(RULESETS / "docker-host.save")),
        ("diff", WEB, EDITED),
        ("restore", "--test", str(RULESETS / "router.save")),
    ],
    ids=lambda arguments: f"{arguments[0]} {Path(arguments[-1]).stem}",
)
def test_a_small_file_is_read_without_lark(arguments: tuple[str, ...]) -> None:
    code = """
import contextlib, io, sys
from iptkit.cli.main import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
    main(sys.argv[1:])
print(*sys.modules)
"""
    assert not set(python(code, *arguments).split()) & COSTLY


def test_one_command_imports_no_other() -> None:
    code = (
        "import sys\nfrom iptkit.cli.main import iptkit\niptkit.get_command(None, 'fmt')\nprint(*sys.modules)"
    )
    loaded = set(python(code).split())
    assert {"iptkit.lint.engine", "iptkit.diff.compare", "iptkit.kernel.transaction"}.isdisjoint(loaded)
