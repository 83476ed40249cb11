"""What tells one connection from another: the tuple of one direction.

Facts: include/net/netfilter/nf_conntrack_tuple.h, Linux 6.18.
"""

from __future__ import annotations

from typing import NamedTuple

ORIGINAL, REPLY = 0, 1

# Which ICMP type answers which (nf_conntrack_proto_icmp.c, nf_conntrack_proto_icmpv6.c).
ANSWERS4 = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
ANSWERS6 = {128: 129, 129: 128, 139: 140, 140: 139}


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


def inverse(of: Tuple) -> Tuple | None:
    """The tuple of the answer; None for an ICMP message that has none (nf_ct_invert_tuple)."""
    family, src, source, dst, destination, proto = of
    if proto not in (1, 58):
        return Tuple(family, dst, destination, src, source, proto)
    answers = ANSWERS4 if proto == 1 else ANSWERS6
    answer = answers.get(destination >> 8)
    if answer is None:
        return None
    return Tuple(family, dst, source, src, answer << 8 | destination & 0xFF, proto)
