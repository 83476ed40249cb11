"""`iptkit diff` against fixtures/diff: each folder holds two files and what is printed about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from iptkit import api
from iptkit.cli.diff import command

if TYPE_CHECKING:
    from iptkit.values.context import Family

FIXTURES = Path(__file__).parents[2] / "fixtures" / "diff"
CASES = sorted(path.name for path in FIXTURES.iterdir())


def arguments(case: str) -> list[str]:
    file = FIXTURES / case / "arguments"
    return file.read_text(encoding="ascii").split() if file.exists() else []


@pytest.mark.parametrize("format_", ["text", "json", "restore"])
@pytest.mark.parametrize("case", CASES)
def test_output(case: str, format_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FIXTURES / case)
    result = CliRunner().invoke(command, [*arguments(case), "--format", format_, "old.save", "new.save"])
    expected = (FIXTURES / case / f"expect.{format_}").read_bytes()
    assert result.stdout_bytes == expected
    same = (FIXTURES / case / "expect.text").read_bytes() == b""
    assert result.exit_code == (0 if same else 1), result.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_printed_script_makes_the_new_state(case: str) -> None:
    family: Family = 6 if "-6" in arguments(case) else 4
    folder = FIXTURES / case
    base = api.interpret(api.parse((folder / "old.save").read_bytes()), family, counters=True).ruleset
    new = api.interpret(api.parse((folder / "new.save").read_bytes()), family).ruleset
    script = api.parse((folder / "expect.restore").read_bytes())
    outcome = api.interpret(script, family, base=base, noflush=True, counters=True)
    assert not outcome.status, outcome.diagnostics
    assert api.diff(outcome.ruleset, new).same
