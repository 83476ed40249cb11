"""Share one address among several machines, on kernels that still have it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.matches.mac import MacAddress
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Flag, Given, Option, Problem, Target
from iptkit.extensions.world import Unknown
from iptkit.values.faults import BadValue
from iptkit.values.wording import choices, quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# enum clusterip_hashmode, linux/netfilter_ipv4/ipt_CLUSTERIP.h
HASH_MODES = ("sourceip", "sourceip-sourceport", "sourceip-sourceport-destport")
NODES = 16  # CLUSTERIP_MAX_NODES
_NEW = 0x1  # CLUSTERIP_FLAG_NEW
# struct ipt_clusterip_tgt_info, of the same file: flags, MAC, total nodes, how many local nodes, and
# the first of 16; hash mode, hash init, and a pointer that is the kernel's own
_INFO = struct.Struct("=I6sHHH30x2xII8x")
_TOGETHER = ("new", "hashmode", "clustermac", "total_nodes", "local_node")


class HashMode:
    metavar = "mode"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> str:
        if text not in HASH_MODES:
            raise BadValue(f"no hash mode is called {quote(text)}", hint=choices(text, HASH_MODES))
        return text

    def show(self, value: str) -> str:
        return value


class MulticastMac(MacAddress):
    """A MAC address whose first byte is odd: one of several machines."""

    def parse(self, text: str, context: Context) -> bytes:
        value = super().parse(text, context)
        if not value[0] & 1:
            raise BadValue(f"must be a multicast MAC address: the first byte of {quote(text)} is even")
        return value

    def show(self, value: bytes) -> str:
        return super().show(value).upper()


class Clusterip(Target, name="CLUSTERIP", families=(4,)):
    """Share an address (`-d`) among several machines, each taking its part of the connections.

    Taken out of the kernel: current ones do not load it, and have `-m cluster`
    in its place.  A rule either makes a cluster address, with --new and all
    that follows it, or has no option at all.
    """

    revision = 0
    new = Flag("--new", doc="make a cluster address")
    hashmode = Option("--hashmode", type=HashMode(), doc=f"what to hash: {', '.join(HASH_MODES)}")
    clustermac = Option(
        "--clustermac", type=MulticastMac(), doc="the MAC address they share, a multicast one"
    )
    total_nodes = Option("--total-nodes", type=UInt(NODES), doc=f"how many machines there are, up to {NODES}")
    local_node = Option("--local-node", type=UInt(NODES), doc="which of them this one is, counted from 1")
    hash_init = Option("--hash-init", type=UInt(), doc="seed of the hash; 0 when not given")
    example = (
        "-d 192.0.2.7 -i eth0 -j CLUSTERIP --new --hashmode sourceip"
        " --clustermac 01:00:5e:00:53:01 --total-nodes 2 --local-node 1"
    )

    @classmethod
    def missing(cls, present: frozenset[str], protocol: int) -> Iterator[Problem]:
        absent = [field for field in _TOGETHER if field not in present]
        if present and absent:
            flags = ", ".join(getattr(cls, field).flag for field in absent)
            yield Problem(f"CLUSTERIP: {flags} must be given too, or no option at all", "", "IPT133")

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return {"hash_init": Given(0, False), **given} if given else given

    def encode(self, family: Family) -> bytes:
        if not self.new:
            return bytes(_INFO.size)
        return _INFO.pack(
            _NEW,
            self.clustermac,
            self.total_nodes,
            1,
            self.local_node,
            HASH_MODES.index(self.hashmode or ""),
            self.hash_init,
        )

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"CLUSTERIP: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        flags, mac, total, _, local, mode, seed = _INFO.unpack_from(payload)
        if not flags & _NEW:
            return cls.of()
        if mode >= len(HASH_MODES):
            raise BadValue(f"CLUSTERIP: hash mode {mode} has no name")
        return cls.of(
            new=True,
            hashmode=HASH_MODES[mode],
            clustermac=mac,
            total_nodes=total,
            local_node=local,
            hash_init=seed,
        )

    def act(self, packet: Packet, world: World) -> str | None:
        raise Unknown("what CLUSTERIP does, which no kernel of today has")


EXTENSIONS: tuple[Any, ...] = (Clusterip,)
