"""NetBIOS name service and SNMP: the machine's own broadcasts are answered by whoever is on that network.

Facts: net/netfilter/nf_conntrack_broadcast.c, nf_conntrack_netbios_ns.c and
nf_conntrack_snmp.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.expect import PERMANENT, Expectation, Policy
from iptkit.conntrack.helpers.reading import refresh
from iptkit.extensions.world import ACCEPT

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat
    from iptkit.values.packet import Packet

# Port and seconds, by helper.
_SERVICES = {"netbios-ns": (137, 3), "snmp": (161, 30)}


def read(nat: Nat, packet: Packet, entry: Entry, direction: int, now: float) -> str:
    """See whether a packet of the machine's own is a broadcast."""
    if packet.owner is None or direction or nat.broadcast_mask is None:
        return ACCEPT
    mask = nat.broadcast_mask(packet)
    if not mask:
        return ACCEPT
    port, timeout = _SERVICES[entry.helper]
    expectation = Expectation(
        entry,
        entry.reply._replace(source=port),
        Policy(1, timeout),
        source_mask=mask,
        source_port_mask=0xFFFF,
        flags=PERMANENT,
    )
    nat.expectations.add(expectation, now)
    refresh(entry, timeout, now)
    return ACCEPT
