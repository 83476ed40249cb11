"""Kernel structs, declared.

A layout lists a struct's fields in order; each field knows its size, how to
write itself from an extension's values and how to read them back.  The kernel
rounds every match and target up to 8 bytes (XT_ALIGN, linux/netfilter/
x_tables.h); numbers are in the machine's byte order unless a field says
network order.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from iptkit.values.faults import BadValue

if TYPE_CHECKING:
    from iptkit.extensions.spec import Extension
    from iptkit.values.context import Context, Family

Use = TypeVar("Use", bound="Extension")


class Field(Protocol):
    """One piece of a struct."""

    size: int

    def write(self, use: Extension, family: Family) -> bytes: ...

    def read(self, piece: bytes, into: Reading) -> None:
        """Put what the piece says into `into`."""


class Reading:
    """The values read so far."""

    __slots__ = ("context", "defaults", "inverted", "values")

    def __init__(self, context: Context) -> None:
        self.values: dict[str, Any] = {}
        self.defaults: dict[str, Any] = {}  # read, and the same as not given
        self.inverted: set[str] = set()
        self.context = context


class Layout:
    """A struct: its fields in order.  `size` pads it at the end."""

    __slots__ = ("fields", "size")

    def __init__(self, *fields: Field, size: int = 0) -> None:
        self.fields = fields
        total = sum(f.size for f in fields)
        self.size = max(size, total)

    def encode(self, use: Extension, family: Family) -> bytes:
        # A list is made faster than a generator runs, and large files have many structs.
        return b"".join([f.write(use, family) for f in self.fields]).ljust(self.size, b"\0")

    def decode(self, cls: type[Use], payload: bytes, context: Context) -> Use:
        if len(payload) < self.size:
            raise BadValue(f"{cls.name}: {len(payload)} bytes from the kernel, {self.size} expected")
        reading = Reading(context)
        flags: list[tuple[Bits, bytes]] = []
        at = 0
        for field in self.fields:
            piece = payload[at : at + field.size]
            at += field.size
            if isinstance(field, Bits):
                flags.append((field, piece))
            else:
                field.read(piece, reading)
        # Flags say which of the values count, wherever in the struct they stand.
        for bits, piece in flags:
            bits.read(piece, reading)
        # Inverted, what says nothing says that no packet matches.
        for name in reading.inverted.difference(reading.values):
            if name in reading.defaults:
                reading.values[name] = reading.defaults[name]
            else:
                reading.inverted.discard(name)
        return cls.of(inverted=tuple(reading.inverted), **reading.values)


class Pad:
    """Bytes of no meaning: alignment, or what the kernel keeps for itself."""

    __slots__ = ("blank", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.blank = bytes(size)

    def write(self, use: Extension, family: Family) -> bytes:
        return self.blank

    def read(self, piece: bytes, into: Reading) -> None:
        pass


class Number:
    """An integer option.  `code` is struct's letter, `>H` and the like for network order.

    A value that was not given is written as `default`, and `default` is read
    back as not given, unless `always`.
    """

    __slots__ = ("always", "default", "field", "size", "struct")

    def __init__(self, field: str, code: str, default: int = 0, *, always: bool = False) -> None:
        self.field = field
        self.struct = struct.Struct(code if code[0] in "<>=" else "=" + code)
        self.size = self.struct.size
        self.default = default
        self.always = always

    def write(self, use: Extension, family: Family) -> bytes:
        value = getattr(use, self.field)
        return self.struct.pack(self.default if value is None else value)

    def read(self, piece: bytes, into: Reading) -> None:
        (value,) = self.struct.unpack(piece)
        known = into.values if self.always or value != self.default else into.defaults
        known[self.field] = value


class Pair:
    """Two integers that are one option's value: a range, a value and its mask."""

    __slots__ = ("always", "default", "field", "size", "struct")

    def __init__(self, field: str, code: str, default: tuple[int, int], *, always: bool = False) -> None:
        order, letter = (code[0], code[1:]) if code[0] in "<>=" else ("=", code)
        self.field = field
        self.struct = struct.Struct(order + letter * 2)
        self.size = self.struct.size
        self.default = default
        self.always = always

    def write(self, use: Extension, family: Family) -> bytes:
        value = getattr(use, self.field)
        return self.struct.pack(*(self.default if value is None else value))

    def read(self, piece: bytes, into: Reading) -> None:
        value = self.struct.unpack(piece)
        known = into.values if self.always or value != self.default else into.defaults
        known[self.field] = value


class String:
    """A NUL-padded string option; an empty one is read as not given unless `always`."""

    __slots__ = ("always", "field", "size")

    def __init__(self, field: str, size: int, *, always: bool = False) -> None:
        self.field = field
        self.size = size
        self.always = always

    def write(self, use: Extension, family: Family) -> bytes:
        value: str | None = getattr(use, self.field)
        return (value or "").encode("latin-1")[: self.size].ljust(self.size, b"\0")

    def read(self, piece: bytes, into: Reading) -> None:
        text = piece.partition(b"\0")[0].decode("latin-1")
        if text or self.always:
            into.values[self.field] = text


class Choice:
    """One of some names, by number.  A number without a name is refused."""

    __slots__ = ("field", "names", "numbers", "size", "struct")

    def __init__(self, field: str, code: str, numbers: dict[str, int]) -> None:
        self.field = field
        self.struct = struct.Struct(code if code[0] in "<>=" else "=" + code)
        self.size = self.struct.size
        self.numbers = numbers
        self.names = {number: name for name, number in numbers.items()}

    def write(self, use: Extension, family: Family) -> bytes:
        return self.struct.pack(self.numbers[getattr(use, self.field)])

    def read(self, piece: bytes, into: Reading) -> None:
        (number,) = self.struct.unpack(piece)
        name = self.names.get(number)
        if name is None:
            raise BadValue(f"the kernel's {self.field.replace('_', ' ')} {number} has no name")
        into.values[self.field] = name


class GivenAs:
    """A number that says which of some options is given; one without a value is then True."""

    __slots__ = ("fields", "size", "struct")

    def __init__(self, code: str, fields: dict[int, str]) -> None:
        self.struct = struct.Struct(code if code[0] in "<>=" else "=" + code)
        self.size = self.struct.size
        self.fields = fields

    def write(self, use: Extension, family: Family) -> bytes:
        for number, field in self.fields.items():
            if getattr(use, field) is not None:
                return self.struct.pack(number)
        raise BadValue(f"one of {', '.join(self.fields.values())} must be given")

    def read(self, piece: bytes, into: Reading) -> None:
        (number,) = self.struct.unpack(piece)
        field = self.fields.get(number)
        if field is None:
            raise BadValue(f"{number} from the kernel stands for none of {', '.join(self.fields.values())}")
        into.values[field] = True


class Shared:
    """The value of whichever of some options is given, as a GivenAs before it says."""

    __slots__ = ("fields", "size", "struct")

    def __init__(self, code: str, fields: tuple[str, ...]) -> None:
        self.struct = struct.Struct(code if code[0] in "<>=" else "=" + code)
        self.size = self.struct.size
        self.fields = fields

    def write(self, use: Extension, family: Family) -> bytes:
        values = [getattr(use, field) for field in self.fields]
        return self.struct.pack(next(value for value in values if value is not None))

    def read(self, piece: bytes, into: Reading) -> None:
        (value,) = self.struct.unpack(piece)
        for field in self.fields:
            if field in into.values:
                into.values[field] = value


class Raw:
    """Bytes that are an option's value as they are; not given is written as zeros."""

    __slots__ = ("field", "size")

    def __init__(self, field: str, size: int) -> None:
        self.field = field
        self.size = size

    def write(self, use: Extension, family: Family) -> bytes:
        value: bytes | None = getattr(use, self.field)
        return (value or b"").ljust(self.size, b"\0")

    def read(self, piece: bytes, into: Reading) -> None:
        into.values[self.field] = bytes(piece)


class Bits:
    """A word of flags.

    `inverted` maps a bit to the option whose `!` it is, `given` to the option
    whose presence it is (for an option without a value, that is its value).
    `echoed` bits are set where their option is given, and not read back: the
    value tells.  `always` bits are written as they are.
    """

    __slots__ = ("always", "echoed", "given", "inverted", "size", "struct")

    def __init__(
        self,
        code: str,
        *,
        given: dict[int, str] | None = None,
        inverted: dict[int, str] | None = None,
        echoed: dict[int, str] | None = None,
        always: int = 0,
    ) -> None:
        self.struct = struct.Struct(code if code[0] in "<>=" else "=" + code)
        self.size = self.struct.size
        self.given = given or {}
        self.inverted = inverted or {}
        self.echoed = echoed or {}
        self.always = always

    def write(self, use: Extension, family: Family) -> bytes:
        word = self.always
        for said in (self.given, self.echoed):
            for bit, field in said.items():
                if getattr(use, field) is not None:
                    word |= bit
        if use.inverted:
            for bit, field in self.inverted.items():
                if use.is_inverted(field):
                    word |= bit
        return self.struct.pack(word)

    def read(self, piece: bytes, into: Reading) -> None:
        (word,) = self.struct.unpack(piece)
        for bit, field in self.given.items():
            if word & bit:
                into.values.setdefault(field, True)
            else:
                into.values.pop(field, None)
        for bit, field in self.inverted.items():
            if word & bit:
                into.inverted.add(field)


def xt_align(size: int) -> int:
    """Round up to 8 bytes, as XT_ALIGN does."""
    return size + 7 & ~7


__all__ = [
    "Bits",
    "Choice",
    "Field",
    "GivenAs",
    "Layout",
    "Number",
    "Pad",
    "Pair",
    "Raw",
    "Reading",
    "Shared",
    "String",
    "xt_align",
]
