"""Network namespaces for the tests that talk to the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from iptkit.values.context import Family

CLONE_NEWNET = 0x40000000
# The iptables whose behaviour, verdicts and words the tests know; that of Debian 12.
OBSERVED = "1.8.9"
_libc = ctypes.CDLL(None, use_errno=True)


class Netns:
    """A network namespace of the test's own, with a lock file of its own."""

    def __init__(self, name: str, lockfile: Path) -> None:
        self.name = name
        self.lockfile = lockfile

    def need(self, *tools: str) -> None:
        """Skip the test unless all these programs are installed."""
        for tool in tools:
            if shutil.which(tool) is None:
                pytest.skip(f"needs {tool}")

    def run(
        self, *command: str, text: str | bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command inside; `text` is its input."""
        result = subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            input=text.encode("latin-1") if isinstance(text, str) else text,
            capture_output=True,
            check=False,
            timeout=120,
            env={**os.environ, "XTABLES_LOCKFILE": str(self.lockfile), "LC_ALL": "C"},
        )
        if check and result.returncode:
            raise AssertionError(f"{' '.join(command)}: {result.returncode}: {result.stderr.decode()}")
        return result

    def save(self, tool: str, *options: str) -> str:
        """What a save program prints, without the lines that hold the date."""
        text = self.run(tool, *options).stdout.decode("latin-1")
        return re.sub(r"^# (Generated|Completed).*\n", "", text, flags=re.M)

    def version(self, tool: str) -> str:
        """The version of a program of iptables, such as 1.8.9."""
        printed = self.run(tool, "--version").stdout.decode()
        found = re.search(r" v([\d.]+)", printed)
        assert found is not None, printed
        return found[1]

    def need_observed(self, tool: str) -> None:
        """Skip the test unless the program is of the version whose behaviour is known to the letter."""
        self.need(tool)
        if self.version(tool) != OBSERVED:
            pytest.skip(f"observed in iptables {OBSERVED}, this is {self.version(tool)}")

    def make_sets(self, sets: Iterable[tuple[str, str]], family: int = 4) -> None:
        """Make sets, by name and type."""
        for name, kind in sets:
            extra = ["family", "inet6"] if family == 6 and kind.startswith("hash:") else []
            self.run("ipset", "create", name, kind, *extra)

    def drop_sets(self) -> None:
        self.run("ipset", "destroy")

    def blank(self, family: int = 4) -> None:
        """Make every legacy table in use as if it had never been touched."""
        from iptkit.kernel import sockopt

        known: Family = 6 if family == 6 else 4
        with self.entered():
            for name in sockopt.table_names(known):
                sockopt.write_table(sockopt.blank_image(known, name))

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Move this thread, and the children it starts, into the namespace."""
        with open("/proc/thread-self/ns/net", "rb") as old, open(f"/run/netns/{self.name}", "rb") as new:
            _setns(new.fileno())
            try:
                yield
            finally:
                _setns(old.fileno())


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = os.path.dirname(__file__)
    for item in items:
        if str(item.path).startswith(here + os.sep) and "netns" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kernel)


@pytest.fixture
def netns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Netns]:
    """A fresh namespace, removed afterwards; skips when the machine cannot make one."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if shutil.which("ip") is None:
        pytest.skip("needs ip(8)")
    name = f"iptkit-{uuid.uuid4().hex[:12]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot make a network namespace: {made.stderr.strip()}")
    lockfile = tmp_path / "xtables.lock"
    monkeypatch.setenv("XTABLES_LOCKFILE", str(lockfile))
    try:
        tried = subprocess.run(
            ["ip", "netns", "exec", name, "true"], capture_output=True, text=True, check=False
        )
        if tried.returncode:
            pytest.skip(f"cannot run anything in a network namespace: {tried.stderr.strip()}")
        yield Netns(name, lockfile)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
