"""The rules of a live legacy table, as ordinary rules.

Entries are decoded to the text iptables-save prints, and that text is read as
any other, so that rules of the kernel and rules of files are of one kind and
compare.  A rule whose text does not say what its entry says (a name with a
blank in it cannot be read back, nor a target that a chain hides) becomes a
KeptRule: known by its text, and left alone in the kernel.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iptkit.extensions.core import Conditions, Jump, Verdict
from iptkit.extensions.spec import Opaque
from iptkit.kernel.entries import Decoder, Unencodable, decode_use
from iptkit.kernel.ipset import names_of
from iptkit.kernel.readback import marks_of, policies_of
from iptkit.kernel.sockopt import VERDICT_NAMES, chain_spans
from iptkit.ruleset.bound import Bound
from iptkit.ruleset.interpret import interpret
from iptkit.ruleset.model import Chain, Rule, Table
from iptkit.syntax.document import RuleLine, Shape, TableLine
from iptkit.syntax.parser import parse
from iptkit.text.record import NamedTuple
from iptkit.text.source import Source
from iptkit.text.uncollected import Uncollected

if TYPE_CHECKING:
    from iptkit.extensions.spec import Extension, Match, Target
    from iptkit.kernel.readback import Marks
    from iptkit.kernel.sockopt import TableImage
    from iptkit.ruleset.binding import Binder
    from iptkit.ruleset.model import Counters, Ruleset
    from iptkit.values.context import Context

_APPEND = re.compile(r"^-A (\S+)(.*)", re.S)
_COUNTED = re.compile(r"\[(\d+):(\d+)\] -A (\S+)(.*)")
_GOAL = re.compile(r" -([jg]) (\S+)$")


class KeptRule(Rule):
    """A live rule that cannot be had as an ordinary one; it is what its text says."""

    __slots__ = ("_text", "_to")

    def __init__(
        self, binder: Binder, line: RuleLine, text: str, to: Jump | Verdict | None, counters: Counters
    ) -> None:
        super().__init__(binder, line, Bound(Shape.of(())), (), counters)
        self._text = text
        self._to = to

    def counting(self, counters: Counters) -> KeptRule:
        return KeptRule(self._binder, self.line, self._text, self._to, counters)

    def jumping_to(self, chain: str) -> KeptRule:
        assert isinstance(self._to, Jump)
        text = self._text.removesuffix(self._to.chain) + chain
        moved = KeptRule(self._binder, self.line, text, Jump(chain, self._to.goto), self.counters)
        moved.renamed = chain
        return moved

    @property
    def conditions(self) -> Conditions:
        return Conditions(self._binder.family)

    @property
    def matches(self) -> tuple[Match | Opaque, ...]:
        return (Opaque("match", self._text, ()),)

    @property
    def target(self) -> Target | Opaque | Jump | Verdict | None:
        return self._to

    def text(self) -> str:
        return self._text


class LiveTable(NamedTuple):
    """A table with its rules.

    `marks` are those of its entries; `by_line` has them by the id() of the
    rules' lines, which a rule keeps when it is zeroed or its jump renamed.
    `unknown` are the entries, less counters and target, of the rules that iptkit
    cannot encode.
    """

    table: Table
    marks: Marks
    by_line: dict[int, int]
    unknown: dict[int, bytes]


def bare_table(image: TableImage) -> Table:
    """The chains and policies of a table, without its rules."""
    found = policies_of(image)
    chains = {
        span.name: Chain(span.name, *found[span.name]) if span.builtin else Chain(span.name, None)
        for span in chain_spans(image)
    }
    return Table(image.name, chains)


def live_table(image: TableImage, binder: Binder) -> LiveTable:
    """A table with its rules.

    Raises KernelError where it has an extension that iptkit does not know, and
    iptables-legacy-save is not there to print it.
    """
    with Uncollected():
        return _Reading(image, binder).run()


def saved_rules(text: str, name: str, binder: Binder, backend: str) -> Ruleset:
    """What a save program printed with -c, as a ruleset; a rule that cannot be read back is a KeptRule."""
    document = parse(Source(name, text))
    outcome = interpret(document, binder, counters=True, backend=backend)
    broken = {rule.line.number for section in outcome.sections for rule in section.broken}
    if not broken:
        return outcome.ruleset
    table: Table | None = None
    read: dict[int, Rule] = {}
    for line in document.lines:
        if isinstance(line, TableLine):
            table = outcome.ruleset.tables.get(line.name)
            if table is not None:
                rules = [rule for chain in table.chains.values() for rule in chain.rules]
                read = {rule.line.number: rule for rule in rules}
                for chain in table.chains.values():
                    chain.rules = []
        elif isinstance(line, RuleLine) and table is not None:
            parts = _COUNTED.match(line.raw)
            if parts is None or parts[3] not in table.chains:
                continue
            rule = read.get(line.number)
            if rule is None:
                goal = _GOAL.search(parts[4])
                to = Jump(goal[2], goal[1] == "g") if goal and goal[2] in table.chains else None
                rule = KeptRule(binder, line, parts[4], to, (int(parts[1]), int(parts[2])))
            table.chains[parts[3]].rules.append(rule)
    return outcome.ruleset


class _Reading:
    def __init__(self, image: TableImage, binder: Binder) -> None:
        self.image = image
        self.binder = binder
        self.spans = chain_spans(image)
        chain_at = {span.first: span.name for span in self.spans}
        self.decoder = Decoder(binder.family, chain_at, _decode, binder.context)
        self.lines: list[str] = []
        self.printed: dict[str, list[str]] | None = None

    def run(self) -> LiveTable:
        image, binder = self.image, self.binder
        self.lines = [f"*{image.name}", *(f":{span.name} - [0:0]" for span in self.spans if not span.builtin)]
        found = {span.name: self._chain(span.name, span.first, span.last) for span in self.spans}
        text = "\n".join([*self.lines, "COMMIT", ""])
        outcome = interpret(parse(Source(f"table {image.name}", text)), binder, counters=True)
        read = outcome.ruleset.tables[image.name]
        marks = marks_of(image)
        table = bare_table(image)
        by_line: dict[int, int] = {}
        unknown: dict[int, bytes] = {}
        by_chain = marks.chains()
        for name, entries in found.items():
            chain = read.chains.get(name)
            by_number = {} if chain is None else {rule.line.number: rule for rule in chain.rules}
            for entry, mark in zip(entries, by_chain[name], strict=True):
                rule = by_number.get(entry.number)
                if rule is None or (entry.identity is not None and rule.identity() != entry.identity):
                    line = RuleLine(entry.number, entry.text, None, None, [])
                    rule = KeptRule(binder, line, entry.text, entry.to, entry.counters)
                    unknown[id(rule.line)] = self._front(entry.offset)
                elif entry.identity is None:
                    unknown[id(rule.line)] = self._front(entry.offset)
                by_line[id(rule.line)] = mark
                table.chains[name].rules.append(rule)
        return LiveTable(table, marks, by_line, unknown)

    def _chain(self, name: str, first: int, last: int) -> list[_Found]:
        """The rules of a chain; those that can be read back are added to the text."""
        blob, layout = self.image.blob, self.image.layout
        out: list[_Found] = []
        at = first
        while at < last:
            length = layout.next_offset(blob[at:])
            entry = blob[at : at + length]
            identity = None
            try:
                decoded = self.decoder.entry(entry, at)
            except Unencodable as error:
                text = self._printed(name, len(out), error)
            else:
                text = decoded.text()
                identity = (decoded.conditions, decoded.matches, decoded.target)
            packets, octets = layout.counters(entry)
            number = 0
            if "\n" not in text:
                self.lines.append(f"[{packets}:{octets}] -A {name}{text}")
                number = len(self.lines)
            to = self._to(entry, at, text)
            out.append(_Found(at, number, text, identity, to, (packets, octets)))
            at += length
        return out

    def _to(self, entry: memoryview, at: int, text: str) -> Jump | Verdict | None:
        layout = self.image.layout
        verdict = layout.standard_verdict(entry)
        if verdict is None or verdict == at + layout.next_offset(entry):
            return None
        if verdict < 0:
            return Verdict(VERDICT_NAMES[verdict])
        chain = self.decoder.chain_at[verdict]
        return Jump(chain, text.endswith(f" -g {chain}"))

    def _front(self, at: int) -> bytes:
        """What of an entry a mark is made of, but for the target."""
        blob, layout = self.image.blob, self.image.layout
        front = layout.counters_at - (8 if self.image.family == 6 else 4)
        return bytes(blob[at : at + front]) + bytes(
            blob[at + layout.size : at + layout.target_offset(blob[at:])]
        )

    def _printed(self, chain: str, at: int, error: Unencodable) -> str:
        """A rule as iptables-legacy-save prints it."""
        if self.printed is None:
            from iptkit.kernel.nftchild import ToolError, legacy_save

            try:
                saved = legacy_save(self.binder.family, counters=False, table=self.image.name)
            except ToolError as missing:
                raise Unencodable(f"{error}, and {missing}") from None
            self.printed = {}
            # A comment may hold a line feed; no line of a save but the next rule begins as one.
            for rule in re.split(r"\n(?=-A |COMMIT\n)", saved.decode("latin-1")):
                parts = _APPEND.match(rule)
                if parts is not None:
                    self.printed.setdefault(parts[1], []).append(parts[2])
        rules = self.printed.get(chain, [])
        if at >= len(rules):
            raise Unencodable(f"{error}, and the table changed while it was read")
        return rules[at]


class _Found(NamedTuple):
    """An entry: where it is, the number of its line (0 for none), what it says, if iptkit can read that."""

    offset: int
    number: int
    text: str
    identity: tuple[object, ...] | None
    to: Jump | Verdict | None
    counters: Counters


def _decode(kind: str, name: str, revision: int, payload: bytes, context: Context) -> Extension:
    return decode_use(kind, name, revision, payload, context, names_of)
