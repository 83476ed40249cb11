"""Share packets out among the nodes of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Number
from iptkit.extensions.numbers import Hex, UInt
from iptkit.extensions.spec import Given, Match, Option
from iptkit.values.faults import BadValue
from iptkit.values.jhash import jhash_1word, reciprocal_scale

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

MOST_NODES = 32  # XT_CLUSTER_NODES_MAX


class Cluster(Match, name="cluster"):
    """Match the packets that are this node's share, by a hash over the source of their connections.

    Every node of the cluster gets every packet, and all have the same seed
    and number of nodes; each takes what its own node number or mask says.
    iptables 1.8.9 takes masks up to 32 only, so that its own save of
    `--cluster-local-node 7` and above cannot be loaded again.
    """

    local_nodemask = Option(
        "--cluster-local-nodemask",
        type=Hex(MOST_NODES, 1),
        invert=True,
        excludes=("local_node",),
        doc="nodes that this one stands for, as bits",
    )
    total_nodes = Option(
        "--cluster-total-nodes", type=UInt(MOST_NODES, 1), required=True, doc="how many nodes there are"
    )
    hash_seed = Option("--cluster-hash-seed", type=Hex(), required=True, doc="seed of the hash")
    local_node = Option(
        "--cluster-local-node",
        type=UInt(MOST_NODES, 1),
        invert=True,
        excludes=("local_nodemask",),
        doc="which node this one is, from 1",
    )
    at_least_one = ("local_node", "local_nodemask")
    # struct xt_cluster_match_info, linux/netfilter/xt_cluster.h
    layout = Layout(
        Number("total_nodes", "I", always=True),
        Number("local_nodemask", "I", always=True),
        Number("hash_seed", "I", always=True),
        Bits("I", inverted={1: "local_nodemask"}),
    )
    example = (
        "-m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 0xdeadbeef"
        " -j MARK --set-mark 0xffff"
    )

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = dict(given)
        node = out.pop("local_node", None)
        if node is not None:
            out["local_nodemask"] = Given(1 << node.value - 1, node.inverted)
        total, mask = given.get("total_nodes"), out.get("local_nodemask")
        if total is None or mask is None or mask.value < 1 << total.value:
            return out
        most = f"--cluster-total-nodes {total.value}"
        if node is not None:
            raise BadValue(f"--cluster-local-node {node.value} is above {most}")
        raise BadValue(f"--cluster-local-nodemask {mask.value:#x} has nodes above {most}")

    def matches(self, packet: Packet, world: World) -> bool | None:
        # xt_cluster_mt, net/netfilter/xt_cluster.c
        connection = packet.connection
        if connection is None:
            return False
        source = (connection.master or connection).original.src
        # Of an IPv6 address, too, only the first four bytes count.
        first = source.to_bytes(4 if packet.family == 4 else 16, "big")[:4]
        number = jhash_1word(int.from_bytes(first, "little"), self.hash_seed or 0)
        node = reciprocal_scale(number, self.total_nodes or 1)
        return bool((self.local_nodemask or 0) >> node & 1) is not self.is_inverted("local_nodemask")


EXTENSIONS: tuple[Any, ...] = (Cluster,)
