"""The errors of the kernel-facing layer, and the names of the address families."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.text.diagnostic import IptkitError

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    Family: TypeAlias = Literal["ipv4", "ipv6"]


class KernelError(IptkitError):
    """The kernel, or a tool that talks to it, refused; `errno` is 0 when there is no number to give."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno
