"""What the reading of a value depends on, besides its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Family = Literal[4, 6]


class Names:
    """Names that live on a machine: users and groups, host names, device groups, routing realms.

    iptables looks them up when it reads a rule.  The core asks this object,
    and never the machine; the default knows root alone.  Each function gives
    None for what it does not know.

    Device groups and realms are whole tables, since iptables-save prints
    their names; the defaults are what Debian's iproute2 has in
    /etc/iproute2/group and /etc/iproute2/rt_realms.
    """

    __slots__ = ("device_groups", "group", "host", "realms", "user")

    def __init__(
        self,
        user: Callable[[str], int | None] = {"root": 0}.get,
        group: Callable[[str], int | None] = {"root": 0}.get,
        host: Callable[[str, Family], tuple[int, ...] | None] = lambda name, family: None,
        device_groups: Mapping[str, int] | None = None,
        realms: Mapping[str, int] | None = None,
    ) -> None:
        self.user = user
        self.group = group
        self.host = host
        self.device_groups = {"default": 0} if device_groups is None else device_groups
        self.realms = {"cosmos": 0} if realms is None else realms


class Context:
    """The family of the rule and the names of the machine."""

    __slots__ = ("family", "names")

    def __init__(self, family: Family = 4, names: Names | None = None) -> None:
        self.family: Family = family
        self.names = names or Names()
