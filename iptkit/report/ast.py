"""A file as one JSON object: its lines, and what every rule line says.

    {"schema": "iptkit-ast/1", "name": "rules.save", "family": 4, "encoding": "utf-8",
     "final_newline": true, "lines": [{"kind": "table", "number": 1, "raw": "*filter", ...}]}

The shape is held by schema/ast-1.json.  Its number changes when a field
changes its meaning or goes; new fields may come at any time.  The text of the
file is the `raw` of all lines, each followed by a line feed unless its
`newline` is false, encoded as `encoding` says.

A rule is bound by itself, whatever table it stands in: its values are those of
iptables-save, the words beside are those that were written.  A line has
`diagnostics` for whatever iptables-restore would refuse in it, one that cannot
be read as a rule has no `rule`.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import INTERFACE, NETWORKS, Jump, Verdict
from iptkit.extensions.registry import TARGETS
from iptkit.extensions.spec import Opaque
from iptkit.report.json import findings_of
from iptkit.report.readable import Lines, file_name
from iptkit.ruleset.binding import Binder, options_by_name
from iptkit.ruleset.interpret import interpret, parse_chain_counters
from iptkit.ruleset.model import NO_COUNTERS, Rule
from iptkit.syntax.document import ChainLine, Document, RuleLine, TableLine
from iptkit.syntax.parser import words_of
from iptkit.syntax.words import unquote
from iptkit.values.addresses import show_network4, show_network6
from iptkit.values.names import protocol_name
from iptkit.values.numbers import parse_uint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iptkit.extensions.spec import Extension
    from iptkit.ruleset.binding import Bound
    from iptkit.text.diagnostic import Diagnostic

SCHEMA = "iptkit-ast/1"
OUTSIDE = "IPT007"  # rule-outside-table
_REMEMBERED = 10_000  # uses of extensions; a large file has as many different comments as rules
_JSON = json.JSONEncoder(ensure_ascii=False)


def render(document: Document, binder: Binder) -> Iterator[str]:
    """The JSON text of a document, in pieces of one line each; joined they are one object.

    Memory is that of the document and of the distinct values in it: the
    objects of the lines are made one at a time.
    """
    tree = Ast(document, binder)
    head = _JSON.encode(tree.head())
    yield head[:-1] + ', "lines": [\n'
    before = ""
    for line in tree.lines():
        yield before + _JSON.encode(line)
        before = ",\n"
    yield "\n]}\n"


def document_of(document: Document, binder: Binder) -> dict[str, Any]:
    """The object that `render` prints."""
    tree = Ast(document, binder)
    return {**tree.head(), "lines": list(tree.lines())}


def text_of(tree: dict[str, Any]) -> bytes:
    """The file that such an object was made of, byte for byte."""
    pieces = (line["raw"] + ("\n" if line.get("newline", True) else "") for line in tree["lines"])
    return "".join(pieces).encode(tree["encoding"])


class Ast:
    """The lines of one document as JSON objects."""

    def __init__(self, document: Document, binder: Binder) -> None:
        self.document = document
        self._binder = binder
        self.encoding = _encoding(document)
        self._said: Callable[[str], str] = _same if self.encoding == "latin-1" else _utf8
        if document.source.text.isascii():
            self._said = _same
        self._uses: dict[int, dict[str, Any]] = {}  # id of a use that the binder keeps -> its object
        self._findings = self._refused(document)
        # Chains of this section that are called like a target, which they hide.
        self._hidden: frozenset[str] = frozenset()

    def head(self) -> dict[str, Any]:
        """All but the lines."""
        return {
            "schema": SCHEMA,
            "name": file_name(self.document.source),
            "family": self._binder.family,
            "encoding": self.encoding,
            "final_newline": self.document.source.text.endswith("\n"),
        }

    def lines(self) -> Iterator[dict[str, Any]]:
        """The lines, in order."""
        said = self._said
        ends = self.document.joined
        findings = self._findings
        source = self.document.source
        by_number = Lines(source)
        for at, line in enumerate(self.document.lines):
            out: dict[str, Any] = {"kind": line.kind, "number": line.number, "raw": said(line.raw)}
            if at in ends:
                out["newline"] = False
            if isinstance(line, RuleLine):
                self._rule_line(line, out)
            elif isinstance(line, ChainLine):
                self._chain_line(line, out)
            elif isinstance(line, TableLine):
                self._hidden = frozenset()
                out["name"] = said(line.name)
            # The pieces of a line that is too long have one number: its findings go with the first.
            found = findings.pop(line.number, None)
            if found:
                out["diagnostics"] = findings_of(source, found, by_number)
            yield out

    def _refused(self, document: Document) -> dict[int, list[Diagnostic]]:
        found: dict[int, list[Diagnostic]] = {}
        for diagnostic in interpret(document, self._binder).diagnostics:
            found.setdefault(diagnostic.span.line, []).append(diagnostic)
        return found

    def _chain_line(self, line: ChainLine, out: dict[str, Any]) -> None:
        said = self._said
        out["name"] = None if line.name is None else said(line.name)
        out["policy"] = None if line.policy is None else said(line.policy)
        out["counters"] = _counters(line.counters)
        if line.name in TARGETS:
            self._hidden |= {line.name}

    # -- rules

    def _rule_line(self, line: RuleLine, out: dict[str, Any]) -> None:
        said = self._said
        given = line.counters
        out["counters"] = None if given is None else _counters(f"[{given.packets}:{given.octets}]")
        out["words"] = [said(word) for word in words_of(line)]
        out["rule"] = None
        if line.shape is not None:
            bound = self._binder.bound(line.shape, self._hidden)
            if bound.ends:
                out["skipped"] = bound.ends
                return
            if not bound.faults:
                # A value that is refused is no rule either; the diagnostics say why.
                with contextlib.suppress(ValueError):
                    out["rule"] = self._rule(line, bound, out)
        if out["rule"] is None:
            said_so = self._findings.setdefault(line.number, [])
            if all(found.code == OUTSIDE for found in said_so):
                # It stands where iptables-restore does not read it: outside a table, or in an unknown one.
                said_so += self._by_itself(line)

    def _by_itself(self, line: RuleLine) -> list[Diagnostic]:
        """What is wrong with a line that cannot be read, wherever it stands."""
        alone = Document(self.document.source, [TableLine(0, "*filter"), line])
        return [d for d in interpret(alone, self._binder).diagnostics if d.span.line == line.number]

    def _rule(self, line: RuleLine, bound: Bound, out: dict[str, Any]) -> dict[str, Any]:
        """What a rule line says.  Raises ValueError where a value cannot be read."""
        said = self._said
        values: list[Any] = []
        for hole, (memo, raw) in enumerate(zip(bound.memos, line.values, strict=True)):
            if hole == bound.jump and self._hidden and unquote(raw) in self._hidden:
                values.append(Jump(unquote(raw), bound.goto))
            else:
                values.append(memo[raw])
        if bound.counters is not None and out["counters"] is None:
            packets, octets = (_text(ref, line) for ref in bound.counters)
            out["counters"] = _counters(f"[{packets}:{octets}]")
        rule = Rule(self._binder, line, bound, tuple(values), NO_COUNTERS)
        chain = _text(bound.chain, line)
        command = bound.command[0]
        if command == "N" and chain in TARGETS:
            self._hidden |= {chain}
        made: dict[str, Any] = {"command": f"-{command}", "chain": None if chain is None else said(chain)}
        if bound.position is not None:
            made["position"] = parse_uint(_text(bound.position, line) or "", 1, 2**31 - 1)
        if bound.argument is not None:
            made["argument"] = said(_text(bound.argument, line) or "")
        if command in "ADICR" and bound.command != "D#":
            made["conditions"] = self._conditions(rule)
            made["matches"] = self._matches(rule)
            target = rule.target
            made["target"] = None if target is None else self._target(target)
            made["goto"] = bound.goto
        return made

    def _conditions(self, rule: Rule) -> list[dict[str, Any]]:
        bound = rule.bound
        out = []
        show = show_network4 if self._binder.family == 4 else show_network6
        for flag, ref, inverted in (
            ("-s", bound.source, bound.source_inverted),
            ("-d", bound.destination, bound.destination_inverted),
        ):
            if ref is not None:
                networks = ",".join(show(*network) for network in rule.value(ref, NETWORKS))
                out.append({"option": flag, "inverted": inverted, "value": networks})
        for flag, ref, inverted in (
            ("-i", bound.in_interface, bound.in_inverted),
            ("-o", bound.out_interface, bound.out_inverted),
        ):
            if ref is not None:
                name = self._said(rule.value(ref, INTERFACE))
                out.append({"option": flag, "inverted": inverted, "value": name})
        if "p" in bound.where:
            name = protocol_name(bound.protocol) if bound.protocol else "all"
            out.append({"option": "-p", "inverted": bound.protocol_inverted, "value": name})
        if bound.fragment:
            out.append({"option": "-f", "inverted": bound.fragment_inverted, "value": None})
        return out

    def _matches(self, rule: Rule) -> list[dict[str, Any]]:
        named = [placed.named for placed in rule.bound.matches]
        for at, _ in rule.bound.opaque:
            if at >= 0:
                named.insert(at, True)
        return [
            {**self._use(use), "implicit": not name} for use, name in zip(rule.matches, named, strict=True)
        ]

    def _target(self, target: Extension | Jump | Verdict) -> dict[str, Any]:
        if isinstance(target, Jump):
            return {"kind": "chain", "name": self._said(target.chain)}
        if isinstance(target, Verdict):
            return {"kind": "verdict", "name": target.name}
        return {"kind": "target", **self._use(target)}

    def _use(self, use: Extension) -> dict[str, Any]:
        if isinstance(use, Opaque):
            # Its options are not known, so that only its words can be told.
            return {
                "name": self._said(use.saved_name()),
                "options": [],
                "words": [self._said(word) for word in use.words],
            }
        made = self._uses.get(id(use))
        if made is None:
            made = {"name": use.saved_name(), "options": [*self._options(use)]}
            if len(self._uses) < _REMEMBERED:
                self._uses[id(use)] = made
        return made

    def _options(self, use: Extension) -> Iterator[dict[str, Any]]:
        """The options of a use out of what iptables-save prints for it."""
        known = options_by_name(type(use))
        said = self._said
        inverted = False
        pieces = [*use.save()]
        at = 0
        while at < len(pieces):
            piece = pieces[at]
            at += 1
            if piece == "!":
                inverted = True
                continue
            if piece not in known:
                # Several words in one piece, as some extensions print them.
                pieces[at - 1 : at] = piece.split(" ")
                at -= 1
                continue
            option = known[piece]
            value = None
            if option.type is not None and not _left_out(option.type, pieces[at : at + 1]):
                value = said(pieces[at])
                at += 1
            yield {"option": piece, "inverted": inverted, "value": value}
            inverted = False


def _left_out(type_: Any, following: list[str]) -> bool:
    """Has an option whose value may be left out none?"""
    return getattr(type_, "optional", False) and (not following or following[0][:1] in ("-", "!"))


def _text(ref: Any, line: RuleLine) -> Any:
    """A word of a rule: from a hole, or written in the shape."""
    return unquote(line.values[ref]) if isinstance(ref, int) else ref


def _counters(text: str | None) -> dict[str, int] | None:
    try:
        found = parse_chain_counters(text or "")
    except ValueError:  # more digits than Python reads
        return None
    return None if found is None else {"packets": found[0], "bytes": found[1]}


def _encoding(document: Document) -> str:
    """UTF-8 where every line is, else Latin-1; a line cut by its length may end within a character."""
    text = document.source.text
    if text.isascii():
        return "utf-8"
    try:
        text.encode("latin-1").decode("utf-8")
        if document.joined:
            for line in document.lines:
                line.raw.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _same(text: str) -> str:
    return text


def _utf8(text: str) -> str:
    """Of a UTF-8 file; a value that iptables cuts by bytes may end within a character."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "backslashreplace")
