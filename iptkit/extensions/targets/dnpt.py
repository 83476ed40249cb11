"""Swap the prefix of destinations."""

from __future__ import annotations

from typing import Any

from iptkit.extensions.npt import PrefixTranslation
from iptkit.extensions.spec import Place


class Dnpt(PrefixTranslation, name="DNPT", families=(6,)):
    """Swap the prefix of the destination address, without keeping state (RFC 6296).

    The way back needs SNPT with the prefixes the other way round, and packets
    of both directions are best kept from connection tracking.  Prefixes have
    up to 64 bits.
    """

    where = Place(tables=("mangle",), hooks=("PREROUTING", "OUTPUT"))
    example = "-i eth0 -j DNPT --src-pfx 2001:db8:1::/64 --dst-pfx fd00:0:0:1::/64"


EXTENSIONS: tuple[Any, ...] = (Dnpt,)
