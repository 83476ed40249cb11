"""Rules that say the same, however they are written.

Two shapes have one *form* when they ask the same questions, whatever the order
and spelling of their options: `-p tcp --dport •` and `-m tcp -p tcp
--destination-port •`.  A rule is then its form and the values it has for it.
Comments and counters are no part of either.

This is asked for every rule of a file, so it is built for speed: the values of
plain options come from a rule in one step, and an extension whose values do
not stand for themselves (`--syn` is one way to write `--tcp-flags`) counts by
the number of its meaning.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import INTERFACE, NETWORKS, Jump, Verdict
from iptkit.extensions.spec import Extension
from iptkit.lint.conditions import is_changing
from iptkit.lint.savedform import AS_WRITTEN
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.lint.facts import Facts
    from iptkit.ruleset.bound import Bound, Placed, Ref
    from iptkit.ruleset.model import Rule

# A rule's values for its form: those of plain options, then numbers for what is not plain.
Values = tuple[Any, ...]


class Form(NamedTuple):
    """The question a rule asks, with its values taken out.

    `plain` names the plain options, in the order of their values: "-s",
    "--dport".  `changing` forms have a condition that does not follow from the
    packet, so that no two rules say the same; `rewritable` ones test what a
    rule before may have changed.
    """

    number: int
    plain: tuple[str, ...]
    changing: bool
    rewritable: bool


class Normal(NamedTuple):
    """A shape's form, and the function that gives the values a rule has for it."""

    form: Form
    values: Callable[[Rule], Values]


class Forms:
    """The forms of a file's shapes."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._normals: dict[Bound, Normal] = {}
        self._forms: dict[Any, Form] = {}
        self._meanings: dict[Any, int] = {}

    def of(self, bound: Bound) -> Normal:
        found = self._normals.get(bound)
        if found is None:
            found = self._normals[bound] = _Reader(self, self._facts, bound).normal()
        return found

    def form(self, key: Any, plain: tuple[str, ...], changing: bool, rewritable: bool) -> Form:
        found = self._forms.get(key)
        if found is None:
            found = self._forms[key] = Form(len(self._forms), plain, changing, rewritable)
        return found

    def number(self, meaning: Any) -> int:
        """A number for anything hashable: the same for what is equal."""
        return self._meanings.setdefault(meaning, len(self._meanings))


class _Reader:
    """Takes one shape apart."""

    def __init__(self, forms: Forms, facts: Facts, bound: Bound) -> None:
        self._forms = forms
        self._facts = facts
        self._bound = bound
        self._key: list[Any] = []
        self._plain: list[tuple[str, int]] = []  # name of an option, hole of its value
        self._numbers: list[Callable[[Rule], int]] = []

    def normal(self) -> Normal:
        bound = self._bound
        self._core("-s", bound.source, NETWORKS, bound.source_inverted)
        self._core("-d", bound.destination, NETWORKS, bound.destination_inverted)
        self._core("-i", bound.in_interface, INTERFACE, bound.in_inverted)
        self._core("-o", bound.out_interface, INTERFACE, bound.out_inverted)
        self._key.append((bound.protocol, bound.protocol_inverted, bound.fragment, bound.fragment_inverted))
        matches = [placed for placed in bound.matches if not _says_nothing(placed)]
        for placed in sorted(matches, key=lambda placed: placed.segment.cls.name):
            self._use(placed)
        self._key.append(bound.goto)
        if bound.target is not None:
            self._key.append("target")
            self._numbers.append(self._numbered(bound.target))
        elif bound.jump is not None:
            self._key.append("target")
            self._numbers.append(self._jump())
        plain = tuple(name for name, _ in self._plain)
        changing = is_changing(bound) or bool(bound.opaque)
        rewritable = any(placed.segment.cls.rewritable for placed in matches)
        form = self._forms.form((tuple(self._key), plain, changing), plain, changing, rewritable)
        return Normal(form, self._together())

    def _core(self, flag: str, ref: Ref | None, type_: Any, inverted: bool) -> None:
        if ref is None:
            return
        if isinstance(ref, str):
            self._key.append((flag, inverted, self._facts.binder.memo(type_)[ref]))
        else:
            self._key.append((flag, inverted))
            self._plain.append((flag, ref))

    def _use(self, placed: Placed) -> None:
        segment = placed.segment
        cls = segment.cls
        single = all(len(refs) == 1 and isinstance(refs[0], int) for _, refs, _, _ in segment.fields)
        if not segment.fields or not single or not self._stands_for_itself(placed):
            self._key.append((cls.kernel_name, cls.revision))
            self._numbers.append(self._numbered(placed))
            return
        for option, refs, inverted, _ in sorted(segment.fields, key=lambda field: field[0].index):
            flag = "--ctstate" if option.flag == "--state" else option.flag  # one match with two names
            self._key.append((cls.kernel_name, cls.revision, flag, inverted))
            self._plain.append((flag, placed.holes[int(refs[0])]))

    def _stands_for_itself(self, placed: Placed) -> bool:
        """Are the values as written the values as kept, for all there is to see?"""
        segment = placed.segment
        cls = segment.cls
        if any(getattr(option.type, "lazy", False) for option, _, _, _ in segment.fields):
            return False
        if cls.within is not Extension.within:
            return False
        if cls.settle.__func__ is Extension.settle.__func__:  # type: ignore[attr-defined]  # classmethods have __func__
            return True
        as_written = AS_WRITTEN.get(cls.name, ())
        return all(option.flag in as_written for option, _, _, _ in segment.fields)

    def _numbered(self, placed: Placed) -> Callable[[Rule], int]:
        """The number of an extension's meaning."""
        segment, key = placed.segment, placed.key
        context = self._facts.binder.context
        number = self._forms.number
        known: dict[Any, int] = {}

        def read(rule: Rule) -> int:
            values = key(rule.values)
            found = known.get(values)
            if found is None:
                found = known[values] = number(segment.use(values, context))
            return found

        return read

    def _jump(self) -> Callable[[Rule], int]:
        number = self._forms.number
        known: dict[int, int] = {}

        def read(rule: Rule) -> int:
            target = rule.target
            found = known.get(id(target))
            if found is None or isinstance(target, Jump):
                meaning = target.chain if isinstance(target, Jump) else target
                found = number(meaning.name if isinstance(meaning, Verdict) else meaning)
                if rule.bound.jump.__class__ is int and rule.renamed is None:
                    known[id(target)] = found  # the rule keeps its target, so the id stays its own
            return found

        return read

    def _together(self) -> Callable[[Rule], Values]:
        holes = [hole for _, hole in self._plain]
        numbers = self._numbers
        if not holes:
            return lambda rule: ((), *[read(rule) for read in numbers], rule.pick)
        take = itemgetter(*holes) if len(holes) > 1 else _one(holes[0])
        if len(numbers) == 1:
            (only,) = numbers
            return lambda rule: (take(rule.values), only(rule), rule.pick)
        return lambda rule: (take(rule.values), *[read(rule) for read in numbers], rule.pick)


def _one(hole: int) -> Callable[[tuple[Any, ...]], tuple[Any]]:
    return lambda values: (values[hole],)


def _says_nothing(placed: Placed) -> bool:
    """A comment, or a match of the rule's own protocol without options: `-p tcp -m tcp`."""
    cls = placed.segment.cls
    return cls.name == "comment" or (bool(cls.protocols) and not placed.segment.fields)


def comment_of(rule: Rule) -> tuple[str, ...]:
    """The comments of a rule, as written."""
    out: list[str] = []
    for placed in rule.bound.matches:
        if placed.segment.cls.name == "comment":
            words = placed.key(rule.line.values)
            out += (words,) if isinstance(words, str) else words
    return tuple(out)
