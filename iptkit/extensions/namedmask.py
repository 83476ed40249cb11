"""`value[/mask]` where a value may have a name on the machine: device groups and routing realms.

As xtables_parse_val_mask and xtables_print_val_mask of libxtables
(libxtables/xtables.c) read and print them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal

from iptkit.text.record import NamedTuple
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT32_MAX, parse_uint, parse_uint_prefix
from iptkit.values.wording import did_you_mean, quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension
    from iptkit.values.context import Context, Family

Table = Literal["device_groups", "realms"]  # of iptkit.values.context.Names


class NamedMask(NamedTuple):
    """A number of 32 bits, the bits of it that count, and its name where they all do and it has one."""

    number: int
    mask: int
    name: str = ""


def named(number: int, mask: int, table: Table, context: Context) -> NamedMask:
    """The number with the name that the machine has for it."""
    if mask == UINT32_MAX:
        for name, of in getattr(context.names, table).items():
            if of == number:
                return NamedMask(number, mask, name)
    return NamedMask(number, mask)


class NamedMaskValue:
    """`number[/mask]` or a name of the table, which takes no mask; a name is printed where there is one."""

    words = 1
    code = "IPT129"

    def __init__(self, table: Table, kind: str) -> None:
        self.table = table
        self.kind = kind
        self.metavar = f"{{{kind}|number[/mask]}}"

    def parse(self, text: str, context: Context) -> NamedMask:
        mask = UINT32_MAX
        try:
            number, rest = parse_uint_prefix(text)
        except ValueError:
            return self._by_name(text, context)
        if rest[:1] == "/":
            try:
                mask = parse_uint(rest[1:])
            except ValueError:
                message = f"mask must be a number from 0 to 0xffffffff, not {quote(rest[1:])}"
                raise BadValue(message) from None
        elif rest:
            return self._by_name(text, context)
        return named(number, mask, self.table, context)

    def _by_name(self, text: str, context: Context) -> NamedMask:
        names: Mapping[str, int] = getattr(context.names, self.table)
        found = names.get(text)
        if found is None:
            hint = did_you_mean(text, names) or "write its number"
            raise BadValue(f"no {self.kind} is called {quote(text)}", hint=hint)
        return named(found, UINT32_MAX, self.table, context)

    def show(self, value: NamedMask) -> str:
        number, mask, name = value
        if mask != UINT32_MAX:
            return f"{number:#x}/{mask:#x}"
        return name or f"{number:#x}"


class NamedMaskField:
    """The number and its mask in a kernel struct, 32 bits each; not given, both are 0."""

    __slots__ = ("field", "size", "table")
    _struct = struct.Struct("=II")

    def __init__(self, field: str, table: Table) -> None:
        self.field = field
        self.table = table
        self.size = 8

    def write(self, use: Extension, family: Family) -> bytes:
        value: NamedMask | None = getattr(use, self.field)
        return self._struct.pack(*(value[:2] if value else (0, 0)))

    def read(self, piece: bytes, into: Reading) -> None:
        number, mask = self._struct.unpack(piece)
        into.values[self.field] = named(number, mask, self.table, into.context)


__all__ = ["NamedMask", "NamedMaskField", "NamedMaskValue", "Table"]
