"""The plain version of the parser: Lark reads every line and every word.

Slow, and easy to believe.  The tests hold `iptkit.syntax.parser` against it.
"""

from __future__ import annotations

from iptkit.syntax.grammar import lark
from iptkit.syntax.words import LINE_LIMIT, unquote


def pieces(text: str) -> list[str]:
    """The text as fgets() hands it to iptables-restore: lines with their ends, at most 10,239 bytes each."""
    # str.splitlines knows more line ends than the newline.
    out = [line + "\n" for line in text.split("\n")]
    out[-1] = out[-1][:-1]
    return [line[at : at + LINE_LIMIT] for line in out for at in range(0, len(line), LINE_LIMIT)]


def kinds(text: str) -> list[str]:
    """The kind of every line: table, chain, commit, comment, blank or rule."""
    out = []
    for piece in pieces(text):
        (line,) = lark("save.lark").parse(piece).children
        out.append(str(line.data))  # type: ignore[union-attr]  # Lark types children as Token | Tree
    return out


def words(text: str) -> list[str]:
    """The words of a rule line, counters already off, its newline still on."""
    tree = lark("words.lark").parse(text.partition("\0")[0], start="start")
    out = []
    for word in tree.children:
        (token,) = word.children  # type: ignore[union-attr]
        said = unquote(str(token)) if token.type != "OPEN" else _open(str(token))  # type: ignore[union-attr]
        if said or token.type == "QUOTED":  # type: ignore[union-attr]
            out.append(said)
    return out


def _open(raw: str) -> str:
    """A word whose quote is never closed, character by character."""
    head, _, rest = raw.partition('"')
    said = ""
    escaped = False
    for char in rest:
        if escaped or char != "\\":
            said += char
            escaped = False
        else:
            escaped = True
    return head + said
