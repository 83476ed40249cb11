"""Match packets whose sender is reached the way they came: reverse path filtering."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout
from iptkit.extensions.spec import Flag, Match, Place
from iptkit.values.interfaces import LOOPBACK

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


def _unspecified(packet: Packet) -> bool:
    """Has the packet no source that an answer could go to, as a client's first one to DHCP?"""
    if packet.family == 6:
        return not packet.src
    return not packet.src >> 24 and (packet.dst == 0xFFFFFFFF or packet.dst >> 8 == 0xE00000)


class RpFilter(Match, name="rpfilter"):
    """Match packets that a reply would leave by the interface they came in by.

    Only in PREROUTING of the tables raw and mangle.  Packets over the
    loopback interface always pass the test, and packets out of an IPsec
    tunnel are treated as any other.  `--invert` is an option, `!` is not
    taken.
    """

    where = Place(tables=("mangle", "raw"), hooks=("PREROUTING",))
    loose = Flag("--loose", doc="a route over any interface will do")
    validmark = Flag("--validmark", doc="look up the route with the packet's mark")
    accept_local = Flag("--accept-local", doc="a source address of this machine will do")
    invert = Flag("--invert", doc="match the packets that fail the test")
    # struct xt_rpfilter_info, linux/netfilter/xt_rpfilter.h
    layout = Layout(Bits("B", given={1: "loose", 2: "validmark", 4: "accept_local", 8: "invert"}))
    certain = True
    example = "-m rpfilter --invert -j DROP"

    def matches(self, packet: Packet, world: World) -> bool | None:
        # rpfilter_mt, net/ipv4/netfilter/ipt_rpfilter.c and net/ipv6/netfilter/ip6t_rpfilter.c
        invert = bool(self.invert)
        if packet.in_interface == LOOPBACK or packet.link_type == "loopback" or _unspecified(packet):
            return not invert
        passes = world.reverse_path(
            packet,
            loose=bool(self.loose),
            valid_mark=bool(self.validmark),
            accept_local=bool(self.accept_local),
        )
        return None if passes is None else passes is not invert


EXTENSIONS: tuple[Any, ...] = (RpFilter,)
