"""libiptc, which edits a legacy table chain by chain and commits it in one step.

The shared libraries (libip4tc.so.2, libip6tc.so.2) are the ones that
python-iptables has loaded.  Its own function objects carry no argument types
and its object API depends on that, so this module makes its own for the same
library and leaves those alone.

libiptc does not take the xtables lock, and `Handle` loads the table it is
opened for, which creates it when it was not in use.

Entries are struct ipt_entry or ip6t_entry as bytes, matches and target
included.  One thing differs from the kernel's form: the target of a jump or a
verdict carries the chain's name, or ACCEPT, DROP, QUEUE or RETURN, in its name
field, and libiptc fills in the number at commit.  The counters of an appended,
inserted or replacing entry are those inside the entry.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from typing import TYPE_CHECKING

from iptkit.kernel.errors import KernelError
from iptkit.kernel.sockopt import layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any

    from iptkit.values.context import Family

_SOVERSIONS = {"xtables": 12, "ip4tc": 2, "ip6tc": 2}  # iptables 1.8.4 and later
_HINT = (
    "pip install 'iptkit[legacy]' (it builds python-iptables), apt install libxtables12 libip4tc2 libip6tc2"
)

_OFFSETS = struct.Struct("@HH")  # target_offset, next_offset of an entry
_LEAST_TARGET = 32  # sizeof(struct xt_entry_target)


class LegacyUnavailable(KernelError):
    """python-iptables or a library it needs is not there; the message says what to install."""


class LibiptcError(KernelError):
    """libiptc refused; the message is what iptc_strerror says about `errno`."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message, errno)


class _Counters(ctypes.Structure):
    """struct xt_counters."""

    _fields_ = (("packets", ctypes.c_uint64), ("octets", ctypes.c_uint64))


class _Library:
    """The functions of one family's library, with their C types.

    Made once per process and kept: the foreign functions are the costly part.
    """

    def __init__(self, library: ctypes.CDLL, prefix: str) -> None:
        name, pointer, number = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int
        counters = ctypes.POINTER(_Counters)

        def function(suffix: str, result: object, *arguments: object) -> Callable[..., Any]:
            found = library[prefix + suffix]
            found.restype = result  # type: ignore[assignment]  # ctypes types, which typeshed keeps private
            found.argtypes = arguments  # type: ignore[assignment]  # as above
            return found

        self.init = function("init", pointer, name)
        self.free = function("free", None, pointer)
        self.first_chain = function("first_chain", name, pointer)
        self.next_chain = function("next_chain", name, pointer)
        self.is_chain = function("is_chain", number, name, pointer)
        self.builtin = function("builtin", number, name, pointer)
        self.create_chain = function("create_chain", number, name, pointer)
        self.flush_entries = function("flush_entries", number, name, pointer)
        self.zero_entries = function("zero_entries", number, name, pointer)
        self.delete_chain = function("delete_chain", number, name, pointer)
        self.rename_chain = function("rename_chain", number, name, name, pointer)
        self.set_policy = function("set_policy", number, name, name, counters, pointer)
        self.get_policy = function("get_policy", name, name, counters, pointer)
        self.append_entry = function("append_entry", number, name, name, pointer)
        self.insert_entry = function("insert_entry", number, name, name, ctypes.c_uint, pointer)
        self.replace_entry = function("replace_entry", number, name, name, ctypes.c_uint, pointer)
        self.delete_num_entry = function("delete_num_entry", number, name, ctypes.c_uint, pointer)
        self.zero_counter = function("zero_counter", number, name, ctypes.c_uint, pointer)
        self.set_counter = function("set_counter", number, name, ctypes.c_uint, counters, pointer)
        self.commit = function("commit", number, pointer)
        self.strerror = function("strerror", name, number)


_libraries: dict[Family, _Library] = {}


def load(family: Family) -> None:
    """Load the family's library, and with it python-iptables.  Raises LegacyUnavailable."""
    _load(family)


def _load(family: Family) -> _Library:
    if family in _libraries:
        return _libraries[family]
    for name, version in _SOVERSIONS.items():
        try:
            ctypes.CDLL(f"lib{name}.so.{version}", mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise LegacyUnavailable(f"{error}; {_HINT}") from error
    _import_quietly()
    try:
        if family == 4:
            from iptc import ip4tc as module
        else:
            from iptc import ip6tc as module
        loaded = module._libiptc
        # A second object for the same library: function objects, and so their types, are its own.
        library = ctypes.CDLL(loaded._name, use_errno=True, handle=loaded._handle)
        found = _Library(library, "iptc_" if family == 4 else "ip6tc_")
    except (ImportError, AttributeError) as error:
        raise LegacyUnavailable(f"python-iptables cannot be used ({error}); {_HINT}") from error
    _libraries[family] = found
    return found


def _import_quietly() -> None:
    """Import python-iptables without its side effects.

    Left to itself the import runs modprobe for ip_tables and ip6_tables,
    looks for its libraries with ldconfig, gcc and the first `ld` in PATH, and
    tries sys.path too, the current directory included.  All of that happens in
    three helpers of its module `iptc.util`, so others take their place: no
    kernel module is asked for, no process started, libraries are opened by
    soname, and setuptools stays out (half of the import's time).
    """
    if "iptc" in sys.modules:
        return
    import importlib.util
    import warnings

    spec = importlib.util.find_spec("iptc")
    if spec is None or not spec.submodule_search_locations:
        raise LegacyUnavailable(f"python-iptables is not installed; {_HINT}")
    directory = spec.submodule_search_locations[0]
    added = "XTABLES_LIBDIR" not in os.environ
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its sources use deprecated syntax
        try:
            _replace_util(directory)
            if added:
                # Looked at during the import; when it is missing the import runs ldconfig to guess it.
                os.environ["XTABLES_LIBDIR"] = _plugin_directory()
            importlib.import_module("iptc")
        except Exception as error:  # its import lets through whatever goes wrong inside
            for name in [name for name in sys.modules if name == "iptc" or name.startswith("iptc.")]:
                del sys.modules[name]
            raise LegacyUnavailable(f"python-iptables cannot be imported ({error}); {_HINT}") from error
        finally:
            if added:
                os.environ.pop("XTABLES_LIBDIR", None)


def _replace_util(directory: str) -> None:
    """Put a module in the place of `iptc.util` that has what the package takes from it, and nothing else."""
    from types import ModuleType

    def find_library(*names: str) -> tuple[ctypes.CDLL | None, int | None]:
        for name in names:
            if name == "xtwrapper":
                return _wrapper(directory), 0
            if name in _SOVERSIONS:
                version = _SOVERSIONS[name]
                return ctypes.CDLL(f"lib{name}.so.{version}", mode=ctypes.RTLD_GLOBAL), version
        return None, None

    def find_libc() -> ctypes.CDLL:
        return ctypes.CDLL(None, mode=ctypes.RTLD_GLOBAL)

    def load_kernel(name: str, exc_if_failed: bool = False) -> None:
        """Load nothing: the kernel fetches what a table needs when the table is asked for."""

    module = ModuleType("iptc.util")
    module.__dict__.update(find_library=find_library, find_libc=find_libc, load_kernel=load_kernel)
    sys.modules["iptc.util"] = module


def _wrapper(directory: str) -> ctypes.CDLL:
    """python-iptables' own C helper, installed beside its package."""
    from sysconfig import get_config_var

    stem = os.path.join(os.path.dirname(directory), "libxtwrapper")
    suffixes = (get_config_var("EXT_SUFFIX") or ".so", ".so")
    for path in (stem + suffix for suffix in suffixes):
        if os.path.exists(path):
            return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    raise ImportError(f"{stem}{suffixes[0]} is missing")


def _plugin_directory() -> str:
    """Where libxtables, loaded before, keeps its extensions: the directory `xtables` beside it."""
    with open("/proc/self/maps", encoding="latin-1") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if "/libxtables.so." in "/" + path:
                return os.path.join("/", os.path.dirname(path), "xtables")
    raise ImportError("libxtables is loaded from nowhere")


class Handle:
    """One legacy table, opened for editing; nothing reaches the kernel before `commit`.

    Use it in a `with` statement, with the xtables lock held.  Chain names are
    str of one character per byte; rule numbers count from 1, as in iptables(8).
    Methods raise `LibiptcError`, with errno ENOENT for a chain that does not
    exist and E2BIG for a rule number past the end.
    """

    __slots__ = ("_handle", "_layout", "_library", "family", "table")

    def __init__(self, family: Family, table: str) -> None:
        """Read the table from the kernel, creating it if it was not in use.

        Raises `LegacyUnavailable` when libiptc cannot be loaded.
        """
        self._handle = 0
        self.family = family
        self.table = table
        self._layout = layout_of(family)
        self._library = _load(family)
        self._handle = self._library.init(_name(table)) or 0
        if not self._handle:
            raise self._error()

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the handle; what was not committed is gone."""
        if self._handle:
            self._library.free(self._handle)
            self._handle = 0

    def commit(self) -> None:
        """Write the table to the kernel in one step and close the handle.

        Counters of rules that were not touched keep counting.  Those of the
        policies do not: libiptc 1.8.9 zeroes them at every commit, whatever it
        changes, unless `set_policy` was called with counters (observed; every
        `iptables -A` loses them too).  `get_policy` before the commit has them.

        Fails with EAGAIN if somebody else changed the table's number of entries
        in between; a change that kept the number is overwritten unnoticed.
        """
        self._check(self._library.commit(self._open()))
        self.close()

    def chains(self) -> list[str]:
        """All chains, built-in chains first, then user chains in libiptc's order, which is by name."""
        handle = self._open()
        found = []
        name = self._library.first_chain(handle)
        while name is not None:
            found.append(name.decode("latin-1"))
            name = self._library.next_chain(handle)
        return found

    def is_chain(self, chain: str) -> bool:
        return bool(self._library.is_chain(_name(chain), self._open()))

    def builtin(self, chain: str) -> bool:
        """Whether it is one of the table's built-in chains."""
        return bool(self._library.builtin(_name(chain), self._open()))

    def create_chain(self, chain: str) -> None:
        self._check(self._library.create_chain(_name(chain), self._open()))

    def flush_entries(self, chain: str) -> None:
        """Delete the chain's rules."""
        self._check(self._library.flush_entries(_name(chain), self._open()))

    def zero_entries(self, chain: str) -> None:
        """Zero the counters of the chain's rules, and of its policy."""
        self._check(self._library.zero_entries(_name(chain), self._open()))

    def delete_chain(self, chain: str) -> None:
        """Delete an empty user chain that nothing jumps to."""
        self._check(self._library.delete_chain(_name(chain), self._open()))

    def rename_chain(self, old: str, new: str) -> None:
        self._check(self._library.rename_chain(_name(old), _name(new), self._open()))

    def set_policy(self, chain: str, policy: str, counters: tuple[int, int] | None = None) -> None:
        """Set a built-in chain's policy; `counters` are packets and bytes, None zeroes them."""
        values = None if counters is None else ctypes.byref(_Counters(*counters))
        self._check(self._library.set_policy(_name(chain), _name(policy), values, self._open()))

    def get_policy(self, chain: str) -> tuple[str, int, int] | None:
        """Policy, packets and bytes of a built-in chain; None for a user chain."""
        counters = _Counters()
        if not self.builtin(chain):
            if not self.is_chain(chain):
                raise self._error()
            return None
        policy = self._library.get_policy(_name(chain), ctypes.byref(counters), self._open())
        if policy is None:
            raise self._error()
        return policy.decode("latin-1"), counters.packets, counters.octets

    def append_entry(self, chain: str, entry: bytes) -> None:
        self.append_entries(chain, (entry,))

    def append_entries(self, chain: str, entries: Iterable[bytes]) -> None:
        """Append many entries; the sizes inside each are checked, since libiptc trusts them.

        Raises ValueError for an entry whose sizes do not add up; the entries
        before it have been appended.
        """
        handle = self._open()
        append = self._library.append_entry
        name = _name(chain)
        unpack = _OFFSETS.unpack_from
        at = self._layout.target_offset_at
        least = self._layout.size
        for entry in entries:
            target, size = unpack(entry, at)
            if size != len(entry) or not least <= target <= size - _LEAST_TARGET:
                raise ValueError("the entry's offsets do not fit its length")
            if not append(name, entry, handle):
                raise self._error()

    def insert_entry(self, chain: str, entry: bytes, number: int = 1) -> None:
        """Insert before rule `number`; one past the last appends."""
        self._vet(entry)
        done = self._library.insert_entry(_name(chain), entry, _index(number), self._open())
        self._check(done)

    def replace_entry(self, chain: str, entry: bytes, number: int) -> None:
        self._vet(entry)
        done = self._library.replace_entry(_name(chain), entry, _index(number), self._open())
        self._check(done)

    def delete_num_entry(self, chain: str, number: int) -> None:
        """Delete rule `number`."""
        self._check(self._library.delete_num_entry(_name(chain), _index(number), self._open()))

    def zero_counter(self, chain: str, number: int) -> None:
        """Zero the counters of rule `number`; what packets count until the commit is kept."""
        self._check(self._library.zero_counter(_name(chain), _index(number) + 1, self._open()))

    def set_counter(self, chain: str, number: int, packets: int, octets: int) -> None:
        """Set the counters of rule `number`."""
        values = ctypes.byref(_Counters(packets, octets))
        done = self._library.set_counter(_name(chain), _index(number) + 1, values, self._open())
        self._check(done)

    def _open(self) -> int:
        if not self._handle:
            raise ValueError("the table is closed")
        return self._handle

    def _vet(self, entry: bytes) -> None:
        target, size = _OFFSETS.unpack_from(entry, self._layout.target_offset_at)
        if size != len(entry) or not self._layout.size <= target <= size - _LEAST_TARGET:
            raise ValueError("the entry's offsets do not fit its length")

    def _check(self, done: int) -> None:
        if not done:
            raise self._error()

    def _error(self) -> LibiptcError:
        # iptc_strerror words the error after the function that ran last, so it must come next.
        number = ctypes.get_errno()
        text = self._library.strerror(number) or b""
        return LibiptcError(number, text.decode("utf-8", "replace"))


def _name(name: str) -> bytes:
    raw = name.encode("latin-1")
    if b"\0" in raw:
        raise ValueError(f"{name!r} has a NUL in it")
    return raw


def _index(number: int) -> int:
    if not 1 <= number <= 0xFFFFFFFF:
        raise ValueError("rule numbers count from 1")
    return number - 1
