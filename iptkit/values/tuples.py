"""What tells one connection from another: the tuple of one direction.

Facts: include/net/netfilter/nf_conntrack_tuple.h, Linux 6.18.
"""

from __future__ import annotations

from iptkit.text.record import NamedTuple

ORIGINAL, REPLY = 0, 1


class Tuple(NamedTuple):
    """Who speaks to whom, in one direction.

    `source` and `destination` are ports for TCP, UDP, UDP-Lite and SCTP.  For
    ICMP `source` is the id and `destination` type << 8 | code; for GRE the
    keys of PPTP; for any other protocol both are 0.
    """

    family: int
    src: int
    source: int
    dst: int
    destination: int
    proto: int
