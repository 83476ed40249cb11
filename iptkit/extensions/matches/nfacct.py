"""Count packets in an accounting object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.labels import Label
from iptkit.extensions.layout import Layout, Pad, String
from iptkit.extensions.spec import Match, Option
from iptkit.values.text import quoted

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


class AccountName(Label):
    """A name of up to 31 bytes, printed after two blanks."""

    def show(self, value: str) -> str:
        return " " + quoted(value)


class Nfacct(Match, name="nfacct"):
    """Count the packet in a named accounting object, and match.

    The object must be there before the rule is (`nfacct add NAME`).  One made
    with a quota makes the rule match only once the quota is used up.  Several
    rules may count in one object, and it outlives them.
    """

    revision = 1
    name_ = Option("--nfacct-name", type=AccountName(31, 1), required=True, doc="name of the object")
    # struct xt_nfacct_match_info_v1, linux/netfilter/xt_nfacct.h
    layout = Layout(String("name_", 32, always=True), Pad(8))
    changing = True
    counts = True
    example = "-p tcp -m tcp --dport 80 -m nfacct --nfacct-name  http"

    def matches(self, packet: Packet, world: World) -> bool | None:
        return True  # objects with a quota are not known


EXTENSIONS: tuple[Any, ...] = (Nfacct,)
