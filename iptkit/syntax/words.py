"""Cut a rule line into words exactly as iptables-restore does.

The definition is `start` of grammar/words.lark; this reader uses the regular
expressions of its terminals.  (iptables xshared.c: add_param_to_argv,
tokenize_rule_counters.)
"""

from __future__ import annotations

import functools
import re

from iptkit.syntax.grammar import memo
from iptkit.text.record import NamedTuple

LINE_LIMIT = 10_239  # bytes one fgets() of iptables-restore returns
WORD_LIMIT = 1_023  # bytes of one word
ARGUMENT_LIMIT = 254  # words of one rule, with the four that iptables-restore adds


class Word(NamedTuple):
    """One word: what it says, and the bytes `start` to `end` of its line where it was written."""

    text: str
    start: int
    end: int
    quoted: bool


class CountersText(NamedTuple):
    """The `[packets:bytes]` before a rule, as written."""

    packets: str
    octets: str
    start: int
    end: int


class BadCounters(ValueError):
    """A line that begins with `[` but has no readable counters; `end` is where the reading stopped."""

    def __init__(self, message: str, end: int) -> None:
        super().__init__(message)
        self.end = end


@functools.cache
def _scanner() -> re.Pattern[str]:
    words = memo().words
    return re.compile("|".join(f"(?P<{name}>{words[name]})" for name in ("QUOTED", "OPEN", "PLAIN")))


_ESCAPE = re.compile(r"\\(.|\n)")


def unquote(raw: str) -> str:
    """What a word says: quotes and escapes off.  `raw` is one word as written."""
    head, quote, rest = raw.partition('"')
    if not quote:
        return raw
    if rest.endswith('"'):
        rest = rest[:-1]
    return head + (_ESCAPE.sub(r"\1", rest) if "\\" in rest else rest)


def split_words(text: str, start: int = 0) -> list[Word]:
    """The words of `text` from `start` on; `text` ends with its newline if the line has one.

    A NUL ends the text, as it ends a C string.
    """
    nul = text.find("\0", start)
    if nul >= 0:
        text = text[:nul]
    out = []
    for hit in _scanner().finditer(text, start):
        raw = hit[0]
        kind = hit.lastgroup
        if kind == "PLAIN":
            out.append(Word(raw, hit.start(), hit.end(), False))
        elif kind == "QUOTED":
            out.append(Word(unquote(raw), hit.start(), hit.end(), True))
        else:
            word = _open_word(raw)
            if word:
                out.append(Word(word, hit.start(), hit.end(), False))
    return out


def _open_word(raw: str) -> str:
    head, _, rest = raw.partition('"')
    word = _ESCAPE.sub(r"\1", rest)
    # A backslash that is the very last byte escapes nothing and is lost.
    trailing = len(rest) - len(rest.rstrip("\\"))
    if trailing % 2 and word.endswith("\\"):
        word = word[:-1]
    return head + word


def split_counters(text: str) -> tuple[CountersText | None, str, int]:
    """Take `[p:b]` off the front: (counters, text to read words from, where they begin).

    Raises BadCounters as iptables-restore refuses them.  strtok() writes NULs
    into the line, so with odd brackets the text may be shorter than the line.
    """
    if not text.startswith("["):
        return None, text, 0
    nul = text.find("\0")
    if nul >= 0:
        text = text[:nul]
    close = text.find("]")
    if close < 0:
        raise BadCounters("need ]", 1)
    begin = 1
    while text.startswith(":", begin):
        begin += 1
    if begin == len(text):
        raise BadCounters("need :", close + 1)
    colon = text.find(":", begin)
    if colon < 0:
        raise BadCounters("need ]", close + 1)
    packets = text[begin:colon]
    begin = colon + 1
    while text.startswith("]", begin):
        begin += 1
    if begin == len(text):
        raise BadCounters("need ]", close + 1)
    end = text.find("]", begin)
    octets = text[begin:] if end < 0 else text[begin:end]
    rest = close + 1
    # The NULs that strtok wrote behind the bracket cut the rule short.
    stops = [at for at in (colon, end) if at >= rest]
    return CountersText(packets, octets, 0, rest), text[: min(stops)] if stops else text, rest
