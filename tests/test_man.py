"""The manual pages: up to date, complete, and without a warning from the programs that show them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from iptkit.cli.main import COMMANDS, iptkit
from iptkit.extensions.manual import manuals, names
from iptkit.lint.registry import codes, find

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "man"
PAGES = sorted(FOLDER.glob("*.[1-9]"))
every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def plain(path: Path) -> str:
    """A page as text: macros that only mark words, and escapes, taken out."""
    text = path.read_text(encoding="ascii")
    text = re.sub(r"\\\[u([0-9A-F]{4,6})\]", lambda hit: chr(int(hit[1], 16)), text)
    text = text.replace("\\(dq", '"').replace("\\&", "").replace("\\-", "-").replace("\\e", "\\")
    return re.sub(r"\bFl -?", lambda hit: hit[0][2:].strip() + "-", text)


def test_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "script" / "man", "--check"], capture_output=True, text=True, check=False
    )
    assert not done.stderr
    assert done.returncode == 0


def test_pages_that_are_not_are_named(tmp_path: Path) -> None:
    for path in PAGES:
        shutil.copy(path, tmp_path)
    (tmp_path / "iptkit-fmt.1").write_text("old\n")
    (tmp_path / "iptkit-gone.1").write_text("of a command there was\n")
    run = [sys.executable, str(ROOT / "script" / "man")]
    done = subprocess.run([*run, "--check", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "iptkit-fmt.1 iptkit-gone.1" in done.stderr
    subprocess.run([*run, tmp_path], check=True)
    assert (tmp_path / "iptkit-fmt.1").read_bytes() == (FOLDER / "iptkit-fmt.1").read_bytes()
    assert not (tmp_path / "iptkit-gone.1").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page_with_all_its_options(name: str) -> None:
    text = (FOLDER / f"iptkit-{name}.1").read_text(encoding="ascii")
    command = iptkit.get_command(click.Context(iptkit), name)
    assert command is not None
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            items = [line for line in text.split("\n") if line.startswith(".It ")]
            for flag in option.opts:
                assert any(f"Fl {flag[1:]}" in item for item in items), flag
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"):
        assert f".Sh {section}\n" in text


def test_every_extension_is_in_the_manual() -> None:
    text = plain(FOLDER / "iptkit-extensions.7")
    for name in names():
        for each in manuals(name):
            family = "" if len(each.families) > 1 else f" (IPv{each.families[0]})"
            page = text.partition(f"\n.Ss {each.name}{family}\n")[2].partition("\n.Ss ")[0]
            assert page, each.name
            for option in each.options:
                assert option.names[0] in page
                for flag in option.names[1:]:
                    assert flag in page
            words = page.replace(" \\\n  ", " ").split()
            assert " ".join(each.example.split()) in " ".join(words), each.example


def test_every_check_is_in_the_manual() -> None:
    text = (FOLDER / "iptkit-checks.7").read_text(encoding="ascii")
    told = re.findall(r"^\.Ss (IPT\d+) (\S+)$", text, re.M)
    there = [(check.code, check.name) for code in codes() if (check := find(code)) is not None]
    assert told == there


@every_page
def test_references_lead_somewhere(path: Path) -> None:
    for name, section in re.findall(r"^\.Xr (iptkit\S*) (\d)", path.read_text(encoding="ascii"), re.M):
        assert (FOLDER / f"{name}.{section}").is_file(), f"{name}({section})"


@every_page
def test_mandoc_has_nothing_to_say(path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True, text=True, check=False
    )
    # Whether the pages of other programs are installed is not looked at.
    assert done.stdout + done.stderr == ""


@every_page
def test_man_has_nothing_to_say(path: Path) -> None:
    if shutil.which("man") is None or shutil.which("groff") is None:
        pytest.skip("man-db and groff are not installed")
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l", path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
    )
    assert (done.returncode, done.stderr) == (0, "")
