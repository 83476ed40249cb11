"""Whole tables of the legacy backend, read and written as the kernel keeps them.

ip_tables and ip6_tables hand out a table as one block of entries and accept
one in return (<linux/netfilter_ipv4/ip_tables.h>, <linux/netfilter_ipv6/
ip6_tables.h>: IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES, IPT_SO_SET_REPLACE,
IPT_SO_SET_ADD_COUNTERS).  A block that was read can be written back unseen, so
`write_table(read_table(...))` undoes any change, counters included, whatever
matches and targets the table uses.

What the kernel never shows cannot be brought back: the credit of `limit`, what
is left of a `quota`, the position of `statistic --mode nth`.  Those restart, as
they do on every replacement of the table, also by iptables itself.  Lists of
`recent` and `hashlimit` live as long as some rule names them.

A table comes into being when somebody asks the kernel for it and goes only with
its module, so nothing here asks for a table that is not loaded unless told to.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

from iptkit.kernel.errors import KernelError
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.values.context import Family

HOOK_NAMES = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
"""Built-in chains by netfilter hook number (enum nf_inet_hooks, <linux/netfilter.h>)."""

# Verdicts of the standard target, as the kernel stores them: a negative number is -(NF_* verdict) - 1,
# anything else is the offset of the first entry of the chain to jump to.
VERDICTS = {"DROP": -1, "ACCEPT": -2, "QUEUE": -4, "RETURN": -5}
VERDICT_NAMES = {number: name for name, number in VERDICTS.items()}

_SO_REPLACE = 64  # as setsockopt
_SO_ADD_COUNTERS = 65
_SO_GET_INFO = 64  # as getsockopt
_SO_GET_ENTRIES = 65

# Native sizes and alignment ("@"): these structures are those of the process's own ABI.
_NAME = struct.Struct("@32s")
_INFO = struct.Struct("@32sI5I5III")  # struct ipt_getinfo
_GET = struct.Struct("@32sI0Q")  # struct ipt_get_entries without the entries
_REPLACE = struct.Struct("@32sIII5I5IIP0Q")  # struct ipt_replace without the entries
_ADD = struct.Struct("@32sI0Q")  # struct xt_counters_info without the counters
_COUNTERS = struct.Struct("@QQ")  # struct xt_counters: packets, bytes
_TARGET = struct.Struct("@H29sB")  # struct xt_entry_target without its data
_VERDICT = struct.Struct("@i")
_U16 = struct.Struct("@H")
_TWO_U16 = struct.Struct("@HH")  # target_offset, next_offset
_ALIGN = struct.calcsize("@BQ") - struct.calcsize("@Q")  # XT_ALIGN
_ERROR = b"ERROR\0"
_ERROR_NAME = 30  # XT_FUNCTION_MAXNAMELEN

# The block is preceded by room for the longest header, so that the same memory serves
# to read entries and to write them: a block of 100,000 rules is some 60 MB.
HEADROOM = max(_GET.size, _REPLACE.size)
"""Bytes before the block in the memory of a `TableImage`."""

# struct xt_get_revision: IPT_SO_GET_REVISION_MATCH and _TARGET, and those of IP6T
_REVISION = struct.Struct("@29sB")
_SO_GET_REVISION = {(4, "match"): 66, (4, "target"): 67, (6, "match"): 68, (6, "target"): 69}

_RETRIES = 20


class TableError(KernelError):
    """The kernel refused to read or replace a table."""


class TableNotLoaded(TableError):
    """The table is not in use in this network namespace, and asking for it would create it."""


class EntryLayout:
    """Where the fields of one family's entries are, and how to read them.

    An entry is a fixed part (struct ipt_entry or ip6t_entry), then matches,
    then one target.  All methods take an entry as `entries` yields it.
    """

    __slots__ = ("counters_at", "size", "target_offset_at")

    def __init__(self, selector: str) -> None:
        """`selector` is the struct format of what a packet is compared with: ipt_ip or ip6t_ip6."""
        self.target_offset_at = struct.calcsize(selector + "I")
        self.counters_at = struct.calcsize(selector + "IHHI0Q")
        self.size = struct.calcsize(selector + "IHHIQQ")

    def target_offset(self, entry: memoryview) -> int:
        """Offset of the target from the start of the entry; the matches end there."""
        (offset,) = _U16.unpack_from(entry, self.target_offset_at)
        return int(offset)

    def next_offset(self, entry: memoryview) -> int:
        """Size of the whole entry."""
        (offset,) = _U16.unpack_from(entry, self.target_offset_at + 2)
        return int(offset)

    def counters(self, entry: memoryview) -> tuple[int, int]:
        """Packets and bytes."""
        packets, octets = _COUNTERS.unpack_from(entry, self.counters_at)
        return packets, octets

    def target_name(self, entry: memoryview) -> str:
        """Name of the target: '' for the standard target (verdicts and jumps), 'ERROR' at a chain's head."""
        _, name, _ = _TARGET.unpack_from(entry, self.target_offset(entry))
        return _text(name)

    def standard_verdict(self, entry: memoryview) -> int | None:
        """The standard target's number, None for another target: see `VERDICTS`; 0 or more is a jump."""
        if self.target_name(entry):
            return None
        (verdict,) = _VERDICT.unpack_from(entry, self.target_offset(entry) + _TARGET.size)
        return int(verdict)

    def chain_name(self, entry: memoryview) -> str | None:
        """The user chain whose head this entry is, None if it is no head.

        The table's last entry is a head of this kind too and says 'ERROR'.
        """
        if self.target_name(entry) != "ERROR":
            return None
        start = self.target_offset(entry) + _TARGET.size
        return _text(bytes(entry[start : start + _ERROR_NAME]))

    def standard_entry(self, verdict: int, packets: int = 0, octets: int = 0) -> bytes:
        """An entry that matches everything and has the standard target."""
        data = _TARGET.pack(_aligned(_TARGET.size + _VERDICT.size), b"", 0) + _VERDICT.pack(verdict)
        return self._bare(data, packets, octets)

    def error_entry(self, name: str) -> bytes:
        """The entry at the head of user chain `name`, or, called 'ERROR', at the end of a table."""
        label = name.encode("latin-1").ljust(_ERROR_NAME, b"\0")
        return self._bare(_TARGET.pack(_aligned(_TARGET.size + _ERROR_NAME), b"ERROR", 0) + label, 0, 0)

    def _bare(self, target: bytes, packets: int, octets: int) -> bytes:
        target = target.ljust(_aligned(len(target)), b"\0")
        entry = bytearray(self.size)
        struct.pack_into("@HH", entry, self.target_offset_at, self.size, self.size + len(target))
        _COUNTERS.pack_into(entry, self.counters_at, packets, octets)
        return bytes(entry) + target


class _Protocol:
    """What differs between the two families besides the entries."""

    __slots__ = ("domain", "layout", "level", "names_file", "tool")

    def __init__(self, domain: int, level: int, names_file: str, layout: EntryLayout, tool: str) -> None:
        self.domain = domain
        self.level = level
        self.names_file = names_file
        self.layout = layout
        self.tool = tool


_PROTOCOLS: dict[Family, _Protocol] = {
    4: _Protocol(
        socket.AF_INET,
        socket.IPPROTO_IP,
        "ip_tables_names",
        EntryLayout("@4I16s16s16s16sHBB0I"),  # struct ipt_ip
        "ip_tables",
    ),
    6: _Protocol(
        socket.AF_INET6,
        socket.IPPROTO_IPV6,
        "ip6_tables_names",
        EntryLayout("@16I16s16s16s16sHBBB0I"),  # struct ip6t_ip6
        "ip6_tables",
    ),
}

_libc = ctypes.CDLL(None, use_errno=True)
_getsockopt = _libc.getsockopt
_getsockopt.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_getsockopt.restype = ctypes.c_int
_setsockopt = _libc.setsockopt
_setsockopt.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint]
_setsockopt.restype = ctypes.c_int


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("latin-1")


def layout_of(family: Family) -> EntryLayout:
    """The entry layout of a family."""
    return _PROTOCOLS[family].layout


class TableInfo:
    """What IPT_SO_GET_INFO tells: the hooks and sizes of a table, without its entries.

    `hook_entry` and `underflow` hold an offset per hook number; only those
    whose bit is set in `valid_hooks` mean something.  `size` is in bytes.
    """

    __slots__ = ("hook_entry", "name", "num_entries", "size", "underflow", "valid_hooks")

    def __init__(
        self,
        name: str,
        *,
        valid_hooks: int,
        hook_entry: tuple[int, ...],
        underflow: tuple[int, ...],
        num_entries: int,
        size: int,
    ) -> None:
        self.name = name
        self.valid_hooks = valid_hooks
        self.hook_entry = hook_entry
        self.underflow = underflow
        self.num_entries = num_entries
        self.size = size

    def _key(self) -> tuple[object, ...]:
        return self.name, self.valid_hooks, self.hook_entry, self.underflow, self.num_entries, self.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TableInfo) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


class TableImage:
    """A whole table: its entries as one block, with counters, and where its hooks enter.

    `blob` is a writable view of the block.  `hook_entry` and `underflow` are as
    in `TableInfo`.  An image made by hand is a copy of the block given.
    """

    __slots__ = (
        "_memory",
        "blob",
        "family",
        "hook_entry",
        "name",
        "num_entries",
        "underflow",
        "valid_hooks",
    )

    def __init__(
        self,
        family: Family,
        name: str,
        *,
        valid_hooks: int,
        hook_entry: tuple[int, ...],
        underflow: tuple[int, ...],
        num_entries: int,
        blob: bytes | bytearray | memoryview,
    ) -> None:
        if len(hook_entry) != len(HOOK_NAMES) or len(underflow) != len(HOOK_NAMES):
            raise ValueError("hook_entry and underflow hold one offset per netfilter hook")
        self.family = family
        self.name = name
        self.valid_hooks = valid_hooks
        self.hook_entry = hook_entry
        self.underflow = underflow
        self.num_entries = num_entries
        self._reserve(len(blob))
        self.blob[:] = blob

    def _reserve(self, size: int) -> None:
        self._memory = bytearray(HEADROOM + size)
        self.blob = memoryview(self._memory)[HEADROOM:]

    @classmethod
    def over(
        cls,
        family: Family,
        name: str,
        memory: bytearray,
        *,
        valid_hooks: int,
        hook_entry: tuple[int, ...],
        underflow: tuple[int, ...],
        num_entries: int,
    ) -> TableImage:
        """An image whose block is `memory`, from HEADROOM on; nothing is copied."""
        image = cls(
            family,
            name,
            valid_hooks=valid_hooks,
            hook_entry=hook_entry,
            underflow=underflow,
            num_entries=num_entries,
            blob=b"",
        )
        image._memory = memory
        image.blob = memoryview(memory)[HEADROOM:]
        return image

    @classmethod
    def allocate(cls, family: Family, info: TableInfo) -> TableImage:
        """An image of that shape whose block is all zero."""
        image = cls(
            family,
            info.name,
            valid_hooks=info.valid_hooks,
            hook_entry=info.hook_entry,
            underflow=info.underflow,
            num_entries=info.num_entries,
            blob=b"",
        )
        image._reserve(info.size)
        return image

    @property
    def layout(self) -> EntryLayout:
        return _PROTOCOLS[self.family].layout

    def hooks(self) -> tuple[int, ...]:
        """The hook numbers of this table, ascending: the order of its built-in chains in the block."""
        return tuple(hook for hook in range(len(HOOK_NAMES)) if self.valid_hooks >> hook & 1)


def table_names(family: Family) -> list[str]:
    """The tables in use in this network namespace, in the kernel's order.

    Reading the list creates no table.  An empty list if the kernel module is
    not loaded; raises `TableError` if the list may not be read.
    """
    # thread-self: the process's own directory shows the namespace of its first thread only.
    path = f"/proc/thread-self/net/{_PROTOCOLS[family].names_file}"
    try:
        with open(path, encoding="latin-1") as names:
            return names.read().split()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror}", error.errno or 0) from error


def exists(family: Family, name: str) -> bool:
    """Whether the table is in use here; asking does not create it."""
    return name in table_names(family)


def _open(protocol: _Protocol) -> socket.socket:
    try:
        return socket.socket(protocol.domain, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except OSError as error:
        text = f"cannot open a raw socket for {protocol.tool}: {error.strerror}"
        raise TableError(text, error.errno or 0) from error


def _failure(protocol: _Protocol, doing: str, name: str, number: int) -> TableError:
    reasons = {
        errno.ENOENT: "the kernel has no such table",
        errno.ENOPROTOOPT: f"this kernel has no {protocol.tool}",
        errno.EPERM: "this needs CAP_NET_ADMIN",
    }
    reason = reasons.get(number, os.strerror(number))
    return TableError(f"cannot {doing} table {name}: {reason}", number)


def _table_name(name: str) -> bytes:
    raw = name.encode("latin-1", "replace")
    if not raw or len(raw) >= _NAME.size or b"\0" in raw:
        raise TableError(f"{name!r} cannot be a table's name", errno.EINVAL)
    return raw


def _get(sock: socket.socket, level: int, option: int, memory: bytearray, start: int) -> int:
    """getsockopt into `memory` from `start` to its end; returns 0 or errno."""
    length = ctypes.c_uint(len(memory) - start)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    result = _getsockopt(sock.fileno(), level, option, address + start, ctypes.byref(length))
    return ctypes.get_errno() if result else 0


def _set(sock: socket.socket, level: int, option: int, memory: bytearray, start: int = 0) -> int:
    """setsockopt from `memory`, `start` to its end; returns 0 or errno."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    result = _setsockopt(sock.fileno(), level, option, address + start, len(memory) - start)
    return ctypes.get_errno() if result else 0


def _info(sock: socket.socket, protocol: _Protocol, name: str) -> TableInfo:
    memory = bytearray(_INFO.size)
    _NAME.pack_into(memory, 0, _table_name(name))
    number = _get(sock, protocol.level, _SO_GET_INFO, memory, 0)
    if number:
        raise _failure(protocol, "read", name, number)
    _, valid_hooks, *fields, num_entries, size = _INFO.unpack(memory)
    return TableInfo(
        name,
        valid_hooks=valid_hooks,
        hook_entry=tuple(fields[:5]),
        underflow=tuple(fields[5:]),
        num_entries=num_entries,
        size=size,
    )


def knows(family: Family, kind: str, name: str, revision: int) -> bool:
    """Whether the kernel has this revision of a match or target; asking makes it load the module."""
    protocol = _PROTOCOLS[family]
    memory = bytearray(_REVISION.pack(name.encode("latin-1"), revision))
    with _open(protocol) as sock:
        number = _get(sock, protocol.level, _SO_GET_REVISION[family, kind], memory, 0)
    return number not in (errno.ENOENT, errno.EPROTONOSUPPORT)


def _require(family: Family, name: str) -> None:
    if not exists(family, name):
        text = f"table {name} is not loaded ({_PROTOCOLS[family].tool}); reading it would create it"
        raise TableNotLoaded(text, errno.ENOENT)


def table_info(family: Family, name: str, *, create: bool = False) -> TableInfo:
    """Hooks and sizes of a table, without reading its entries.

    With `create` a table that is not loaded is asked for, which creates it.
    Raises `TableNotLoaded`, or `TableError` if the kernel refuses.
    """
    if not create:
        _require(family, name)
    protocol = _PROTOCOLS[family]
    with _open(protocol) as sock:
        return _info(sock, protocol, name)


def read_table(family: Family, name: str, *, create: bool = False) -> TableImage:
    """Read a whole table with its counters.

    Starts again when somebody replaced the table in between.  `create` and the
    errors are as in `table_info`.
    """
    if not create:
        _require(family, name)
    protocol = _PROTOCOLS[family]
    start = HEADROOM - _GET.size
    with _open(protocol) as sock:
        info = _info(sock, protocol, name)
        for _ in range(_RETRIES):
            image = TableImage.allocate(family, info)
            _GET.pack_into(image._memory, start, _table_name(name), info.size)
            number = _get(sock, protocol.level, _SO_GET_ENTRIES, image._memory, start)
            if number not in (0, errno.EAGAIN):
                raise _failure(protocol, "read", name, number)
            # Another table of the same size would be read without an error, so look again.
            before, info = info, _info(sock, protocol, name)
            if number == 0 and before == info:
                return image
    raise TableError(f"table {name} keeps changing while it is read", errno.EAGAIN)


def write_table(image: TableImage, counters: bool | bytes | bytearray | memoryview = True) -> bytearray:
    """Replace a table by `image` in one step.  The xtables lock is the caller's business.

    `counters`: True gives every entry the counters it has in the image, False
    starts at zero, and a buffer is an array of struct xt_counters, one per
    entry in the order of the block (`counters_of` makes one).  They are added
    right after the replacement; packets counted in between are kept on top.

    Returns the last counters of the entries that were replaced, in the same
    form.  A table that is not loaded is created.  Raises `TableError`; when the
    counters alone failed, the message says so and the new entries are live.
    """
    if counters is True:
        values: bytes | bytearray | memoryview | None = counters_of(image)
    else:
        values = counters or None
    if values is not None and len(values) != image.num_entries * _COUNTERS.size:
        raise ValueError("one pair of counters per entry is needed")
    replaced = replace_table(image)
    if values is not None:
        add_counters(image.family, image.name, values)
    return replaced


def replace_table(image: TableImage) -> bytearray:
    """The first half of `write_table`: the entries, which all count from zero."""
    protocol = _PROTOCOLS[image.family]
    name = _table_name(image.name)
    start = HEADROOM - _REPLACE.size
    with _open(protocol) as sock:
        for _ in range(_RETRIES):
            live = _info(sock, protocol, image.name)
            replaced = bytearray(live.num_entries * _COUNTERS.size)
            _REPLACE.pack_into(
                image._memory,
                start,
                name,
                image.valid_hooks,
                image.num_entries,
                len(image.blob),
                *image.hook_entry,
                *image.underflow,
                live.num_entries,
                ctypes.addressof(ctypes.c_char.from_buffer(replaced)),
            )
            number = _set(sock, protocol.level, _SO_REPLACE, image._memory, start)
            if number != errno.EAGAIN:
                break
    if number:
        raise _failure(protocol, "replace", image.name, number)
    return replaced


def add_counters(family: Family, name: str, values: bytes | bytearray | memoryview) -> None:
    """The second half of `write_table`: add to the counters of each entry; `values` as there."""
    protocol = _PROTOCOLS[family]
    memory = bytearray(_ADD.size + len(values))
    _ADD.pack_into(memory, 0, _table_name(name), len(values) // _COUNTERS.size)
    memory[_ADD.size :] = values
    with _open(protocol) as sock:
        number = _set(sock, protocol.level, _SO_ADD_COUNTERS, memory)
    if number:
        raise _failure(protocol, "restore the counters (the rules are in place) of", name, number)


def entries(image: TableImage) -> Iterator[tuple[int, memoryview]]:
    """Every entry of the block with its offset, in order.

    Raises `TableError` if the block's sizes do not add up.
    """
    blob = image.blob
    end = len(blob)
    least = image.layout.size + _TARGET.size
    at = image.layout.target_offset_at + 2
    unpack = _U16.unpack_from
    offset = 0
    while offset < end:
        if end - offset < least:
            raise _malformed(image, offset)
        (size,) = unpack(blob, offset + at)
        if size < least or offset + size > end:
            raise _malformed(image, offset)
        yield offset, blob[offset : offset + size]
        offset += size


def _malformed(image: TableImage, offset: int) -> TableError:
    return TableError(f"table {image.name} has a malformed entry at offset {offset}", errno.EINVAL)


def counters_of(image: TableImage) -> bytearray:
    """The counters of all entries in the order of the block, as an array of struct xt_counters."""
    start = image.layout.counters_at
    end = start + _COUNTERS.size
    collected = bytearray()
    for _, entry in entries(image):
        collected += entry[start:end]
    return collected


class ChainSpan(NamedTuple):
    """Where a chain lies in the block: its first entry, and its last, the policy (RETURN in a user chain).

    `builtin` tells a chain that a hook enters.
    """

    name: str
    first: int
    last: int
    builtin: bool


def chain_spans(image: TableImage) -> list[ChainSpan]:
    """All chains, in the order of the block: built-in chains first, then user chains.

    Raises `TableError` where the block is not made as tables are.
    """
    # Every entry of a table passes here, 100,000 and more: offsets only, and no slices.
    blob = image.blob
    end = len(blob)
    size = image.layout.size
    sizes_at = image.layout.target_offset_at
    unpack = _TWO_U16.unpack_from
    hooks = {image.hook_entry[hook]: HOOK_NAMES[hook] for hook in image.hooks()}
    least = size + _TARGET.size
    spans = []
    name: str | None = None
    first = previous = 0
    builtin = False
    at = 0
    while at < end:
        if end - at < least:
            raise _malformed(image, at)
        target_offset, length = unpack(blob, at + sizes_at)
        target = at + target_offset
        if not size <= target_offset <= length - _TARGET.size or length > end - at:
            raise _malformed(image, at)
        # The head of a user chain, and the end of the table, is an entry with the target ERROR.
        head = blob[target + 2] == _ERROR[0] and blob[target + 2 : target + 2 + len(_ERROR)] == _ERROR
        if head or at in hooks:
            if name is not None:
                spans.append(ChainSpan(name, first, previous, builtin))
            builtin = not head
            if head:
                data = target + _TARGET.size
                name, first = _text(bytes(blob[data : data + _ERROR_NAME])), at + length
            else:
                name, first = hooks[at], at
        previous = at
        at += length
    return spans


def chain_starts(image: TableImage) -> dict[str, int]:
    """Offset of the first entry of each chain: built-in chains first, then user chains as they come.

    Jumps in the block give such offsets.
    """
    return {span.name: span.first for span in chain_spans(image)}


def blank_image(family: Family, name: str) -> TableImage:
    """The image of a loaded table as it is when nobody has touched it: no rules, policies ACCEPT.

    A table cannot be unloaded; writing this undoes its creation as far as
    packets can tell.  Raises `TableNotLoaded`.
    """
    info = table_info(family, name)
    layout = layout_of(family)
    policy = layout.standard_entry(VERDICTS["ACCEPT"])
    offsets = [0] * len(HOOK_NAMES)
    block = b""
    count = 0
    for hook in range(len(HOOK_NAMES)):
        if info.valid_hooks >> hook & 1:
            offsets[hook] = len(block)
            block += policy
            count += 1
    block += layout.error_entry("ERROR")
    return TableImage(
        family,
        name,
        valid_hooks=info.valid_hooks,
        hook_entry=tuple(offsets),
        underflow=tuple(offsets),
        num_entries=count + 1,
        blob=block,
    )


def is_blank(family: Family, name: str) -> bool:
    """Whether a loaded table has no rules, no user chains, and only ACCEPT policies.

    A mere `iptables-legacy -L` leaves such a table behind.  Cheap: the entries
    are read only when their number says there can be no rule.
    """
    info = table_info(family, name)
    if info.num_entries != info.valid_hooks.bit_count() + 1:
        return False
    image = read_table(family, name)
    verdicts = [image.layout.standard_verdict(entry) for _, entry in entries(image)]
    return all(verdict in (VERDICTS["ACCEPT"], None) for verdict in verdicts)
