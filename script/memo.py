"""Write grammar/memo.json anew: `python script/memo.py`; with --check, fail where it is out of date.

It holds how each option word of iptables and of every extension reads, so
that reading a ruleset of known options never imports Lark.  To be run when a
grammar changes and when an extension gets a new option.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from iptkit.extensions.core import CORE_OPTIONS, LONG_NAMES
from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target
from iptkit.syntax import grammar, memo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.spec import Extension


def extensions() -> Iterator[type[Extension]]:
    for family in (4, 6):
        for names, find in ((MATCHES, find_match), (TARGETS, find_target)):
            for name in names:
                found = find(name, family)
                if found is not None:
                    yield found


def option_words() -> tuple[str, ...]:
    """All options there are, spelled out, and the end of options."""
    words = {"--", "!"}
    words.update(f"-{option.letter}" for option in CORE_OPTIONS)
    words.update(name for name, _ in LONG_NAMES)
    for extension in extensions():
        words.update(name for option in extension.options for name in option.names)
    return tuple(words)


def main() -> int:
    words = option_words()
    if sys.argv[1:] != ["--check"]:
        memo.write(words)
        return 0
    made = json.loads(json.dumps(grammar.derive(words)._asdict()))
    if made == json.loads(grammar.read(grammar.MEMO)):
        return 0
    print("grammar/memo.json is out of date: run `python script/memo.py`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
