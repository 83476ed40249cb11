"""What this machine knows: the names that iptables looks up when it reads a rule, and its plugins.

Asked only for rules that go into this machine's kernel or come out of it: what
a file says must not depend on where it is checked.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from iptkit.values.context import Names

if TYPE_CHECKING:
    from iptkit.values.context import Family

_DEVICE_GROUPS = ("/etc/iproute2/group", "/usr/share/iproute2/group")
_REALMS = ("/etc/iproute2/rt_realms", "/usr/share/iproute2/rt_realms")
_PLUGIN = re.compile(r"lib(xt|ipt|ip6t)_(\w+)\.so")
_DIRECTORIES = ("/usr/lib", "/lib", "/usr/local/lib", "/usr/lib64", "/lib64")
_ENTRY = re.compile(r"[ \t]*(0x[0-9A-Fa-f]+|\d+)[ \t]+(\S+)")


def machine_names() -> Names:
    """Users, groups, hosts, device groups and realms as this machine knows them."""
    return Names(_user, _group, _host, _table(_DEVICE_GROUPS, {"default": 0}), _table(_REALMS, {"cosmos": 0}))


def _user(name: str) -> int | None:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


def _group(name: str) -> int | None:
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None


def _host(name: str, family: Family) -> tuple[int, ...] | None:
    """Addresses in the order the resolver gives them, each once."""
    import socket

    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    try:
        found = socket.getaddrinfo(name, None, kind, socket.SOCK_RAW)
    except (OSError, UnicodeError):
        return None
    packed = (socket.inet_pton(kind, str(address[0])) for *_, address in found)
    return tuple(dict.fromkeys(int.from_bytes(raw, "big") for raw in packed)) or None


def _table(paths: tuple[str, ...], default: dict[str, int]) -> dict[str, int]:
    """A table of numbers and names as iproute2 keeps them; lines that are none are passed over."""
    for path in paths:
        try:
            with open(path, encoding="latin-1") as lines:
                found = [_ENTRY.match(line) for line in lines]
        except OSError:
            continue
        return {entry[2]: int(entry[1], 0) for entry in found if entry is not None}
    return default


def plugin_names(family: Family) -> frozenset[str]:
    """The extensions this machine's libxtables has plugins for; nothing is loaded."""
    own = "ipt" if family == 4 else "ip6t"
    found = set()
    for directory in plugin_directories():
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            parts = _PLUGIN.fullmatch(name)
            if parts is not None and parts[1] in ("xt", own):
                found.add(parts[2])
    return frozenset(found)


def plugin_directories() -> list[str]:
    """Where plugins may be: XTABLES_LIBDIR, or `xtables` below the usual directories of libraries."""
    given = os.environ.get("XTABLES_LIBDIR")
    if given:
        return given.split(":")
    found = []
    for top in _DIRECTORIES:
        found.append(os.path.join(top, "xtables"))
        try:
            below = os.listdir(top)
        except OSError:
            continue
        found += [os.path.join(top, name, "xtables") for name in below if name.endswith("-gnu")]
    return [path for path in found if os.path.isdir(path)]
