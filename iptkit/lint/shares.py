"""A large file looked at in two shares, by two processes where there are two processors.

Most of what checks ask is asked of one rule, or of one chain.  So a file is cut
between two chains, and each share is read, interpreted and looked at by itself:
its own rules, and all lines that are no rules.  Rules of the other share are
read where a question leads to them, since packets come from there, or go on
there.  What must be known of all of them the shares tell each other
(iptkit.lint.told), and while one waits for that it looks at what needs no word
of the other.  At last each puts in order, and tells, what it found.

Only the plainest files are shared: chain lines, then rules chain by chain, all
of them good, as iptables-save prints them.  Whatever else turns up raises
Together: the file is then looked at as a whole.

The shares are the same, and so is what they find, whoever looks at them: two
processes, or one after all.
"""

from __future__ import annotations

import functools
import marshal
import re
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from iptkit.lint.facts import Facts, SectionFacts
from iptkit.lint.flow import LARGE, masks, rewrites
from iptkit.lint.looks import looks
from iptkit.lint.registry import asks_packets
from iptkit.ruleset.interpret import interpret_part
from iptkit.ruleset.model import Unread, Unreadable
from iptkit.syntax.parser import RULE, Parser, middle
from iptkit.text import aside
from iptkit.text.aside import Together
from iptkit.text.record import NamedTuple
from iptkit.values.faults import BadValue

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from iptkit.lint.check import Check
    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.model import Rule
    from iptkit.text.aside import Talk
    from iptkit.text.diagnostic import Diagnostic
    from iptkit.text.source import Source

    # Takes what the other share tells; gives what this one has to tell, and what else there is to do
    # meanwhile; at last its findings.  What is told is such as marshal takes.
    Looking = Generator[tuple[Any, Iterator[object]], Any, list[Diagnostic]]

T = TypeVar("T")
_LAST = 1 << 60  # the number of the last line, whatever that is
_FIRST = 0.47  # of the rules are in the first share, which has a little more to do


class Share(NamedTuple):
    """Some lines of a file: their numbers, and where they are in the text."""

    first: int
    last: int
    begin: int
    end: int

    @property
    def lines(self) -> range:
        """The numbers of its lines."""
        return range(self.first, self.last + 1)


class Shares:
    """How checks look at the two shares of a file."""

    def __init__(
        self, source: Source, binder: Binder, backends: tuple[str, ...], checks: Sequence[Check]
    ) -> None:
        self._source = source
        self._binder = binder
        self._backends = backends
        self._once = [check for check in checks if check.once]
        self._packets = [check for check in checks if asks_packets(check) and not check.once]
        self._others = [check for check in checks if not asks_packets(check) and not check.once]

    def look(self, tell: Callable[[list[Diagnostic]], list[T]]) -> tuple[list[T], list[T]] | None:
        """What `tell` makes of what each finds, in the order of the file; None to look at it as a whole.

        It is something that marshal takes, since another process may make it.
        What a share finds is about its own lines.
        """
        shares = cut(self._source.text)
        if shares is None:
            return None
        first, second = map(self._look, shares)
        child = aside.start(lambda talk: marshal.dumps(tell(_to_the_end(second, talk))))
        try:
            if child is None:
                found, others = _alternately(first, second)
                return tell(found), tell(others)
            with child:
                told = tell(_to_the_end(first, child.talk))
                sent = child.result()
                return None if sent is None else (told, marshal.loads(sent))  # noqa: S302  # our own
        except (Together, Unreadable, BadValue):
            return None

    def _look(self, share: Share) -> Looking:
        """Look at one.  Raises Together, Unreadable or BadValue: look at the file as a whole then.

        Checks that ask nothing about packets need no word of the other share:
        they are for the time that it lets this one wait.
        """
        facts, unread = self._facts(share)
        found: list[Diagnostic] = []
        others = map(found.extend, looks(facts, self._others, share.lines))
        packets = map(found.extend, looks(facts, self._packets, share.lines))
        shared = next((each for each in facts.sections if each.is_shared), None)
        facts.told_anything, told = yield _first_words(facts, shared), others
        if shared is not None:
            _leave_unread(shared, told.pop("rules"), unread)
            shared.told.hear(told)
        if any(section.refusals or "QUEUE" in section.bare_targets for section in facts.sections):
            raise Together
        told = yield _last_words(shared), others
        if shared is not None:
            shared.told.hear(told)
        said: tuple[str, ...] = ()
        if share.begin:
            said = yield (), chain(others, packets)
        for _ in packets:
            pass
        # What the first share reports of these is all there is to report.
        once = [check for check in self._once if check.code not in said]
        for each in looks(facts, once, share.lines):
            found += each
        if not share.begin:
            codes = {each.code for each in found}
            yield tuple([check.code for check in once if check.code in codes]), others
        for _ in others:
            pass
        if not all(each.span.line in share.lines for each in found):
            raise Together  # it is about the table, or a fault of it
        return found

    def _facts(self, share: Share) -> tuple[Facts, Unread]:
        document = _parser().parse_part(self._source, share.first, share.begin, share.end)
        if document is None or document.odd:
            raise Together
        outcome = interpret_part(document, self._binder, gather=True)
        if outcome is None:
            raise Together
        facts = Facts(document, outcome, self._binder, backends=self._backends)
        facts.span = share.begin, share.end
        unread = Unread(self._binder, document)
        facts.sections = []
        for section in outcome.sections:
            begins, ends = (number in share.lines for number in (section.line.number, section.commit_line))
            if begins and ends:
                facts.sections.append(SectionFacts(facts, section))
            elif section.line.number <= share.last and section.commit_line >= share.first:
                own = {name: chain for name, chain in section.table.chains.items() if chain.rules}
                for name in section.table.chains.keys() - own.keys():
                    section.table.chains[name].leave_unread(unread, None)
                facts.sections.append(SectionFacts(facts, section, own))
                if not facts.sections[-1].declared_builtins:
                    raise Together  # which chains it means is asked of all rules
        return facts, unread


def _to_the_end(looking: Looking, talk: Talk) -> list[Diagnostic]:
    """Look at one share, while another process looks at the other.  Raises as Shares._look does."""
    tells, meanwhile = next(looking)
    while True:
        told = talk.swap(marshal.dumps(tells), meanwhile)
        if told is None:
            raise Together
        try:
            tells, meanwhile = looking.send(marshal.loads(told))  # noqa: S302  # our own
        except StopIteration as end:
            found: list[Diagnostic] = end.value
            return found


def _alternately(first: Looking, second: Looking) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """Look at both, in one process.  Raises as Shares._look does."""
    tells = [_alone(*next(looking)) for looking in (first, second)]
    found: list[list[Diagnostic]] = []
    while not found:
        told, tells = tells[::-1], []
        for looking, words in zip((first, second), told, strict=True):
            try:
                tells.append(_alone(*looking.send(words)))
            except StopIteration as end:
                found.append(end.value)
    return found[0], found[1]


def _alone(tells: Any, meanwhile: Iterator[object]) -> Any:
    """What a share tells, when all is done that there is to do meanwhile."""
    for _ in meanwhile:
        pass
    return tells


def _leave_unread(shared: SectionFacts, rules: dict[str, Sequence[int]], unread: Unread) -> None:
    """Leave the rules of the other share unread, given the numbers of their lines.  Raises Together."""
    if rules.keys() & shared.own.keys():
        raise Together
    for name in shared.chains.keys() - shared.own.keys():
        lines = rules.get(name, [])
        shared.chains[name].leave_unread(unread, range(*lines) if isinstance(lines, tuple) else lines)
    if shared.rule_count <= LARGE:
        raise Together  # in small tables each rule is looked at with all others


def _numbers(rules: list[Rule]) -> Sequence[int]:
    """The numbers of the lines of rules; of those in a row a tuple, the first and the next after the last."""
    first, last = rules[0].line.number, rules[-1].line.number
    if last - first == len(rules) - 1:
        return first, last + 1
    return [rule.line.number for rule in rules]


def _first_words(facts: Facts, shared: SectionFacts | None) -> tuple[bool, dict[str, Any]]:
    words = {}
    if shared is not None:
        words = {
            "rules": {name: _numbers(chain.rules) for name, chain in shared.own.items()},
            "calls": shared.calls.callees,
            "legacy": shared.calls.legacy_callees,
            "changing": shared.alike.changing,
            "rewrites": set(rewrites(shared)),
            "masks": masks(shared),
            "steps": shared.reach.steps,
        }
    return facts.any_network or facts.any_interface, words


def _last_words(shared: SectionFacts | None) -> dict[str, Any]:
    if shared is None:
        return {}
    return {"closed": shared.reach.closed, "dead": shared.reach.dead, "live": shared.reach.live}


def cut(text: str) -> tuple[Share, Share] | None:
    """Where to cut a file: between two chains of a large section; None for one that is not to be shared."""
    if not text.isascii() or not text.endswith("\n") or "\r" in text:
        return None
    if "\\" in text and "\\\n" in text:
        return None
    begin, end = middle(text, _FIRST)
    if not begin or end == len(text):
        return None
    begin = _next_chain(text, begin, end)
    rule = RULE.search(text, max(text.rfind("\n*", 0, begin), 0))
    number = text.count("\n", 0, begin)
    if not begin or rule is None or number - 1 - text.count("\n", 0, rule.start()) <= LARGE:
        return None
    return Share(1, number, 0, begin), Share(number + 1, _LAST, begin, len(text))


def _next_chain(text: str, begin: int, end: int) -> int:
    """Where the first line begins that adds to another chain than the one that begins there, 0 for none."""
    before = ""
    while begin < end:
        after = text.index("\n", begin) + 1
        name = _chain(text[begin : after - 1])
        if before and name and name != before:
            return begin
        before = name or before
        begin = after
        if name:
            # Its rules may be thousands.
            other = re.compile(rf"\n(?!-A {re.escape(name)} )").search(text, begin - 1, end)
            begin = end if other is None else other.end()
    return 0


def _chain(raw: str) -> str:
    """The chain that a line adds to, "" for any other line."""
    if raw[:1] == "[":
        raw = raw.partition("] ")[2]
    if raw[:3] != "-A ":
        return ""
    end = raw.find(" ", 3)
    return raw[3:end] if end > 0 else raw[3:]


@functools.cache
def _parser() -> Parser:
    """Of both shares, where one process looks at both."""
    return Parser()
