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
from typing import TYPE_CHECKING, NamedTuple

from iptkit.extensions.core import VERDICTS
from iptkit.kernel.sockopt import HEADROOM, HOOK_NAMES, TableImage, layout_of
from iptkit.kernel.sockopt import VERDICTS as NUMBERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from iptkit.kernel.entries import Encoder
    from iptkit.ruleset.model import Rule, Table

_STANDARD = struct.Struct("@H29sBi4x")
_VERDICT = struct.Struct("@i")


class Block(NamedTuple):
    """An image without counters, and the counters of its entries, packets and bytes in turn.

    `policies` says which entry is the policy of a built-in chain.
    """

    image: TableImage
    counters: array[int]
    policies: dict[str, int]


def build(
    table: Table, valid_hooks: int, encoder: Encoder, each: Callable[[list[Rule]], Iterable[Rule]] = iter
) -> Block:
    """The block of a table.

    `valid_hooks` is what the kernel says of it.  `each` hands out the rules of a
    chain.  Raises what Encoder raises.
    """
    layout = layout_of(encoder.family)
    gap = bytes(layout.size - (92 if encoder.family == 4 else 144))  # comefrom and counters
    verdicts = {name: _STANDARD.pack(_STANDARD.size, b"", 0, NUMBERS[name]) for name in VERDICTS}
    returning = layout.standard_entry(NUMBERS["RETURN"])
    head = layout.error_entry("")
    name_at = head.index(b"ERROR") + 30
    pack_standard = _STANDARD.pack
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
    join = b"".join
    for number, chain in enumerate(chains):
        if not chain.builtin:
            memory += head[:name_at] + chain.name.encode("latin-1") + head[name_at + len(chain.name) :]
            counters.extend((0, 0))
        starts[number] = len(memory) - HEADROOM
        for rule, front, body, target in encoder.pieces(each(chain.rules)):
            if isinstance(target, bytes):
                last = target
            elif target in verdicts:
                last = verdicts[target]
            elif target:
                last = pack_standard(40, b"", 0, 0)
                jumps_at.append(len(memory) + len(front) + len(gap) + len(body) + 32)
                jumps_to.append(numbers[target])
            else:
                # A rule that only counts: on to the next entry.
                end = len(memory) - HEADROOM + len(front) + len(gap) + len(body) + 40
                last = pack_standard(40, b"", 0, end)
            memory += join((front, gap, body, last))
            counters.extend(rule.counters)
        if chain.policy is None:
            memory += returning
            counters.extend((0, 0))
        else:
            hook = HOOK_NAMES.index(chain.name)
            hook_entry[hook], underflow[hook] = starts[number], len(memory) - HEADROOM
            policies[chain.name] = len(counters) // 2
            memory += layout.standard_entry(NUMBERS[chain.policy])
            counters.extend(chain.counters)
    memory += layout.error_entry("ERROR")
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
