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
from typing import TYPE_CHECKING, Any, NamedTuple

from iptkit.extensions.spec import Extension
from iptkit.ruleset.bound import (
    CORE_EXACT,
    Bound,
    Placed,
    Segment,
    bind,
    no_values,
    options_by_name,
    required,
)
from iptkit.syntax.document import Part, Shape

if TYPE_CHECKING:
    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.bound import Memo, RawMemo

_CONDITIONS = frozenset(
    ("-s", "-d", "-i", "-o", "-p", "-f", "--source", "--destination", "--protocol", "--in-interface",
     "--out-interface", "--src", "--dst")
)  # fmt: skip
_STARTS = _CONDITIONS | {"-A", "-m", "-j", "-g", "--match", "--jump", "--goto"}
_HEAD_ATTRIBUTES = (
    "command", "chain", "source", "source_inverted", "destination", "destination_inverted", "in_interface",
    "in_inverted", "out_interface", "out_inverted", "lists", "hooked",
)  # fmt: skip
_TAIL_ATTRIBUTES = (
    "protocol", "protocol_inverted", "fragment", "fragment_inverted", "jump", "goto", "jumps", "reading",
)  # fmt: skip
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
    memos: tuple[Memo | RawMemo, ...]
    letter: str  # of the core option it begins with, "" for -A and -m
    value: Any  # of that option; for most a ref
    beside: bool  # its `!`, or whether -j is -g
    use: Placed | None
    target: bool  # the use is a target
    free: bool  # the use reads alike whatever the protocol of the rule


class _End(NamedTuple):
    """What the words say from one of the runs of a tail on; values and words are counted from the end."""

    words: int
    memos: tuple[Memo | RawMemo, ...]
    matches: tuple[Placed, ...]
    target: Placed | None
    reading: tuple[Placed, ...]
    implicit: bool  # the first use is of a match that its protocol brought
    where: tuple[tuple[str, int], ...]
    set: tuple[tuple[str, Any], ...]  # attributes of the Bound, by name


_NOTHING = _End(0, (), (), None, (), False, (), ())


class _BoundPart(NamedTuple):
    """The head or tail of shapes, bound."""

    bound: Bound
    words: int
    letters: frozenset[str]
    attributes: dict[str, Any]  # what the whole takes from it


class Composer:
    """Composes bounds for one Binder, and remembers the pieces."""

    def __init__(self, binder: Binder) -> None:
        self._binder = binder
        self._pieces: dict[tuple[str | None, ...], _Piece | None] = {}
        self._segments: dict[tuple[int, int, bool, int, bool], Segment | None] = {}
        self._ends: dict[tuple[Any, ...], _End | None] = {}
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
        out = Bound(shape)
        attributes = out.__dict__
        attributes.update(head.attributes)
        attributes.update(tail.attributes)
        attributes["memos"] = head.bound.memos + tail.bound.memos
        attributes["appends"] = head.bound.appends and tail.bound.appends
        attributes["offset"] = head.words + tail.words
        return out

    def _head(self, part: Part) -> _BoundPart | None:
        if not part.words:
            return None
        bound = bind(self._binder, Shape(_NO_WORDS, part))
        return None if bound.faults else _part(part, "earlier", bound, _HEAD_ATTRIBUTES)

    def _tail(self, part: Part) -> _BoundPart | None:
        """A tail; one with a protocol must begin with it, as all do that iptables saves."""
        words = part.words
        at = _first_end(words)
        first = self._piece(words[:at]) if words else None
        protocol: tuple[int, bool] = (0, False)
        if first is not None and first.letter == "p":
            protocol = first.value, first.beside
            rest = self._end(words[at:], protocol)
            end = None if rest is None else self._before(first, words[:at], rest, protocol)
        else:
            end = self._end(words, protocol)
        if end is None:
            return None
        bound = Bound(_NO_SHAPE)
        bound.__dict__.update(end.set)
        bound.memos = end.memos
        bound.matches = end.matches
        bound.target = end.target
        bound.reading = end.reading
        bound.where = dict(end.where)
        if end.target is None:
            bound.jumps = bound.jump
        bound.appends = bound.jumps is None or isinstance(bound.jumps, int)
        return _part(part, "later", bound, _TAIL_ATTRIBUTES)

    def _end(self, words: tuple[str | None, ...], protocol: tuple[int, bool]) -> _End | None:
        """The words from some run of a tail on, in a rule for this protocol, which stands before them."""
        if not words:
            return _NOTHING
        key = (words, protocol)
        try:
            return self._ends[key]
        except KeyError:
            at = _first_end(words)
            piece = self._piece(words[:at])
            end = None
            if piece is not None and piece.letter != "p":
                rest = self._end(words[at:], protocol)
                if rest is not None:
                    end = self._before(piece, words[:at], rest, protocol)
            self._ends[key] = end
            return end

    def _before(
        self, piece: _Piece, run: tuple[str | None, ...], rest: _End, protocol: tuple[int, bool]
    ) -> _End | None:
        """A run of words and what follows it; None where they are not plainly independent."""
        letter = piece.letter
        use = piece.use
        words = piece.words + rest.words
        memos = piece.memos + rest.memos
        where, attributes = rest.where, rest.set
        matches, target, reading, implicit = rest.matches, rest.target, rest.reading, rest.implicit
        if letter:
            # Addresses and interfaces that stand behind other options are left to the plain binder.
            if letter in "sdio" or letter in [other for other, _ in where]:
                return None
            value = piece.value
            if letter != "p" and value.__class__ is int:
                value -= len(memos)
            where = ((letter, (run[0] == "!") - words), *where)
            names = _ATTRIBUTES[letter]
            attributes = ((names[0], value), (names[1], piece.beside), *attributes)
        if use is not None:
            segment = use.segment
            if implicit:
                return None  # this match may have an option that begins alike
            cls = segment.cls
            if target is not None and target.segment.cls is cls:
                return None
            for match in matches:
                if match.segment.cls is cls:
                    return None  # whose options are whose is told by which was first
            if not piece.free:
                found = self._within(segment, protocol)
                if found is None:
                    return None
                segment = found
            holes = tuple([hole - len(memos) for hole in use.holes])
            key = itemgetter(*holes) if holes else no_values
            placed = Placed(segment, key, use.word - words, use.named, holes)
            implicit = not use.named
            if piece.target:
                target = placed
                reading = (*reading, placed) if segment.needs_reading else reading
            else:
                matches = (placed, *matches)
                reading = (placed, *reading) if segment.needs_reading else reading
        return _End(words, memos, matches, target, reading, implicit, where, attributes)

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

    def _piece(self, run: tuple[str | None, ...]) -> _Piece | None:
        try:
            return self._pieces[run]
        except KeyError:
            piece = self._pieces[run] = self._bind(run)
            return piece

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
        return _Piece(len(run), bound.memos[skip:], letter, value, beside, use, not bound.matches, free)


def _part(part: Part, name: str, bound: Bound, taken: tuple[str, ...]) -> _BoundPart:
    given = vars(bound)
    attributes = {name: bound, **{each: given[each] for each in taken if each in given}}
    return _BoundPart(bound, len(part.words), frozenset(bound.where), attributes)


def _first_end(words: tuple[str | None, ...]) -> int:
    """Where the run of words ends that begins with an option of iptables itself, its `!` included."""
    begins = 1 + (words[:1] == ("!",))
    for at in range(begins, len(words)):
        word = words[at]
        if word in _STARTS:
            return at - (word in _CONDITIONS and words[at - 1] == "!")
    return len(words)


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
