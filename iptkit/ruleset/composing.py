"""Bind a shape from pieces that were bound before.  A short cut, and nothing more.

Files that people write have few shapes; a generator that combines conditions
freely makes a new one for every fourth rule.  But such shapes are made of few
pieces: `-s •`, `-p tcp`, `-m tcp --dport •`, `-j REJECT --reject-with •`.  A
piece is bound once, by the plain binder; a shape whose pieces do not touch
each other is put together from them.  Whatever is not plainly independent
(abbreviations, options far from their -m, an option given twice, anything with
a fault) is left to the plain binder: `compose` then gives None.

tests/ruleset/test_composing.py proves that both bind alike.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from iptkit.extensions.spec import Extension
from iptkit.ruleset.bound import (
    CORE_EXACT,
    Bound,
    Joined,
    Placed,
    Segment,
    bind,
    no_values,
    options_by_name,
    required,
)
from iptkit.syntax.document import Part, Shape
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.bound import Memo, RawMemo

_CONDITIONS = frozenset(
    ("-s", "-d", "-i", "-o", "-p", "-f", "--source", "--destination", "--protocol", "--in-interface",
     "--out-interface", "--src", "--dst")
)  # fmt: skip
_STARTS = _CONDITIONS | {"-A", "-m", "-j", "-g", "--match", "--jump", "--goto"}
_NO_WORDS = Part(())
_NO_SHAPE = Shape(_NO_WORDS, _NO_WORDS)
# The attributes of a Bound that one piece sets, by the letter it is noted under.
_ATTRIBUTES = {
    "s": ("source", "source_inverted"),
    "d": ("destination", "destination_inverted"),
    "i": ("in_interface", "in_inverted"),
    "o": ("out_interface", "out_inverted"),
    "p": ("protocol", "protocol_inverted"),
    "f": ("fragment", "fragment_inverted"),
    "j": ("jump", "goto"),
}


class _Piece(NamedTuple):
    """What a run of words does to a rule, with holes and words counted from its own start."""

    words: int
    at: int  # of the core option: 1 behind a `!`
    memos: tuple[Memo | RawMemo, ...]
    letter: str  # of the core option it begins with, "" for -A and -m
    value: Any  # of that option; for most a ref
    beside: bool  # its `!`, or whether -j is -g
    use: Placed | None
    target: bool  # the use is a target
    free: bool  # the use reads alike whatever the protocol of the rule


class _BoundPart(NamedTuple):
    """The head or tail of shapes, bound."""

    bound: Bound
    words: int
    letters: frozenset[str]


class Composer:
    """Composes bounds for one Binder, and remembers the pieces."""

    def __init__(self, binder: Binder) -> None:
        self._binder = binder
        self._pieces: dict[tuple[str | None, ...], _Piece | None] = {}
        self._segments: dict[tuple[int, int, bool, int, bool], Segment | None] = {}
        self._uses: dict[tuple[int, int, int, int], Placed] = {}
        self._parts: dict[Part, _BoundPart | None] = {}

    def compose(self, shape: Shape) -> Bound | None:
        """The shape bound from pieces, or None where that is not plainly right.

        Head and tail are bound apart, since they are combined most freely; so
        putting them together is all there is to do for most new shapes.  The
        values of a head are counted from the first of the rule, those of a
        tail from the last, whatever stands between.
        """
        parts = self._parts
        first, second = shape.head, shape.tail
        if not first.words:
            return None  # which may also be a tail, that of another shape
        try:
            head = parts[first]
        except KeyError:
            head = parts[first] = self._head(first)
        if head is None:
            return None
        try:
            tail = parts[second]
        except KeyError:
            tail = parts[second] = self._tail(second)
        if tail is None or not head.letters.isdisjoint(tail.letters):
            return None
        return Joined(shape, head.bound, tail.bound, head.words + tail.words)

    def _head(self, part: Part) -> _BoundPart | None:
        bound = bind(self._binder, Shape(_NO_WORDS, part))
        return None if bound.faults else _part(part, bound)

    def _tail(self, part: Part) -> _BoundPart | None:
        """A tail; one with a protocol must begin with it, as all do that iptables saves.

        It is gone through from its end, from where its values and words are counted.
        """
        pieces: list[_Piece] = []
        known = self._pieces
        for run in _runs(part.words):
            try:
                piece = known[run]
            except KeyError:
                piece = known[run] = self._bind(run)
            if piece is None:
                return None
            pieces.append(piece)
        protocol: tuple[int, bool] = (0, False)
        if pieces and pieces[0].letter == "p":
            protocol = pieces[0].value, pieces[0].beside
        bound = Bound(_NO_SHAPE)
        words = 0
        memos: tuple[Memo | RawMemo, ...] = ()
        matches: list[Placed] = []
        reading: list[Placed] = []
        classes = set()
        where: dict[str, int] = {}
        implicit = False  # the use before was of a match that its protocol brought
        for piece in reversed(pieces):
            letter = piece.letter
            words += piece.words
            memos = piece.memos + memos
            if letter:
                # Addresses and interfaces that stand behind other options are left to the plain binder.
                if letter in "sdio" or letter in where or (letter == "p" and piece is not pieces[0]):
                    return None
                where[letter] = piece.at - words
                name, beside = _ATTRIBUTES[letter]
                value = piece.value
                if value.__class__ is int and letter != "p":
                    value -= len(memos)
                setattr(bound, name, value)
                setattr(bound, beside, piece.beside)
            if piece.use is not None:
                segment: Segment | None = piece.use.segment
                if not piece.free:
                    segment = self._within(piece.use.segment, protocol)
                # An implicit match may have an option that begins alike; of two uses of one match,
                # whose options are whose is told by which was first.
                if segment is None or implicit or segment.cls in classes:
                    return None
                classes.add(segment.cls)
                placed = self._placed(piece, segment, words, len(memos))
                implicit = not placed.named
                if piece.target:
                    bound.target = placed
                else:
                    matches.append(placed)
                if segment.needs_reading:
                    reading.append(placed)
        bound.memos = memos
        bound.matches = tuple(matches[::-1])
        if bound.target is None:
            bound.jumps = bound.jump
        elif bound.target in reading:
            reading.remove(bound.target)  # it is read last, wherever it stands
            reading.insert(0, bound.target)
        bound.reading = tuple(reading[::-1])
        bound.where = where
        bound.appends = bound.jumps is None or isinstance(bound.jumps, int)
        return _part(part, bound)

    def _placed(self, piece: _Piece, segment: Segment, words: int, values: int) -> Placed:
        """A piece's use where so many words and values of the tail are left."""
        key = (id(piece), id(segment), words, values)
        found = self._uses.get(key)
        if found is None:
            use = piece.use
            assert use is not None
            holes = tuple([hole - values for hole in use.holes])
            take = itemgetter(*holes) if holes else no_values
            found = self._uses[key] = Placed(segment, take, use.word - words, use.named, holes)
        return found

    def _within(self, segment: Segment, protocol: tuple[int, bool]) -> Segment | None:
        """The segment as it reads in a rule for this protocol; None where a requirement is not met."""
        then = protocol
        if all(option.type is None for option, *_ in segment.fields):
            then = (0, False)  # nobody looked
        key = (id(segment), *protocol, *then)
        try:
            return self._segments[key]
        except KeyError:
            present = frozenset(option.field for option, *_ in segment.fields)
            made = None
            if not required(segment.cls, present, protocol[0]):
                facts = segment.rule._replace(
                    protocol=protocol[0],
                    protocol_inverted=protocol[1],
                    protocol_then=then[0],
                    protocol_then_inverted=then[1],
                )
                made = self._binder.segment(segment.cls, segment.fields, facts)
            self._segments[key] = made
            return made

    def _bind(self, run: tuple[str | None, ...]) -> _Piece | None:
        """Bind one run of words by itself, after a bare -A."""
        before: tuple[str | None, ...] = ("-A", None)
        skip = 1
        bound = bind(self._binder, Shape(_NO_WORDS, Part(before + run)))
        # Requirements are looked at again in the whole rule, where the protocol is known.
        needs = [f for f in bound.faults if f.code not in ("IPT120", "IPT133")]
        if needs or bound.ends or bound.opaque or bound.command != "A" or bound.counters or bound.verbose:
            return None
        if bound.faults and not (bound.matches or bound.target):
            return None
        uses = [*bound.matches, *([bound.target] if bound.target else [])]
        if len(uses) > 1 or not _exact(run, uses):
            return None
        letters = [letter for letter in bound.where if letter != "command"]
        if len(letters) > 1 or not _ATTRIBUTES.keys() >= set(letters):
            return None
        letter, value, beside = "", None, False
        if letters:
            letter = letters[0]
            if bound.where[letter] != len(before) + (run[0] == "!"):
                return None
            value, beside = (getattr(bound, name) for name in _ATTRIBUTES[letter])
            if letter != "p" and value.__class__ is int:
                value -= skip
        use = None
        free = True
        if uses:
            placed = uses[0]
            cls = placed.segment.cls
            holes = tuple(h - skip for h in placed.holes)
            use = placed._replace(word=placed.word - len(before), holes=holes)
            free = (
                not cls.checks()
                and cls.missing.__func__ is Extension.missing.__func__  # type: ignore[attr-defined]  # a classmethod
                and not bound.faults
            )
        return _Piece(
            len(run),
            int(run[0] == "!"),
            bound.memos[skip:],
            letter,
            value,
            beside,
            use,
            not bound.matches,
            free,
        )


def _part(part: Part, bound: Bound) -> _BoundPart:
    return _BoundPart(bound, len(part.words), frozenset(bound.where))


def _runs(words: tuple[str | None, ...]) -> Iterator[tuple[str | None, ...]]:
    """Cut words before each option of iptables itself, its `!` included."""
    begin = 0
    at = 1 + (words[:1] == ("!",))
    while at < len(words):
        word = words[at]
        if word in _STARTS:
            end = at - (word in _CONDITIONS and words[at - 1] == "!")
            yield words[begin:end]
            begin = end
        at += 1
    if words:
        yield words[begin:]


def _exact(run: tuple[str | None, ...], uses: list[Placed]) -> bool:
    """Is every word of the run that looks like an option exactly one of iptables, or of its own extension?"""
    own = options_by_name(uses[0].segment.cls) if uses else {}
    for word in run:
        if word is None or word[:1] != "-" or word in _STARTS:
            continue
        name = word.partition("=")[0]
        if name not in own or name in CORE_EXACT:
            return False
    return True
