"""Give the words of a rule line their meaning, as getopt and libxtables do.

The same word means different things after different `-m`, options abbreviate
by unique prefix, and a protocol loads its match when one of its options is
met.  All of that depends on a line's shape alone, so a shape is bound once
(`Bound`), and a rule is then its Bound and its values.

The order of things follows do_parse() and command_default() of
iptables/xshared.c, and xtables_option_parse() and xtables_options_fcheck() of
libxtables/xtoptions.c.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import (
    BY_LETTER,
    INTERFACE,
    LONG_NAMES,
    NETWORKS,
    VERDICTS,
    CoreOption,
    Jump,
    Verdict,
)
from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target
from iptkit.extensions.spec import Extension, Given, Opaque, Problem, RuleFacts
from iptkit.syntax.grammar import OptionWord, option_word
from iptkit.syntax.words import unquote
from iptkit.text.pattern import Pattern
from iptkit.text.record import NamedTuple
from iptkit.values.context import Context
from iptkit.values.faults import BadValue
from iptkit.values.names import protocol_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from iptkit.extensions.spec import Option, Target
    from iptkit.ruleset.binding import Binder
    from iptkit.syntax.document import Shape
    from iptkit.values.context import Family

# A word of a shape: the place of its value among the rule's, or the word itself.  Places below 0 count from
# the end.
Ref = int | str

RULE_COMMANDS = "ACDIR"
_NAMES_RULE = {c: f"-{c}" for c in "ACDIRLSFZNXEP"}
# Which options each command refuses (iptables/xshared.c, commands_v_options).
_ALL_BUT_VERBOSE = frozenset("nsdpjxio0cf")
_REFUSED = {
    "A": frozenset("nx0"),
    "I": frozenset("nx0"),
    "R": frozenset("nx0"),
    "D": frozenset("nx0c"),
    "C": frozenset("nx0c"),
    "D#": _ALL_BUT_VERBOSE,
    "L": frozenset("sdpjiocf"),
    "S": _ALL_BUT_VERBOSE,
    "F": _ALL_BUT_VERBOSE,
    "Z": _ALL_BUT_VERBOSE,
    "N": _ALL_BUT_VERBOSE,
    "X": _ALL_BUT_VERBOSE,
    "E": _ALL_BUT_VERBOSE,
    "P": _ALL_BUT_VERBOSE - {"c"},
}
_INVERTIBLE = frozenset("sdpiof")
_PROTOCOLS_WITH_PORTS = ("tcp", "udp", "sctp", "dccp")
_PROTOCOLS_OF_MATCHES = (*_PROTOCOLS_WITH_PORTS, "icmp", "icmp6", "esp", "ah", "mh")


class Fault(NamedTuple):
    """Something wrong with a line, before it has a position.

    `word` is the index of the word at fault among the line's words, -1 for
    the whole line; `status` the exit status of the real tool.
    """

    code: str
    message: str
    word: int = -1
    hint: str = ""
    status: int = 2
    backends: tuple[str, ...] = ()


class Memo(dict[str, Any]):
    """Raw word -> value, for one value type: each distinct word is read once."""

    __slots__ = ("context", "type", "unseen")

    def __init__(self, type_: Any, context: Context) -> None:
        super().__init__()
        self.type = type_
        self.context = context
        self.unseen: set[str] = set()  # words that are still to be read, see interpret

    def usual(self) -> Callable[[str], object] | None:
        """That of the type, see spec.ValueType."""
        found: Callable[[str], object] | None = (
            self.type.usual(self.context) if hasattr(self.type, "usual") else None
        )
        return found

    def __missing__(self, raw: str) -> Any:
        value = self[raw] = self.type.parse(unquote(raw) if '"' in raw else raw, self.context)
        return value


class RawMemo(dict[str, Any]):
    """For types that take any text (`lazy`): the value is the raw word, to be read when somebody asks.

    Half of the words of a large file are comments and chain names, and nearly
    all of these are different; `str` as the look-up of what is missing gives
    the word itself back without a step through Python.
    """

    __slots__ = ("type", "unseen")
    __missing__ = str

    def __init__(self, type_: Any) -> None:
        super().__init__()
        self.type = type_
        self.unseen: set[str] = set()


class _Text:
    """A word that is taken as it is."""

    metavar = "text"
    words = 1
    code = "IPT129"
    lazy = True

    def parse(self, text: str, context: Context) -> str:
        return text


class _JumpName:
    """The value of -j where no options follow: a verdict, a bare target, or the name of a chain."""

    metavar = "target"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> Verdict | Target | Jump:
        check_target_name(text)
        if text in VERDICTS:
            return Verdict(text)
        cls = find_target(text, context.family) if text in TARGETS else None
        if cls is None:
            return Jump(text, False)
        for problem in required(cls, frozenset(), 0):
            raise BadValue(problem.message, problem.code, problem.hint)
        return cls.read({}, context)

    def usual(self, context: Context) -> Callable[[str], object]:
        """As spec.ValueType.usual: the names of most chains."""
        return _is_usual_name


class _GotoName:
    metavar = "chain"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> Jump:
        check_target_name(text)
        return Jump(text, True)


_BLANK = re.compile(r"[ \t\n\v\f\r]")
_USUAL_NAME = Pattern("[A-Za-z0-9_-]{1,28}")


def _is_usual_name(text: str) -> bool:
    return _USUAL_NAME.fullmatch(text) is not None and text not in TARGETS and text not in VERDICTS


_OPTION_NAME = re.compile(r"--[\w-]+")
_TEXT, _JUMP, _GOTO = _Text(), _JumpName(), _GotoName()


def check_target_name(text: str) -> None:
    """As xt_parse_target (libxtables): what may not be the name after -j.  Raises BadValue."""
    if not text:
        raise BadValue("a target needs a name", "IPT129")
    if len(text) > 28:
        raise BadValue(f"target name {text!r} is longer than 28 bytes", "IPT129")
    if _BLANK.search(text):
        raise BadValue(f"target name {text!r} has a blank in it", "IPT129")


class Segment:
    """One use of an extension in a shape: its options, with values still to come.

    Holes are counted from 0 within the segment, so that equal segments of
    different shapes are one object and share what they have read.
    """

    __slots__ = (
        "_checks",
        "_memo",
        "_template",
        "cls",
        "fields",
        "holes",
        "needs_reading",
        "rule",
        "unseen",
    )

    def __init__(
        self,
        cls: type[Extension],
        fields: tuple[tuple[Option[Any], tuple[Ref, ...], bool, int], ...],
        facts: RuleFacts,
    ) -> None:
        self.cls = cls
        # option, refs of its words, inverted, index of its first word relative to the segment's name
        self.fields = fields
        self.rule = facts
        self.holes = sum(isinstance(ref, int) for _, refs, _, _ in fields for ref in refs)
        self._memo: dict[Any, Extension] = {}
        self.unseen: set[Any] = set()  # raw words of uses that are still to be read, see interpret
        # Are single values, read by themselves, all there is to check?
        self.needs_reading = not cls.plain or any(
            len(refs) > 1 or isinstance(refs[0], str) for _, refs, _, _ in fields if refs
        )
        self._checks = cls.checks()
        self._template = self._simple()

    def _simple(self) -> tuple[int, list[None], int] | None:
        """For a use with one option that is kept as written: its place, blank values, what is inverted."""
        if self.cls.settles() or len(self.fields) != 1 or self.holes != 1:
            return None
        option, refs, inverted, _ = self.fields[0]
        if len(refs) != 1 or getattr(option.type, "lazy", False):
            return None
        return option.index, [None] * len(self.cls.options), inverted << option.index

    def use(self, key: Any, context: Context) -> Extension:
        """The extension with these values: one value, a tuple of them, or () for none.  Raises BadValue."""
        found = self._memo.get(key)
        if found is None:
            if self._template is not None:
                index, blank, inverted = self._template
                values: list[Any] = blank.copy()
                values[index] = key
                found = self.cls(tuple(values), inverted)
            else:
                found = self.cls.read(self.given((key,) if self.holes == 1 else key, context), context)
            if self._checks:
                found = found.within(self.rule)
                for problem in found.check(self.rule):
                    raise SegmentFault(problem)
            self._memo[key] = found
        return found

    def take(self, key: Any, context: Context) -> Extension:
        """`use`, and forget it."""
        found = self.use(key, context)
        del self._memo[key]
        return found

    def given(self, values: tuple[Any, ...], context: Context) -> dict[str, Given]:
        out: dict[str, Given] = {}
        for place, (option, refs, inverted, _) in enumerate(self.fields):
            if option.type is None:
                value: Any = True
            elif len(refs) == 1:
                ref = refs[0]
                if isinstance(ref, int):
                    value = values[ref]
                    if getattr(option.type, "lazy", False):
                        value = self._parse(option, unquote(value), context)
                else:
                    value = self._parse(option, ref, context)
            else:
                texts = tuple(unquote(values[r]) if isinstance(r, int) else r for r in refs)
                value = self._parse(option, texts, context)
            before = out.get(option.field)
            earlier = () if before is None else (*before.earlier, before)
            out[option.field] = Given(value, inverted, place, earlier)
        return out

    def _parse(self, option: Option[Any], text: Any, context: Context) -> Any:
        assert option.type is not None
        try:
            return option.type.parse(text, context)
        except ValueError as error:
            code = getattr(error, "code", "") or option.type.code
            problem = Problem(str(error), option.field, code, getattr(error, "hint", ""))
            raise SegmentFault(problem, getattr(error, "word", 0)) from None


class SegmentFault(BadValue):
    """A BadValue that knows which option is at fault."""

    def __init__(self, problem: Problem, word: int = 0) -> None:
        super().__init__(problem.message, problem.code, problem.hint, word)
        self.problem = problem


class Placed(NamedTuple):
    """A segment in its shape."""

    segment: Segment
    key: Callable[[Any], Any]  # its values out of all the rule's
    word: int  # where its name stands
    named: bool  # False for a match its protocol brought
    holes: tuple[int, ...]  # the places of its values, in the order of the segment's


def moved(placed: Placed, words: int) -> Placed:
    """The same use, with so many words before it."""
    return placed._replace(word=placed.word + words)


class Later:
    """An attribute worked out when it is first asked for, and kept."""

    def __init__(self, name: str, make: Callable[[Any], Any]) -> None:
        self._name = name
        self._make = make

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._make(instance)
        return value


class Bound:
    """A shape with its meaning."""

    # A shape sets few of these, and there may be as many shapes as rules: what is
    # not set is the class's.
    faults: tuple[Fault, ...] = ()
    command = ""
    chain: Ref | None = None
    position: Ref | None = None
    argument: Ref | None = None  # of -E the new name, of -P the policy
    source: Ref | None = None
    destination: Ref | None = None
    in_interface: Ref | None = None
    out_interface: Ref | None = None
    source_inverted = False
    destination_inverted = False
    in_inverted = False
    out_inverted = False
    protocol = 0
    protocol_inverted = False
    fragment = False
    fragment_inverted = False
    jump: Ref | None = None
    goto = False
    jumps: Ref | None = None  # `jump`, where it names a verdict, a chain or a bare target
    opaque: tuple[tuple[int, Opaque], ...] = ()  # (place among the matches, or -1 for the target)
    counters: tuple[Ref, Ref] | None = None
    memos: tuple[Memo | RawMemo, ...] = ()
    # Segments to read before the rule is known to be good; their words count from `offset`.
    reading: tuple[Placed, ...] = ()
    lists: tuple[Ref, ...] = ()  # the refs of -s and -d, which may be lists
    hooked = False  # has a condition that iptables refuses in some built-in chains
    appends = False  # a good -A, with nothing that needs a second look, and refs that are holes
    verbose = False
    # "help", "version", or "family" for a line the other family's tool would take
    ends = ""

    # Set by `finish` where they are more than this.
    matches: tuple[Placed, ...] = ()  # in the order written
    target: Placed | None = None  # where its options are in the shape

    # Of a shape that was put together from head and tail: these two, bound; and the number of all its words,
    # since the tail counts words from the end of the line.
    earlier: Bound | None = None
    later: Bound | None = None
    offset = 0

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.where: dict[str, int] = {}  # core option letter -> index of its word

    @property
    def part(self) -> Bound:
        """Who has the matches and the target, as many shapes share them: the tail, or the shape as a whole.

        Its words are counted from `offset`.
        """
        return self.later or self

    def finish(self, matches: tuple[Placed, ...]) -> None:
        """Note the matches, and what follows from all that was read."""
        self.matches = matches
        uses = matches if self.target is None else (*matches, self.target)
        self.reading = tuple(p for p in uses if p.segment.needs_reading)
        self.lists = tuple(ref for ref in (self.source, self.destination) if ref is not None)
        self.hooked = self.in_interface is not None or self.out_interface is not None
        self.jumps = self.jump if self.target is None else None
        refs = (self.chain, *self.lists, *(() if self.jumps is None else (self.jumps,)))
        self.appends = (
            self.command == "A"
            and not (self.faults or self.ends or self.opaque)
            and all(isinstance(ref, int) for ref in refs)
        )


class Joined(Bound):
    """A shape put together from head and tail: what it says is what they say, had from them when asked for.

    The values of the head are counted from the first of the rule, those of the tail from the last, whatever
    stands between.
    """

    earlier: Bound
    later: Bound

    def __init__(self, shape: Shape, earlier: Bound, later: Bound, offset: int) -> None:
        self.shape = shape
        self.earlier = earlier
        self.later = later
        self.offset = offset


def _joined_where(bound: Joined) -> dict[str, int]:
    moved_on = {letter: at + bound.offset for letter, at in bound.later.where.items()}
    return {**bound.earlier.where, **moved_on}


def _of(part: str, name: str) -> Callable[[Joined], Any]:
    return lambda bound: getattr(getattr(bound, part), name)


_EARLIER = ("command", "chain", "source", "source_inverted", "destination", "destination_inverted",
            "in_interface", "in_inverted", "out_interface", "out_inverted", "lists", "hooked")  # fmt: skip
_LATER = ("protocol", "protocol_inverted", "fragment", "fragment_inverted", "jump", "goto", "jumps",
          "reading")  # fmt: skip
_JOINED: dict[str, Callable[[Joined], Any]] = {
    **{name: _of("earlier", name) for name in _EARLIER},
    **{name: _of("later", name) for name in _LATER},
    "where": _joined_where,
    "memos": lambda bound: bound.earlier.memos + bound.later.memos,
    "appends": lambda bound: bound.earlier.appends and bound.later.appends,
    "matches": lambda bound: tuple([moved(use, bound.offset) for use in bound.later.matches]),
    "target": lambda bound: None if bound.later.target is None else moved(bound.later.target, bound.offset),
}
for _name, _make in _JOINED.items():
    setattr(Joined, _name, Later(_name, _make))


class _Loaded:
    """A match or target while its options are being read."""

    __slots__ = ("cls", "fields", "named", "opaque", "present", "then", "word")

    def __init__(self, cls: type[Extension] | None, word: int, named: bool, opaque: str = "") -> None:
        self.cls = cls
        self.word = word
        self.named = named
        self.fields: list[tuple[Option[Any], tuple[Ref, ...], bool, int]] = []
        self.present: set[str] = set()
        self.then = (0, False)
        self.opaque = opaque


class _Stop(Exception):  # control flow, not an error
    """The rest of the line cannot be read."""


class _Binding:
    """Binds one shape: getopt over its words."""

    def __init__(self, binder: Binder, shape: Shape, hidden: frozenset[str]) -> None:
        self.binder = binder
        self.hidden = hidden
        self.family = binder.family
        self.shape = shape
        self.words = shape.words
        self.out = Bound(shape)
        self.faults: list[Fault] = []
        self.types: dict[int, Any] = {}  # hole -> value type
        self.hole_at = {word: hole for hole, word in enumerate(shape.holes)}
        self.loaded: list[_Loaded] = []
        self.target: _Loaded | None = None
        self.given: dict[str, int] = {}  # core option letter -> word
        self.protocol_text = ""
        self.protocol_used = False
        self.invert = False
        self.invert_word = -1

    def run(self) -> Bound:
        out = self.out
        try:
            self._read()
            self._finish()
        except _Stop:
            pass
        out.faults = tuple(self.faults)
        out.where = self.given
        out.finish(out.matches)
        memo = self.binder.memo
        out.memos = tuple(memo(self.types.get(hole, _TEXT)) for hole in range(len(self.shape.holes)))
        return out

    # -- reading

    def fault(
        self, code: str, message: str, word: int, hint: str = "", *, stop: bool = False, status: int = 2
    ) -> None:
        self.faults.append(Fault(code, message, word, hint, status))
        if stop:
            raise _Stop

    def _read(self) -> None:
        words = self.words
        at = 0
        count = len(words)
        while at < count:
            word = words[at]
            if word is None or word == "":
                self._stray(at)
                at += 1
                continue
            read = option_word(word)
            if read.kind == "argument":
                self._stray(at)
                at += 1
            elif read.kind == "bang":
                if self.invert:
                    self.fault("IPT137", "one ! after another", at)
                self.invert = True
                self.invert_word = at
                at += 1
            elif read.kind == "end":
                if at + 1 < count:
                    self.fault("IPT130", "nothing may follow --", at + 1, stop=True)
                at += 1
            elif read.kind == "short":
                at = self._short(at, read)
            else:
                at = self._long(at, read)

    def _stray(self, at: int) -> None:
        before = self.words[at - 1] if at else None
        if before == "!":
            self.fault("IPT137", "! stands before the option, not before its value", at)
        else:
            self.fault("IPT130", "this word belongs to no option", at, stop=not at)
        self.invert = False

    def _short(self, at: int, read: OptionWord) -> int:
        """A short option, or a bundle of them."""
        letter = read.name[1]
        option = BY_LETTER.get(letter)
        if option is None or letter in "0" or (letter == "f" and self.family == 6):
            return self._other(at, read, letter)
        attached = read.attached
        if option.words == 0 and attached:
            self._core(option, at, None, ())
            # getopt goes on in the same word
            return self._short(at, OptionWord("short", "-" + attached[0], attached[1:] or None))
        return self._core_option(option, at, attached)

    def _core_option(self, option: CoreOption, at: int, attached: str | None) -> int:
        after = at + 1
        ref: Ref | None
        if option.words == 1:
            if attached is None:
                if after >= len(self.words):
                    self.fault("IPT132", f"{self.words[at]} needs a value", at, stop=True)
                ref = self._ref(after)
                if ref == "!" and option.letter in _INVERTIBLE:
                    self.fault("IPT137", f"! stands before {self.words[at]}, not after it", after, stop=True)
                after += 1
            elif option.letter in "psdjio":
                # iptables reads the word at getopt's place, which is then the option itself.
                ref = self.words[at]
                if option.letter not in "io":
                    self.fault(
                        "IPT140",
                        f"-{option.letter} wants its value in a word of its own",
                        at,
                        f"put a blank before {attached}",
                    )
                    return after
            else:
                ref = attached
        else:
            ref = attached
        return self._core(option, at, ref, (after,))

    def _ref(self, at: int) -> Ref:
        word = self.words[at]
        return self.hole_at[at] if word is None else word

    def _may_follow(self, at: int) -> bool:
        """Is there a word here that begins neither an option nor a negation? (xs_has_arg)"""
        if at >= len(self.words):
            return False
        word = self.words[at]
        return word is None or word[:1] not in ("-", "!")

    def _long(self, at: int, read: OptionWord) -> int:
        name = read.name
        found = self._find(name)
        if found is None:
            return self._other(at, read, "")
        if isinstance(found, CoreOption):
            if found.words == 0 and read.attached is not None:
                self.fault("IPT130", f"{name} takes no value", at, stop=True)
            return self._core_option(found, at, read.attached)
        loaded, option = found
        return self._extension(loaded, option, at, read)

    def _find(self, name: str) -> CoreOption | tuple[_Loaded, Option[Any]] | None:
        """What a long option means here: an exact name, else a prefix that only one option has."""
        core_exact = CORE_EXACT.get(name)
        if core_exact is not None and not (core_exact.letter == "f" and self.family == 6):
            return core_exact
        sources = self._sources()
        for loaded in sources:
            option = options_by_name(loaded.cls).get(name) if loaded.cls else None
            if option is not None:
                return loaded, option
        near: list[CoreOption | tuple[_Loaded, Option[Any]]] = []
        identities: set[Any] = set()
        for long_name, core in LONG_NAMES:
            if long_name.startswith(name) and not (core.letter == "f" and self.family == 6):
                near.append(core)
                identities.add(core.letter)
        for loaded in sources:
            if loaded.cls is None:
                continue
            for option_name, option in options_by_name(loaded.cls).items():
                if option_name.startswith(name):
                    near.append((loaded, option))
                    identities.add((id(loaded), option.field))
        return near[0] if len(identities) == 1 else None

    def _sources(self) -> list[_Loaded]:
        """What is loaded, the latest first: getopt looks there first."""
        loaded = self.loaded
        if self.target is not None:
            # Options of a target stand where its -j stood among the matches.
            loaded = sorted((*loaded, self.target), key=lambda each: each.word)
        # A match loaded again brings no options again: they keep their place, and are its own from then on.
        latest = {each.cls or each.opaque: each for each in loaded}
        return list(latest.values())[::-1]

    def _other(self, at: int, read: OptionWord, letter: str) -> int:
        """An option nothing loaded so far knows: perhaps the protocol's match does (load_proto)."""
        for loaded in self._sources():
            if loaded.opaque:
                return self._opaque_words(loaded, at)
        if self.protocol_text and not self.protocol_used:
            cls = find_match(self.protocol_text, self.family)
            if cls is not None and not any(each.cls is cls for each in self.loaded if not each.named):
                self.protocol_used = True
                self.loaded.append(_Loaded(cls, at, False))
                if not letter and self._find(read.name) is not None:
                    return self._long(at, read)
                self.loaded.pop()
        self._unknown(at, read)
        raise _Stop

    def _opaque_words(self, loaded: _Loaded, at: int) -> int:
        """Everything up to the next word that iptkit knows belongs to an opaque extension."""
        begin = at - 1 if self.invert else at
        self.invert = False
        after = at + 1
        while after < len(self.words) and self._may_follow(after):
            after += 1
        refs = tuple("!" if i < at else self._ref(i) for i in range(begin, after))
        loaded.fields.append((_OPAQUE_OPTION, refs, False, at))
        return after

    def _unknown(self, at: int, read: OptionWord) -> None:
        name = read.name
        word = self.words[at] or name
        later = self._brought_later(at, name)
        if later:
            self.fault("IPT134", f"{name} stands before {later}, which brings it", at, f"put {later} first")
            return
        brings = _brings(name, self.family)
        if any(b in _PROTOCOLS_WITH_PORTS for b in brings):
            given = self.protocol_text or (str(self.out.protocol) if self.out.protocol else "")
            have = [each for each in _PROTOCOLS_WITH_PORTS if each in brings]
            others = f" (or {', '.join(have[1:])})" if have[1:] else ""
            hint = f"put -p {have[0]}{others} before it"
            if self.out.protocol_inverted and given in have:
                hint = f"! -p {given} leaves the others: it takes one protocol"
            elif given:
                hint = f"-p {given} has no {name}; -p {' or '.join(have)} has"
            self.fault("IPT120", f"{name} needs a protocol that has it", at, hint)
        elif brings and brings[0] in ("icmp", "icmp6", "esp", "ah"):
            self.fault("IPT120", f"{name} needs -p {brings[0]}", at, f"put -p {brings[0]} before it")
        elif brings:
            flag = "-j" if brings[0].isupper() else "-m"
            self.fault("IPT130", f"{name} needs {flag} {brings[0]}", at, f"put {flag} {brings[0]} before it")
        else:
            # Those of iptables itself, of all that is loaded, and of what the protocol would load.
            known = {
                option: "" for option, core in LONG_NAMES if not (core.letter == "f" and self.family == 6)
            }
            for loaded in self._sources():
                known.update(dict.fromkeys(options_by_name(loaded.cls), ""))
            cls = find_match(self.protocol_text, self.family) if self.protocol_text else None
            known.update(dict.fromkeys(options_by_name(cls), ""))
            several = [option for option in known if option.startswith(name)]
            if CORE_EXACT.get(name) is BY_LETTER["f"] or word[:2] == "-f":
                self.fault("IPT124", "fragments are matched by -m frag in IPv6", at)
            elif len(several) > 1 and len(name) > len("--"):
                told = ", ".join(several[:-1])
                self.fault("IPT130", f"{name} may be {told} or {several[-1]}", at, "write the whole name")
            elif name[1:].swapcase() in BY_LETTER:
                self.fault("IPT130", f"no option is called {word}", at, f"did you mean {name.swapcase()}?")
            else:
                self.fault("IPT130", f"no option is called {word}", at, self._meant(name, known))

    def _meant(self, name: str, known: dict[str, str]) -> str:
        """Which option an unknown one may stand for: of those that are `known`, or of what is not loaded."""
        found = nearest(name, known)
        for elsewhere in _all_options(self.family):
            known.setdefault(elsewhere, elsewhere)
        anywhere = nearest(name, known) if name[:2] == "--" else ""
        if not anywhere or anywhere == found or (found and not _nearer(name, anywhere, found)):
            return f"did you mean {found}?" if found else ""
        brings = _brings(anywhere, self.family)
        if brings[0] in _PROTOCOLS_OF_MATCHES:
            return f"did you mean {anywhere}? it comes with -p {brings[0]}"
        return f"did you mean {anywhere}? it comes with {'-j' if brings[0].isupper() else '-m'} {brings[0]}"

    def _brought_later(self, at: int, name: str) -> str:
        words = self.words
        for i in range(at + 1, len(words) - 1):
            value = words[i + 1]
            if value is None:
                continue
            if words[i] in ("-m", "--match", "-p", "--protocol"):
                cls = find_match(value.lower() if words[i] in ("-p", "--protocol") else value, self.family)
            elif words[i] in ("-j", "--jump"):
                target = find_target(value, self.family)
                if target is not None and any(n.startswith(name) for n in options_by_name(target)):
                    return f"{words[i]} {value}"
                continue
            else:
                continue
            if cls is not None and any(n.startswith(name) for n in options_by_name(cls)):
                return f"{words[i]} {value}"
        return ""

    # -- iptables' own options

    def _core(self, option: CoreOption, at: int, ref: Ref | None, place: tuple[int, ...]) -> int:
        letter = option.letter
        after = place[0] if place else at + 1
        out = self.out
        inverted = self.invert
        self.invert = False
        if letter in _NAMES_RULE:
            return self._command(letter, at, ref, after, inverted)
        if letter == "m":
            if inverted:
                self.fault("IPT137", "! stands before an option of a match, not before -m", at - 1)
            self._match(at, ref)
            return after
        if letter in "46":
            if int(letter) != self.family:
                out.ends = "family"
                raise _Stop
            return after
        if letter in "hV":
            out.ends = "help" if letter == "h" else "version"
            raise _Stop
        if letter == "t":
            self.fault("IPT018", "a table is named by its *line, not by -t", at, stop=True)
        if letter in "wW":
            self.fault("IPT130", f"-{letter} is an option of iptables-restore, not of a rule", at, stop=True)
        if letter == "M":
            return after
        if letter in "jg":
            self._once("j", at, inverted)
            self._jump(letter, at, ref)
            return after
        self._once(letter, at, inverted)
        if letter == "v":
            out.verbose = True
        elif letter == "s":
            out.source, out.source_inverted = self._typed(ref, NETWORKS, at), inverted
        elif letter == "d":
            out.destination, out.destination_inverted = self._typed(ref, NETWORKS, at), inverted
        elif letter == "i":
            out.in_interface, out.in_inverted = self._typed(ref, INTERFACE, at), inverted
        elif letter == "o":
            out.out_interface, out.out_inverted = self._typed(ref, INTERFACE, at), inverted
        elif letter == "p":
            self._protocol(at, ref, inverted)
        elif letter == "f":
            out.fragment, out.fragment_inverted = True, inverted
        elif letter == "c":
            return self._counters(at, ref, after)
        return after

    def _once(self, letter: str, at: int, inverted: bool) -> None:
        if letter in self.given:
            self.fault("IPT135", f"-{letter} is given twice", at)
        if inverted and letter not in _INVERTIBLE:
            self.fault("IPT137", f"-{letter} cannot be inverted", at)
        self.given[letter] = at

    def _typed(self, ref: Ref | None, type_: Any, at: int) -> Ref | None:
        """Note the type of a hole; read a word at once."""
        if isinstance(ref, int):
            self.types[ref] = type_
            return ref
        try:
            type_.parse(ref, self.binder.context)
        except ValueError as error:
            self.fault(
                getattr(error, "code", "") or type_.code, str(error), at + 1, getattr(error, "hint", "")
            )
            return None
        return ref

    def _protocol(self, at: int, ref: Ref | None, inverted: bool) -> None:
        if isinstance(ref, int) or ref is None:
            # The parser keeps the word after -p; a hole here is a spelling it does not foresee.
            self.fault("IPT129", "this protocol cannot be read", at + 1, stop=True)
        text = str(ref)
        try:
            number = protocol_number(text)
        except ValueError as error:
            self.fault("IPT129", str(error), at + 1, getattr(error, "hint", ""))
            self.out.protocol = -1
            return
        if number == 0 and inverted:
            self.fault("IPT205", "a rule for no protocol at all never matches", at)
        self.out.protocol = number
        self.out.protocol_inverted = inverted
        self.protocol_text = _match_of_protocol(text.lower(), number, self.family)

    def _counters(self, at: int, ref: Ref | None, after: int) -> int:
        packets, comma, octets = ref.partition(",") if isinstance(ref, str) else ("", "", "")
        if comma:
            self.out.counters = (packets, octets)
            return after
        if not self._may_follow(after) or ref is None:
            self.fault("IPT132", "-c needs packets and bytes", at, stop=True)
        assert ref is not None
        self.out.counters = (ref, self._ref(after))
        return after + 1

    def _command(self, letter: str, at: int, ref: Ref | None, after: int, inverted: bool) -> int:
        out = self.out
        if inverted:
            self.fault("IPT137", f"! before -{letter} means nothing", at)
        if out.command:
            code = "IPT020" if letter in _NAMES_RULE else "IPT130"
            self.fault(code, f"-{letter} and -{out.command[0]} in one line", at, stop=True)
        out.command = letter
        out.chain = ref
        self.given["command"] = at
        if letter in "LSFZX" and ref is None and self._may_follow(after):
            out.chain = self._ref(after)
            after += 1
        if letter in "DIRLSZ" and out.chain is not None and self._may_follow(after):
            out.position = self._ref(after)
            self.given["position"] = after
            after += 1
            if letter == "D":
                out.command = "D#"
        elif letter == "R":
            self.fault("IPT020", "-R needs the number of a rule", at, stop=True)
        elif letter in "EP":
            if not self._may_follow(after):
                what = "an old and a new name" if letter == "E" else "a chain and a policy"
                self.fault("IPT020", f"-{letter} needs {what}", at, stop=True)
            out.argument = self._ref(after)
            self.given["argument"] = after
            after += 1
        return after

    # -- matches and targets

    def _match(self, at: int, ref: Ref | None) -> None:
        if isinstance(ref, int) or ref is None:
            self.fault("IPT131", "the name of this match cannot be read", at + 1, stop=True)
        name = str(ref)
        word = self.words[at] or ""
        where = at if word.endswith(name) and len(word) > len(name) else at + 1
        cls = find_match(name, self.family)
        if cls is not None:
            self.loaded.append(_Loaded(cls, where, True))
            return
        if not _plausible(name):
            self.fault("IPT131", f"{name!r} is not the name of a match", where, stop=True)
        self._not_known("match", name, where)
        self.loaded.append(_Loaded(None, where, True, name))

    def _not_known(self, kind: str, name: str, where: int) -> None:
        """A match iptkit does not know: refused unless the machine has a plugin for it."""
        other = find_match(name, 6 if self.family == 4 else 4)
        if other is not None:
            self.fault("IPT124", f"the {kind} {name} belongs to IPv{10 - self.family}", where)
        elif name not in self.binder.plugins:
            self.fault("IPT131", f"no {kind} is called {name!r}", where, did_you_mean(name, MATCHES))

    def _jump(self, letter: str, at: int, ref: Ref | None) -> None:
        out = self.out
        word = self.words[at] or ""
        out.goto = letter == "g"
        out.jump = ref
        if isinstance(ref, int):
            self.types[ref] = _GOTO if out.goto else _JUMP
            return
        name = ref or ""
        try:
            check_target_name(name)
        except BadValue as error:
            self.fault(error.code, str(error), at if word.endswith(name) and name else at + 1)
            return
        if out.goto or name in VERDICTS or name in self.hidden:
            return
        cls = find_target(name, self.family)
        if cls is not None:
            self.target = _Loaded(cls, at + 1, True)
        elif name in self.binder.plugins:
            self.target = _Loaded(None, at + 1, True, name)

    def _extension(self, loaded: _Loaded, option: Option[Any], at: int, read: OptionWord) -> int:
        """One option of a match or target, and its words."""
        inverted = self.invert
        self.invert = False
        after = at + 1
        refs: tuple[Ref, ...] = ()
        cls = loaded.cls
        assert cls is not None
        if option.type is None:
            if read.attached is not None:
                self.fault("IPT130", f"{option.flag} takes no value", at, stop=True)
        else:
            found: list[Ref] = []
            optional = getattr(option.type, "optional", False)
            if read.attached is not None:
                if optional:
                    # Such an option is one without a value to getopt, and looks at the next word itself.
                    self.fault("IPT130", f"{option.flag} wants its value in a word of its own", at, stop=True)
                found.append(read.attached)
            while len(found) < option.type.words:
                if optional and not self._may_follow(after):
                    break
                if after >= len(self.words) or (found and not self._may_follow(after)):
                    self.fault("IPT132", f"{option.flag} needs {option.type.metavar}", at, stop=True)
                found.append(self._ref(after))
                after += 1
            refs = tuple(found)
            for ref in refs:
                if isinstance(ref, int):
                    self.types[ref] = option.type if option.type.words == 1 else _TEXT
                    if ref is refs[0] and option.type.words == 1:
                        continue
        if inverted and not option.invert:
            self.fault("IPT137", f"{cls.name}: {option.flag} cannot be inverted", at)
        if option.field in loaded.present and not option.multi:
            self.fault("IPT135", f"{cls.name}: {option.flag} is given twice", at)
            return after
        loaded.present.add(option.field)
        loaded.fields.append((option, refs, inverted, at))
        if option.type is not None:
            loaded.then = (self.out.protocol, self.out.protocol_inverted)
        return after

    # -- at the end of the line

    def _finish(self) -> None:
        out = self.out
        if self.invert:
            self.fault("IPT137", "nothing follows this !", self.invert_word)
        if not out.command:
            self.fault("IPT020", "the line has no command such as -A", -1, stop=True)
        for letter in sorted(_REFUSED[out.command] & self.given.keys()):
            self.fault("IPT020", f"-{letter} means nothing with -{out.command[0]}", self.given[letter])
        uses = [*self.loaded, *([self.target] if self.target else [])]
        placed: list[Placed | None] = [self._place(each, where) for where, each in enumerate(uses)]
        if self.target is not None:
            out.target = placed.pop()
        out.finish(tuple(p for p in placed if p is not None))

    def _place(self, loaded: _Loaded, where: int) -> Placed | None:
        if loaded.cls is None:
            self._place_opaque(loaded, where)
            return None
        out = self.out
        for problem in required(loaded.cls, frozenset(loaded.present), out.protocol):
            about = problem.field or mentioned(problem.message, loaded.fields)
            at = next((f[3] for f in loaded.fields if f[0].field == about), loaded.word)
            self.fault(problem.code, problem.message, at, problem.hint)
        holes: list[int] = []
        fields = []
        for option, refs, inverted, at in loaded.fields:
            relative: list[Ref] = []
            for ref in refs:
                if isinstance(ref, int):
                    relative.append(len(holes))
                    holes.append(ref)
                else:
                    relative.append(ref)
            fields.append((option, tuple(relative), inverted, at - loaded.word))
        facts = RuleFacts(self.family, out.protocol, out.protocol_inverted, *loaded.then, ())
        segment = self.binder.segment(loaded.cls, tuple(fields), facts)
        key = itemgetter(*holes) if holes else no_values
        return Placed(segment, key, loaded.word, loaded.named, tuple(holes))

    def _place_opaque(self, loaded: _Loaded, where: int) -> None:
        words = []
        for _, refs, _, _ in loaded.fields:
            words += [ref if isinstance(ref, str) else f"\0{ref}" for ref in refs]
        kind = "target" if loaded is self.target else "match"
        at = -1 if kind == "target" else where
        self.out.opaque += ((at, Opaque(kind, loaded.opaque, tuple(words))),)


def bind(binder: Binder, shape: Shape, hidden: frozenset[str] = frozenset()) -> Bound:
    """A shape bound the plain way; `hidden` are targets that a user chain of the table hides by its name."""
    return _Binding(binder, shape, hidden).run()


def no_values(values: tuple[Any, ...]) -> tuple[()]:
    return ()


def required(cls: type[Extension], present: frozenset[str], protocol: int) -> list[Problem]:
    """What the options present lack, or must not have together (xtables_options_fcheck)."""
    problems = []
    for option in cls.options:
        if option.field not in present:
            if option.required:
                problems.append(Problem(f"{cls.name} needs {option.flag}", "", "IPT133"))
            continue
        for other in option.needs:
            if other not in present:
                flag = getattr(cls, other).flag
                problems.append(
                    Problem(f"{cls.name}: {option.flag} needs {flag} too", option.field, "IPT133")
                )
        for other in option.excludes:
            if other in present:
                flag = getattr(cls, other).flag
                problems.append(
                    Problem(
                        f"{cls.name}: {option.flag} and {flag} exclude each other", option.field, "IPT136"
                    )
                )
    if cls.at_least_one and not present.intersection(cls.at_least_one):
        flags = ", ".join(getattr(cls, field).flag for field in cls.at_least_one)
        problems.append(Problem(f"{cls.name} needs one of {flags}", "", "IPT133"))
    problems += cls.missing(present, protocol)
    return problems


def mentioned(message: str, fields: Iterable[tuple[Option[Any], tuple[Ref, ...], bool, int]]) -> str:
    """The field of the first option given that a message names; "" where it names none."""
    given = {name: option.field for option, *_ in fields for name in option.names}
    return next((given[name] for name in _OPTION_NAME.findall(message) if name in given), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest of the names known; "" where none is near."""
    near = nearest(word, known)
    return f"did you mean {near}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The name most like a word, case aside; one that begins with the whole word is."""
    import difflib

    lower = word.lower().lstrip("-")
    names: dict[str, str] = {}
    for name in known:
        names.setdefault(name.lower().lstrip("-"), name)
    if len(lower) >= 4:
        longer = [name for name in names if name.startswith(lower)]
        if longer:
            return names[min(longer, key=len)]
    near = difflib.get_close_matches(lower, names, 3, 0.6)
    # Letters swapped are the likeliest slip.
    swapped = [name for name in near if sorted(name) == sorted(lower)]
    return names[(swapped or near)[0]] if near else ""


def _nearer(word: str, one: str, other: str) -> bool:
    import difflib

    def likeness(name: str) -> float:
        return 1.0 if name.startswith(word) else difflib.SequenceMatcher(None, word, name).ratio()

    return likeness(one) > likeness(other)


def _plausible(name: str) -> bool:
    return bool(name) and "/" not in name and not any(c in " \t\n" for c in name)


_options_cache: dict[type[Extension], dict[str, Option[Any]]] = {}


def options_by_name(cls: type[Extension] | None) -> dict[str, Option[Any]]:
    if cls is None:
        return {}
    found = _options_cache.get(cls)
    if found is None:
        found = _options_cache[cls] = {name: option for option in cls.options for name in option.names}
    return found


CORE_EXACT = dict(LONG_NAMES)
_OPAQUE_OPTION: Any = None


def _match_of_protocol(text: str, number: int, family: Family) -> str:
    """The match a protocol brings (find_proto): by the name given, by number through the protocol's name."""
    from iptkit.values.names import protocol_name
    from iptkit.values.numbers import UINT8_MAX, parse_uint

    if find_match(text, family) is not None:
        return text
    try:
        parse_uint(text, 0, UINT8_MAX)
    except ValueError:
        return ""
    name = protocol_name(number)
    return name if find_match(name, family) is not None else ""


def _all_options(family: Family) -> Iterable[str]:
    """The options of all extensions of a family: asked only to explain a refusal."""
    for names, find in ((MATCHES, find_match), (TARGETS, find_target)):
        for name in names:
            yield from options_by_name(find(name, family))


def _brings(name: str, family: Family) -> list[str]:
    """Which extensions have an option of this name: asked only to explain a refusal."""
    out = []
    for match in MATCHES:
        cls = find_match(match, family)
        if cls is not None and name in options_by_name(cls):
            out.append(match)
    for target in TARGETS:
        found = find_target(target, family)
        if found is not None and name in options_by_name(found):
            out.append(target)
    # What is meant most often: MARK before CONNMARK.
    out.sort(key=lambda n: (n not in ("tcp", "udp", "icmp", "icmp6", "esp", "ah"), len(n)))
    return out
