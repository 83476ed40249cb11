"""A whole table made into the kernel's form.

A file that flushes its tables says all of what they will hold, so there is
nothing to edit in place: the block of entries is built here and handed over in
one step.  libiptc would hold every entry twice, and 100,000 rules are 60 MB.

The block: built-in chains in the order of their hooks, each its rules and a
last entry that is the policy; user chains by name, each a head, its rules and
RETURN; one more head, called ERROR, at the end.
"""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING

from iptkit.extensions.core import VERDICTS
from iptkit.kernel.entries import FRONTS
from iptkit.kernel.sockopt import HEADROOM, HOOK_NAMES, TableImage, layout_of
from iptkit.kernel.sockopt import VERDICTS as NUMBERS
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.kernel.entries import Encoder
    from iptkit.ruleset.model import Rule, Table

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


def build(table: Table, valid_hooks: int, encoder: Encoder, *, keep: bool = True) -> Block:
    """The block of a table.

    `valid_hooks` is what the kernel says of it.  Without `keep` the rules leave
    their chains, and with it memory, as they go.  Raises what Encoder raises.
    """
    layout = layout_of(encoder.family)
    gap = bytes(layout.size - FRONTS[encoder.family])  # comefrom and counters
    verdicts: dict[str | bytes, bytes] = {
        name: _STANDARD.pack(_STANDARD.size, b"", 0, NUMBERS[name]) for name in VERDICTS
    }
    jump = _STANDARD.pack(_STANDARD.size, b"", 0, 0)
    returning = layout.standard_entry(NUMBERS["RETURN"])
    head = layout.error_entry("")
    name_at = head.index(b"ERROR") + 30
    chains = sorted(
        table.chains.values(), key=lambda c: (HOOK_NAMES.index(c.name), "") if c.builtin else (5, c.name)
    )
    numbers = {chain.name: number for number, chain in enumerate(chains)}
    # Arrays of numbers: objects kept from here would hold on to the memory of the rules that are let go.
    starts = array("q", bytes(8 * len(chains)))
    counters = array("Q")
    jumps_at, jumps_to = array("Q"), array("L")
    hook_entry, underflow = [0] * len(HOOK_NAMES), [0] * len(HOOK_NAMES)
    policies = {}
    memory = bytearray(HEADROOM)
    # What is still to be put at its end, and where in the block that will end.
    waiting: list[bytes] = []
    end = 0

    def walk() -> Iterator[Rule]:
        """Hand out the rules of all chains, and write what stands between those of one and of the next."""
        nonlocal end
        for number, chain in enumerate(chains):
            if not chain.builtin:
                entry = head[:name_at] + chain.name.encode("latin-1") + head[name_at + len(chain.name) :]
                waiting.append(entry)
                end += len(entry)
                counters.extend((0, 0))
            starts[number] = end
            rules = chain.rules
            if keep:
                yield from rules
            else:
                rules.reverse()
                while rules:
                    yield rules.pop()
            if chain.policy is None:
                entry = returning
                counters.extend((0, 0))
            else:
                hook = HOOK_NAMES.index(chain.name)
                hook_entry[hook], underflow[hook] = starts[number], end
                policies[chain.name] = len(counters) // 2
                entry = layout.standard_entry(NUMBERS[chain.policy])
                counters.extend(chain.counters)
            waiting.append(entry)
            end += len(entry)

    join = b"".join
    for rule, front, target, size in encoder.pieces(walk(), gap):
        end += size
        last = verdicts.get(target)
        if last is None:
            if isinstance(target, bytes):
                last = target
            elif target:
                last = jump
                jumps_at.append(HEADROOM + end - _VERDICT_BEFORE_END)
                jumps_to.append(numbers[target])
            else:
                # A rule that only counts: on to the next entry.
                last = _STANDARD.pack(_STANDARD.size, b"", 0, end)
        waiting += front
        waiting.append(last)
        counters.extend(rule.counters)
        if len(waiting) > _MANY:
            memory += join(waiting)
            waiting.clear()
    waiting.append(layout.error_entry("ERROR"))
    memory += join(waiting)
    counters.extend((0, 0))
    pack_into = _VERDICT.pack_into
    for at, number in zip(jumps_at, jumps_to, strict=True):
        pack_into(memory, at, starts[number])
    image = TableImage.over(
        encoder.family,
        table.name,
        memory,
        valid_hooks=valid_hooks,
        hook_entry=tuple(hook_entry),
        underflow=tuple(underflow),
        num_entries=len(counters) // 2,
    )
    return Block(image, counters, policies)
