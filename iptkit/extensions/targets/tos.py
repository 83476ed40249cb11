"""Set the type of service of a packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout, Pair
from iptkit.extensions.marks import others
from iptkit.extensions.numbers import UInt
from iptkit.extensions.service_types import TosMask
from iptkit.extensions.spec import BYTES, Given, Option, Place, Target
from iptkit.values.numbers import UINT8_MAX

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

_ALL = ("set_tos", "and_tos", "or_tos", "xor_tos")


class Tos(Target, name="TOS"):
    """Change the type of service byte (IPv4) or traffic class (IPv6): clear the bits of mask, XOR value in.

    A name stands for a value under the mask 0x3f, see the match tos.  Valid in
    mangle only.
    """

    where = Place(tables=("mangle",))
    revision = 1
    at_least_one = _ALL
    set_tos = Option(
        "--set-tos", type=TosMask(), excludes=others("set_tos", _ALL), doc="clear mask, XOR value; or a name"
    )
    and_tos = Option(
        "--and-tos", type=UInt(UINT8_MAX), excludes=others("and_tos", _ALL), doc="AND with these bits"
    )
    or_tos = Option(
        "--or-tos", type=UInt(UINT8_MAX), excludes=others("or_tos", _ALL), doc="OR with these bits"
    )
    xor_tos = Option(
        "--xor-tos", type=UInt(UINT8_MAX), excludes=others("xor_tos", _ALL), doc="XOR with these bits"
    )
    # struct xt_tos_target_info, linux/netfilter/xt_DSCP.h
    layout = Layout(Pair("set_tos", "B", (0, 0), always=True))
    effect = "steady"
    aware = False
    rewrites = ("tos", "dscp", "ecn", *BYTES)
    example = "-p tcp --dport 22 -j TOS --set-tos 0x10/0x3f"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        for field, found in given.items():
            value = found.value
            if field == "and_tos":
                return {"set_tos": Given((0, value ^ UINT8_MAX), False)}
            if field == "or_tos":
                return {"set_tos": Given((value, value), False)}
            if field == "xor_tos":
                return {"set_tos": Given((value, 0), False)}
        return given

    def act(self, packet: Packet, world: World) -> str | None:
        value, mask = self.set_tos or (0, 0)
        tos = packet.tos & ~mask ^ value
        if tos != packet.tos:
            packet.set_tos(tos)
        return None


EXTENSIONS: tuple[Any, ...] = (Tos,)
