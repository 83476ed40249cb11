"""What a table of the kernel holds, in a form that can be compared with rules.

For each rule a mark, as iptkit.kernel.entries.Encoder makes them: a hash of its
entry without what the kernel changes, which is the counters, `comefrom` (its
own notes) and where in the table a jump leads; the chain's name stands for
that.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from typing import TYPE_CHECKING

from iptkit.kernel.entries import standard_target
from iptkit.kernel.sockopt import HOOK_NAMES, VERDICT_NAMES, TableError, chain_spans

if TYPE_CHECKING:
    from iptkit.kernel.sockopt import TableImage
    from iptkit.ruleset.model import Counters

_OFFSETS = struct.Struct("@HH")
_VERDICT = struct.Struct("@i")
_NAME_AT, _DATA_AT = 2, 32  # in struct xt_entry_target


class Marks:
    """The marks of a table's rules, chain after chain.

    `names` are the chains in order, `ends` where the marks of each end in
    `marks`.  One array, since an object for each of 40,000 chains is a lot.
    """

    __slots__ = ("ends", "marks", "names")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.ends: array[int] = array("q")
        self.marks: array[int] = array("q")

    def end_chain(self, name: str) -> None:
        """The marks added since the last call are those of this chain."""
        self.names.append(name)
        self.ends.append(len(self.marks))

    def chains(self) -> dict[str, array[int]]:
        """The marks of each chain."""
        starts = [0, *self.ends]
        return {
            name: self.marks[start:end]
            for name, start, end in zip(self.names, starts, self.ends, strict=False)
        }

    def difference(self, found: Marks) -> tuple[str, int] | None:
        """The first place where `found` differs: a chain, and a rule of it from 1; 0 for the chain itself."""
        if (self.marks, self.names, self.ends) == (found.marks, found.names, found.ends):
            return None
        wanted_chains, found_chains = self.chains(), found.chains()
        for chain in (*wanted_chains, *found_chains):
            wanted, got = wanted_chains.get(chain), found_chains.get(chain)
            if wanted is None or got is None:
                return chain, 0
            if wanted != got:
                common = min(len(wanted), len(got))
                return chain, next((n for n in range(common) if wanted[n] != got[n]), common) + 1
        return None


def marks_of(image: TableImage) -> Marks:
    """The marks of the rules of each chain: built-in chains first, then the user's in the kernel's order.

    Raises TableError where the table is not made as tables are.
    """
    # 100,000 entries pass here: nothing is sliced that is not hashed.
    blob = image.blob
    layout = image.layout
    size, sizes_at = layout.size, layout.target_offset_at
    front = layout.counters_at - (8 if image.family == 6 else 4)  # comefrom stands there, and padding
    unpack_sizes, unpack_verdict = _OFFSETS.unpack_from, _VERDICT.unpack_from
    join = b"".join
    spans = chain_spans(image)
    chain_at = {span.first: span.name for span in spans}
    standard: dict[str, bytes] = {}
    marks = Marks()
    add = marks.marks.append
    for name, at, last, _ in spans:
        while at < last:
            target_at, length = unpack_sizes(blob, at + sizes_at)
            target_at += at
            if blob[target_at + _NAME_AT]:
                tail: bytes | memoryview = blob[target_at : at + length]
            else:
                (verdict,) = unpack_verdict(blob, target_at + _DATA_AT)
                if verdict < 0:
                    to = VERDICT_NAMES.get(verdict, "?")
                elif verdict == at + length:
                    to = ""
                else:
                    to = chain_at.get(verdict, "?")
                tail = standard.get(to) or standard.setdefault(to, standard_target(to))
            add(hash(join((blob[at : at + front], blob[at + size : target_at], tail))))
            at += length  # noqa: PLW2901  # walks from the span's first entry to its last
        marks.end_chain(name)
    return marks


def digest_of(image: TableImage) -> tuple[object, ...]:
    """What tells two tables apart, counters and comefrom aside, which must be zero; see `blank`.

    Two checksums, since they are quick: nobody who can write tables needs to fool them.
    """
    hooks = tuple((hook, image.hook_entry[hook], image.underflow[hook]) for hook in image.hooks())
    return image.num_entries, hooks, len(image.blob), zlib.crc32(image.blob), zlib.adler32(image.blob)


def blank(image: TableImage) -> None:
    """Set counters and comefrom of all entries to zero."""
    blob, layout = image.blob, image.layout
    start = layout.counters_at - (8 if image.family == 6 else 4)
    size, sizes_at = layout.size, layout.target_offset_at
    zeros = bytes(size - start)
    unpack_sizes = _OFFSETS.unpack_from
    at, end = 0, len(blob)
    while at < end:
        blob[at + start : at + size] = zeros
        length = unpack_sizes(blob, at + sizes_at)[1]
        if length <= size:
            raise TableError(f"table {image.name} has a malformed entry at offset {at}")
        at += length


def policy_places(image: TableImage) -> dict[str, int]:
    """Which of the table's entries, counted from 0, are the policies of its built-in chains."""
    wanted = {image.underflow[hook]: HOOK_NAMES[hook] for hook in image.hooks()}
    found: dict[str, int] = {}
    blob, sizes_at = image.blob, image.layout.target_offset_at
    at = number = 0
    while len(found) < len(wanted):
        if at in wanted:
            found[wanted[at]] = number
        at += _OFFSETS.unpack_from(blob, at + sizes_at)[1]
        number += 1
    return found


def policies_of(image: TableImage) -> dict[str, tuple[str, Counters]]:
    """The policies of a table's built-in chains, with their counters."""
    blob, layout = image.blob, image.layout
    found = {}
    for hook in image.hooks():
        entry = blob[image.underflow[hook] :]
        verdict = layout.standard_verdict(entry)
        if verdict not in VERDICT_NAMES:
            raise TableError(f"table {image.name}: chain {HOOK_NAMES[hook]} has no policy")
        found[HOOK_NAMES[hook]] = VERDICT_NAMES[verdict], layout.counters(entry)
    return found
