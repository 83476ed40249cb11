"""Sets (ipset) as `-m set` and `-j SET` name them.

The kernel's struct does not hold a set's name but its number, which only the
machine can tell.  So these uses encode in two steps: what is known without the
machine is declared as everywhere, and `encode_with` and `decode_with` take the
table of numbers or names besides.  iptkit.kernel.ipset makes such tables.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar

from iptkit.extensions.spec import Extension
from iptkit.text.record import NamedTuple
from iptkit.values.faults import BadValue
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from iptkit.extensions.layout import Reading
    from iptkit.values.context import Context, Family

NAME_LIMIT = 31  # bytes; IPSET_MAXNAMELEN less the NUL
DIMENSIONS = 6  # IPSET_DIM_MAX
NO_SET = 0xFFFF  # IPSET_INVALID_ID
_INVERTED = 0x01  # IPSET_INV_MATCH
_INDEX = struct.Struct("=H")
_SLOT = struct.Struct("=HBB")


class NeedsSet(BadValue):
    """The struct holds a set's number, and that is not known here.

    `names` are the sets whose numbers are wanted, `indices` the numbers whose
    names are.
    """

    def __init__(self, names: tuple[str, ...] = (), indices: tuple[int, ...] = ()) -> None:
        if names:
            message = f"the kernel's number of the set {', '.join(map(quote, names))} is not known here"
        else:
            message = f"the name of the kernel's set {', '.join(map(str, indices))} is not known here"
        super().__init__(message, "IPT141")
        self.names = names
        self.indices = indices


class SetRef(NamedTuple):
    """A set, and what of a packet to look up in it: for each dimension, is it the source's?"""

    name: str
    sources: tuple[bool, ...]


class SetValue:
    """`name flags`: a set of up to 31 bytes, and up to six `src` or `dst` between commas."""

    metavar = "set src|dst[,...]"
    words = 2
    code = "IPT129"

    def parse(self, text: tuple[str, str], context: Context) -> SetRef:
        name, flags = text
        if not name or len(name) > NAME_LIMIT:
            raise BadValue(f"a set's name has 1 to {NAME_LIMIT} bytes, not {len(name)} as {quote(name)}")
        sources = []
        for word in flags.split(","):
            # Only its first three letters are looked at.
            if word[:3] not in ("src", "dst"):
                message = f"{quote(flags)} must be src or dst, or several of them between commas"
                raise BadValue(message, word=1)
            sources.append(word[:3] == "src")
        if len(sources) > DIMENSIONS:
            message = (
                f"{quote(flags)} has {len(sources)} words, and a set has {DIMENSIONS} dimensions at most"
            )
            raise BadValue(message, word=1)
        return SetRef(name, tuple(sources))

    def show(self, value: SetRef) -> str:
        # Without quotes, whatever the name is: so iptables prints it.
        return f"{value.name} {','.join('src' if source else 'dst' for source in value.sources)}"


class SetSlot:
    """struct xt_set_info (linux/netfilter/xt_set.h), its number left to `SetUse.encode_with`."""

    __slots__ = ("field", "size")

    def __init__(self, field: str) -> None:
        self.field = field
        self.size = _SLOT.size

    def write(self, use: Extension, family: Family) -> bytes:
        ref: SetRef | None = getattr(use, self.field)
        if ref is None:
            return _SLOT.pack(NO_SET, 0, 0)
        flags = _INVERTED if use.is_inverted(self.field) else 0
        for dimension, source in enumerate(ref.sources, 1):
            flags |= source << dimension
        return _SLOT.pack(0, len(ref.sources), flags)

    def read(self, piece: bytes, into: Reading) -> None:
        index, dimensions, flags = _SLOT.unpack(piece)
        if index == NO_SET:
            return
        if dimensions > DIMENSIONS:
            raise BadValue(f"a set with {dimensions} dimensions, where {DIMENSIONS} is the limit")
        sources = tuple(bool(flags >> dimension & 1) for dimension in range(1, dimensions + 1))
        into.values[self.field] = SetRef("", sources)
        if flags & _INVERTED:
            into.inverted.add(self.field)


class SetUse(Extension):
    """An extension whose struct names sets by number."""

    __slots__ = ()
    # option -> where its struct xt_set_info begins
    set_fields: ClassVar[dict[str, int]] = {}

    def set_names(self) -> tuple[str, ...]:
        """The sets this use names."""
        refs = (getattr(self, field) for field in self.set_fields)
        return tuple(ref.name for ref in refs if ref is not None)

    @classmethod
    def set_indices(cls, payload: bytes) -> tuple[int, ...]:
        """The numbers of the sets in a struct."""
        indices = (_INDEX.unpack_from(payload, at)[0] for at in cls.set_fields.values())
        return tuple(index for index in indices if index != NO_SET)

    def encode(self, family: Family) -> bytes:
        """Raises NeedsSet: `encode_with` is what there is."""
        raise NeedsSet(names=self.set_names())

    def encode_with(self, family: Family, indices: Mapping[str, int]) -> bytes:
        """`encode`, with the numbers of the sets.  Raises NeedsSet for one that is not among them."""
        missing = tuple(name for name in self.set_names() if name not in indices)
        if missing:
            raise NeedsSet(names=missing)
        payload = bytearray(super().encode(family))
        for field, at in self.set_fields.items():
            ref: SetRef | None = getattr(self, field)
            if ref is not None:
                _INDEX.pack_into(payload, at, indices[ref.name])
        return bytes(payload)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        """Raises NeedsSet: `decode_with` is what there is."""
        raise NeedsSet(indices=cls.set_indices(payload))

    @classmethod
    def decode_with(cls, payload: bytes, context: Context, names: Mapping[int, str]) -> Self:
        """`decode`, with the names of the sets by number.  Raises NeedsSet for one that is not among them."""
        missing = tuple(index for index in cls.set_indices(payload) if index not in names)
        if missing:
            raise NeedsSet(indices=missing)
        nameless = super().decode(payload, context)
        values = list(nameless.values)
        for field, at in cls.set_fields.items():
            place = getattr(cls, field).index
            if values[place] is not None:
                (index,) = _INDEX.unpack_from(payload, at)
                values[place] = values[place]._replace(name=names[index])
        return cls(tuple(values), nameless.inverted)
