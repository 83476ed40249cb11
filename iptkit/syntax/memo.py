"""Write `grammar/memo.tsv`: `python -m iptkit.syntax.memo [WORD...]`.

The words are the option words whose reading it is to hold; a script that
knows the extensions passes them, the syntax layer knows none.
"""

from __future__ import annotations

import os.path
import sys

from iptkit.syntax.grammar import MEMO, derive, folder, packed


def write(option_words: tuple[str, ...]) -> None:
    made = derive(tuple(sorted(set(option_words))))
    with open(os.path.join(folder(), MEMO), "w", encoding="ascii") as file:
        file.write(packed(made))


if __name__ == "__main__":
    write(tuple(sys.argv[1:]))
