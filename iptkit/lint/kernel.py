"""What iptables takes and the kernel refuses: extensions in the wrong place, values that do not go together.

iptables-restore --test does not ask the kernel, so none of this is seen by it.
Each extension says for itself where it may stand (`place`), for which
protocols (`protocols`) and what else the kernel wants (`kernel_check`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.spec import Extension, Place, Target
from iptkit.lint.check import word_of
from iptkit.text.codes import name_of
from iptkit.text.diagnostic import BOTH, Diagnostic, Severity
from iptkit.values.names import protocol_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iptkit.extensions.spec import Problem
    from iptkit.lint.facts import SectionFacts, ShapeFacts
    from iptkit.ruleset.binding import Bound, Placed
    from iptkit.ruleset.model import Chain, Rule
    from iptkit.syntax.document import RuleLine

_ANYWHERE = Place()
# What nf_tables 1.8.9 has of its own: there `! -p tcp` passes for -p tcp.
_NATIVE_IN_NFT = ("tcp", "udp")


def refusals(section: SectionFacts) -> Iterator[Diagnostic]:
    """Everything the kernel refuses in a section."""
    bare: dict[int, set[str]] = {}
    for shape in section.shapes.values():
        bound = shape.bound
        for placed in (*bound.matches, bound.target):
            if placed is None:
                continue
            cls = placed.segment.cls
            if cls.place is not Extension.place or cls.where != _ANYWHERE:
                yield from _misplaced(section, placed, shape)
            if cls.protocols:
                yield from _without_protocol(placed, shape)
            if cls.kernel_check is not Extension.kernel_check:
                yield from _problems(placed, shape)
        if bound.target is None and isinstance(bound.jump, int):
            memo = bound.memos[bound.jump]
            if id(memo) not in bare:
                bare[id(memo)] = {
                    raw for raw, use in memo.items() if isinstance(use, Target) and not _is_free(use)
                }
            if bare[id(memo)]:
                yield from _bare(section, bare[id(memo)], shape)


def _refused(
    line: RuleLine, word: int, code: str, message: str, hint: str, backends: tuple[str, ...]
) -> Diagnostic:
    span = word_of(line, word)
    return Diagnostic(code, name_of(code), Severity.ERROR, message, span, hint, backends=backends or BOTH)


# -- places


def _misplaced(section: SectionFacts, placed: Placed, shape: ShapeFacts) -> Iterator[Diagnostic]:
    segment = placed.segment
    context = section.facts.binder.context
    by_use = segment.cls.place is not Extension.place
    judge = _Judge(section, segment.cls)
    where = segment.cls.where
    for rule, chain in zip(shape.rules, shape.chains, strict=True):
        if by_use:
            where = segment.use(placed.key(rule.values), context).place()
        yield from judge.look(rule, chain, where, placed.word)


def _is_free(use: Target) -> bool:
    cls = type(use)
    return (
        cls.place is Extension.place
        and cls.where == _ANYWHERE
        and not cls.protocols
        and cls.kernel_check is Extension.kernel_check
    )


def _bare(section: SectionFacts, bare: set[str], shape: ShapeFacts) -> Iterator[Diagnostic]:
    """As `refusals`, for `-j NAME` without options, where the shape does not say which target it is.

    `bare` are the words that name a target which may not stand just anywhere.
    """
    bound = shape.bound
    jump = bound.jump
    assert isinstance(jump, int)
    word = bound.shape.holes[jump]
    judges: dict[type, _Judge] = {}
    for rule, chain in zip(shape.rules, shape.chains, strict=True):
        if rule.line.values[jump] not in bare:
            continue
        use = rule.values[jump]
        if not isinstance(use, Target):
            continue  # a user chain of that name
        cls = type(use)
        judge = judges.get(cls)
        if judge is None:
            judge = judges[cls] = _Judge(section, cls)
        yield from judge.look(rule, chain, use.place(), word)
        if cls.protocols and not _has_protocol(bound, cls):
            yield _refused(rule.line, word, "IPT120", *_wanted(cls, bound))
        facts = section.rule_facts(rule)
        for problem in use.kernel_check(facts):
            yield _refused(rule.line, word, problem.code, problem.message, problem.hint, problem.backends)


class _Judge:
    """Says what is wrong with an extension in a chain, once for each place and chain."""

    def __init__(self, section: SectionFacts, cls: type[Extension]) -> None:
        self._section = section
        self._cls = cls
        self._known: dict[Any, tuple[Any, ...]] = {}

    def look(self, rule: Rule, chain: Chain, where: Place, word: int) -> Iterator[Diagnostic]:
        seen = id(rule) not in self._section.calls.behind_verdict
        key = (where, chain.name, seen)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._judge(where, chain, seen)
        if found:
            yield _refused(rule.line, word, *found)

    def _judge(self, where: Place, chain: Chain, seen: bool) -> tuple[Any, ...]:
        """(code, message, hint, backends), or () when all is well."""
        section = self._section
        cls = self._cls
        what = f"the {cls.kind} {cls.name}"
        backends: tuple[str, ...]
        if section.name not in where.tables:
            backends = ("legacy",) if section.name in where.nft_tables else BOTH
            code = "IPT110" if cls.kind == "target" else "IPT112"
            hint = f"it may stand in {_list(where.tables)}"
            return code, f"{what} may not stand in the table {section.name}", hint, backends
        calls = section.calls
        legacy = set(calls.legacy_hooks.get(chain.name, ())) if seen else set()
        nft = set(calls.hooks.get(chain.name, ())) if chain.builtin or where.nft_user_chains else set()
        wrong = {"legacy": legacy - set(where.hooks), "nft": nft - set(where.hooks)}
        backends = tuple(name for name in BOTH if wrong[name])
        if not backends:
            return ()
        code = "IPT111" if cls.kind == "target" else "IPT112"
        hooks = [hook for hook in section.chains if hook in wrong["legacy"] | wrong["nft"]]
        if chain.builtin:
            message = f"{what} may not stand in {chain.name}"
        else:
            message = f"{what} may not stand in {chain.name}, which {_list(hooks)} {_leads(hooks)} to"
        allowed = [hook for hook in section.chains if hook in where.hooks and section.chains[hook].builtin]
        return code, message, f"it may stand where only {_list(allowed)} {_leads(allowed)}", backends


def _leads(hooks: list[str]) -> str:
    return "leads" if len(hooks) == 1 else "lead"


def _list(words: Iterable[str]) -> str:
    words = list(words)
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


# -- protocols


def _has_protocol(bound: Bound, cls: type[Extension]) -> bool:
    return bound.protocol in cls.protocols and not bound.protocol_inverted


def _wanted(cls: type[Extension], bound: Bound) -> tuple[str, str, tuple[str, ...]]:
    names = [protocol_name(number) for number in cls.protocols]
    backends: tuple[str, ...] = BOTH
    if bound.protocol in cls.protocols and cls.kind == "match" and cls.name in _NATIVE_IN_NFT:
        backends = ("legacy",)
    message = f"the {cls.kind} {cls.name} needs -p {' or '.join(names)}"
    return message, f"add -p {names[0]} to the rule" if len(names) == 1 else "", backends


def _without_protocol(placed: Placed, shape: ShapeFacts) -> Iterator[Diagnostic]:
    cls = placed.segment.cls
    if not _has_protocol(shape.bound, cls):
        wanted = _wanted(cls, shape.bound)
        for line in shape.lines():
            yield _refused(line, placed.word, "IPT120", *wanted)


# -- what extensions say themselves


def _problems(placed: Placed, shape: ShapeFacts) -> Iterator[Diagnostic]:
    """What is fine without the rule's matches is fine with them: they are read where something is wrong."""
    segment = placed.segment
    section = shape.section
    context = section.facts.binder.context
    alone = section.shape_facts(shape.bound)
    known: dict[Any, tuple[Problem, ...]] = {}
    before: RuleLine | None = None
    for rule in shape.rules:
        key = placed.key(rule.values)
        problems = known.get(key)
        if problems is None:
            problems = known[key] = tuple(segment.use(key, context).kernel_check(alone))
        if problems and rule.line is not before:
            before = rule.line
            for problem in segment.use(key, context).kernel_check(section.rule_facts(rule)):
                word = _word_of_field(placed, problem.field)
                yield _refused(rule.line, word, problem.code, problem.message, problem.hint, problem.backends)


def _word_of_field(placed: Placed, field: str) -> int:
    for option, refs, _, at in placed.segment.fields:
        if option.field == field:
            return placed.word + at + (1 if refs else 0)
    return placed.word
