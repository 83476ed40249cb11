"""The words of a rule as text, and how like another rule it is.

A rule's parts are its conditions and options with their values: `-p tcp`,
`! --dport 22`, `-m comment`, `-j DROP`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from iptkit.diff.align import Pair

_WORD = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^ ])+')
_OPTION = re.compile(r"--|-[A-Za-z]")
ALIKE = 0.6  # share of two rules from which they pass for one that was edited
_CELLS = 16  # comparisons that a rule of a gap is worth
_REACH = 6  # in a gap that is too large for all comparisons, how far around its place a rule is looked for


def words(text: str) -> list[str]:
    """The words of canonical rule text, quotes left on."""
    return _WORD.findall(text)


def parts(text: str) -> list[str]:
    """The parts of canonical rule text (`Rule.text()`)."""
    out: list[str] = []
    bang = ""
    for word in words(text):
        if word == "!":
            bang = "! "
        elif bang or not out or _OPTION.match(word):
            out.append(bang + word)
            bang = ""
        else:
            out[-1] += " " + word
    return out


class Likeness:
    """A rule's parts, ready to be held against another's."""

    __slots__ = ("names", "parts", "size")

    def __init__(self, found: Iterable[str]) -> None:
        self.parts = frozenset(found)
        self.size = len(self.parts)
        # The value of -m is a name, not a value.
        self.names = frozenset(p if p.startswith("-m ") else _name(p) for p in self.parts)

    def to(self, other: Likeness) -> float:
        """From 0 to 1: an equal part counts, a part with another value counts half."""
        size = self.size + other.size
        if not size:
            return 1.0
        return (len(self.parts & other.parts) + len(self.names & other.names)) / size


def _name(part: str) -> str:
    at = part.find(" ", 2)  # from behind the ! of an inverted one
    return part if at < 0 else part[:at]


def edits(old: Sequence[str], new: Sequence[str]) -> list[Pair]:
    """Which texts of a gap are edits of which: pairs ascending on both sides, most alike in sum.

    Work grows with the number of texts, not with its square: a large gap is
    first cut at texts that differ in one part from each other and from nothing
    else, and what is then still large is paired as it comes.
    """
    if not old or not new:
        return []
    before, after = [parts(text) for text in old], [parts(text) for text in new]
    cuts = [(len(old), len(new))]
    if not _small(len(old), len(new)):
        cuts = [*_anchors(before, after), *cuts]
    found: list[Pair] = []
    low = left = 0
    for i, j in cuts:
        if low < i and left < j:
            pair = _best if _small(i - low, j - left) else _in_order
            pairs = pair([Likeness(p) for p in before[low:i]], [Likeness(p) for p in after[left:j]])
            found += [(low + a, left + b) for a, b in pairs]
        if i < len(old):
            found.append((i, j))
        low, left = i + 1, j + 1
    return found


def _small(rows: int, columns: int) -> bool:
    return rows * columns <= _CELLS * (rows + columns)


def _anchors(before: list[list[str]], after: list[list[str]]) -> list[Pair]:
    """Pairs that share all parts but one, and share them with nothing else; ascending on both sides."""
    from iptkit.diff.align import stays

    def keys(side: list[list[str]]) -> dict[int, int]:
        """What is left of each text without one part, or with all -> the only text it is left of, or -1.

        What is left is known by a sum of hashes: should two sums ever be equal
        by chance, two rules are called an edit that are none.
        """
        out: dict[int, int] = {}
        for at, found in enumerate(side):
            # The -m of an option comes and goes with it.
            hashes = [hash(part) for part in found if not part.startswith("-m ")]
            whole = sum(hashes)
            for gone in (0, *hashes) if len(hashes) > 1 else (0,):
                key = whole - gone
                out[key] = -1 if out.get(key, at) != at else at
        return out

    there = keys(after)
    partner: dict[int, int] = {}  # of new texts
    taken: set[int] = set()
    for key, i in keys(before).items():
        j = there.get(key, -1)
        if i >= 0 and j >= 0 and i not in taken and j not in partner:
            partner[j] = i
            taken.add(i)
    # Partners get one number, everything else one of its own, and the longest ascending run is kept.
    size = len(before)
    return stays(range(size), [partner.get(j, size + j) for j in range(len(after))])


def _best(before: list[Likeness], after: list[Likeness]) -> list[Pair]:
    """The ascending pairing with the greatest likeness in sum, among pairs that are alike."""
    columns = len(after)
    # sums[row][column] is the greatest sum with that many of both.
    sums = [[0.0] * (columns + 1)]
    for one in before:
        last = sums[-1]
        row = [0.0]
        for column, other in enumerate(after):
            score = one.to(other)
            value = last[column] + score if score >= ALIKE else 0.0
            row.append(max(value, last[column + 1], row[column]))
        sums.append(row)
    found: list[Pair] = []
    at, column = len(before), columns
    while at and column:
        reached = sums[at][column]
        if reached == sums[at - 1][column]:
            at -= 1
        elif reached == sums[at][column - 1]:
            column -= 1
        else:
            at -= 1
            column -= 1
            found.append((at, column))
    found.reverse()
    return found


def _in_order(before: list[Likeness], after: list[Likeness]) -> list[Pair]:
    """Each text with the likest of the few around its place that are still free."""
    found: list[Pair] = []
    slope = len(after) / len(before)
    free = 0
    for i, one in enumerate(before):
        middle = int(i * slope)
        first = max(free, middle - _REACH)
        best, where = 0.0, -1
        for j in range(first, min(len(after), max(first, middle) + _REACH + 1)):
            score = one.to(after[j])
            if score > best:
                best, where = score, j
        if best >= ALIKE:
            found.append((i, where))
            free = where + 1
    return found


def changed_words(old: str, new: str) -> list[tuple[str, str]]:
    """Runs of words as (what, text): what is "same", "removed" or "added"; removed before added.

    Parts are compared first, so that a value is held against the value of the
    same option.
    """
    out: list[tuple[str, str]] = []

    def add(what: str, run: Sequence[str]) -> None:
        if run:
            text = " ".join(run)
            if out and out[-1][0] == what:
                text = f"{out.pop()[1]} {text}"
            out.append((what, text))

    before, after = parts(old), parts(new)
    low = 0
    while low < len(before) and low < len(after) and before[low] == after[low]:
        low += 1
    high = 0
    while high < min(len(before), len(after)) - low and before[-1 - high] == after[-1 - high]:
        high += 1
    add("same", before[:low])
    for one, other in _runs(before[low : len(before) - high], after[low : len(after) - high]):
        if one == other:
            add("same", one)
        elif [_name(p) for p in one] == [_name(p) for p in other]:
            for mine, theirs in zip(one, other, strict=True):
                name = _name(mine)
                if mine == theirs:
                    add("same", [mine])
                else:
                    add("same", [name])
                    add("removed", words(mine[len(name) :]))
                    add("added", words(theirs[len(name) :]))
        else:
            add("removed", one)
            add("added", other)
    add("same", before[len(before) - high :])
    return out


def _runs(before: list[str], after: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Pairs of runs, equal or to be put for each other."""
    if not before or not after or len(before) == len(after) == 1:
        yield before, after
        return
    from difflib import SequenceMatcher

    for _, i, i2, j, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        yield before[i:i2], after[j:j2]
