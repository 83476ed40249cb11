"""The sysctls of the network stack that decide about packets (Documentation/networking/ip-sysctl.rst)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# A machine that filters forwards, too; and this one sends errors as often as there is a reason.
DEFAULTS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv4.ip_default_ttl": 64,
    "net.ipv4.icmp_echo_ignore_all": 0,
    "net.ipv4.icmp_echo_ignore_broadcasts": 1,
    "net.ipv4.fwmark_reflect": 0,
    "net.ipv4.icmp_ratelimit": 0,
    "net.ipv6.fwmark_reflect": 0,
    "net.ipv4.icmp_errors_use_inbound_ifaddr": 0,
    "net.ipv6.icmp.echo_ignore_all": 0,
    "net.ipv6.conf.all.forwarding": 1,
}
_PER_INTERFACE4 = ("accept_local", "forwarding", "route_localnet", "rp_filter")
_INTERFACE = re.compile(r"net\.ipv([46])\.conf\.(.+)\.([a-z_]+)")


class Sysctls:
    """Values by their full names, `net.ipv4.ip_forward`; those of interfaces are 0 until they are set."""

    def __init__(self, values: Mapping[str, int] | None = None) -> None:
        self._values = dict(DEFAULTS)
        for name, value in (values or {}).items():
            self.set(name, value)

    def set(self, name: str, value: int) -> None:
        """Change a value.  Raises KeyError for a name that decides about no packet."""
        name = name.replace("/", ".")
        match = _INTERFACE.fullmatch(name)
        if name not in self._values:
            if match is None:
                raise KeyError(name)
            family, _, key = match.groups()
            if family == "4" and key not in _PER_INTERFACE4:
                raise KeyError(name)
            if family == "6" and key != "forwarding":
                raise KeyError(name)
        self._values[name] = value
        if name in ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"):
            # Setting it for all sets it for each (inet_forward_change).
            self._values = {
                key: held
                for key, held in self._values.items()
                if not (key.startswith("net.ipv4.conf.") and key.endswith(".forwarding"))
            }
            self._values["net.ipv4.ip_forward"] = value

    def get(self, name: str) -> int:
        return self._values.get(name, 0)

    def _two4(self, key: str, interface: str) -> tuple[int, int]:
        return self.get(f"net.ipv4.conf.all.{key}"), self.get(f"net.ipv4.conf.{interface}.{key}")

    def most4(self, key: str, interface: str) -> int:
        """The greater of the value for all and the interface's (IN_DEV_MAXCONF)."""
        return max(self._two4(key, interface))

    def either4(self, key: str, interface: str) -> bool:
        """IN_DEV_ORCONF."""
        return any(self._two4(key, interface))

    def both4(self, key: str, interface: str) -> bool:
        """Is it on for the interface or for all (IN_DEV_NET_ORCONF, as for route_localnet)?"""
        return any(self._two4(key, interface))

    def forwarding4(self, interface: str) -> bool:
        own = self._values.get(f"net.ipv4.conf.{interface}.forwarding")
        return bool(self.get("net.ipv4.ip_forward") if own is None else own)

    def forwarding6(self) -> bool:
        return bool(self.get("net.ipv6.conf.all.forwarding"))
