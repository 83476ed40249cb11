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
    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.bound import Memo, RawMemo

_CONDITIONS = frozenset(
    ("-s", "-d", "-i", "-o", "-p", "-f", "--source", "--destination", "--protocol", "--in-interface",
     "--out-interface", "--src", "--dst")
)  # fmt: skip
_STARTS = _CONDITIONS | {"-A", "-m", "-j", "-g", "--match", "--jump", "--goto"}
_NO_WORDS = Part(())
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
    places: dict[Any, _Placed | None]  # where it was placed so far


class _Placed:
    """A piece in a tail, so many words and values before its end, in a rule for a certain protocol."""

    __slots__ = ("beside", "cls", "letter", "memos", "reads", "target", "use", "value", "where", "words")

    def __init__(self, piece: _Piece, use: Placed | None, words: int, values: int) -> None:
        self.words = piece.words
        self.memos = piece.memos
        self.letter = piece.letter
        self.where = piece.at - words
        self.value = piece.value
        if piece.letter != "p" and piece.value.__class__ is int:
            self.value -= values
        self.beside = piece.beside
        self.use = use
        self.target = piece.target
        self.cls = None if use is None else use.segment.cls
        self.reads = use is not None and use.segment.needs_reading


class Composer:
    """Composes bounds for one Binder, and remembers the pieces."""

    def __init__(self, binder: Binder) -> None:
        self._binder = binder
        self._pieces: dict[tuple[str | None, ...], _Piece | None] = {}
        self._segments: dict[tuple[int, int, bool, int, bool], Segment | None] = {}
        self._heads: dict[Part, Bound | None] = {}
        self._tails: dict[Part, Bound | None] = {}

    def compose(self, shape: Shape) -> Bound | None:
        """The shape bound from pieces, or None where that is not plainly right.

        Head and tail are bound apart, since they are combined most freely; so
        putting them together is all there is to do for most new shapes.  The
        values of a head are counted from the first of the rule, those of a
        tail from the last, whatever stands between.
        """
        head = self.head(shape.head)
        tail = None if head is None else self.tail(shape.tail)
        if head is None or tail is None:
            return None
        return Joined(shape, head, tail, len(shape.head.words) + len(shape.tail.words))

    def head(self, part: Part) -> Bound | None:
        """The head of shapes, bound; None where that is not plainly right, and for one without words."""
        try:
            return self._heads[part]
        except KeyError:
            bound = bind(self._binder, Shape(_NO_WORDS, part))
            found = self._heads[part] = None if bound.faults or not part.words else bound
            return found

    def tail(self, part: Part) -> Bound | None:
        """The same for a tail; one with a protocol must begin with it, as all do that iptables saves.

        It is gone through from its end, from where its values and words are counted.
        """
        try:
            return self._tails[part]
        except KeyError:
            found = self._tails[part] = self._tail(part)
            return found

    def _tail(self, part: Part) -> Bound | None:
        runs = _runs(part.words)
        bound = Bound(Shape(_NO_WORDS, part))
        where = bound.where
        protocol = (0, False)
        first = self._piece(runs[0]) if runs else None
        if first is not None and first.letter == "p":
            protocol = first.value, first.beside
        words = values = 0
        memos: tuple[Memo | RawMemo, ...] = ()
        matches: list[Placed] = []
        reading: list[Placed] = []
        classes = []
        implicit = False  # the use before was of a match that its protocol brought
        for run in reversed(runs):
            piece = self._piece(run)
            if piece is None:
                return None
            key = (words, values) if piece.free else (words, values, protocol)
            try:
                placed = piece.places[key]
            except KeyError:
                placed = piece.places[key] = self._place(piece, words, values, protocol)
            if placed is None:
                return None
            letter, use = placed.letter, placed.use
            if letter:
                if letter in where or (letter == "p" and run is not runs[0]):
                    return None
                where[letter] = placed.where
                name, beside = _ATTRIBUTES[letter]
                setattr(bound, name, placed.value)
                setattr(bound, beside, placed.beside)
            if use is not None:
                # An implicit match may have an option that begins alike; of two uses of one match,
                # whose options are whose is told by which was first.
                if implicit or placed.cls in classes:
                    return None
                implicit = not use.named
                classes.append(placed.cls)
                if placed.target:
                    bound.target = use
                else:
                    matches.append(use)
                if placed.reads:
                    reading.append(use)
            memos = placed.memos + memos
            words += placed.words
            values = len(memos)
        bound.memos = memos
        bound.matches = tuple(matches[::-1])
        if bound.target is None:
            bound.jumps = bound.jump
        elif bound.target in reading:
            reading.remove(bound.target)  # it is read last, wherever it stands
            reading.insert(0, bound.target)
        bound.reading = tuple(reading[::-1])
        bound.appends = bound.jumps is None or bound.jumps.__class__ is int
        return bound

    def _place(self, piece: _Piece, words: int, values: int, protocol: tuple[int, bool]) -> _Placed | None:
        """A piece where so many words and values of the tail stand behind it; None where it is not plain."""
        # Addresses and interfaces that stand behind other options are left to the plain binder.
        if piece.letter and piece.letter in "sdio":
            return None
        words += piece.words
        values += len(piece.memos)
        use = piece.use
        if use is not None:
            segment = use.segment if piece.free else self._within(use.segment, protocol)
            if segment is None:
                return None
            holes = tuple([hole - values for hole in use.holes])
            take = itemgetter(*holes) if holes else no_values
            use = Placed(segment, take, use.word - words, use.named, holes)
        return _Placed(piece, use, words, values)

    def _piece(self, run: tuple[str | None, ...]) -> _Piece | None:
        """A run of words, bound by itself."""
        try:
            return self._pieces[run]
        except KeyError:
            piece = self._pieces[run] = self._bind(run)
            return piece

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
            {},
        )


def _runs(words: tuple[str | None, ...]) -> list[tuple[str | None, ...]]:
    """Cut words before each option of iptables itself, its `!` included."""
    if not words:
        return []
    starts = [at for at, word in enumerate(words) if word in _STARTS]
    if "!" in words:
        starts = [at - (at > 0 and words[at] in _CONDITIONS and words[at - 1] == "!") for at in starts]
    if starts[:1] != [0]:
        starts.insert(0, 0)
    return [words[begin:end] for begin, end in zip(starts, [*starts[1:], len(words)], strict=True)]


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
