"""Which backend a name means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.kernel.errors import KernelError

if TYPE_CHECKING:
    from iptkit.kernel.backend import Backend
    from iptkit.values.context import Family

BACKENDS = ("auto", "legacy", "nft", "memory")


def open_backend(
    name: str,
    family: Family,
    *,
    state: str | None = None,
    wait: float | None = 0,
    interval: int | None = None,
) -> Backend:
    """The backend called `name`; `auto` is what is in use on this machine.

    `state` is the file of the memory backend, `wait` the seconds to wait for
    the xtables lock (0 not at all, None or below 0 for ever), `interval` the
    microseconds between tries.  Imports late: a kernel backend loads libraries
    that nothing else needs.  Raises KernelError.
    """
    if name == "memory":
        from iptkit.kernel.memory import MemoryBackend

        return MemoryBackend(state)
    if state is not None:
        raise KernelError("--state belongs to --backend memory")
    if name == "auto":
        from iptkit.kernel.detect import detect

        name = detect(family).backend
    if name == "legacy":
        from iptkit.kernel.legacy import LegacyBackend

        return LegacyBackend(family, wait=wait, interval=interval)
    if name == "nft":
        from iptkit.kernel.nft import NftBackend

        return NftBackend(family, wait=wait, interval=interval)
    raise KernelError(f"there is no backend {name!r}: {', '.join(BACKENDS)}")
