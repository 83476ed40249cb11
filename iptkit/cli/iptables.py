"""iptables-restore, ip6tables-restore, iptables-save and ip6tables-save: iptkit called by one of these names.

Options, messages and exit status are those programs' (version 1.8.9).  What
they say about a rule they refuse is said in iptkit's words where theirs say
less, and `line N failed` is followed by the reason.  A file is still loaded as
a whole or not at all.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, NoReturn

from iptkit import api
from iptkit.cli.common import backend_in_use, write_text
from iptkit.cli.getopt import NEXT, NONE, REQUIRED, GetoptError, OptionSpec, getopt
from iptkit.cli.telling import tell
from iptkit.kernel.backend import CommitError
from iptkit.kernel.errors import KernelError, NoSuchTable
from iptkit.kernel.lock import LockBusy, LockError
from iptkit.syntax.document import TableLine
from iptkit.text.record import NamedTuple
from iptkit.text.source import Source, shown

if TYPE_CHECKING:
    from iptkit.ruleset.interpret import Outcome
    from iptkit.text.diagnostic import Diagnostic
    from iptkit.values.context import Family

VERSION = "1.8.9"  # of iptables, whose behaviour this is
_NAME = re.compile(r"(ip6?tables)(?:-(legacy|nft))?-(restore|save)")
_LABELS = {"legacy": "legacy", "nft": "nf_tables"}

_RESTORE = [
    OptionSpec("counters", "c", ("counters",), NONE),
    OptionSpec("verbose", "v", ("verbose",), NONE),
    OptionSpec("version", "V", ("version",), NONE),
    OptionSpec("test", "t", ("test",), NONE),
    OptionSpec("help", "h", ("help",), NONE),
    OptionSpec("noflush", "n", ("noflush",), NONE),
    OptionSpec("modprobe", "M", ("modprobe",), REQUIRED),
    OptionSpec("table", "T", ("table",), REQUIRED),
    OptionSpec("wait", "w", ("wait",), NEXT),
    OptionSpec("interval", "W", ("wait-interval",), NEXT),
    OptionSpec("binary", "b", (), NONE),
]
_SAVE = [
    OptionSpec("counters", "c", ("counters",), NONE),
    OptionSpec("version", "V", ("version",), NONE),
    OptionSpec("dump", "d", ("dump",), NONE),
    OptionSpec("table", "t", ("table",), REQUIRED),
    OptionSpec("modprobe", "M", ("modprobe",), REQUIRED),
    OptionSpec("file", "f", ("file",), REQUIRED),
    OptionSpec("binary", "b", (), NONE),
]
_USAGE = """\
Usage: {name} [-c] [-v] [-V] [-t] [-h] [-n] [-w secs] [-W usecs] [-T table] [-M command] [file]
           -c, --counters            restore packet and byte counters
           -n, --noflush             keep what the tables hold
           -t, --test                read and check, apply nothing
           -T, --table=TABLE         restore only this table
           -v, --verbose             tell what is done
           -w, --wait[=SECONDS]      wait for the xtables lock
           -V, --version             print the version
"""


class Program(NamedTuple):
    """One of the names: its name in messages, its family, what it does, and the backend it is for."""

    name: str
    family: Family
    does: str
    backend: str

    @property
    def label(self) -> str:
        """`iptables-restore v1.8.9 (legacy)`"""
        return f"{self.name} v{VERSION} ({_LABELS.get(self.backend, self.backend)})"


def program_of(path: str) -> Program | None:
    """The program that a command's name stands for; None for iptkit itself."""
    parts = _NAME.fullmatch(os.path.basename(path))
    if parts is None:
        return None
    return Program(
        f"{parts[1]}-{parts[3]}", 6 if parts[1] == "ip6tables" else 4, parts[3], parts[2] or "auto"
    )


def run(program: Program, called: str, arguments: list[str]) -> NoReturn:
    """Be that program.  `called` is the name it was called by."""
    program = program._replace(backend=backend_in_use(program.backend, program.family))
    run_ = _restore if program.does == "restore" else _save
    sys.exit(run_(program, called, arguments))


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


# -- iptables-restore


def _restore(program: Program, called: str, arguments: list[str]) -> int:
    name = program.name
    given: dict[str, str | None] = {}
    try:
        found, rest = getopt(arguments, _RESTORE)
    except GetoptError as error:
        _say(f"{called}: {error}\nTry `{name} -h' for more information.")
        return 1
    for key, value in found:
        if key == "version":
            sys.stdout.write(program.label + "\n")
            return 0
        if key == "help":
            sys.stdout.write(_USAGE.format(name=name))
            return 0
        if key == "binary":
            _say("-b/--binary option is not implemented")
        given[key] = value
    if len(rest) > 1:
        _say("Unknown arguments found on commandline")
        return 1
    wait: float | None = 0
    if "wait" in given:
        text = given["wait"]
        if text is not None and not text.isdecimal():
            return _parameter_problem(program, "wait seconds not numeric", 0)
        wait = None if text is None else float(text)
    if "interval" in given:
        if given["interval"] is None:
            return _parameter_problem(program, "wait interval value required", 0)
        _say("Ignoring deprecated --wait-interval option.")
        if "wait" not in given:
            _say("Option --wait-interval requires option --wait")
            return 1
    try:
        source = _read(rest[0] if rest else None)
    except OSError as error:
        _say(f"Can't open {rest[0] if rest else 'standard input'}: {error.strerror}")
        return 1
    # What --test adds to what is there it has to see; it is root's to look.
    test = "test" in given
    blind = test and not ("noflush" in given and os.geteuid() == 0)
    try:
        done = api.restore_source(
            source,
            program.family,
            backend="memory" if blind else program.backend,
            noflush="noflush" in given,
            counters="counters" in given,
            table=given.get("table"),
            test=test,
            wait=wait,
            keep="verbose" in given,
        )
    except KernelError as error:
        return _failed(program, source, error, wait)
    if done.outcome.ended:
        sys.stdout.write(program.label + "\n")
        if done.outcome.ended == "help":
            sys.stdout.write("\n" + _USAGE.format(name=name))
    if "verbose" in given and done.plan is not None:
        write_text("".join(line + "\n" for line in tell(source, done.plan, listed=True)))
    return _refused(program, source, done.outcome)


def _read(path: str | None) -> Source:
    if path is None:
        return Source.of(sys.stdin.buffer.read(), "<stdin>")
    with open(path, "rb") as file:
        return Source.of(file.read(), path)


def _parameter_problem(program: Program, message: str, line: int) -> int:
    name = program.name
    _say(f"{program.label}: {message}")
    _say(f"Error occurred at line: {line}\nTry `{name} -h' or '{name} --help' for more information.")
    return 2


def _refused(program: Program, source: Source, outcome: Outcome) -> int:
    """Say why a file was refused, if it was."""
    if not outcome.status:
        return 0
    side = "nft" if program.backend == "nft" else "legacy"
    first = next(found for found in outcome.diagnostics if side in found.backends)
    name, line = program.name, outcome.line
    if outcome.status == 1:
        if first.code == "IPT004":
            _say(f"{name}: COMMIT expected at line {line}")
        elif first.code in ("IPT025", "IPT026") and (policy := _policy(source, first)):
            reason = "Bad policy name" if first.code == "IPT025" else "Bad built-in chain name"
            _say(f"{program.label}: Can't set policy `{policy[1]}' on `{policy[0]}' line {line}: {reason}")
        else:
            _say(f"{name}: line {line} failed: {_message(first)}.")
        return 1
    word = _word(source, first)
    if first.code == "IPT130" and word and not word.startswith("-"):
        _say(f"Bad argument `{word}'\nError occurred at line: {line}")
        _say(f"Try `{name} -h' or '{name} --help' for more information.")
        return 2
    return _parameter_problem(program, _message(first), line)


def _message(found: Diagnostic) -> str:
    return shown(f"{found.message} ({found.hint})" if found.hint else found.message)


def _raw(source: Source, number: int) -> str:
    return source.lines[number - 1]


def _word(source: Source, found: Diagnostic) -> str:
    line, start, end = found.span
    return shown(_raw(source, line)[start:end])


def _policy(source: Source, found: Diagnostic) -> tuple[str, str] | None:
    """Chain and policy of a chain line."""
    words = _raw(source, found.span.line).split()
    if len(words) < 2 or not words[0].startswith(":"):
        return None
    return shown(words[0][1:]), shown(words[1])


def _failed(program: Program, source: Source, error: KernelError, wait: float | None) -> int:
    if isinstance(error, LockBusy):
        advice = f"Stopped waiting after {wait:g}s." if wait else "Perhaps you want to use the -w option?"
        _say(f"Another app is currently holding the xtables lock. {advice}")
    elif isinstance(error, LockError):
        _say(f"Fatal: {error}")
    elif isinstance(error, CommitError):
        line = _commit_line(source, error.table) or error.line
        reason = shown(error.findings[0].message if error.findings else str(error))
        if error.line not in (0, line):
            reason = f"line {error.line}: {reason}"
        _say(f"{program.name}: {f'line {line} failed: ' if line else ''}{reason}.")
    else:
        _say(f"{program.label}: {shown(str(error))}")
    return api.exit_status(error)


def _commit_line(source: Source, table: str) -> int:
    """The line of the COMMIT that ends a table's section, which is the line the real program blames."""
    inside = False
    for number, raw in enumerate(source.lines, 1):
        if raw.startswith("*"):
            inside = TableLine(number, raw).name == table
        elif inside and raw == "COMMIT":
            return number
    return 0


# -- iptables-save


def _save(program: Program, called: str, arguments: list[str]) -> int:
    given: dict[str, str | None] = {}
    try:
        found, rest = getopt(arguments, _SAVE)
    except GetoptError as error:
        _say(f"{called}: {error}\nLook at manual page `{program.name}.8' for more information.")
        return 1
    for key, value in found:
        if key == "version":
            sys.stdout.write(program.label + "\n")
            return 0
        if key == "binary":
            _say("-b/--binary option is not implemented")
        given[key] = value
        if key == "dump":
            rest = []
            break
    if rest:
        _say("Unknown arguments found on commandline")
        return 1
    table = given.get("table")
    try:
        text = api.save_live(
            program.family,
            backend=program.backend,
            counters="counters" in given,
            table=table,
            now=now(),
            generator=f"{program.name} v{VERSION}" + (" (nf_tables)" if program.backend == "nft" else ""),
        )
    except NoSuchTable:
        if program.backend == "nft":
            _say(f"Table `{table}' does not exist")
        else:
            _say(f"{program.label}: Cannot initialize: Table does not exist (do you need to insmod?)")
        return 1
    except KernelError as error:
        _say(f"{program.label}: {shown(str(error))}")
        return 1
    path = given.get("file")
    if path is None:
        write_text(text)
        return 0
    try:
        with open(path, "wb") as out:
            out.write(text.encode("latin-1"))
    except OSError as error:
        _say(f"Failed to open file, error: {error.strerror}")
        return 1
    return 0


def now() -> str:
    """The local time as ctime() prints it."""
    import time

    return time.ctime()
