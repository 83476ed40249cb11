"""Shell completion: commands imported one at a time, options read by getopt, names of checks and files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from iptkit.cli.main import COMMANDS, iptkit
from iptkit.lint.registry import codes

ROOT = Path(__file__).parents[2]


def offered(*words: str, incomplete: str = "") -> list[str]:
    """What is offered behind `iptkit` and these words; `file` where the shell is to offer files."""
    complete = ShellComplete(iptkit, {}, "iptkit", "_IPTKIT_COMPLETE")
    return [
        item.value if item.type == "plain" else item.type
        for item in complete.get_completions(list(words), incomplete)
    ]


def test_commands() -> None:
    assert offered() == list(COMMANDS)
    assert offered(incomplete="re") == ["restore", "revert"]


@pytest.mark.parametrize("name", COMMANDS)
def test_options(name: str) -> None:
    command = iptkit.get_command(click.Context(iptkit), name)
    assert command is not None
    flags = {
        flag
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
        for flag in option.opts
        if flag.startswith("--")
    }
    assert set(offered(name, incomplete="--")) == flags | {"--help"}


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        (["restore", "--backend"], "", ["auto", "legacy", "nft", "memory"]),
        (["restore", "-n", "--backend"], "l", ["legacy"]),
        (["save", "--backend"], "n", ["nft"]),
        (["lint", "--format"], "j", ["json"]),
        (["rule"], "IPT20", [code for code in codes() if code.startswith("IPT20")]),
        (["rule"], "unref", ["unreferenced-chain"]),
        (["help-extension"], "conn", ["connbytes", "connlabel", "connlimit", "connmark", "conntrack"]),
        (["help-extension"], "CONN", ["CONNMARK", "CONNSECMARK"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_values(words: list[str], incomplete: str, expected: list[str]) -> None:
    assert offered(*words, incomplete=incomplete) == expected


@pytest.mark.parametrize(
    "words", [["restore"], ["fmt"], ["lint", "a"], ["diff"], ["diff", "live"], ["parse"]], ids=" ".join
)
def test_files(words: list[str]) -> None:
    assert offered(*words, incomplete="ru") == ["file"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str) -> None:
    """As the manual page says; bash must be there for click to look at its version."""
    done = subprocess.run(
        [sys.executable, "-m", "iptkit"],
        env={"PATH": "/usr/bin:/bin", "_IPTKIT_COMPLETE": f"{shell}_source"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_iptkit_completion" in done.stdout
    assert f"_IPTKIT_COMPLETE={shell}_complete" in done.stdout


def test_bash_asks_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "iptkit"],
        env={
            "PATH": "/usr/bin:/bin",
            "_IPTKIT_COMPLETE": "bash_complete",
            "COMP_WORDS": "iptkit restore --backend ",
            "COMP_CWORD": "3",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["plain,auto", "plain,legacy", "plain,nft", "plain,memory"]
    assert not done.stderr
