"""ULOG and CLUSTERIP, which current kernels do not load.

The bytes are what iptables 1.8.9 hands to the kernel for these rules, caught
on the way there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from iptkit.extensions.targets.clusterip import Clusterip
from iptkit.extensions.targets.ulog import Ulog
from iptkit.values.context import Context

if TYPE_CHECKING:
    from iptkit.extensions.spec import Target

MAC = bytes.fromhex("01aa7b47f7d7")


@pytest.mark.skipif(sys.byteorder != "little", reason="the bytes are a little-endian machine's")
@pytest.mark.parametrize(
    ("use", "struct"),
    [
        (Ulog.of(), "01000000 00000000" + "00" * 8 + "0100000000000000" + "00" * 32),
        (
            Ulog.of(ulog_nlgroup=32, ulog_prefix="a b", ulog_cprange=100, ulog_qthreshold=7),
            "00000080 00000000 6400000000000000 0700000000000000 612062" + "00" * 29,
        ),
        (Clusterip.of(), "00" * 64),
        (
            Clusterip.of(
                new=True,
                hashmode="sourceip-sourceport-destport",
                clustermac=MAC,
                total_nodes=3,
                local_node=2,
                hash_init=5,
            ),
            "01000000 01aa7b47f7d7 0300 0100 0200" + "00" * 32 + "02000000 05000000" + "00" * 8,
        ),
    ],
)
def test_the_struct_is_iptables_own(use: Target, struct: str) -> None:
    payload = bytes.fromhex(struct)
    assert use.encode(4) == payload
    assert type(use).decode(payload, Context(4)) == use
