"""Write `grammar/memo.json`: `python -m iptkit.syntax.memo [WORD...]`.

The words are the option words whose reading it is to hold; a script that
knows the extensions passes them, the syntax layer knows none.
"""

from __future__ import annotations

import json
import os.path
import sys

from iptkit.syntax.grammar import MEMO, derive, folder


def write(option_words: tuple[str, ...]) -> None:
    made = derive(tuple(sorted(set(option_words))))
    text = json.dumps(made._asdict(), indent=0, sort_keys=True, ensure_ascii=True)
    with open(os.path.join(folder(), MEMO), "w", encoding="ascii") as file:
        file.write(text + "\n")


if __name__ == "__main__":
    write(tuple(sys.argv[1:]))
