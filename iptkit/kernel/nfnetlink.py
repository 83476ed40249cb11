"""Tables of nf_tables, saved and brought back as the kernel keeps them.

iptables-nft-restore cannot undo exactly: with `-c` it keeps the counters of
IPv4 rules and of all policies, but ip6tables-nft-restore 1.8.9 gives every
rule [0:0], both for `[1:2] -A ...` and for `-A ... -c 1 2`; it commits table by
table, and it never removes a table.  So a snapshot is taken below it, by
nfnetlink (<linux/netfilter/nf_tables.h>): tables, chains and rules are dumped
with their expressions, counters among them, unread, and written back as one
batch, which the kernel applies to all tables at once or not at all.

One thing is not dumped and has to be found again: the protocol that a rule's
xtables matches and targets are checked against (NFTA_RULE_COMPAT).
iptables-nft takes it from `-p`, so it stands in the rule's expressions too.

Sets, named objects and flow tables are not handled; iptables-nft makes none.
A table that has them was changed by somebody else, and its snapshot is refused.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

from iptkit.kernel.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from iptkit.values.context import Family

_NETLINK_NETFILTER: Final = 12
_SUBSYSTEM: Final = 10 << 8  # NFNL_SUBSYS_NFTABLES
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_REQUEST, _ACK, _DUMP = 0x001, 0x004, 0x300
_CREATE, _APPEND = 0x400, 0x800
_DUMP_INTR = 0x10  # the ruleset changed during the dump

# enum nf_tables_msg_types
_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN, _GETCHAIN = 3, 4
_NEWRULE, _GETRULE = 6, 7
_GETSET, _GETGEN, _GETOBJ, _GETFLOWTABLE = 10, 16, 19, 23

# Attributes that a message which creates the thing may carry; the others (handles, use counts,
# positions) tell where the old thing was.
_TABLE_NAME, _TABLE_FLAGS, _TABLE_USERDATA, _TABLE_OWNER = 1, 2, 6, 7
_TABLE_KEEP = {_TABLE_NAME, _TABLE_FLAGS, _TABLE_USERDATA}
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_FLAGS = 1, 3, 4, 5, 10
_CHAIN_KEEP = {_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, 7, 8, _CHAIN_FLAGS, 12}
_CHAIN_BINDING = 4  # a flag: an anonymous chain, made for one rule of nft's
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_COMPAT, _RULE_USERDATA = 1, 2, 4, 5, 7
_RULE_KEEP = {_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_USERDATA}
_HOOK_NUMBER = 1
_COMPAT_PROTOCOL, _COMPAT_FLAGS, _COMPAT_INVERT = 1, 2, 2

_MESSAGE = struct.Struct("=IHHII")  # struct nlmsghdr
_GENERIC = struct.Struct("!BBH")  # struct nfgenmsg
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_TWO_ATTRIBUTES = struct.Struct("=HHHH")  # an element of a list and the first attribute inside
_HEADER = _MESSAGE.size + _GENERIC.size
_U32 = struct.Struct("!I")
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF

_FAMILIES: dict[Family, int] = {4: socket.AF_INET, 6: socket.AF_INET6}
_PROTOCOL_OFFSET: dict[Family, int] = {4: 9, 6: 6}  # of the protocol in the network header
_LOADS = {b"meta", b"payload"}
_ABOUT_PROTOCOL = _LOADS | {b"cmp"}
_RECEIVE = 1 << 20
_PATIENCE = 60.0  # seconds
_SO_SNDBUFFORCE = 32  # <asm-generic/socket.h>
_RETRIES = 20


class NfTablesError(KernelError):
    """nf_tables refused, or holds something that a snapshot cannot bring back."""


class BaseChain:
    """A chain that hangs on a netfilter hook; its policy is ACCEPT or DROP."""

    __slots__ = ("hook", "name", "policy", "table")

    def __init__(self, table: str, name: str, hook: int, policy: str) -> None:
        self.table = table
        self.name = name
        self.hook = hook
        self.policy = policy


class NftSnapshot:
    """Some tables of one family as they were, ready to be written back.

    `present` and `absent` name the tables by whether they existed.  Two
    snapshots are equal when they would write the same, counters included.
    """

    __slots__ = ("_messages", "absent", "family", "present")

    def __init__(
        self, family: Family, present: tuple[str, ...], absent: tuple[str, ...], messages: bytearray
    ) -> None:
        self.family = family
        self.present = present
        self.absent = absent
        self._messages = messages

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, NftSnapshot)
            and (self.family, self.present, self.absent) == (other.family, other.present, other.absent)
            and self._messages == other._messages
        )

    __hash__ = None  # type: ignore[assignment]  # holds megabytes; nobody should hash it

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self._messages)

    def messages(self) -> bytes:
        """What is held, to be kept elsewhere."""
        return bytes(self._messages)


def _attribute(kind: int, data: bytes | memoryview) -> bytes:
    size = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(size, kind) + data + b"\0" * (-size % 4)


def _attributes(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Type, value, and the whole attribute with its padding."""
    offset, end = 0, len(data)
    while offset + _ATTRIBUTE.size <= end:
        size, kind = _ATTRIBUTE.unpack_from(data, offset)
        if size < _ATTRIBUTE.size or offset + size > end:
            raise NfTablesError("the kernel sent a malformed netlink attribute", errno.EBADMSG)
        after = offset + (size + 3 & ~3)
        yield kind & _TYPE_MASK, data[offset + 4 : offset + size], data[offset:after]
        offset = after


def _text(data: memoryview) -> str:
    return bytes(data).partition(b"\0")[0].decode("latin-1")


def _string(text: str) -> bytes:
    return text.encode("latin-1") + b"\0"


def _message(kind: int, flags: int, sequence: int, family: int, *parts: bytes | memoryview) -> bytes:
    """One message to nf_tables."""
    return _packed(_SUBSYSTEM | kind, flags, sequence, family, 0, b"".join(parts))


def _bracket(kind: int) -> bytes:
    """The message that begins or ends a batch for nf_tables."""
    return _packed(kind, 0, 0, socket.AF_UNSPEC, _SUBSYSTEM >> 8, b"")


def _packed(kind: int, flags: int, sequence: int, family: int, resource: int, body: bytes) -> bytes:
    header = _MESSAGE.pack(_HEADER + len(body), kind, _REQUEST | flags, sequence, 0)
    return header + _GENERIC.pack(family, 0, resource) + body


class _Socket:
    """A netlink socket to netfilter."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        except OSError as error:
            text = f"cannot open a netfilter netlink socket: {error.strerror}"
            raise NfTablesError(text, error.errno or 0) from error
        # The kernel answers before send returns or at the next recv; waiting means a request it ignored.
        self._socket.settimeout(_PATIENCE)
        self._sequence = 0

    def __enter__(self) -> _Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, kind: int, family: int, *parts: bytes, dump: bool = True) -> Iterator[memoryview]:
        """Send a request and yield the attributes of each answer, as one block per answer.

        Raises `_Interrupted` at the end when the ruleset changed in between.
        """
        interrupted = False
        self._sequence += 1
        flags = _DUMP if dump else 0
        request = _message(kind, flags, self._sequence, family, *parts)
        while True:
            try:
                if request:
                    self._socket.send(request)
                    request = b""
                data = memoryview(self._socket.recv(_RECEIVE))
            except OSError as error:
                raise _error("read from nf_tables", error.errno or errno.ETIMEDOUT) from error
            offset = 0
            while offset + _MESSAGE.size <= len(data):
                size, answer, answer_flags, sequence, _ = _MESSAGE.unpack_from(data, offset)
                if size < _MESSAGE.size:
                    raise NfTablesError("the kernel sent a malformed netlink message", errno.EBADMSG)
                body = data[offset + _MESSAGE.size : offset + size]
                offset += size + -size % 4
                if sequence != self._sequence:
                    continue  # left over from a request given up
                if dump and answer_flags & _DUMP_INTR:
                    interrupted = True
                if answer in (_NLMSG_ERROR, _NLMSG_DONE):
                    (number,) = struct.unpack_from("=i", body) if len(body) >= 4 else (0,)
                    if number:
                        raise _error("read from nf_tables", -number)
                    if interrupted:
                        raise _Interrupted
                    return
                yield body[_GENERIC.size :]
                if not dump:
                    return

    def generation(self) -> bytes:
        """The number of the ruleset's present state; every commit changes it."""
        for body in self.ask(_GETGEN, socket.AF_UNSPEC, dump=False):
            for kind, value, _ in _attributes(body):
                if kind == 1:  # NFTA_GEN_ID
                    return bytes(value)
        raise NfTablesError("nf_tables does not tell its generation", errno.EPROTO)

    def commit(self, batch: bytearray) -> None:
        """Send one batch and take the verdict on it; its last message must ask for an answer."""
        self._make_room(len(batch))
        try:
            self._socket.send(batch)
            answer = memoryview(self._socket.recv(_RECEIVE))
        except OSError as error:
            # ENOBUFS: more errors than fit; nothing was committed then.
            raise _error("write to nf_tables", error.errno or errno.ETIMEDOUT) from error
        number = _first_error(answer)
        if number:
            raise _error("write to nf_tables", number)

    def _make_room(self, size: int) -> None:
        """A batch is one datagram, so the send buffer has to hold all of it."""
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, min(size + 4096, 2**30 - 1))


class _Interrupted(Exception):
    """The ruleset changed during a dump."""


def _first_error(data: memoryview) -> int:
    offset = 0
    while offset + _MESSAGE.size <= len(data):
        size, kind, _, _, _ = _MESSAGE.unpack_from(data, offset)
        if size < _MESSAGE.size:
            return errno.EBADMSG
        if kind == _NLMSG_ERROR:
            (number,) = struct.unpack_from("=i", data, offset + _MESSAGE.size)
            if number:
                return -int(number)
        offset += size + -size % 4
    return 0


def _error(doing: str, number: int) -> NfTablesError:
    reason = "this needs CAP_NET_ADMIN" if number == errno.EPERM else os.strerror(number)
    return NfTablesError(f"cannot {doing}: {reason}", number)


def table_names(family: Family) -> list[str]:
    """All tables of the family in this network namespace, in the kernel's order; only looks."""
    with _Socket() as sock:
        for _ in range(_RETRIES):
            try:
                return [_text(_find(body, _TABLE_NAME)) for body in sock.ask(_GETTABLE, _FAMILIES[family])]
            except _Interrupted:
                continue
    raise NfTablesError("nf_tables keeps changing while it is read", errno.EINTR)


def generation() -> int:
    """The number of the ruleset's present state: each commit of this network namespace adds 1."""
    with _Socket() as sock:
        return int.from_bytes(sock.generation(), "big")


def commits_since(since: int) -> int:
    """How often nf_tables was changed since it was in that generation, a number of 32 bits."""
    return generation() - since & 0xFFFFFFFF


def user_chains(family: Family) -> dict[str, list[str]]:
    """All tables of the family, and of each the chains that hang on no hook; only looks."""
    with _Socket() as sock:
        for _ in range(_RETRIES):
            try:
                found: dict[str, list[str]] = {
                    _text(_find(body, _TABLE_NAME)): [] for body in sock.ask(_GETTABLE, _FAMILIES[family])
                }
                for body in sock.ask(_GETCHAIN, _FAMILIES[family]):
                    attributes = {kind: value for kind, value, _ in _attributes(body)}
                    if _CHAIN_HOOK not in attributes:
                        chains = found.setdefault(_text(attributes[_CHAIN_TABLE]), [])
                        chains.append(_text(attributes[_CHAIN_NAME]))
            except _Interrupted:
                continue
            return found
    raise NfTablesError("nf_tables keeps changing while it is read", errno.EINTR)


def base_chains(family: Family) -> list[BaseChain]:
    """All chains of the family that hang on a hook; only looks."""
    with _Socket() as sock:
        for _ in range(_RETRIES):
            try:
                return [
                    chain for body in sock.ask(_GETCHAIN, _FAMILIES[family]) if (chain := _base_chain(body))
                ]
            except _Interrupted:
                continue
    raise NfTablesError("nf_tables keeps changing while it is read", errno.EINTR)


def _base_chain(body: memoryview) -> BaseChain | None:
    found = {kind: value for kind, value, _ in _attributes(body)}
    if _CHAIN_HOOK not in found:
        return None
    (hook,) = _U32.unpack(_find(found[_CHAIN_HOOK], _HOOK_NUMBER))
    (policy,) = _U32.unpack(found[_CHAIN_POLICY]) if _CHAIN_POLICY in found else (1,)
    return BaseChain(
        _text(found[_CHAIN_TABLE]), _text(found[_CHAIN_NAME]), hook, "ACCEPT" if policy else "DROP"
    )


def rule_counts(family: Family) -> dict[str, dict[str, int]]:
    """How many rules each chain of each table of the family has; only looks."""
    number = _FAMILIES[family]
    with _Socket() as sock:
        for _ in range(_RETRIES):
            counts: dict[str, dict[str, int]] = {}
            try:
                for body in sock.ask(_GETCHAIN, number):
                    chains = counts.setdefault(_text(_find(body, _CHAIN_TABLE)), {})
                    chains[_text(_find(body, _CHAIN_NAME))] = 0
                for body in sock.ask(_GETRULE, number):
                    chains = counts.setdefault(_text(_find(body, _RULE_TABLE)), {})
                    name = _text(_find(body, _RULE_CHAIN))
                    chains[name] = chains.get(name, 0) + 1
            except _Interrupted:
                continue
            return counts
    raise NfTablesError("nf_tables keeps changing while it is read", errno.EINTR)


def _find(body: memoryview, wanted: int) -> memoryview:
    for kind, value, _ in _attributes(body):
        if kind == wanted:
            return value
    raise NfTablesError(f"the kernel left out attribute {wanted}", errno.EBADMSG)


def snapshot(family: Family, tables: Iterable[str]) -> NftSnapshot:
    """Take down the named tables as they are at one moment.

    Tables that do not exist are noted as absent.  Raises `NfTablesError` when a
    table holds sets, objects, flow tables or anonymous chains, or belongs to
    another program (owner flag), for then `rollback` could not be exact.
    """
    wanted = tuple(dict.fromkeys(tables))
    with _Socket() as sock:
        for _ in range(_RETRIES):
            before = sock.generation()
            try:
                taken = _take(sock, family, wanted)
            except _Interrupted:
                continue
            if sock.generation() == before:
                return taken
    raise NfTablesError("nf_tables keeps changing while it is read", errno.EINTR)


def _take(sock: _Socket, family: Family, wanted: tuple[str, ...]) -> NftSnapshot:
    number = _FAMILIES[family]
    existing = {_text(_find(body, _TABLE_NAME)): body for body in sock.ask(_GETTABLE, number)}
    present = tuple(name for name in wanted if name in existing)
    absent = tuple(name for name in wanted if name not in existing)
    messages = bytearray()
    sequence = 0

    def add(kind: int, flags: int, *parts: bytes | memoryview) -> None:
        nonlocal sequence
        sequence += 1
        messages.extend(_message(kind, flags, sequence, number, *parts))

    # Made and deleted first, so that it works whether or not the table exists then.
    for name in wanted:
        add(_NEWTABLE, _CREATE, _attribute(_TABLE_NAME, _string(name)))
        add(_DELTABLE, 0, _attribute(_TABLE_NAME, _string(name)))
    for name in present:
        _refuse_foreign(sock, number, name, existing[name])
        add(_NEWTABLE, _CREATE, *_kept(existing[name], _TABLE_KEEP))
    # All chains before any rule: rules jump to chains further down.
    chains: dict[str, list[memoryview]] = {name: [] for name in present}
    for body in sock.ask(_GETCHAIN, number):
        chains.get(_text(_find(body, _CHAIN_TABLE)), []).append(body)
    for name in present:
        for body in chains[name]:
            _refuse_anonymous(name, body)
            add(_NEWCHAIN, _CREATE, *_kept(body, _CHAIN_KEEP))
    for name in present:
        for chain in chains[name]:
            # One dump per chain: to go on with a dump the kernel counts its rules again from the first.
            where = _attribute(_RULE_TABLE, _string(name)), _attribute(_RULE_CHAIN, _chain_name(chain))
            for body in sock.ask(_GETRULE, number, *where):
                add(_NEWRULE, _CREATE | _APPEND, *_kept(body, _RULE_KEEP))
    return NftSnapshot(family, present, absent, messages)


def _kept(body: memoryview, keep: set[int]) -> list[memoryview]:
    return [whole for kind, _, whole in _attributes(body) if kind in keep]


def _chain_name(chain: memoryview) -> bytes:
    return bytes(_find(chain, _CHAIN_NAME))


def _refuse_foreign(sock: _Socket, family: int, name: str, table: memoryview) -> None:
    if any(kind == _TABLE_OWNER for kind, _, _ in _attributes(table)):
        raise NfTablesError(f"table {name} is owned by another process")
    for kind, what in ((_GETSET, "sets"), (_GETOBJ, "named objects"), (_GETFLOWTABLE, "flow tables")):
        # In all three kinds the first attribute is the name of the table.
        for body in sock.ask(kind, family, _attribute(1, _string(name))):
            if _text(_find(body, 1)) == name:
                raise NfTablesError(f"table {name} has {what}, which only nft makes; use nft for it")


def _refuse_anonymous(table: str, chain: memoryview) -> None:
    for kind, value, _ in _attributes(chain):
        if kind == _CHAIN_FLAGS and _U32.unpack(value)[0] & _CHAIN_BINDING:
            raise NfTablesError(f"table {table} has anonymous chains, which only nft makes; use nft for it")


def rollback(taken: NftSnapshot) -> None:
    """Bring the tables of a snapshot back, rules, policies and counters, in one atomic step.

    Tables that were absent are removed.  What packets counted since the
    snapshot is forgotten, and limits, quotas and recent lists of xtables
    matches start anew, as with any replacement.  Raises `NfTablesError`;
    nothing has changed then.
    """
    if not taken.size:
        return
    with _Socket() as sock:
        sock.commit(_batch(taken))


def _batch(taken: NftSnapshot) -> bytearray:
    """The snapshot's messages as one batch, completed by what the dump left out."""
    batch = bytearray(_bracket(_BATCH_BEGIN))
    source = memoryview(taken._messages)
    at, end = 0, len(source)
    while at < end:
        size, kind, flags, sequence, _ = _MESSAGE.unpack_from(source, at)
        body = source[at + _MESSAGE.size : at + size]
        at += size
        extra = b""
        if kind == _SUBSYSTEM | _NEWRULE:
            extra = _compat(taken.family, _find(body[_GENERIC.size :], _RULE_EXPRESSIONS))
        if at == end:
            flags |= _ACK  # one answer when all is well; errors are answered unasked
        batch += _MESSAGE.pack(size + len(extra), kind, flags, sequence, 0)
        batch += body
        batch += extra
    batch += _bracket(_BATCH_END)
    return batch


def _compat(family: Family, expressions: memoryview) -> bytes:
    """The NFTA_RULE_COMPAT attribute of a rule that uses xtables extensions, or nothing.

    Looks for `-p`: an expression that loads the protocol and a comparison after it.
    """
    raw = bytes(expressions)
    if b"match\0" not in raw and b"target\0" not in raw:
        return b""
    loaded = False
    at, end = 0, len(raw)
    while at < end:
        # One element: its header, the expression's name, then, nested, the expression's data.
        size, _, name_size, _ = _TWO_ATTRIBUTES.unpack_from(raw, at)
        if size < _TWO_ATTRIBUTES.size:
            raise NfTablesError("the kernel sent a malformed expression", errno.EBADMSG)
        name = raw[at + 8 : at + 3 + name_size]
        if name in _ABOUT_PROTOCOL:
            data_at = at + 4 + (name_size + 3 & ~3)
            data = {kind: value for kind, value, _ in _attributes(expressions[data_at + 4 : at + size])}
            if name in _LOADS:
                loaded = _loads_protocol(family, name, data)
            elif loaded and (found := _compared_protocol(data)):
                protocol, inverted = found
                return _attribute(
                    _RULE_COMPAT | _NESTED,
                    _attribute(_COMPAT_PROTOCOL, _U32.pack(protocol))
                    + _attribute(_COMPAT_FLAGS, _U32.pack(_COMPAT_INVERT if inverted else 0)),
                )
        if name not in _LOADS:
            loaded = False
        at += size + 3 & ~3
    return b""


def _loads_protocol(family: Family, name: bytes, data: dict[int, memoryview]) -> bool:
    """Whether a `meta` or `payload` expression puts the packet's protocol number into a register."""

    def number(kind: int) -> int:
        return int.from_bytes(data[kind], "big") if kind in data else -1

    if name == b"meta":
        return number(2) == 16  # NFTA_META_KEY: NFT_META_L4PROTO
    # NFTA_PAYLOAD_BASE, _OFFSET, _LEN: one byte of the network header, as older iptables-nft wrote it
    return (number(2), number(3), number(4)) == (1, _PROTOCOL_OFFSET[family], 1)


def _compared_protocol(data: dict[int, memoryview]) -> tuple[int, bool] | None:
    """The number a `cmp` expression compares with, and whether it must differ."""
    operation = _U32.unpack(data[2])[0] if 2 in data else -1  # NFTA_CMP_OP: 0 equal, 1 not equal
    if operation not in (0, 1) or 3 not in data:
        return None
    value = bytes(_find(data[3], 1))  # NFTA_CMP_DATA: NFTA_DATA_VALUE
    return (value[0], operation == 1) if len(value) == 1 else None
