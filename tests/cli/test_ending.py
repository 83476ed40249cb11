"""How the program ends when something goes wrong that no command expects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = b"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n"

# A command that ends as the word after its own says, in a process of its own.
FAULTY = """
import sys
from iptkit.cli import main
word = sys.argv.pop()
def fail(*arguments, **options):
    if word == "RecursionError":
        return fail(*arguments, **options)
    raise {
        "KeyError": KeyError("no such thing"),
        "MemoryError": MemoryError(),
        "OSError": OSError(12, "Cannot allocate memory"),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "BrokenPipeError": BrokenPipeError(32, "Broken pipe"),
    }[word]
Failing = type("Failing", (main.click.Command,), {"invoke": fail})
main.iptkit.get_command = lambda context, name: Failing(name)
if sys.argv[1].startswith("iptables-"):
    from iptkit.cli import iptables
    iptables._restore = iptables._save = fail
    sys.argv = sys.argv[1:]
from iptkit.cli.start import program
program()
"""


def ended(command: str, how: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FAULTY, command, how],
        env={**os.environ, "IPTKIT_TRACEBACK": "", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )


@pytest.mark.parametrize("how", ["KeyError", "RecursionError", "MemoryError", "KeyboardInterrupt", "OSError"])
@pytest.mark.parametrize("command", ["lint", "diff", "fmt"])
def test_the_status_is_that_of_trouble_and_the_message_a_paragraph(command: str, how: str) -> None:
    done = ended(command, how)
    assert done.returncode == 2
    assert done.stderr.startswith("iptkit: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("how", "status"),
    [("KeyError", 1), ("MemoryError", 4), ("OSError", 4), ("KeyboardInterrupt", 1), ("RecursionError", 1)],
)
@pytest.mark.parametrize("command", ["restore", "save", "iptables-legacy-restore"])
def test_restore_and_save_keep_the_status_of_the_real_tools(command: str, how: str, status: int) -> None:
    done = ended(command, how)
    assert done.returncode == status
    assert "Nothing was left half done." in done.stderr
    assert "Traceback" not in done.stderr


def test_what_happened_and_where_is_said() -> None:
    said = ended("lint", "KeyError").stderr
    assert "KeyError: 'no such thing'" in said
    assert "cli/main.py, line " in said
    assert "IPTKIT_TRACEBACK" in said


def test_a_traceback_is_there_for_who_asks() -> None:
    done = ended("lint", "KeyError", IPTKIT_TRACEBACK="1")
    assert done.returncode == 2
    assert done.stderr.startswith("Traceback")


def test_a_closed_pipe_is_nobodys_fault() -> None:
    done = ended("lint", "BrokenPipeError")
    assert (done.returncode, done.stderr) == (2, "")


def run(script: str, *, text: bytes = RULES) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell, with iptkit as $iptkit."""
    return subprocess.run(
        ["sh", "-c", script],
        input=text,
        env={**os.environ, "iptkit": f"{sys.executable} -m iptkit"},
        capture_output=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )


@pytest.mark.parametrize("command", ["fmt", "parse", "parse --format text", "lint --format json", "rule"])
def test_output_that_cannot_be_written_is_trouble(command: str) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    done = run(f"$iptkit {command} > /dev/full")
    assert done.returncode == 2
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["fmt", "lint", "restore --test", "parse"])
def test_streams_may_be_closed(command: str, closed: str) -> None:
    done = run(f"$iptkit {command} {closed}")
    assert done.returncode in (0, 1)
    assert b"fault of iptkit" not in done.stderr


def test_an_interrupt_is_trouble_and_not_a_finding() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "iptkit", "lint"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        # What runs in the background may have been started deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # no threads here
    ) as child:
        reading = Path(f"/proc/{child.pid}/wchan")
        deadline = time.monotonic() + 5
        while "pipe" not in reading.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=20)
    assert child.returncode == 2
    assert said == b"iptkit: interrupted.\n"
