"""Match the time to live of IPv4 packets."""

from __future__ import annotations

from typing import Any

from iptkit.extensions.hops import Hops
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Option
from iptkit.values.numbers import UINT8_MAX

_TTL = UInt(UINT8_MAX)


class Ttl(Hops, name="ttl", families=(4,)):
    """Match the time to live in the IPv4 header, a number of hops from 0 to 255.

    A forwarding host has lowered it by one before FORWARD, but not yet in
    PREROUTING. Exactly one of the options is given.
    """

    revision = 0
    at_least_one = ("ttl_eq", "ttl_lt", "ttl_gt")
    ttl_eq = Option(
        "--ttl-eq", "--ttl", type=_TTL, invert=True, excludes=("ttl_lt", "ttl_gt"), doc="this many hops"
    )
    ttl_lt = Option("--ttl-lt", type=_TTL, excludes=("ttl_eq", "ttl_gt"), doc="fewer hops")
    ttl_gt = Option("--ttl-gt", type=_TTL, excludes=("ttl_eq", "ttl_lt"), doc="more hops")
    rewritable = True
    facts = ("ttl",)
    certain = True
    example = "-m ttl --ttl-lt 5 -j DROP"


EXTENSIONS: tuple[Any, ...] = (Ttl,)
