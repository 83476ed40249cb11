"""Helpers: they read what a connection says and know which connections will follow.

One module each.  A helper is a function

    read(nat, packet, entry, direction, now) -> verdict

that may announce expectations, and rewrites what is said where NAT moved the
connection.  Helpers are attached by `-j CT --helper`; none is by itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from iptkit.extensions.world import ACCEPT
from iptkit.text.record import NamedTuple
from iptkit.values.packet import CT_ESTABLISHED_REPLY, TCP, UDP

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat
    from iptkit.values.packet import Packet


class Helper(NamedTuple):
    """Which connections a helper is for, and the module that holds it."""

    module: str
    protocols: tuple[int, ...]
    families: tuple[int, ...] = (4, 6)


HELPERS = {
    "amanda": Helper("amanda", (UDP,)),
    "ftp": Helper("ftp", (TCP,)),
    "irc": Helper("irc", (TCP,), (4,)),
    "netbios-ns": Helper("broadcast", (UDP,), (4,)),
    "pptp": Helper("pptp", (TCP,), (4,)),
    "sane": Helper("sane", (TCP,)),
    "sip": Helper("sip", (TCP, UDP)),
    "snmp": Helper("broadcast", (UDP,), (4,)),
    "tftp": Helper("tftp", (UDP,)),
}


def exists(name: str, proto: int, family: int) -> bool:
    """Is there a helper of this name for this protocol and family?  `-j CT` is refused without."""
    helper = HELPERS.get(name)
    return helper is not None and proto in helper.protocols and family in helper.families


def _module(name: str) -> Any:
    return importlib.import_module(f"iptkit.conntrack.helpers.{HELPERS[name].module}")


def run(nat: Nat, packet: Packet, entry: Entry, now: float) -> str:
    """Let the connection's helper read the packet; the verdict."""
    if entry.helper not in HELPERS:  # of a table that was read in: a helper nobody here knows
        return ACCEPT
    direction = int(packet.ctinfo >= CT_ESTABLISHED_REPLY)
    verdict: str = _module(entry.helper).read(nat, packet, entry, direction, now)
    return verdict


def destroyed(nat: Nat, entry: Entry, now: float) -> None:
    """A connection with a helper is gone."""
    if entry.helper == "pptp":
        _module("pptp").destroyed(nat, entry, now)
