"""restore --confirm: what was there before comes back unless somebody says in time that all is well.

Before anything is changed, the tables are written to a file as they are, and a
watcher is started: a process in a session of its own, which no hang-up of the
terminal reaches.  From the commit on it counts the seconds.  When they are up
it brings the tables back, counters included, unless the file has been taken
away: whoever renames it first, `confirm`, `revert` or the watcher, decides.
So `revert` works, too, where the watcher was killed.  A watcher that loses the
restore before it heard of a commit, or that is told to end (a session's
processes are, at log-out, where systemd is told to), brings the tables back at
once.

The files are in a folder that only their owner may enter: IPTKIT_RUNTIME_DIR,
else /run/iptkit for root, and `iptkit` in XDG_RUNTIME_DIR for others.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import sys
import time
import zlib
from typing import TYPE_CHECKING

from iptkit.kernel.errors import KernelError
from iptkit.kernel.lock import LockError, XtablesLock
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Iterator
    from typing import Any

    from iptkit.kernel.backend import Backend
    from iptkit.values.context import Family

_VERSION = 1
_WAITING, _CLAIMED = ".waiting", ".reverting"
_PATIENCE = 30.0  # seconds to wait for a lock; to bring back what works matters more than a lock
_TRIES = 300  # of a watcher whose way back is refused, one each second
_LOOK = 0.5  # seconds between two looks at the file
_WATCHER = (
    "import sys; sys.path.insert(0, sys.argv[1]); from iptkit.kernel.confirm import watch; watch(sys.argv[2])"
)


class ConfirmError(KernelError):
    """There is nothing to confirm, something that must be confirmed first, or no place to note it."""


class Waiting(NamedTuple):
    """A restore that waits to be confirmed."""

    path: str
    family: Family
    backend: str
    tables: tuple[str, ...]


def waiting(family: Family | None = None) -> list[Waiting]:
    """The restores of this network namespace that wait to be confirmed, of one family or of both."""
    folder = _folder_path()
    if folder is None or not os.path.isdir(folder):
        return []
    _check_private(folder)
    found = []
    start = f"{_namespace():x}-"
    for name in sorted(os.listdir(folder)):
        if name.startswith(start) and name.endswith(_WAITING):
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):
                head = _read(path)[0]
                if family in (None, head["family"]):
                    found.append(Waiting(path, head["family"], head["backend"], tuple(head["tables"])))
    return found


def confirm(family: Family | None = None) -> list[Waiting]:
    """Let what was restored stay.  Returns what was waiting.  Raises ConfirmError where nothing was."""
    done = []
    for each in waiting(family):
        with contextlib.suppress(FileNotFoundError):
            kept = each.path.removesuffix(_WAITING)
            os.rename(each.path, kept)
            os.unlink(kept)
            done.append(each)
    if not done:
        raise ConfirmError("nothing waits to be confirmed")
    return done


def revert(family: Family | None = None) -> list[Waiting]:
    """Bring back what was there before.  Returns what was waiting.

    Raises ConfirmError where nothing was, another KernelError where the kernel
    refuses the way back; it can then be tried again.
    """
    done = []
    for each in waiting(family):
        claimed = each.path.removesuffix(_WAITING) + _CLAIMED
        try:
            os.rename(each.path, claimed)
        except FileNotFoundError:
            continue
        try:
            _bring_back(claimed)
        except BaseException:
            os.rename(claimed, each.path)
            raise
        os.unlink(claimed)
        done.append(each)
    if not done:
        raise ConfirmError("nothing waits to be confirmed")
    return done


class Watch:
    """A watcher that was started and does not count yet."""

    def __init__(self, path: str, child: subprocess.Popen[bytes]) -> None:
        self._path = path
        self._child = child

    def begin(self, seconds: float) -> None:
        """The commit is done: count from now."""
        self._tell(f"go {seconds}\n")

    def give_up(self) -> None:
        """There was no commit: forget it all."""
        self._tell("no\n")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def _tell(self, line: str) -> None:
        assert self._child.stdin is not None  # it was started with a pipe
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(line.encode())
            self._child.stdin.flush()
        # A context of Popen closes the pipes, and collects the first of the two processes.
        with self._child:
            pass


def arm(backend: Backend, family: Family, tables: Iterable[str]) -> Watch:
    """Note what these tables are now, and start the watcher.  The backend's lock must be held.

    Raises ConfirmError where another restore waits, or it cannot be noted or
    watched; KernelError where the tables cannot be read.
    """
    names = tuple(dict.fromkeys(tables))
    head, parts = _taken(backend, family, names)
    head |= {
        "version": _VERSION,
        "backend": backend.name,
        "family": family,
        "tables": names,
        "terminal": _terminal(),
    }
    # What the memory backend holds is known by the path of its file.
    more = f"-{zlib.crc32(str(head['state']).encode()):x}" if "state" in head else ""
    path = os.path.join(_folder(), f"{_namespace():x}-{family}-{backend.name}{more}{_WAITING}")
    _write(path, head, parts)
    try:
        return Watch(path, _start(path))
    except BaseException:
        os.unlink(path)
        raise


def _start(path: str) -> subprocess.Popen[bytes]:
    import subprocess

    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", _WATCHER, root, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    assert child.stdout is not None  # it was started with a pipe
    if child.stdout.readline() != b"ready\n":
        child.kill()
        with child:
            pass
        raise ConfirmError("the process that is to bring the rules back cannot be started")
    return child


# -- the watcher


def watch(path: str) -> None:
    """What the watcher does, from its start to its end."""
    now: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: now.append(number))
    if os.fork():
        os._exit(0)  # the one that stays is nobody's child
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    told = sys.stdin.readline().split()
    if told == ["no"]:
        return
    due = _clock() + float(told[1] if told else 0)
    empty = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(empty, number)
    claimed = path.removesuffix(_WAITING) + _CLAIMED
    while not now and (left := due - _clock()) > 0:
        if not os.path.exists(path) and not os.path.exists(claimed):
            return
        time.sleep(min(_LOOK, left))
    try:
        os.rename(path, claimed)
    except FileNotFoundError:
        # Confirmed; or somebody else brings it back, and may be killed over it.
        deadline = _clock() + 2 * _PATIENCE
        while os.path.exists(claimed):
            if _clock() > deadline:
                break
            time.sleep(_LOOK)
        else:
            return
    _insist(claimed)


def _insist(claimed: str) -> None:
    """Bring the tables back, and try again while that is refused."""
    terminal = _read(claimed)[0]["terminal"]
    for _ in range(_TRIES):
        try:
            _bring_back(claimed)
        except KernelError as error:
            problem = str(error)
            time.sleep(1)
        else:
            os.unlink(claimed)
            _announce("not confirmed in time: the rules of before are back", terminal)
            return
    os.rename(claimed, claimed.removesuffix(_CLAIMED) + _WAITING)
    _announce(f"not confirmed in time, and the rules of before cannot be brought back: {problem}", terminal)


def _announce(text: str, terminal: str | None) -> None:
    """To the system's log, and to the terminal from which the rules were restored, if it is there."""
    import syslog

    syslog.openlog("iptkit", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_WARNING, text)
    if terminal is not None:
        with contextlib.suppress(OSError):
            handle = os.open(terminal, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            os.write(handle, f"\r\niptkit: {text}\r\n".encode())


def _terminal() -> str | None:
    for number in (2, 1, 0):
        with contextlib.suppress(OSError):
            return os.ttyname(number)
    return None


def _clock() -> float:
    """Seconds, those in which the machine slept among them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


# -- what was there before, as a file: a line of JSON, and the bytes it tells the lengths of


def _write(path: str, head: dict[str, Any], parts: list[bytes]) -> None:
    """Raises ConfirmError where the file is there already."""
    import json
    import tempfile

    head["lengths"] = [len(part) for part in parts]
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with open(handle, "wb") as file:
            file.write(json.dumps(head).encode() + b"\n")
            file.writelines(parts)
        os.link(temporary, path)
    except FileExistsError:
        text = "a restore waits to be confirmed: iptkit confirm, or iptkit revert, comes first"
        raise ConfirmError(text, errno.EEXIST) from None
    except OSError as error:
        raise ConfirmError(f"cannot write {path}: {error.strerror}", error.errno or 0) from None
    finally:
        os.unlink(temporary)


def _read(path: str) -> tuple[dict[str, Any], list[bytes]]:
    """Raises FileNotFoundError, ConfirmError for a file that is not of this kind."""
    import json

    try:
        with open(path, "rb") as file:
            head = json.loads(file.readline())
            parts = [file.read(length) for length in head["lengths"]]
        if head["version"] == _VERSION:
            return head, parts
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfirmError(f"cannot read {path}: {error}") from None
    raise ConfirmError(f"{path} was written by another version of iptkit")


def _taken(backend: Backend, family: Family, names: tuple[str, ...]) -> tuple[dict[str, Any], list[bytes]]:
    """The tables as they are: what to note of them, and their bytes."""
    if backend.name == "legacy":
        from iptkit.kernel import sockopt

        present = sockopt.table_names(family)
        images = [sockopt.read_table(family, name) for name in names if name in present]
        noted = [
            (each.name, each.valid_hooks, each.hook_entry, each.underflow, each.num_entries)
            for each in images
        ]
        return {"images": noted}, [bytes(each.blob) for each in images]
    if backend.name == "nft":
        from iptkit.kernel import nfnetlink

        taken = nfnetlink.snapshot(family, names)
        return {"present": taken.present, "absent": taken.absent}, [taken.messages()]
    from iptkit.kernel.memory import MemoryBackend

    assert isinstance(backend, MemoryBackend)  # there are three
    if backend.path is None:
        raise ConfirmError("--confirm needs rules that stay: --backend memory has them in a --state file")
    path = os.path.abspath(backend.path)
    if not os.path.exists(path):
        return {"state": path}, []
    with open(path, "rb") as file:
        return {"state": path}, [file.read()]


def _bring_back(path: str) -> None:
    """Make the tables what the file says they were.  Raises KernelError."""
    head, parts = _read(path)
    family: Family = 6 if head["family"] == 6 else 4
    with _locked(head["backend"]):
        if head["backend"] == "legacy":
            from iptkit.kernel import sockopt

            images = {
                name: sockopt.TableImage(
                    family,
                    name,
                    valid_hooks=valid_hooks,
                    hook_entry=tuple(hook_entry),
                    underflow=tuple(underflow),
                    num_entries=num_entries,
                    blob=blob,
                )
                for (name, valid_hooks, hook_entry, underflow, num_entries), blob in zip(
                    head["images"], parts, strict=True
                )
            }
            for name in head["tables"]:
                # A table that was not there stays, as it is when it is made.
                sockopt.write_table(images.get(name) or sockopt.blank_image(family, name))
        elif head["backend"] == "nft":
            from iptkit.kernel import nfnetlink

            present, absent = tuple(head["present"]), tuple(head["absent"])
            nfnetlink.rollback(nfnetlink.NftSnapshot(family, present, absent, bytearray(parts[0])))
        else:
            from iptkit.kernel.memory import write_state

            write_state(head["state"], parts[0] if parts else None)


@contextlib.contextmanager
def _locked(backend: str) -> Iterator[None]:
    """Hold the xtables lock; go on without it where it is not to be had."""
    with contextlib.ExitStack() as held:
        if backend != "memory":
            with contextlib.suppress(LockError):
                held.enter_context(XtablesLock(wait=_PATIENCE))
        yield


# -- where the files are


def _folder_path() -> str | None:
    given = os.environ.get("IPTKIT_RUNTIME_DIR")
    if given:
        return given
    if os.geteuid() == 0:
        return "/run/iptkit"
    user = os.environ.get("XDG_RUNTIME_DIR")
    return os.path.join(user, "iptkit") if user else None


def _folder() -> str:
    """The folder, made if it is not there.  Raises ConfirmError where others may enter it."""
    path = _folder_path()
    if path is None:
        raise ConfirmError("--confirm notes what was there before, and there is no XDG_RUNTIME_DIR for it")
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfirmError(f"cannot make {path}: {error.strerror}", error.errno or 0) from None
    _check_private(path)
    return path


def _check_private(path: str) -> None:
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ConfirmError(f"{path} must be a folder of your own that nobody else may enter")


def _namespace() -> int:
    """The number of this thread's network namespace."""
    try:
        return os.stat("/proc/thread-self/ns/net").st_ino
    except OSError:
        return 0
