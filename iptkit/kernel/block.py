"""A whole table made into the kernel's form.

A file that flushes its tables says all of what they will hold, so there is
nothing to edit in place: the block of entries is built here and handed over in
one step.  libiptc would hold every entry twice, and 100,000 rules are 60 MB.

The block: built-in chains in the order of their hooks, each its rules and a
last entry that is the policy; user chains by name, each a head, its rules and
RETURN; one more head, called ERROR, at the end.

The rules of a table may also be encoded in parts, each by a process of its
own; the block is then put together from these (see iptkit.kernel.halves).
"""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import VERDICTS
from iptkit.kernel.entries import FRONTS
from iptkit.kernel.sockopt import HEADROOM, HOOK_NAMES, TableImage, layout_of
from iptkit.kernel.sockopt import VERDICTS as NUMBERS
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from iptkit.kernel.entries import Encoder
    from iptkit.ruleset.model import Rule, Table
    from iptkit.values.context import Family

_STANDARD = struct.Struct("@H29sBi4x")
_VERDICT = struct.Struct("@i")
_VERDICT_BEFORE_END = 8  # of an entry with the standard target
_MANY = 4096  # pieces that are put together at a time


class Block(NamedTuple):
    """An image without counters, and the counters of its entries, packets and bytes in turn.

    `policies` says which entry is the policy of a built-in chain.
    """

    image: TableImage
    counters: array[int]
    policies: dict[str, int]


class Entries:
    """Entries one after the other, wherever they will stand: where rules lead is put in when that is known.

    `memory` holds them from `start` on.  Offsets and numbers count from the
    first: of the bytes, and of the entries.  Chains are counted in the order of
    `chains`.
    """

    __slots__ = (
        "_gap",
        "_jump",
        "_settled",
        "_verdicts",
        "_waiting",
        "counters",
        "end",
        "jumps_at",
        "jumps_to",
        "memory",
        "numbers",
        "onward",
        "start",
    )

    def __init__(self, family: Family, chains: Iterable[str], start: int = 0, size: int = 0) -> None:
        self.start = start
        # Where the size is known, in one piece: while a bytearray grows to 60 MB, it is there twice at times.
        self.memory = bytearray(start + size)
        self._settled = start
        self.end = 0  # of all entries, those waiting too
        self.numbers = {name: number for number, name in enumerate(chains)}
        # Arrays of numbers: objects kept from here would hold on to the memory of the rules that are let go.
        self.counters = array("Q")  # packets and bytes of each
        self.jumps_at = array("Q")  # where entries end that jump to a chain,
        self.jumps_to = array("L")  # and to which
        self.onward = array("Q")  # where entries end that only count
        self._waiting: list[bytes] = []  # what is still to be put at the end of the memory
        self._gap = bytes(layout_of(family).size - FRONTS[family])  # comefrom and counters
        self._verdicts: dict[str | bytes, bytes] = {
            name: _STANDARD.pack(_STANDARD.size, b"", 0, NUMBERS[name]) for name in VERDICTS
        }
        self._jump = _STANDARD.pack(_STANDARD.size, b"", 0, 0)

    def add(self, rules: Iterable[Rule], encoder: Encoder) -> None:
        """Add rules.  `rules` may itself put entries between them.  Raises what Encoder raises."""
        waiting, counters, verdicts, jump = self._waiting, self.counters, self._verdicts, self._jump
        numbers = self.numbers
        for rule, front, target, size in encoder.pieces(rules, self._gap):
            self.end += size
            last = verdicts.get(target)
            if last is None:
                if isinstance(target, bytes):
                    last = target
                elif target:
                    last = jump
                    self.jumps_at.append(self.end)
                    self.jumps_to.append(numbers[target])
                else:
                    last = jump
                    self.onward.append(self.end)
            waiting += front
            waiting.append(last)
            counters.extend(rule.counters)
            if len(waiting) > _MANY:
                self.settle()

    def put(self, entry: bytes, counters: tuple[int, int] = (0, 0)) -> None:
        """Add an entry that is no rule's."""
        self._waiting.append(entry)
        self.end += len(entry)
        self.counters.extend(counters)

    def take(self, part: Part, chain: str) -> None:
        """Add the rules of a chain that were encoded by themselves."""
        run = part.runs.get(chain)
        if run is None:
            return
        by = self.end - run.start
        self.settle()
        self._write(memoryview(part.memory)[run.start : run.end])
        self.end += run.end - run.start
        self.counters += part.counters[2 * run.first : 2 * run.last]
        if run.first_jump < run.last_jump:
            jumps = slice(run.first_jump, run.last_jump)
            self.jumps_at.extend([at + by for at in part.jumps_at[jumps]])
            self.jumps_to.extend([self.numbers[part.chains[number]] for number in part.jumps_to[jumps]])
        if run.first_onward < run.last_onward:
            self.onward.extend([at + by for at in part.onward[run.first_onward : run.last_onward]])

    def settle(self) -> None:
        """Put all that waits into the memory."""
        self._write(b"".join(self._waiting))
        self._waiting.clear()

    def _write(self, data: bytes | memoryview) -> None:
        begin = self._settled
        self._settled += len(data)
        self.memory[begin : self._settled] = data

    def link(self, starts: Sequence[int]) -> None:
        """Put in where rules lead; `starts` says where each chain begins."""
        self.settle()
        memory, before = self.memory, self.start - _VERDICT_BEFORE_END
        pack_into = _VERDICT.pack_into
        for at, chain in zip(self.jumps_at, self.jumps_to, strict=True):
            pack_into(memory, before + at, starts[chain])
        for at in self.onward:
            # A rule that only counts: on to the next entry.
            pack_into(memory, before + at, at)


class Run(NamedTuple):
    """The rules of one chain in a Part: their bytes, entries, jumps, and those that only count."""

    start: int
    end: int
    first: int
    last: int
    first_jump: int
    last_jump: int
    first_onward: int
    last_onward: int


class Part(NamedTuple):
    """Rules of a table, encoded by themselves: what Entries hold, and the run of each chain that has any.

    `chains` are all chains of the table, as jumps count them.
    """

    memory: bytes
    counters: array[int]
    jumps_at: array[int]
    jumps_to: array[int]
    onward: array[int]
    chains: list[str]
    runs: dict[str, Run]

    def packed(self) -> tuple[object, ...]:
        """As marshal takes it, for another process."""
        runs = {name: tuple(run) for name, run in self.runs.items()}
        arrays = [each.tobytes() for each in (self.counters, self.jumps_at, self.jumps_to, self.onward)]
        return self.memory, *arrays, self.chains, runs

    @classmethod
    def unpacked(cls, packed: tuple[Any, ...]) -> Part:
        """The part that another process of this program packed."""
        memory, counters, jumps_at, jumps_to, onward, chains, runs = packed
        return cls(
            memory,
            array("Q", counters),
            array("Q", jumps_at),
            array("L", jumps_to),
            array("Q", onward),
            chains,
            {name: Run(*run) for name, run in runs.items()},
        )


def encode_part(table: Table, encoder: Encoder) -> Part:
    """Encode the rules of a table, which then leave their chains.  Raises what Encoder raises."""
    entries = Entries(encoder.family, table.chains)
    runs: dict[str, Run] = {}

    def place() -> tuple[int, int, int, int]:
        return entries.end, len(entries.counters) // 2, len(entries.jumps_at), len(entries.onward)

    def walk() -> Iterator[Rule]:
        for chain in table.chains.values():
            if chain.rules:
                before = place()
                yield from _letting_go(chain.rules)
                runs[chain.name] = Run(*[at for pair in zip(before, place(), strict=True) for at in pair])

    entries.add(walk(), encoder)
    entries.settle()
    return Part(
        bytes(entries.memory),
        entries.counters,
        entries.jumps_at,
        entries.jumps_to,
        entries.onward,
        list(table.chains),
        runs,
    )


def build(
    table: Table,
    valid_hooks: int,
    encoder: Encoder,
    *,
    keep: bool = True,
    parts: Sequence[Part] | None = None,
) -> Block:
    """The block of a table.

    `valid_hooks` is what the kernel says of it.  Without `keep` the rules leave
    their chains, and with it memory, as they go.  Where there are `parts`, the
    rules of each chain are those of one part after the other, and not the
    table's.  Raises what Encoder raises.
    """
    layout = layout_of(encoder.family)
    returning = layout.standard_entry(NUMBERS["RETURN"])
    head = layout.error_entry("")
    name_at = head.index(b"ERROR") + 30
    chains = sorted(
        table.chains.values(), key=lambda c: (HOOK_NAMES.index(c.name), "") if c.builtin else (5, c.name)
    )
    starts = array("q")
    hook_entry, underflow = [0] * len(HOOK_NAMES), [0] * len(HOOK_NAMES)
    policies = {}
    error, size = layout.error_entry("ERROR"), 0
    if parts is not None:
        users = sum(not chain.builtin for chain in chains)
        size = len(returning) * len(chains) + len(head) * users + len(error)
        size += sum(len(part.memory) for part in parts)
    out = Entries(encoder.family, [chain.name for chain in chains], HEADROOM, size)

    def walk() -> Iterator[Rule]:
        """Hand out the rules of all chains, and put what stands between those of one and of the next."""
        for chain in chains:
            if not chain.builtin:
                out.put(head[:name_at] + chain.name.encode("latin-1") + head[name_at + len(chain.name) :])
            start = out.end
            starts.append(start)
            if parts is not None:
                for part in parts:
                    out.take(part, chain.name)
            elif keep:
                yield from chain.rules
            else:
                yield from _letting_go(chain.rules)
            if chain.policy is None:
                out.put(returning)
            else:
                hook = HOOK_NAMES.index(chain.name)
                hook_entry[hook], underflow[hook] = start, out.end
                policies[chain.name] = len(out.counters) // 2
                out.put(layout.standard_entry(NUMBERS[chain.policy]), chain.counters)

    out.add(walk(), encoder)
    out.put(error)
    out.link(starts)
    image = TableImage.over(
        encoder.family,
        table.name,
        out.memory,
        valid_hooks=valid_hooks,
        hook_entry=tuple(hook_entry),
        underflow=tuple(underflow),
        num_entries=len(out.counters) // 2,
    )
    return Block(image, out.counters, policies)


def _letting_go(rules: list[Rule]) -> Iterator[Rule]:
    """The rules of a chain, which they leave one by one."""
    rules.reverse()
    while rules:
        yield rules.pop()
