"""The iptables programs as child processes: restore and save of the nf_tables variant, save of legacy.

Programs are looked for in a fixed list of directories, get an argument list
and no shell, a small environment of their own, their input through a pipe and
a limit of time.

`snapshot` and `rollback` are the undo for what a child did.  They live in
`nfnetlink`, which says why text cannot do it.  The order is::

    before = snapshot(6, ["filter", "nat"])
    result = nft_restore(6, text)
    if result.status:
        rollback(before)
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from iptkit.kernel.errors import KernelError
from iptkit.kernel.nfnetlink import NftSnapshot, rollback, snapshot
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iptkit.values.context import Family

__all__ = [
    "ChildResult",
    "NftSnapshot",
    "ToolError",
    "find_tool",
    "legacy_save",
    "nft_restore",
    "nft_save",
    "rollback",
    "run_tool",
    "snapshot",
]

SAFE_PATH = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
DEFAULT_TIMEOUT = 300.0
"""Seconds; iptables-nft-save of 36,000 chains takes 21."""

# Passed on when set: where the lock and the plugins are is part of how iptables was installed.
_INHERITED = ("XTABLES_LOCKFILE", "XTABLES_LIBDIR")
_PREFIXES: dict[Family, str] = {4: "iptables", 6: "ip6tables"}


class ToolError(KernelError):
    """A program is missing, took too long, or failed where it should not."""


class ChildResult(NamedTuple):
    """How a child ended: exit status, or minus the signal that ended it, and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes


def find_tool(name: str) -> str | None:
    """Absolute path of a program in the fixed directories; None if it is in none of them."""
    for directory in SAFE_PATH:
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def run_tool(
    name: str, arguments: Sequence[str] = (), text: bytes = b"", timeout: float = DEFAULT_TIMEOUT
) -> ChildResult:
    """Run a program to its end with `text` as its input.

    A child that runs longer than `timeout` seconds is killed.  Raises
    `ToolError` then, and when the program is not installed; any exit status
    is the caller's to judge.
    """
    path = find_tool(name)
    if path is None:
        raise ToolError(f"{name} is not installed (looked in {':'.join(SAFE_PATH)}); apt install iptables")
    environment = {"PATH": ":".join(SAFE_PATH), "LC_ALL": "C"}
    environment.update((key, os.environ[key]) for key in _INHERITED if key in os.environ)
    try:
        done = subprocess.run(
            [path, *arguments],
            input=text,
            capture_output=True,
            check=False,
            timeout=timeout,
            env=environment,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"{name} did not end within {timeout:g} s and was killed") from None
    except OSError as error:
        raise ToolError(f"cannot run {path}: {error.strerror}", error.errno or 0) from error
    return ChildResult(done.returncode, done.stdout, done.stderr)


def nft_restore(
    family: Family,
    text: bytes,
    *,
    counters: bool = False,
    noflush: bool = False,
    test: bool = False,
    table: str | None = None,
    verbose: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
) -> ChildResult:
    """Feed `text` to iptables-nft-restore; each keyword is the option of that name.

    It commits table by table: after a failure, or `ToolError` for a time-out,
    the tables before the faulty one are in place unless `rollback` is called.
    Version 1.8.9 dies of a signal (negative status) on `-R` and on `-Z` with a
    rule number, and loses the counters of IPv6 rules.
    """
    options = [
        *(["--counters"] if counters else []),
        *(["--noflush"] if noflush else []),
        *(["--test"] if test else []),
        *(["--verbose"] if verbose else []),
        *(["--table", table] if table is not None else []),
    ]
    return run_tool(f"{_PREFIXES[family]}-nft-restore", options, text, timeout)


def nft_save(
    family: Family, *, counters: bool = True, table: str | None = None, timeout: float = DEFAULT_TIMEOUT
) -> bytes:
    """What iptables-nft-save prints.

    Raises `ToolError` when it fails, and also when it skips a table because
    something other than iptables put rules into it, for the text would pass for
    a whole one.
    """
    return _save(f"{_PREFIXES[family]}-nft-save", counters, table, timeout)


def legacy_save(
    family: Family, *, counters: bool = True, table: str | None = None, timeout: float = DEFAULT_TIMEOUT
) -> bytes:
    """What iptables-legacy-save prints: the loaded tables; naming another as `table` loads it."""
    return _save(f"{_PREFIXES[family]}-legacy-save", counters, table, timeout)


def _save(name: str, counters: bool, table: str | None, timeout: float) -> bytes:
    options = [*(["--counters"] if counters else []), *(["--table", table] if table is not None else [])]
    result = run_tool(name, options, b"", timeout)
    if result.status:
        said = result.stderr.decode("utf-8", "replace").strip()
        raise ToolError(f"{name} failed with status {result.status}: {said}")
    for line in result.stdout.splitlines():
        # "# Table `filter' is incompatible, use 'nft' tool." stands where the table would.
        if line.startswith(b"# Table `") and b"is incompatible" in line:
            raise ToolError(f"{name} cannot print a table: {line[2:].decode('latin-1')}")
    return result.stdout
