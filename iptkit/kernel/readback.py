"""What a table of the kernel holds, in a form that can be compared with rules.

For each rule a mark, as iptkit.kernel.entries.Encoder makes them: a hash of its
entry without what the kernel changes, which is the counters, `comefrom` (its
own notes) and where in the table a jump leads; the chain's name stands for
that.
"""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING

from iptkit.kernel.entries import standard_target
from iptkit.kernel.sockopt import HOOK_NAMES, VERDICT_NAMES, TableError, chain_spans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iptkit.kernel.sockopt import TableImage
    from iptkit.ruleset.model import Counters

_OFFSETS = struct.Struct("@HH")
_VERDICT = struct.Struct("@i")
_NAME_AT, _DATA_AT = 2, 32  # in struct xt_entry_target


def marks_of(image: TableImage) -> dict[str, array[int]]:
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
    marks: dict[str, array[int]] = {}
    for name, at, last, _ in spans:
        chain = marks[name] = array("q")
        add = chain.append
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
    return marks


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


def difference(expected: Mapping[str, array[int]], found: Mapping[str, array[int]]) -> tuple[str, int] | None:
    """The first place where two tables differ: a chain, and a rule of it from 1; 0 for the chain itself."""
    for chain in (*expected, *found):
        if chain not in expected or chain not in found:
            return chain, 0
        wanted, got = expected[chain], found[chain]
        if wanted != got:
            common = min(len(wanted), len(got))
            return chain, next((n for n in range(common) if wanted[n] != got[n]), common) + 1
    return None
