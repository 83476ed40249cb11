"""Match the hop limit of IPv6 packets."""

from __future__ import annotations

from typing import Any

from iptkit.extensions.hops import Hops
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Option
from iptkit.values.numbers import UINT8_MAX

_HOPS = UInt(UINT8_MAX)


class Hl(Hops, name="hl", families=(6,)):
    """Match the hop limit in the IPv6 header, a number of hops from 0 to 255.

    A forwarding host has lowered it by one before FORWARD, but not yet in
    PREROUTING. Exactly one of the options is given.
    """

    revision = 0
    at_least_one = ("hl_eq", "hl_lt", "hl_gt")
    hl_eq = Option(
        "--hl-eq", "--hl", type=_HOPS, invert=True, excludes=("hl_lt", "hl_gt"), doc="this many hops"
    )
    hl_lt = Option("--hl-lt", type=_HOPS, excludes=("hl_eq", "hl_gt"), doc="fewer hops")
    hl_gt = Option("--hl-gt", type=_HOPS, excludes=("hl_eq", "hl_lt"), doc="more hops")
    rewritable = True
    facts = ("ttl",)
    certain = True
    example = "-p ipv6-icmp -m hl --hl-eq 255 -j ACCEPT"


EXTENSIONS: tuple[Any, ...] = (Hl,)
