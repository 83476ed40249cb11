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
_HEAD_REFS = ("chain", "source", "destination", "in_interface", "out_interface")
_TAIL_ATTRIBUTES = (
    "protocol", "protocol_inverted", "fragment", "fragment_inverted", "jump", "goto", "jumps", "reading",
)  # fmt: skip
_COMMAND = ("-A", None)
_NO_SHAPE = Shape.of(())
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


class _BoundPart(NamedTuple):
    """The head or tail of shapes, bound; its words count from its own start."""

    bound: Bound
    letters: frozenset[str]
    attributes: dict[str, Any]  # what the whole takes from it


class Composer:
    """Composes bounds for one Binder, and remembers the pieces."""

    def __init__(self, binder: Binder) -> None:
        self._binder = binder
        self._pieces: dict[tuple[str | None, ...], _Piece | None] = {}
        self._segments: dict[tuple[int, int, bool, int, bool], Segment | None] = {}
        self._parts: dict[Part, _BoundPart | None] = {}

    def compose(self, shape: Shape) -> Bound | None:
        """The shape bound from pieces, or None where that is not plainly right.

        Head and tail are composed apart, since they are combined most freely;
        putting them together is then all there is to do for most new shapes.
        """
        parts = self._parts
        first, second = shape.head, shape.tail
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
        attributes["memos"] = tail.bound.memos + head.bound.memos
        attributes["appends"] = head.bound.appends and tail.bound.appends
        return out

    def _head(self, part: Part) -> _BoundPart | None:
        bound = self._compose(part.words) if part.words else None
        if bound is None:
            return None
        # Its values stand at the end of a rule's.
        for name in _HEAD_REFS:
            ref = getattr(bound, name)
            if ref.__class__ is int:
                setattr(bound, name, ref - part.holes)
        bound.lists = tuple([ref for ref in (bound.source, bound.destination) if ref is not None])
        attributes = {"earlier": bound, "offset": len(part.words), **_taken(bound, _HEAD_ATTRIBUTES)}
        return _BoundPart(bound, frozenset(bound.where), attributes)

    def _tail(self, part: Part) -> _BoundPart | None:
        bound = self._compose(part.words)
        # Addresses and interfaces that stand behind other options are left to the plain binder.
        if bound is None or bound.lists or bound.hooked:
            return None
        attributes = {"later": bound, **_taken(bound, _TAIL_ATTRIBUTES)}
        return _BoundPart(bound, frozenset(bound.where), attributes)

    def _compose(self, words: tuple[str | None, ...]) -> Bound | None:
        """Words bound from pieces: those of a rule, or from some option of a rule on."""
        out = Bound(_NO_SHAPE)
        where: dict[str, int] = {}
        out.where = where
        if words[:2] == _COMMAND:
            out.command = "A"
            out.chain = 0
            where["command"] = 0
        memos: list[Memo | RawMemo] = []
        uses: list[tuple[_Piece, int, int, int, bool]] = []  # with offsets, and the protocol at that point
        pieces = self._pieces
        at = 0
        holes = 0
        for end in _ends(words):
            run = words[at:end]
            if run == _COMMAND and at:
                return None
            try:
                piece = pieces[run]
            except KeyError:
                piece = pieces[run] = self._bind(run)
            if piece is None:
                return None
            _, piece_memos, letter, value, beside, use, _, _ = piece
            if letter:
                if letter in where:
                    return None
                where[letter] = at + (run[0] == "!")
                if letter == "p":
                    out.protocol = value
                    out.protocol_inverted = beside
                else:
                    if value.__class__ is int:
                        value += holes
                    if letter == "j":
                        out.jump = value
                        out.goto = beside
                    elif letter == "s":
                        out.source = value
                        out.source_inverted = beside
                    elif letter == "d":
                        out.destination = value
                        out.destination_inverted = beside
                    elif letter == "i":
                        out.in_interface = value
                        out.in_inverted = beside
                        out.hooked = True
                    elif letter == "o":
                        out.out_interface = value
                        out.out_inverted = beside
                        out.hooked = True
                    else:
                        out.fragment = True
                        out.fragment_inverted = beside
            if use is not None:
                if uses and not use.named:
                    return None  # an earlier match may have an option that begins alike
                cls = use.segment.cls
                if any(earlier.segment.cls is cls for (_, _, _, _, _, earlier, _, _), *_ in uses if earlier):
                    return None  # whose options are whose is told by which was first
                uses.append((piece, holes, at, out.protocol, out.protocol_inverted))
            memos += piece_memos
            holes = len(memos)
            at = end
        out.memos = tuple(memos)
        out.lists = tuple([ref for ref in (out.source, out.destination) if ref is not None])
        if uses and not self._place(out, uses):
            return None
        out.jumps = out.jump if out.target is None else None
        refs = out.lists if out.jumps is None else (*out.lists, out.jumps)
        out.appends = all(ref.__class__ is int for ref in refs)
        return out

    def _place(self, out: Bound, uses: list[tuple[_Piece, int, int, int, bool]]) -> bool:
        matches: list[Placed] = []
        reading: tuple[Placed, ...] = ()
        for piece, offset, at, protocol, inverted in uses:
            segment, _, word, named, places = piece.use  # type: ignore[misc]  # pieces in `uses` have one
            if not piece.free:
                found = self._within(segment, out, protocol, inverted)
                if found is None:
                    return False
                segment = found
            if places:
                holes = tuple([place + offset for place in places])
                placed = Placed(segment, itemgetter(*holes), word + at, named, holes)
            else:
                placed = Placed(segment, no_values, word + at, named, ())
            if segment.needs_reading:
                reading += (placed,)
            if piece.target:
                if out.target is not None:
                    return False
                out.target = placed
            else:
                matches.append(placed)
        out.matches = tuple(matches)
        if out.target is not None and reading and reading[-1] is not out.target and out.target in reading:
            reading = (*(p for p in reading if p is not out.target), out.target)
        out.reading = reading
        return True

    def _within(self, segment: Segment, out: Bound, protocol: int, inverted: bool) -> Segment | None:
        """The segment as it reads in a rule for this protocol; None where a requirement is not met."""
        if all(option.type is None for option, *_ in segment.fields):
            protocol, inverted = 0, False  # nobody looked
        key = (id(segment), out.protocol, out.protocol_inverted, protocol, inverted)
        try:
            return self._segments[key]
        except KeyError:
            present = frozenset(option.field for option, *_ in segment.fields)
            made = None
            if not required(segment.cls, present, out.protocol):
                facts = segment.rule._replace(
                    protocol=out.protocol,
                    protocol_inverted=out.protocol_inverted,
                    protocol_then=protocol,
                    protocol_then_inverted=inverted,
                )
                made = self._binder.segment(segment.cls, segment.fields, facts)
            self._segments[key] = made
            return made

    def _bind(self, run: tuple[str | None, ...]) -> _Piece | None:
        """Bind one run of words by itself, after a bare -A."""
        before: tuple[str | None, ...] = () if run[0] == "-A" else ("-A", None)
        skip = len(before) // 2
        bound = bind(self._binder, Shape(Part(()), Part(before + run)))
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
            if letter != "p" and isinstance(value, int):
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


def _taken(bound: Bound, names: tuple[str, ...]) -> dict[str, Any]:
    """Those attributes of a part that are set."""
    given = vars(bound)
    return {name: given[name] for name in names if name in given}


def _ends(words: tuple[str | None, ...]) -> list[int]:
    """Where the runs of words end that each begin with an option of iptables itself, its `!` included."""
    ends = [
        at - 1 if word in _CONDITIONS and at and words[at - 1] == "!" else at
        for at, word in enumerate(words)
        if word in _STARTS
    ]
    ends.append(len(words))
    # Words before the first such option belong to no run; one that is too long to be known says so.
    return ends[1:] if not ends[0] else ends


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
