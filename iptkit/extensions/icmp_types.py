"""ICMP types and codes as option values, shared by -m icmp and -m icmp6.

The reading is that of xtables_parse_icmp (libxtables/xtoptions.c): a name or
any beginning of one that no other has, or numbers. A range of codes is taken,
though iptables-save then prints its first code only; a range of types only
if it is one type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT8_MAX, parse_uint, parse_uint_prefix
from iptkit.values.wording import did_you_mean, quote

if TYPE_CHECKING:
    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension
    from iptkit.values.context import Context, Family

TypeCodes = tuple[int, int, int]  # type, lowest code, highest code
ANY_CODE = (0, UINT8_MAX)


def named_types(text: str) -> dict[str, TypeCodes]:
    """`name=type` and `name=type/code`, by name."""
    names: dict[str, TypeCodes] = {}
    for entry in text.split():
        name, _, numbers = entry.partition("=")
        kind, slash, code = numbers.partition("/")
        names[name] = (int(kind), int(code), int(code)) if slash else (int(kind), *ANY_CODE)
    return names


class IcmpType:
    """`name`, `type`, `type/code` or `type/low:high`.

    any_type  the type that stands for all
    newer     names that came with a later iptables, to tell who writes one what to write for 1.8.9
    """

    metavar = "type[/code]"
    words = 1
    code = "IPT129"

    def __init__(
        self, names: dict[str, TypeCodes], any_type: int = -1, newer: dict[str, TypeCodes] | None = None
    ) -> None:
        self.names = names
        self.newer = newer or {}
        self.any_type = any_type

    def parse(self, text: str, context: Context) -> TypeCodes:
        lowered = text.lower()
        near = [name for name in self.names if name.lower().startswith(lowered)]
        if len(near) == 1:
            return self.names[near[0]]
        if near:
            raise BadValue(f"{quote(text)} may be {' or '.join(near[:3])}", hint="write the whole name")
        type_text, slash, code_text = text.partition("/")
        try:
            kind, last = _range(type_text)
            low, high = _range(code_text) if slash else ANY_CODE
            if kind != last:
                raise ValueError(text)
        except ValueError:
            newer = self.newer.get(lowered)
            hint = did_you_mean(text, self.names)
            if newer is not None:
                hint = f"write {newer[0]}: iptables has that name from 1.8.10 on"
            raise BadValue(
                f"must be the name of an ICMP type, TYPE or TYPE/CODE, each from 0 to 255, not {quote(text)}",
                hint=hint,
            ) from None
        return kind, low, high

    def show(self, value: TypeCodes) -> str:
        kind, low, high = value
        if kind == self.any_type:
            return "any"
        return str(kind) if (low, high) == ANY_CODE else f"{kind}/{low}"


def _range(text: str) -> tuple[int, int]:
    """`number` or `low:high`, each 0 to 255.  Raises ValueError."""
    low, rest = parse_uint_prefix(text, 0, UINT8_MAX)
    if not rest:
        return low, low
    if rest[0] != ":":
        raise ValueError(text)
    return low, parse_uint(rest[1:], 0, UINT8_MAX)


class TypeAndCodes:
    """The three bytes of struct ipt_icmp and ip6t_icmp that say which messages."""

    __slots__ = ("field",)
    size = 3

    def __init__(self, field: str) -> None:
        self.field = field

    def write(self, use: Extension, family: Family) -> bytes:
        return bytes(getattr(use, self.field))

    def read(self, piece: bytes, into: Reading) -> None:
        into.values[self.field] = tuple(piece)


__all__ = ["IcmpType", "TypeAndCodes", "TypeCodes", "named_types"]
