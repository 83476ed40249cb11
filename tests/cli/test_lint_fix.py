"""iptkit lint --fix and --diff: what becomes of the files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from click.testing import CliRunner

from iptkit.cli.lint import command

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\n"
STATES = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
UGLY = HEAD + STATES + "-A INPUT -s 10.0.0.5/24 -p tcp --dport ssh -j ACCEPT\nCOMMIT\n"
FAIR = HEAD + STATES + "-A INPUT -s 10.0.0.0/24 -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n"


def test_fix_writes_the_file_and_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "rules"
    file.write_text(UGLY)
    file.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(file)
    result = CliRunner().invoke(command, ["--fix", str(link)])
    assert result.exit_code == 0, result.output
    assert file.read_text() == FAIR
    assert file.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "rules"]


def test_diff_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "rules"
    file.write_text(UGLY)
    result = CliRunner().invoke(command, ["--diff", str(file)])
    assert result.exit_code == 1
    assert "\n-A INPUT" not in result.output
    assert "\n--A INPUT -s 10.0.0.5/24 -p tcp --dport ssh -j ACCEPT\n" in result.output
    assert "\n+-A INPUT -s 10.0.0.0/24 -p tcp -m tcp --dport 22 -j ACCEPT\n" in result.output
    assert file.read_text() == UGLY
    file.write_text(FAIR)
    assert CliRunner().invoke(command, ["--diff", str(file)]).output == ""


def test_standard_input_is_written_to_standard_output() -> None:
    result = CliRunner().invoke(command, ["--fix", "-"], input=UGLY)
    assert result.exit_code == 0
    assert result.output == FAIR


def test_unsafe_fixes_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "rules"
    dead = FAIR.replace("COMMIT", "-A INPUT -j DROP\n-A INPUT -i eth1 -j ACCEPT\nCOMMIT")
    file.write_text(dead)
    assert CliRunner().invoke(command, ["--fix", str(file)]).exit_code == 1
    assert file.read_text() == dead
    assert CliRunner().invoke(command, ["--fix", "--unsafe-fixes", str(file)]).exit_code == 0
    assert file.read_text() == FAIR.replace("COMMIT", "-A INPUT -j DROP\nCOMMIT")
    assert CliRunner().invoke(command, ["--unsafe-fixes", str(file)]).exit_code == 2
