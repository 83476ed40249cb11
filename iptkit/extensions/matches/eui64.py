"""Match IPv6 addresses made from the sender's Ethernet address."""

from __future__ import annotations

from typing import Any

from iptkit.extensions.layout import Layout, Pad
from iptkit.extensions.spec import Match, Place


class Eui64(Match, name="eui64", families=(6,)):
    """Match packets whose source address ends in the sender's Ethernet address, as a modified EUI-64.

    That is how stateless autoconfiguration (RFC 4862) once made addresses.
    Not in OUTPUT and POSTROUTING, where there is no sender's frame.
    """

    where = Place(hooks=("PREROUTING", "INPUT", "FORWARD"))
    # No option, but the kernel wants an int.
    layout = Layout(Pad(4))
    example = "-i eth0 -m eui64 -j ACCEPT"


EXTENSIONS: tuple[Any, ...] = (Eui64,)
