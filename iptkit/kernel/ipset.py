"""Numbers and names of sets (ipset), which rules with `-m set` or `-j SET` hold as numbers.

One socket option answers (SO_IP_SET, <linux/netfilter/ipset/ip_set.h>).  A
number stays with its set while rules or other sets use it, and `ipset swap`
exchanges what two numbers mean, so a table of them is good for one load.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

from iptkit.kernel.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iptkit.values.context import Family

_SO_IP_SET = 83
_GET_BY_INDEX = 7
_GET_WITH_FAMILY = 8
_PROTOCOL = 6  # IPSET_PROTOCOL_MIN: what every kernel since 3.1 takes
_NAME_SIZE = 32  # IPSET_MAXNAMELEN
_NO_SET = 0xFFFF  # IPSET_INVALID_ID

# Operation, protocol, and a name or a number, which share their place.
_BY_INDEX = struct.Struct("@II32s")  # struct ip_set_req_get_set
_BY_NAME = struct.Struct("@III32s")  # struct ip_set_req_get_set_family
_INDEX = struct.Struct("@H")
_FAMILIES: dict[int, Family] = {socket.AF_INET: 4, socket.AF_INET6: 6}

_libc = ctypes.CDLL(None, use_errno=True)


class SetError(KernelError):
    """A set could not be looked up; `errno` is ENOENT when there is none."""


def set_index(name: str, family: Family | None = None) -> int:
    """Return the number of the set called `name`.

    With `family`, a set for addresses of the other family is refused, as
    iptables refuses it.  Raises `SetError`.
    """
    return indices_of((name,), family)[name]


def set_name(index: int) -> str:
    """Return the name of the set with that number.  Raises `SetError`."""
    return names_of((index,))[index]


def indices_of(names: Iterable[str], family: Family | None = None) -> dict[str, int]:
    """Return the numbers of several sets; as `set_index`."""
    with _open() as sock:
        return {name: _index(sock, name, family) for name in names}


def names_of(indices: Iterable[int]) -> dict[int, str]:
    """Return the names of several sets; as `set_name`."""
    with _open() as sock:
        return {index: _name(sock, index) for index in indices}


def _open() -> socket.socket:
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError as error:
        raise SetError(f"cannot open a socket to ask for sets: {error.strerror}", error.errno or 0) from error


def _index(sock: socket.socket, name: str, family: Family | None) -> int:
    raw = name.encode("latin-1", "replace")
    if not raw or len(raw) >= _NAME_SIZE or b"\0" in raw:
        raise SetError(f"{name!r} cannot be a set's name: it has 1 to {_NAME_SIZE - 1} bytes", errno.EINVAL)
    request = bytearray(_BY_NAME.pack(_GET_WITH_FAMILY, _PROTOCOL, 0, raw))
    _ask(sock, request, f"set {name!r}")
    _, _, found, answer = _BY_NAME.unpack(request)
    (index,) = _INDEX.unpack_from(answer)
    if index == _NO_SET:
        raise SetError(f"there is no set called {name!r}", errno.ENOENT)
    # A set of ports alone, or a list of sets, is of no family.
    if family is not None and _FAMILIES.get(found, family) != family:
        raise SetError(
            f"set {name!r} is for IPv{_FAMILIES[found]}, and the rule for IPv{family}", errno.EAFNOSUPPORT
        )
    return int(index)


def _name(sock: socket.socket, index: int) -> str:
    if not 0 <= index < _NO_SET:
        raise SetError(f"{index} cannot be a set's number", errno.EINVAL)
    request = bytearray(_BY_INDEX.pack(_GET_BY_INDEX, _PROTOCOL, _INDEX.pack(index)))
    _ask(sock, request, f"set number {index}")
    _, _, answer = _BY_INDEX.unpack(request)
    name: str = answer.partition(b"\0")[0].decode("latin-1")
    if not name:
        raise SetError(f"there is no set with the number {index}", errno.ENOENT)
    return name


def _ask(sock: socket.socket, request: bytearray, what: str) -> None:
    """Have the kernel answer in the request's own bytes."""
    length = ctypes.c_uint(len(request))
    memory = (ctypes.c_char * len(request)).from_buffer(request)
    if not _libc.getsockopt(sock.fileno(), socket.SOL_IP, _SO_IP_SET, memory, ctypes.byref(length)):
        return
    number = ctypes.get_errno()
    reasons = {
        errno.ENOPROTOOPT: "this kernel has no ip_set, or has not loaded it",
        errno.EPERM: "this needs CAP_NET_ADMIN",
        errno.EINVAL: "the kernel has not made room for so many sets",
        errno.EPROTO: "the kernel's ip_set speaks another version of its protocol",
    }
    raise SetError(f"cannot look up {what}: {reasons.get(number, os.strerror(number))}", number)
