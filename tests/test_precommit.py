"""The hooks of .pre-commit-hooks.yaml, run by pre-commit itself on a repository of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("pre_commit", reason="needs pre-commit")

ROOT = Path(__file__).parents[1]
NO_NETWORK = ("Could not find a version", "Temporary failure in name resolution", "NewConnectionError")
ENVIRONMENT = {
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}

GOOD = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
# Answers to what was asked.
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
COMMIT
"""
UGLY = GOOD.replace("-A INPUT -i lo -j", "-A INPUT   --in-interface lo --jump")
BAD = GOOD.replace("-j ACCEPT", "-j ACEPT")


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env={**os.environ, **ENVIRONMENT},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """This checkout, as it is now, as a repository that pre-commit can clone; and its revision."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    home = tmp_path_factory.mktemp("hooks")
    for name in ("iptkit", "grammar", "man"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml"):
        shutil.copy(ROOT / name, home)
    git("init", "-q", "-b", "main", cwd=home)
    git("add", "--all", cwd=home)
    git("commit", "-q", "-m", "iptkit", cwd=home)
    return home, git("rev-parse", "HEAD", cwd=home).strip()


@pytest.fixture(scope="module")
def scratch(
    hooks: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[int, str, Path]]:
    """Run all hooks over a repository of these files: exit status, output and the repository."""
    store = tmp_path_factory.mktemp("store")

    def run(**files: str) -> tuple[int, str, Path]:
        home = tmp_path_factory.mktemp("scratch")
        git("init", "-q", "-b", "main", cwd=home)
        for name, text in files.items():
            (home / name.replace("_", ".")).write_text(text, encoding="ascii")
        (home / ".pre-commit-config.yaml").write_text(
            f"repos:\n- repo: {hooks[0]}\n  rev: {hooks[1]}\n  hooks:\n"
            "  - id: iptkit-fmt\n  - id: iptkit-lint\n  - id: iptkit-fmt-v6\n  - id: iptkit-lint-v6\n",
            encoding="ascii",
        )
        git("add", "--all", cwd=home)
        ended = subprocess.run(
            [sys.executable, "-m", "pre_commit", "run", "--all-files", "--color", "never"],
            cwd=home,
            env={**os.environ, **ENVIRONMENT, "PRE_COMMIT_HOME": str(store)},
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        output = ended.stdout + ended.stderr
        if ended.returncode and any(sign in output for sign in NO_NETWORK):
            pytest.skip("pre-commit installs what iptkit requires from an index, and none can be reached")
        return ended.returncode, output, home

    return run


def test_a_clean_ruleset_passes(scratch: Callable[..., tuple[int, str, Path]]) -> None:
    good_v6 = GOOD.replace("COMMIT", "-A INPUT -p ipv6-icmp -j ACCEPT\nCOMMIT")
    status, output, _ = scratch(rules_v4=GOOD, rules_v6=good_v6, notes_txt="not a ruleset")
    assert status == 0, output
    assert output.count("Passed") == 4


def test_only_rulesets_are_looked_at(scratch: Callable[..., tuple[int, str, Path]]) -> None:
    status, output, _ = scratch(notes_txt="not a ruleset")
    assert status == 0, output
    assert output.count("Skipped") == 4


def test_fmt_rewrites_and_fails(scratch: Callable[..., tuple[int, str, Path]]) -> None:
    status, output, home = scratch(web_save=UGLY)
    assert status == 1
    assert "files were modified by this hook" in output
    assert (home / "web.save").read_text(encoding="ascii") == GOOD


def test_lint_says_what_is_wrong(scratch: Callable[..., tuple[int, str, Path]]) -> None:
    status, output, home = scratch(web_save=BAD)
    assert status == 1
    assert "web.save:6:" in output
    assert "ACEPT" in output
    assert (home / "web.save").read_text(encoding="ascii") == BAD
