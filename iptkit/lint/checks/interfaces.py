"""Names of interfaces that no interface has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iptkit.lint.check import Note, ValueCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.optionvalues import OptionValue


class GlobInterface(ValueCheck, code="IPT210"):
    """The name of an interface has a shell wildcard in it.

    What: `*`, `?` or `[` in the value of -i, -o, --physdev-in or --physdev-out.
    Why: The only wildcard is a + at the end.  Any other character stands for itself, and no interface is
        called `eth*`.
    Example:
        -i eth*
    Instead:
        -i eth+
    """

    options = ("-i", "-o", "--physdev-in", "--physdev-out")
    pattern = r"[*?[]"

    def look(self, value: OptionValue) -> Iterator[Note]:
        name = value.text
        plain = name.endswith("*") and not re.search(self.pattern, name[:-1])
        hint = f"{name[:-1]}+" if plain else "a + at the end is the only wildcard"
        yield Note(f"the interface is called {name}, the wildcard is +", hint)


class InterfaceAlias(ValueCheck, code="IPT211"):
    """The name is an alias of an interface.

    What: A colon in the value of -i or -o, such as eth0:1.
    Why: Aliases are labels of addresses.  A packet comes in by eth0, whatever address it is for, so that the
        condition is never true.
    Example:
        -i eth0:1
    Instead:
        -d 192.0.2.7/32 -i eth0
    """

    options = ("-i", "-o")
    pattern = ":"

    def look(self, value: OptionValue) -> Iterator[Note]:
        base = value.text.partition(":")[0]
        yield Note(f"no packet comes by {value.text}: it is an address of {base}", f"-i {base}, and -d")
