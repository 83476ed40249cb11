"""Where the program begins.

`iptkit lint FILE...` is what editors and commit hooks run all day, on files
that are checked in less time than it takes to import click.  Called like
that, with no option but --exit-zero, there is nothing to parse.  Everything
else begins in iptkit.cli.main.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from iptkit.text import aside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_NAMES = ("iptkit", "__main__.py")  # other names are those of the real tools


def program() -> NoReturn:
    """The console script: one command in a process of its own, which then ends at once."""
    from iptkit.cli.ending import end, end_by, open_streams

    open_streams()
    status: object = 0
    if sys.argv[1:2] != ["eval"]:  # which may go on for days
        # For good: what a command makes of 100,000 rules lives until it ends, and has no cycles.
        gc.disable()
    aside.allow()
    try:
        files, exit_zero = plain_lint(sys.argv)
        if files:
            from iptkit.cli.linting import lint

            status = lint(files, exit_zero=exit_zero)
        else:
            from iptkit.cli.main import main

            main()
    except SystemExit as ended:
        # Here, where the exception still holds all that the command made.
        end(ended.code, sys.argv)
    except BaseException as error:  # noqa: BLE001  # the last place where an exception can be told well
        end_by(error, sys.argv)
    end(status, sys.argv)


def plain_lint(words: Sequence[str]) -> tuple[list[str], bool]:
    """The files to lint and whether to exit 0, where the command line says no more; else no files."""
    if os.path.basename(words[0]) not in _NAMES or words[1:2] != ["lint"] or "_IPTKIT_COMPLETE" in os.environ:
        return [], False
    files = [word for word in words[2:] if word != "--exit-zero"]
    if any(word[:1] == "-" and word != "-" for word in files):
        return [], False
    return files, len(files) < len(words) - 2
