"""docs/packets.md: what it shows is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from iptkit.cli.main import iptkit

ROOT = Path(__file__).resolve().parents[2]
RULES = str(ROOT / "fixtures" / "flows" / "web-server.save")
PAGE = (ROOT / "docs" / "packets.md").read_text(encoding="utf-8") if (ROOT / "docs").is_dir() else ""
SHOWN = re.findall(r"```console\n\$ (.*)\n((?:.*\n)*?)```", PAGE)
FLOWS = re.findall(r"```flow\n((?:.*\n)*?)```", PAGE)


@pytest.mark.skipif(not PAGE, reason="the documentation is not here")
@pytest.mark.parametrize(("command", "output"), SHOWN)
def test_what_is_shown_is_printed(command: str, output: str) -> None:
    given = ""
    if command.startswith("echo "):
        said, _, command = command.partition(" | ")
        given = shlex.split(said)[1] + "\n"
    words = [RULES if word == "web-server.save" else word for word in shlex.split(command)[1:]]
    result = CliRunner().invoke(iptkit, words, input=given)
    assert (result.stderr or result.stdout) == output


@pytest.mark.skipif(not PAGE, reason="the documentation is not here")
@pytest.mark.parametrize("flow", FLOWS)
def test_flows_do_what_they_say(flow: str) -> None:
    result = CliRunner().invoke(iptkit, ["eval", RULES, "--flow", "-"], input=flow)
    assert result.exit_code == 0, result.output
