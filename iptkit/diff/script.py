"""A difference as a script for `iptables-restore --counters --noflush`.

Run on the old state it makes the new one, and rules that stay keep their
counters, because nothing touches them.  Rules that move take theirs along.
Added and edited rules begin at zero, unless counters were compared: then they
are part of what is wanted, and every rule gets those of the new side.

What the order of a table's lines rests on:

1. A line `:name - [0:0]` makes a chain, and empties one that is there, so it
   stands for new chains only; and before any rule that jumps to it.  A chain
   that was renamed is renamed: its rules and the jumps to it stay.
2. Policies stand there even when they stay: libiptc zeroes the counters of
   every policy that a file does not name, if it changes anything in the table.
3. Rules are deleted by number, from the last to the first, so that every
   number is the one it has in the old state; by their text, a duplicate could
   be hit.  A chain that keeps no rule is flushed instead.  `-R` is not used:
   iptables-nft-restore 1.8.9 dies of it.
4. Chains are deleted when nothing jumps to them any more, and before the rules
   come that might name a target of the same name.
5. Rules are inserted from the first to the last: then each number is the one
   in the new state, and the rule that stands there is one that stayed, which
   nf_tables needs to find the place.  At the end of a chain they are appended.
   (`-F` of a chain that was appended to before does nothing in nf_tables, so
   all flushing is done by then.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.ruleset.interpret import interpret
from iptkit.ruleset.model import NO_COUNTERS, Table
from iptkit.syntax.parser import parse, words_of
from iptkit.text.diagnostic import IptkitError
from iptkit.text.source import Source, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iptkit.diff.model import ChainDifference, Difference, TableDifference
    from iptkit.ruleset.model import Counters, Rule


def script(difference: Difference, old: str, new: str) -> str:
    """The script, Latin-1 as all ruleset text; only comment lines when nothing differs.

    Raises IptkitError for a rule that cannot be written so that it reads back.
    """
    tool = "iptables-restore" if difference.new.family == 4 else "ip6tables-restore"
    before, after = (shown(n.encode("utf-8", "surrogateescape").decode("latin-1")) for n in (old, new))
    lines = [
        f"# From {before} to {after}, for {tool} --counters --noflush.",
        "# Rule numbers count in the old state: it must not have changed since.",
    ]
    out = "".join(line.encode("utf-8").decode("latin-1") + "\n" for line in lines)
    return out + "".join(line + "\n" for table in difference.tables for line in _table(table, difference))


class _Entry:
    """A rule to put into a chain: where, with which counters."""

    __slots__ = ("chain", "counters", "number", "rule")

    def __init__(self, chain: str, number: int | None, rule: Rule, counters: Counters) -> None:
        self.chain = chain
        self.number = number  # None to append
        self.rule = rule
        self.counters = counters


def _table(table: TableDifference, difference: Difference) -> Iterator[str]:
    counters = difference.counters
    if table.change == "removed":
        yield f"# The table {table.name} is not in the new state: this empties it."
    yield f"*{table.name}"
    entries: list[_Entry] = []
    renamed: list[str] = []
    cuts: list[str] = []
    flushed: list[str] = []
    deleted: list[str] = []
    for chain in table.chains:
        if chain.new is None and chain.old is not None:
            if chain.old.rules:
                flushed.append(_command("flush", chain.name))
            deleted.append(_command("delete-chain", chain.name))
        elif chain.old is None:
            yield f":{chain.name} - [0:0]"
        elif chain.new is not None:
            if chain.change == "renamed":
                renamed.append(f"-E {_quoted(chain.old.name)} {_quoted(chain.name)}")
            cuts += _cuts(chain)
        if chain.new is not None:
            entries += _entries(chain, counters)
    yield from _policies(table, difference)
    yield from renamed
    yield from cuts
    yield from flushed
    yield from deleted
    if entries:
        target = difference.new.tables[table.name]
        for entry, text in zip(entries, _texts(target, entries), strict=True):
            command = f"-A {_quoted(entry.chain)}"
            if entry.number is not None:
                command = f"-I {_quoted(entry.chain)} {entry.number}"
            packets, octets = entry.counters
            yield f"[{packets}:{octets}] {command}{text}" if packets or octets else command + text
    yield "COMMIT"


def _policies(table: TableDifference, difference: Difference) -> Iterator[str]:
    changed = {chain.name for chain in table.chains if chain.policies is not None}
    old, new = (
        side.tables.get(table.name) or Table.fresh(table.name) for side in (difference.old, difference.new)
    )
    for name, chain in new.chains.items():
        if chain.builtin:
            before = old.chains[name].counters
            packets, octets = chain.counters if difference.counters else before
            if name in changed or before != (0, 0) or (packets, octets) != (0, 0):
                yield f":{name} {chain.policy} [{packets}:{octets}]"


def _cuts(chain: ChainDifference) -> Iterator[str]:
    numbers = sorted((r.old_number for r in chain.rules if r.old_number is not None), reverse=True)
    if chain.old is not None and numbers and len(numbers) == len(chain.old.rules):
        yield _command("flush", chain.name)
        return
    for number in numbers:
        yield f"-D {_quoted(chain.name)} {number}"


def _command(command: str, chain: str) -> str:
    """-F or -X of a chain; one called like an option must be glued to the long name."""
    if chain[:1] in ("-", "!"):
        return _quoted(f"--{command}={chain}")
    return f"-{'F' if command == 'flush' else 'X'} {_quoted(chain)}"


def _entries(chain: ChainDifference, counters: bool) -> Iterator[_Entry]:
    new = chain.new
    assert new is not None  # the caller has looked
    coming = sorted((r.new_number, r) for r in chain.rules if r.new_number is not None)
    # Behind `last` there is nothing but what comes.
    last = len(new.rules)
    for number, _ in reversed(coming):
        if number != last:
            break
        last -= 1
    for number, found in coming:
        rule = new.rules[number - 1]
        kept = NO_COUNTERS
        if counters:
            kept = rule.counters
        elif found.change == "moved" and found.old is not None:
            kept = found.old.counters
        yield _Entry(chain.name, number if number <= last else None, rule, kept)


# -- writing rules so that they read back


def _texts(table: Table, entries: list[_Entry]) -> list[str]:
    """Each rule's text, after `-A CHAIN`.

    What iptables-save prints does not always read back: an interface name with
    a blank in it stands there without quotes.  Such a rule is written with the
    words of its own line.
    """
    texts = [entry.rule.text() for entry in entries]
    for at in _misread(table, entries, texts, range(len(entries))):
        texts[at] = _as_written(entries[at].rule)
    changed = [at for at, entry in enumerate(entries) if texts[at] != entry.rule.text()]
    for at in _misread(table, entries, texts, changed):
        rule = entries[at].rule
        raise IptkitError(
            f"line {rule.line.number}: the rule{shown(rule.text())} cannot be written so that it reads back"
        )
    return texts


def _misread(table: Table, entries: list[_Entry], texts: list[str], which: Iterable[int]) -> list[int]:
    """Which of these texts, read as a file, do not give their rules."""
    lines = [f"*{table.name}"]
    lines += [f":{chain.name} - [0:0]" for chain in table.chains.values()]
    first = len(lines) + 1
    numbers: dict[int, int] = {}  # line -> place in `entries`
    broken = []
    for at in which:
        if "\n" in texts[at]:
            broken.append(at)
        else:
            numbers[first + len(numbers)] = at
            lines.append(f"-A {_quoted(entries[at].chain)}{texts[at]}")
    if not numbers:
        return broken
    lines.append("COMMIT")
    document = parse(Source("<script>", "\n".join(lines) + "\n"))
    binder = entries[0].rule._binder
    outcome = interpret(document, binder)
    read = {
        rule.line.number: rule
        for chain in outcome.ruleset.tables[table.name].chains.values()
        for rule in chain.rules
    }
    for line, at in numbers.items():
        found = read.get(line)
        wanted = entries[at].rule
        if found is None or found.identity() != wanted.identity():
            broken.append(at)
    return broken


def _as_written(rule: Rule) -> str:
    """The words of the rule's own line but for its command, each led by a blank.

    Its text again, where the line stands for several rules or for none.
    """
    where = rule.bound.where
    words = words_of(rule.line)
    if "command" not in where or "c" in where or rule.picks > 1 or rule.renamed is not None:
        return rule.text()
    begin = where["command"]
    # `-A CHAIN` are two words; `-ACHAIN` and `--append=CHAIN` are one.
    command = words[begin]
    separate = command in ("-A", "-I", "-R") or (command.startswith("--") and "=" not in command)
    dropped = {begin, begin + 1} if separate else {begin}
    if "position" in where:
        dropped.add(where["position"])
    return "".join(" " + _quoted(word) for at, word in enumerate(words) if at not in dropped)


def _quoted(word: str) -> str:
    if word and not any(c in ' \t"\\' for c in word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
