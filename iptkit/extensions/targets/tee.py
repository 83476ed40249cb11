"""Send a copy of packets to another machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.hosts import HostAddress, HostBytes
from iptkit.extensions.layout import Layout, Pad, String
from iptkit.extensions.spec import Given, Option, Problem, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.spec import RuleFacts
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet


class CopyInterface:
    """An interface; what is over 15 bytes is cut off without a word, and save prints no quotes."""

    metavar = "name"
    words = 1
    code = "IPT139"

    def parse(self, text: str, context: Context) -> str:
        return text[:15]

    def show(self, value: str) -> str:
        return value


class Tee(Target, name="TEE"):
    """Send a copy of the packet to a machine on the local network, and go on to the next rule.

    The copy goes to the gateway's link address with its IP addresses as they
    are; the machine there must be ready for that.
    """

    revision = 1
    gateway = Option("--gateway", type=HostAddress(), required=True, doc="the machine that gets the copy")
    oif = Option("--oif", type=CopyInterface(), doc="the interface the copy leaves by")
    # struct xt_tee_tginfo, linux/netfilter/xt_TEE.h; its last part is the kernel's own
    layout = Layout(HostBytes("gateway"), String("oif", 16), Pad(8))
    harmless = True
    example = "-i eth0 -j TEE --gateway 192.0.2.9"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return {field: found for field, found in given.items() if found.value != ""}

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        if self.gateway is not None and self.gateway[1] == 0:
            yield Problem("TEE: the gateway cannot be the unspecified address", "gateway", "IPT125")

    def act(self, packet: Packet, world: World) -> str | None:
        if self.gateway is not None:
            world.copy_to(packet, self.gateway[1], self.oif or "")
        return None


EXTENSIONS: tuple[Any, ...] = (Tee,)
