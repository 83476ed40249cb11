"""The Lark grammars, and what the fast readers take from them.

`grammar/save.lark` and `grammar/words.lark` say what lines and words are.
Importing Lark costs more than reading a small file does, so what the fast
readers need is kept beside the grammars as plain data, `memo.tsv`: the
terminals' regular expressions, the kind of line each first character begins,
and how each known option word reads.  The memo carries the grammars' hash and
is not used when the hash differs; then, and for an option word that it does
not hold, Lark is asked.  `python -m iptkit.syntax.memo` writes it anew.

Lark's own `cache=` is not used: it is a pickle in a predictable place, and
iptkit runs as root.
"""

from __future__ import annotations

import functools
import os.path
import zlib
from typing import TYPE_CHECKING

from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from lark import Lark, Tree

GRAMMARS = ("save.lark", "words.lark")
MEMO = "memo.tsv"
BEGINS = "".join(chr(c) for c in range(256) if chr(c) != "\n")


class OptionWord(NamedTuple):
    """One word as getopt sees it.

    `kind` is one of bang, long, short, end, argument; `name` is the option
    with its dashes (the word itself for an argument); `attached` the value
    glued to it (`--name=value`, `-Xvalue`), None when there is none.
    """

    kind: str
    name: str
    attached: str | None


class Memo(NamedTuple):
    hash: str
    kinds: dict[str, str]  # a line's first character -> table, chain, comment, rule
    words: dict[str, str]  # terminal of words.lark -> its regular expression
    options: dict[str, tuple[str, str, str | None]]  # a word -> OptionWord


@functools.cache
def folder() -> str:
    """Where the grammars are: in the installed package, or beside it in a source tree."""
    here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    for place in (os.path.join(here, "grammar"), os.path.join(os.path.dirname(here), "grammar")):
        if os.path.isfile(os.path.join(place, GRAMMARS[0])):
            return place
    raise FileNotFoundError(f"the grammars {', '.join(GRAMMARS)} are missing from {here}")


def read(name: str) -> str:
    """The text of one of the files in `folder()`."""
    with open(os.path.join(folder(), name), encoding="ascii") as file:
        return file.read()


def grammar_hash() -> str:
    """Tells a memo made from other grammars; nobody is kept out by it, so a checksum does."""
    text = "".join(read(name) for name in GRAMMARS)
    return f"{zlib.crc32(text.encode('ascii')):08x}-{len(text)}"


@functools.cache
def lark(name: str) -> Lark:
    """The Lark parser of one grammar; `start` for both, and `option` for words.lark."""
    from lark import Lark

    text = read(name)
    starts = ["start", "option"] if name == "words.lark" else ["start"]
    return Lark(text, parser="lalr", start=starts, maybe_placeholders=False)


@functools.cache
def memo() -> Memo:
    """The packaged memo, or one made from the grammars when it does not belong to them."""
    try:
        stored = unpacked(read(MEMO))
    except (OSError, ValueError, OverflowError):
        return derive(())
    return stored if stored.hash == grammar_hash() else derive(())


def packed(memo: Memo) -> str:
    """A memo as text: rows of fields with tabs between them, each field escaped as in a Python string.

    Words that read as themselves and nothing more, as nearly all do, share a row.
    """
    rows: list[tuple[str, ...]] = [("hash", memo.hash)]
    for kind in sorted(set(memo.kinds.values())):
        begins = [f"{ord(char):02x}" for char in sorted(memo.kinds) if memo.kinds[char] == kind]
        rows += [("kind", kind, *begins)]
    rows += [("word", *item) for item in sorted(memo.words.items())]
    alone: dict[str, list[str]] = {}
    for word, (kind, name, attached) in sorted(memo.options.items()):
        if (name, attached) == (word, None):
            alone.setdefault(kind, []).append(word)
        else:
            rows.append(("option", word, kind, name, *([] if attached is None else [attached])))
    rows += [("options", kind, *words) for kind, words in sorted(alone.items())]
    return "".join(["\t".join([_escaped(field) for field in row]) + "\n" for row in rows])


def unpacked(text: str) -> Memo:
    """The memo that `packed` made a text of.  Raises ValueError for any other text."""
    hash_ = ""
    kinds: dict[str, str] = {}
    words: dict[str, str] = {}
    options: dict[str, tuple[str, str, str | None]] = {}
    for line in text.splitlines():
        row, *fields = line.split("\t")
        if "\\" in line:
            fields = [field.encode("ascii").decode("unicode_escape") for field in fields]
        if row == "options":
            kind, *alone = fields
            options.update([(word, (kind, word, None)) for word in alone])
        elif row == "option":
            word, kind, name, *attached = fields
            options[word] = kind, name, attached[0] if attached else None
        elif row == "kind":
            kind, *begins = fields
            kinds.update([(chr(int(char, 16)), kind) for char in begins])
        elif row == "word":
            name, words[name] = fields
        else:
            (hash_,) = fields
    return Memo(hash_, kinds, words, options)


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def derive(option_words: tuple[str, ...]) -> Memo:
    """Ask Lark for everything the memo holds, with these option words in it."""
    lines = lark("save.lark")
    kinds = {}
    for char in BEGINS:
        (line,) = lines.parse(char + "x").children
        kinds[char] = str(_data(line))
    words = {t.name: t.pattern.to_regexp() for t in lark("words.lark").terminals}
    options = {word: tuple(_read_option(word)) for word in option_words}
    return Memo(grammar_hash(), kinds, words, options)  # type: ignore[arg-type]  # OptionWord is that tuple


@functools.cache
def _known() -> dict[str, tuple[str, str, str | None]]:
    return memo().options


def option_word(word: str) -> OptionWord:
    """How one word, without its quotes, reads to getopt."""
    if not word or word[0] not in "-!":
        return OptionWord("argument", word, None)
    known = _known()
    found = known.get(word)
    if found is None:
        found = _read_option(word)
        if len(known) < 100_000:
            known[word] = found
    return OptionWord(*found)


def _read_option(word: str) -> OptionWord:
    tree = lark("words.lark").parse(word, start="option")
    kind = str(_data(tree))
    tokens = [str(token) for token in tree.children]
    if kind == "long" and len(tokens) > 1:
        return OptionWord(kind, tokens[0], tokens[2] if len(tokens) > 2 else "")
    return OptionWord(kind, tokens[0], tokens[1] if len(tokens) > 1 else None)


def _data(tree: object) -> str:
    found: Tree[object] = tree  # type: ignore[assignment]  # Lark types children as Token | Tree
    return found.data
