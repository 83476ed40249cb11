"""Things a rule needs that no save file brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from iptkit.lint.check import Note, UseCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.facts import UseFacts


class NeedsObject(UseCheck, code="IPT141"):
    """The rule needs something that is not in the file.

    What: An ipset, an accounting object, a rate estimator, a connection tracking helper or timeout policy.
    Why: The rule is refused, and the file with it, where the thing is missing when the file is loaded: at
        boot, for example, before the program that makes it.
    Example:
        -m set --match-set bad src
    Instead:
        (create the set first: ipset restore)
    """

    _BY_MATCH: ClassVar = {"set": "a set", "nfacct": "an accounting object", "rateest": "a rate estimator"}
    _BY_OPTION: ClassVar = {
        ("CT", "--helper"): "a connection tracking helper",
        ("CT", "--timeout"): "a timeout policy",
        ("SET", "--add-set"): "a set",
        ("SET", "--del-set"): "a set",
        ("SET", "--map-set"): "a set",
    }

    extensions = ("set", "nfacct", "rateest", "CT", "SET")

    def look(self, use: UseFacts) -> Iterator[Note]:
        for flag in use.flags:
            what = self._BY_MATCH.get(use.name) or self._BY_OPTION.get((use.name, flag))
            if what:
                yield Note(
                    f"this needs {what} that must be there before the file is loaded", word=use.word(flag)
                )
                return
