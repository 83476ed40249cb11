"""Swap the prefix of sources."""

from __future__ import annotations

from typing import Any

from iptkit.extensions.npt import PrefixTranslation
from iptkit.extensions.spec import Place


class Snpt(PrefixTranslation, name="SNPT", families=(6,)):
    """Swap the prefix of the source address, without keeping state (RFC 6296).

    The way back needs DNPT with the prefixes the other way round, and packets
    of both directions are best kept from connection tracking.  Prefixes have
    up to 64 bits.
    """

    where = Place(tables=("mangle",), hooks=("INPUT", "POSTROUTING"))
    example = "-o eth0 -j SNPT --src-pfx fd00:0:0:1::/64 --dst-pfx 2001:db8:1::/64"


EXTENSIONS: tuple[Any, ...] = (Snpt,)
