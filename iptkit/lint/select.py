"""Which checks are wanted: `--select` and `--ignore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.text.codes import BY_NAME, CODES
from iptkit.text.diagnostic import IptkitError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iptkit.lint.check import Check
    from iptkit.text.diagnostic import Diagnostic


class UnknownCheck(IptkitError):
    """A selection that names no check there is."""


class Selection:
    """Codes wanted, less codes unwanted.

    Each is given as a code (`IPT209`), the beginning of one (`IPT2`) or a name
    (`host-bits-set`).  Nothing selected selects everything.  Raises
    UnknownCheck for a word that names no check.
    """

    __slots__ = ("_codes",)

    def __init__(self, select: Iterable[str] = (), ignore: Iterable[str] = ()) -> None:
        wanted = {code for word in select for code in _codes(word)}
        self._codes = (wanted or set(CODES)) - {code for word in ignore for code in _codes(word)}

    def wants(self, check: Check) -> bool:
        return check.code in self._codes

    def wants_code(self, code: str) -> bool:
        return code in self._codes

    def keeps(self, found: Diagnostic) -> bool:
        return found.code in self._codes


def _codes(word: str) -> list[str]:
    if word in BY_NAME:
        return [BY_NAME[word]]
    found = [code for code in CODES if code.startswith(word.upper())] if word else []
    if not found:
        import difflib

        near = difflib.get_close_matches(word, [*BY_NAME, *CODES], 1)
        raise UnknownCheck(f"there is no check {word!r}" + (f", did you mean {near[0]}?" if near else ""))
    return found
