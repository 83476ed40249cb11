"""Every shell session of the README is run, and has to print what stands there.

A session is a block marked `console`: lines that begin with `$ ` are commands,
the lines up to the next are what they print.  All sessions share one folder,
with copies of fixtures/rulesets in it.  A line `...` stands for any lines.
Blocks marked `python` are run too.

`python tests/test_readme.py` writes the output of all sessions anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SESSION = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


class Step(NamedTuple):
    command: str
    output: str


def steps(session: str) -> list[Step]:
    found: list[Step] = []
    for line in session.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append(Step(line[2:].rstrip("\n"), ""))
        else:
            found[-1] = Step(found[-1].command, found[-1].output + line)
    return found


class Shell:
    """Runs commands one by one, in one folder; `$?` is the status of the last."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.status = 0
        for path in (ROOT / "fixtures" / "rulesets").iterdir():
            shutil.copy(path, home)
        programs = home / ".bin"
        programs.mkdir()
        (programs / "iptkit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m iptkit "$@"\n', "ascii")
        (programs / "iptkit").chmod(0o755)
        self.environment = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
        }

    def run(self, command: str) -> str:
        ended = subprocess.run(
            ["bash", "-c", f"(exit {self.status})\n{command}"],
            cwd=self.home,
            env=self.environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        self.status = ended.returncode
        return ended.stdout


def matches(written: str, printed: str) -> bool:
    pattern = "".join(
        r"(?:.*\n)*?" if line == "...\n" else re.escape(line) for line in written.splitlines(True)
    )
    return re.fullmatch(pattern, printed) is not None


def test_sessions(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    sessions = SESSION.findall(README.read_text(encoding="utf-8"))
    assert sessions
    for session in sessions:
        for step in steps(session):
            printed = shell.run(step.command)
            if not matches(step.output, printed):
                assert printed == step.output, step.command


def test_programs(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    programs = PROGRAM.findall(README.read_text(encoding="utf-8"))
    assert programs
    for program in programs:
        ended = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env=shell.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert not ended.stderr
        printed = "".join(f"{line}\n" for line in re.findall(r"# prints: (.*)", program))
        assert ended.stdout == printed


def test_files_named_are_there() -> None:
    text = README.read_text(encoding="utf-8")
    for name in re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"^(script/\w+)", text, re.M):
        assert (ROOT / name).exists(), name


def rewritten(text: str, home: Path) -> str:
    shell = Shell(home)

    def lines(session: str) -> Iterator[str]:
        for step in steps(session):
            printed = shell.run(step.command)
            kept = step.output and matches(step.output, printed)
            yield f"$ {step.command}\n{step.output if kept else printed}"

    return SESSION.sub(lambda m: f"```console\n{''.join(lines(m[1]))}```", text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        README.write_text(rewritten(README.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
