"""netfilter's own shell cases, with iptkit in the place of its restore and save programs.

The cases are part of the source of iptables.  They are fetched when they are
wanted and are no part of this repository.  Each is a script that calls
`$XT_MULTI NAME ARGUMENT...`; here $XT_MULTI hands iptables-restore,
iptables-save and their IPv6 twins to iptkit, under those names, and the other
programs to the real xtables-legacy-multi or xtables-nft-multi.

script/netfilter-shell runs them all and prints a table.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "iptables_1.8.9.orig.tar.xz"
SHA256 = "ef6639a43be8325a4f8ea68123ffac236cb696e8c78501b64e8106afb008c87f"
MIRRORS = (
    "https://deb.debian.org/debian/pool/main/i/iptables/",
    "https://snapshot.debian.org/archive/debian/20230121T000000Z/pool/main/i/iptables/",
)
GROUPS = ("ipt-save", "ipt-restore", "iptables", "ip6tables", "chain")
VARIANTS = ("legacy", "nft")
OURS = ("iptables-restore", "iptables-save", "ip6tables-restore", "ip6tables-save")
_TIMEOUT = 20  # seconds a mirror has to answer in
_LIMIT = 300  # seconds a case may take
_INSIDE = "iptables-1.8.9/iptables/tests/shell/testcases/"
_CASE = re.compile(r".*_(\d+)")  # the number is the exit status that is expected


class Unavailable(Exception):
    """The cases cannot be had; the message says why."""


class Result(NamedTuple):
    """How a case ended: its exit status, and all that it printed."""

    case: str
    variant: str
    expected: int
    status: int
    output: str

    @property
    def passed(self) -> bool:
        return self.status == self.expected


@functools.cache
def source() -> bytes:
    """The source of iptables, from the cache or a mirror.  Raises Unavailable."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iptkit-tests" / SOURCE
    if kept.is_file() and _is_it(found := kept.read_bytes()):
        return found
    reasons = []
    for mirror in MIRRORS:
        try:
            with urllib.request.urlopen(mirror + SOURCE, timeout=_TIMEOUT) as answer:  # noqa: S310  # https
                data = bytes(answer.read())
        except (OSError, urllib.error.URLError) as error:
            reasons.append(f"{mirror}: {error}")
            continue
        if _is_it(data):
            _keep(kept, data)
            return data
        reasons.append(f"{mirror}: not the file that is known")
    raise Unavailable(f"cannot fetch {SOURCE}: {'; '.join(reasons)}")


def _is_it(data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == SHA256


def _keep(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
    except OSError:
        pass  # the next run fetches it again


def unpack(folder: Path) -> None:
    """Put the cases of all groups into a new folder.  Raises Unavailable."""
    data = source()
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            name = member.name.removeprefix(_INSIDE)
            if name != member.name and name.split("/")[0] in GROUPS and member.isfile():
                file = archive.extractfile(member)
                assert file is not None  # a file has data
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read())
                path.chmod(0o755)
    folder.chmod(0o755)  # one of the cases is run as nobody


def cases(folder: Path, groups: tuple[str, ...] = GROUPS) -> list[str]:
    """The cases of these groups, as GROUP/NAME."""
    found = (path for group in groups for path in sorted((folder / group).iterdir()))
    return [f"{path.parent.name}/{path.name}" for path in found if _CASE.fullmatch(path.name)]


def real_multi(variant: str) -> str | None:
    """The real program that is all of iptables in one."""
    return shutil.which(f"xtables-{variant}-multi")


def make_multi(folder: Path, variant: str) -> Path:
    """Write into a new folder an $XT_MULTI with iptkit in it, and the names iptkit is called by.

    Cases look at the name of $XT_MULTI.  Raises Unavailable.
    """
    real = real_multi(variant)
    if real is None:
        raise Unavailable(f"needs xtables-{variant}-multi")
    folder.mkdir()
    for name in OURS:
        prefix, _, does = name.partition("-")
        make_program(folder, f"{prefix}-{variant}-{does}")
    multi = folder / f"xtables-{variant}-multi"
    multi.write_text(
        "#!/bin/sh\n"
        "name=$1\ncase $name in\n"
        f"{'|'.join(OURS)}) shift; exec {shlex.quote(str(folder))}/"
        f'${{name%-*}}-{variant}-${{name##*-}} "$@" ;;\n'
        f'esac\nexec {shlex.quote(real)} "$@"\n'
    )
    multi.chmod(0o755)
    folder.chmod(0o755)
    return multi


def make_program(folder: Path, name: str) -> Path:
    """Write a program of that name which is iptkit."""
    program = folder / name
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from iptkit.cli.start import program\n"
        "program()\n"
    )
    program.chmod(0o755)
    return program


def run_case(folder: Path, case: str, variant: str, multi: str, lock: Path) -> Result:
    """Run a case in a network namespace of its own."""
    named = _CASE.fullmatch(case)
    assert named is not None
    try:
        done = subprocess.run(
            ["unshare", "-n", str(folder / case)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "XT_MULTI": multi, "XTABLES_LOCKFILE": str(lock), "LC_ALL": "C"},
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result(case, variant, int(named[1]), -1, f"took longer than {_LIMIT} s")
    output = done.stdout.decode("utf-8", "replace")
    return Result(case, variant, int(named[1]), done.returncode, output)
