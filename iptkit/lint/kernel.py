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

    from iptkit.lint.facts import PartFacts, SectionFacts, TargetAt, Words
    from iptkit.ruleset.bound import Bound, Placed, Segment
    from iptkit.ruleset.model import Chain, Rule
    from iptkit.syntax.document import RuleLine

_ANYWHERE = Place()
# What nf_tables 1.8.9 has of its own: there `! -p tcp` passes for -p tcp.
_NATIVE_IN_NFT = ("tcp", "udp")


def refusals(section: SectionFacts) -> Iterator[Diagnostic]:
    """Everything the kernel refuses in a section."""
    for segment, sites in section.sites.items():
        cls = segment.cls
        if cls.place is not Extension.place or cls.where != _ANYWHERE:
            yield from _misplaced(section, segment)
        if cls.protocols:
            for placed, part in sites:
                if not _has_protocol(part.bound, cls):
                    wanted = _wanted(cls, part.bound)
                    for line, offset in part.lines():
                        yield _refused(line, placed.word + offset, "IPT120", *wanted)
        if cls.kernel_check is not Extension.kernel_check:
            yield from _problems(section, segment)
    for targets in section.bare_targets.values():
        yield from _bare(section, targets)


def _refused(
    line: RuleLine, word: int, code: str, message: str, hint: str, backends: tuple[str, ...]
) -> Diagnostic:
    span = word_of(line, word)
    return Diagnostic(code, name_of(code), Severity.ERROR, message, span, hint, backends=backends or BOTH)


# -- places


def _misplaced(section: SectionFacts, segment: Segment) -> Iterator[Diagnostic]:
    cls = segment.cls
    if cls.place is Extension.place:
        judge = _Judge(section, cls, cls.where)
        if judge.may_be_wrong:
            for placed, part in section.sites[segment]:
                yield from judge.look_at(part, placed)
        return
    judges: dict[Place, _Judge] = {}
    for placed, part in section.sites[segment]:
        for words in part.distinct(placed):
            where = section.facts.use(placed, part, words).place()
            judge = judges.get(where) or judges.setdefault(where, _Judge(section, cls, where))
            if judge.may_be_wrong:
                yield from judge.look_at(part, placed, words)


def _bare(section: SectionFacts, targets: list[TargetAt]) -> Iterator[Diagnostic]:
    """As `refusals`, for `-j NAME` without options, where shapes do not say which target it is."""
    use = targets[0].rule.target
    if not isinstance(use, Target):
        return  # the verdict QUEUE, which legacy takes anywhere
    cls = type(use)
    judge = _Judge(section, cls, use.place())
    checks = cls.kernel_check is not Extension.kernel_check
    for rule, chain, word in targets if judge.may_be_wrong or cls.protocols or checks else ():
        if judge.may_be_wrong:
            yield from judge.look(rule, chain, word)
        if cls.protocols and not _has_protocol(rule.bound, cls):
            yield _refused(rule.line, word, "IPT120", *_wanted(cls, rule.bound))
        for problem in use.kernel_check(section.rule_facts(rule)) if checks else ():
            yield _refused(rule.line, word, problem.code, problem.message, problem.hint, problem.backends)


class _Judge:
    """Says what is wrong with an extension in a chain."""

    def __init__(self, section: SectionFacts, cls: type[Extension], where: Place) -> None:
        self._section = section
        self._cls = cls
        self._where = where
        self._wrong_table = section.name not in where.tables
        forbidden = tuple([hook for hook in section.builtins if hook not in where.hooks])
        calls = section.calls
        # The chains that a hook leads to where it must not stand, as each backend sees it.
        self._nft = calls.nft.below(forbidden) if where.nft_user_chains else frozenset(forbidden)
        self._legacy = calls.legacy.below(forbidden)
        self._unseen = calls.behind_verdict
        self.may_be_wrong = self._wrong_table or bool(forbidden)

    def look_at(self, part: PartFacts, placed: Placed, words: Words | None = None) -> Iterator[Diagnostic]:
        """The rules that use the extension, or only those that do so with these words."""
        if self._wrong_table:
            wrong = None
        else:
            wrong = self._nft | self._legacy
            if not wrong:
                return
        take = placed.key
        for rule, chain in zip(part.rules, part.chains, strict=True):
            if (wrong is None or chain.name in wrong) and (words is None or take(rule.line.values) == words):
                yield from self.look(rule, chain, placed.word + rule.bound.offset)

    def look(self, rule: Rule, chain: Chain, word: int) -> Iterator[Diagnostic]:
        name = chain.name
        if self._wrong_table:
            yield _refused(rule.line, word, *self._in_wrong_table())
        elif name in self._nft or name in self._legacy:
            legacy = name in self._legacy and id(rule) not in self._unseen
            backends = (*(("legacy",) if legacy else ()), *(("nft",) if name in self._nft else ()))
            if backends:
                yield _refused(rule.line, word, *self._on_wrong_hook(chain), backends)

    def _in_wrong_table(self) -> tuple[str, str, str, tuple[str, ...]]:
        """Code, message, hint and backends."""
        cls, where, table = self._cls, self._where, self._section.name
        code = "IPT110" if cls.kind == "target" else "IPT112"
        message = f"the {cls.kind} {cls.name} may not stand in the table {table}"
        backends = ("legacy",) if table in where.nft_tables else BOTH
        return code, message, f"it may stand in {_list(where.tables)}", backends

    def _on_wrong_hook(self, chain: Chain) -> tuple[str, str, str]:
        """Code, message and hint."""
        cls, where, section = self._cls, self._where, self._section
        code = "IPT111" if cls.kind == "target" else "IPT112"
        message = f"the {cls.kind} {cls.name} may not stand in {chain.name}"
        if not chain.builtin:
            hooks = [hook for hook in section.calls.nft.hooks(chain.name) if hook not in where.hooks]
            message += f", which {_list(hooks)} {_leads(hooks)} to"
        allowed = [hook for hook in section.builtins if hook in where.hooks]
        return code, message, f"it may stand where only {_list(allowed)} {_leads(allowed)}"


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


# -- what extensions say themselves


def _problems(section: SectionFacts, segment: Segment) -> Iterator[Diagnostic]:
    """What is fine without the rule's matches is fine with them: they are read where something is wrong."""
    facts = section.facts
    known: dict[Any, bool] = {}

    def is_wrong(placed: Placed, part: PartFacts, words: Words) -> bool:
        bound = part.bound
        key = words, bound.protocol, bound.protocol_inverted
        found = known.get(key)
        if found is None:
            problems = facts.use(placed, part, words).kernel_check(section.shape_facts(bound))
            found = known[key] = any(True for _ in problems)
        return found

    for placed, part in section.sites[segment]:
        take = placed.key
        wrong = {words for words in part.distinct(placed) if is_wrong(placed, part, words)}
        before: RuleLine | None = None
        for rule in part.rules if wrong else ():
            words = take(rule.line.values)
            if words in wrong and rule.line is not before:
                before = rule.line
                for problem in facts.use(placed, part, words).kernel_check(section.rule_facts(rule)):
                    word = _word_of_field(placed, problem.field) + rule.bound.offset
                    yield _refused(
                        rule.line, word, problem.code, problem.message, problem.hint, problem.backends
                    )


def _word_of_field(placed: Placed, field: str) -> int:
    for option, refs, _, at in placed.segment.fields:
        if option.field == field:
            return placed.word + at + (1 if refs else 0)
    return placed.word
