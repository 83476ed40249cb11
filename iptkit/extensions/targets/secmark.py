"""Set the packet's security mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.labels import Label
from iptkit.extensions.layout import Bits, Layout, Pad, String
from iptkit.extensions.spec import Option, Place, Target

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class SecurityContext(Label):
    """A security context, cut off after 255 bytes; iptables-save prints it bare."""

    metavar = "context"

    def __init__(self) -> None:
        super().__init__(255)


class Secmark(Target, name="SECMARK"):
    """Set the packet's security mark, as SELinux and other security modules use it.

    The context must be one that the running kernel's security module knows.
    Valid in mangle and security only.
    """

    where = Place(tables=("mangle", "security"))
    revision = 1
    selctx = Option("--selctx", type=SecurityContext(), required=True, doc="security context")
    # struct xt_secmark_target_info_v1, linux/netfilter/xt_SECMARK.h; the number at the end is the kernel's
    layout = Layout(Bits("B", always=1), String("selctx", 256, always=True), Pad(7))
    rewrites = ()
    example = "-p tcp --dport 80 -j SECMARK --selctx system_u:object_r:httpd_packet_t:s0"

    def act(self, packet: Packet, world: World) -> str | None:
        # The security module numbers contexts as it likes; here in the order they are met.
        numbers: dict[str, int] = world.named("SECMARK", "", dict)
        packet.secmark = numbers.setdefault(self.selctx or "", len(numbers) + 1)
        return None


EXTENSIONS: tuple[Any, ...] = (Secmark,)
