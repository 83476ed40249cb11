"""The error that every kernel-facing module's errors derive from."""

from __future__ import annotations

from iptkit.text.diagnostic import IptkitError


class KernelError(IptkitError):
    """The kernel, or a tool that talks to it, refused; `errno` is 0 when there is no number to give."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class NoSuchTable(KernelError):
    """iptables has no table of that name."""
