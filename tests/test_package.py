"""What is shipped: the wheel in a clean environment, and the source distribution."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import iptkit

ROOT = Path(__file__).parents[1]
RULESETS = ROOT / "fixtures" / "rulesets"
# Does what it is told without a grammar beside the package, and without the checkout on its path.
USED = """
import sys
from pathlib import Path
import iptkit
from iptkit.syntax import grammar
assert Path(iptkit.__file__).is_relative_to(sys.prefix), iptkit.__file__
assert Path(grammar.folder()) == Path(iptkit.__file__).parent / "grammar", grammar.folder()
assert grammar.memo().options, "no memo"
assert "lark" not in sys.modules, "the memo does not belong to the grammars"
assert grammar.option_word("--no-such-option=x").attached == "x"
assert "lark" in sys.modules
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel and what it requires, and nothing else.

    What it requires is copied from here, so that the test asks no index.
    """
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, symlinks=True)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(home),
            "install",
            "--no-deps",
            "--no-index",
            str(wheel),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (packages,) = home.glob("lib/python3*/site-packages")
    for name in ("lark", "click"):
        for file in importlib.metadata.files(name) or ():
            if ".." not in file.parts:
                target = packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
    return home


def run(home: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(home / "bin" / command[0]), *command[1:]],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/nonexistent", "HOME": str(cwd), "LC_ALL": "C.UTF-8"},
    )


def test_the_wheel_is_for_every_machine(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_wheel_holds_all_of_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "iptkit").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(ROOT)) in names
    for path in (ROOT / "grammar").iterdir():
        assert f"iptkit/grammar/{path.name}" in names
    for path in (ROOT / "man").glob("*.[1-8]"):
        place = f".data/data/share/man/man{path.suffix[1:]}/{path.name}"
        assert any(name.endswith(place) for name in names), f"{path.name}: pyproject.toml, shared-data"
    assert not [name for name in names if "tests" in name.split("/")]


def test_it_requires_what_is_light(wheel: Path) -> None:
    name = next(n for n in zipfile.ZipFile(wheel).namelist() if n.endswith(".dist-info/METADATA"))
    lines = zipfile.ZipFile(wheel).read(name).decode().splitlines()
    required = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    assert sorted(r.partition("<")[0].partition(">")[0] for r in required if "extra ==" not in r) == [
        "click",
        "lark",
    ]
    assert [r for r in required if "extra == 'legacy'" in r]


def test_the_installed_package_has_its_grammar(installed: Path, tmp_path: Path) -> None:
    used = run(installed, "python", "-I", "-c", USED, cwd=tmp_path)
    assert not used.stderr
    assert used.returncode == 0


def test_the_installed_program_works(installed: Path, tmp_path: Path) -> None:
    web = str(RULESETS / "web-server.save")
    shown = run(installed, "iptkit", "--version", cwd=tmp_path)
    assert shown.stdout.split()[-1] == iptkit.__version__
    made = run(installed, "iptkit", "fmt", "-c", web, cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    written = Path(web).read_text(encoding="ascii").splitlines()
    assert made.stdout.splitlines() == [line for line in written if not line.startswith("#")]
    refused = run(
        installed, "iptkit", "restore", "--test", str(RULESETS / "web-server-broken.save"), cwd=tmp_path
    )
    assert refused.returncode == 2
    assert "70000" in refused.stderr


def test_the_source_distribution_makes_the_same_wheel(built: Path, wheel: Path, tmp_path: Path) -> None:
    (found,) = built.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", str(found)], cwd=tmp_path, check=True, timeout=60)
    (source,) = tmp_path.iterdir()
    for needed in ("tests/test_package.py", "grammar/save.lark", "script/test", "README.md", "LICENSE"):
        assert (source / needed).is_file(), needed
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "again")],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=120,
    )
    again = zipfile.ZipFile(tmp_path / "again" / wheel.name)
    assert sorted(again.namelist()) == sorted(zipfile.ZipFile(wheel).namelist())
