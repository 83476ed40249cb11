"""restore --confirm: what was there before comes back, unless somebody says that all is well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iptkit import api
from iptkit.kernel import confirm
from iptkit.kernel.backend import CommitError
from iptkit.kernel.confirm import ConfirmError
from iptkit.text.source import Source

from .test_legacy_backend import FULL, FULL6, GOOD_THEN_BAD, canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iptkit.values.context import Family

    from .conftest import Netns

ROOT = Path(__file__).parents[2]
OLD = """*filter
:INPUT DROP [1:2]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
[3:4] -A INPUT -i lo -j ACCEPT
COMMIT
"""
NEW = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n*nat\nCOMMIT\n"
LONG = 60.0  # seconds, more than any test takes


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where restores that wait are noted; a watcher whose note is gone ends."""
    path = tmp_path / "runtime"
    monkeypatch.setenv("IPTKIT_RUNTIME_DIR", str(path))
    yield path
    if path.is_dir() and not path.is_symlink():
        for each in path.iterdir():
            each.unlink()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.write_text(OLD)
    return path


def restore(state: Path, seconds: float, text: str = NEW) -> None:
    api.restore(text, backend="memory", state=str(state), counters=False, confirm=seconds)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline, "it does not come to be so"
        time.sleep(0.05)


def watchers(folder: Path) -> list[int]:
    """The processes that were started for notes in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.startswith(os.fsencode(folder)) for word in words):
            found.append(int(path.parent.name))
    return found


def test_what_is_not_confirmed_is_undone(state: Path, folder: Path) -> None:
    restore(state, 0.6)
    assert "--dport 22" in state.read_text()
    assert [each.tables for each in confirm.waiting()] == [("filter", "nat")]
    wait_for(lambda: state.read_text() == OLD)
    wait_for(lambda: not confirm.waiting() and not watchers(folder))
    with pytest.raises(ConfirmError, match="nothing waits"):
        confirm.confirm()


def test_what_is_confirmed_stays(state: Path, folder: Path) -> None:
    restore(state, 0.6)
    assert [(each.family, each.backend) for each in confirm.confirm()] == [(4, "memory")]
    wait_for(lambda: not watchers(folder))
    assert "--dport 22" in state.read_text()
    assert not [*folder.iterdir()]


def test_it_can_be_undone_before_the_time(state: Path, folder: Path) -> None:
    restore(state, LONG)
    assert len(confirm.revert()) == 1
    assert state.read_text() == OLD
    wait_for(lambda: not watchers(folder))


def test_a_state_that_was_not_there_is_not_there_again(tmp_path: Path) -> None:
    restore(tmp_path / "none", LONG)
    assert (tmp_path / "none").exists()
    confirm.revert()
    assert not (tmp_path / "none").exists()


def test_a_second_one_has_to_wait(state: Path) -> None:
    restore(state, LONG)
    between = state.read_text()
    with pytest.raises(ConfirmError, match="waits to be confirmed"):
        restore(state, LONG, "*filter\nCOMMIT\n")
    assert state.read_text() == between
    confirm.revert()
    assert state.read_text() == OLD


def test_a_family_can_be_confirmed_alone(state: Path, tmp_path: Path) -> None:
    restore(state, LONG)
    api.restore("*filter\nCOMMIT\n", 6, backend="memory", state=str(tmp_path / "state6"), confirm=LONG)
    assert [each.family for each in confirm.waiting()] == [4, 6]
    assert [each.family for each in confirm.confirm(6)] == [6]
    assert [each.family for each in confirm.waiting()] == [4]


def test_a_refused_file_waits_for_nothing(state: Path, folder: Path) -> None:
    refused = api.restore_source(
        Source.of("*filter\n-A INPUT --bogus\nCOMMIT\n"), backend="memory", state=str(state), confirm=LONG
    )
    assert refused.outcome.status == 2
    with pytest.raises(CommitError):
        restore(state, LONG, "*nat\n-A POSTROUTING -p tcp -j REDIRECT\nCOMMIT\n")
    assert not confirm.waiting()
    wait_for(lambda: not watchers(folder))
    assert state.read_text() == OLD


def test_a_terminal_that_hangs_up_does_not_matter(state: Path, folder: Path) -> None:
    script = f"{sys.executable} -m iptkit restore --backend memory --state {state} --confirm 1.5; sleep 60"
    with subprocess.Popen(
        ["sh", "-c", script],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
        # What runs under nohup was started deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509  # no threads here
    ) as session:
        assert session.stdin is not None
        assert session.stderr is not None
        session.stdin.write(NEW.encode())
        session.stdin.close()
        assert b"come back in 1.5 s" in session.stderr.readline()
        for pid in watchers(folder):
            os.kill(pid, signal.SIGHUP)
        os.killpg(session.pid, signal.SIGHUP)
    assert "--dport 22" in state.read_text()
    wait_for(lambda: state.read_text() == OLD)


def test_a_session_that_is_ended_is_not_waited_for(state: Path, folder: Path) -> None:
    restore(state, LONG)
    (pid,) = watchers(folder)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: state.read_text() == OLD)


def test_a_watcher_that_was_killed_leaves_the_way_back(state: Path, folder: Path) -> None:
    restore(state, LONG)
    (pid,) = watchers(folder)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not watchers(folder))
    assert len(confirm.revert()) == 1
    assert state.read_text() == OLD


def test_a_restore_that_is_killed_over_its_commit_is_undone(state: Path) -> None:
    code = (
        "import os, sys\n"
        "from iptkit.kernel.confirm import arm\n"
        "from iptkit.kernel.memory import MemoryBackend\n"
        "arm(MemoryBackend(sys.argv[1]), 4, ['filter'])\nopen(sys.argv[1], 'w').close()\nos._exit(1)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(state)], check=False, timeout=60, cwd=ROOT)
    wait_for(lambda: state.read_text() == OLD)


def test_the_folder_must_be_ones_own(state: Path, folder: Path, tmp_path: Path) -> None:
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(ConfirmError, match="nobody else may enter"):
        restore(state, LONG)
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfirmError, match="nobody else may enter"):
        restore(state, LONG)
    assert state.read_text() == OLD


def test_who_has_no_folder_is_told(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IPTKIT_RUNTIME_DIR")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfirmError, match="XDG_RUNTIME_DIR"):
        restore(state, LONG)
    assert not confirm.waiting()


def test_memory_needs_a_file() -> None:
    with pytest.raises(ConfirmError, match="--state"):
        api.restore(NEW, backend="memory", confirm=LONG)


# -- the commands


def iptkit(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "iptkit", *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )


def test_the_commands(state: Path) -> None:
    where = ("--backend", "memory", "--state", str(state))
    assert (iptkit("confirm").returncode, iptkit("revert").returncode) == (1, 1)
    done = iptkit("restore", *where, "--confirm", "60", text=NEW)
    assert (done.returncode, done.stderr) == (
        0,
        "iptkit: the rules of before come back in 60 s, unless you run: iptkit confirm\n",
    )
    again = iptkit("restore", *where, "--confirm", "60", text=NEW)
    assert (again.returncode, again.stderr.count("waits to be confirmed")) == (1, 1)
    plain = iptkit("restore", *where, text=NEW)
    assert (plain.returncode, plain.stderr.count("still waits")) == (0, 1)
    undone = iptkit("revert")
    assert (undone.returncode, undone.stdout) == (0, "brought back: filter, nat (IPv4, memory)\n")
    assert state.read_text() == OLD
    iptkit("restore", *where, "--confirm", "60", text=NEW)
    kept = iptkit("confirm", "-4")
    assert (kept.returncode, kept.stdout) == (0, "confirmed: filter, nat (IPv4, memory)\n")


@pytest.mark.parametrize("option", ["--test", "--plan", "--per-table"])
def test_what_it_cannot_go_with(state: Path, option: str) -> None:
    done = iptkit("restore", "--backend", "memory", "--state", str(state), "--confirm", "9", option, text=NEW)
    assert done.returncode == 1
    assert state.read_text() == OLD


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
def test_seconds_are_a_number_above_0(seconds: str) -> None:
    assert iptkit("restore", "--confirm", seconds, text=NEW).returncode == 2


def test_abbreviations_stay_those_of_iptables() -> None:
    assert iptkit("restore", "--backend", "memory", "--co", text=OLD).returncode == 0


# -- the kernel's tables


@pytest.mark.parametrize("backend", ["legacy", "nft"])
@pytest.mark.parametrize(("family", "text", "prefix"), [(4, FULL, "iptables"), (6, FULL6, "ip6tables")])
def test_the_kernels_tables_come_back(
    netns: Netns, folder: Path, family: Family, text: str, prefix: str, backend: str
) -> None:
    if backend == "legacy":
        pytest.importorskip("iptc", reason="needs python-iptables")
    save = f"{prefix}-{backend}-save"
    netns.need(save)
    netns.run(f"{prefix}-{backend}-restore", "-c", text=text)
    before = canonical(netns.save(save, "-c"))
    with netns.entered():
        api.restore(NEW.replace("*nat", "*mangle"), family, backend=backend, confirm=1.0)
        assert [each.backend for each in confirm.waiting(family)] == [backend]
    assert "--dport 22" in netns.save(save)

    def are_back() -> bool:
        found = canonical(netns.save(save, "-c"))
        # A legacy table that was made stays, and is blank.
        return all(found[name] == lines for name, lines in before.items()) and all(
            name in before or not any(line.startswith("-A") for line in found[name]) for name in found
        )

    wait_for(are_back)
    wait_for(lambda: not watchers(folder))


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_a_commit_that_fails_leaves_nothing_to_confirm(netns: Netns, folder: Path, backend: str) -> None:
    if backend == "legacy":
        pytest.importorskip("iptc", reason="needs python-iptables")
    netns.need(f"iptables-{backend}-save")
    netns.run(f"iptables-{backend}-restore", "-c", text=FULL)
    before = netns.save(f"iptables-{backend}-save", "-c")
    with netns.entered():
        with pytest.raises(CommitError):
            api.restore(GOOD_THEN_BAD, backend=backend, confirm=LONG)
        assert not confirm.waiting()
    assert netns.save(f"iptables-{backend}-save", "-c") == before
    wait_for(lambda: not watchers(folder))


def test_another_namespace_has_its_own(netns: Netns, state: Path) -> None:
    restore(state, LONG)
    with netns.entered():
        assert not confirm.waiting()
    assert len(confirm.waiting()) == 1
