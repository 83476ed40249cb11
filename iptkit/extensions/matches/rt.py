"""Match the IPv6 routing header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from iptkit.extensions.headers6 import header_at
from iptkit.extensions.layout import Bits, Layout, Number, Pad, Pair
from iptkit.extensions.numbers import UInt
from iptkit.extensions.ranges import NumberRange, Range, Ranged
from iptkit.extensions.spec import Flag, Option
from iptkit.extensions.world import HotDrop
from iptkit.values.addresses import parse_address6, show_address6
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT32_MAX
from iptkit.values.packet import ROUTING

if TYPE_CHECKING:
    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension, Given
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

LIMIT = 16  # IP6T_RT_HOPS


class Hops:
    """IPv6 addresses between commas, sixteen at most."""

    metavar = "address[,...]"
    words = 1
    code = "IPT125"

    def parse(self, text: str, context: Context) -> tuple[int, ...]:
        items = text.split(",")
        if len(items) > LIMIT:
            raise BadValue(f"{len(items)} addresses are too many, {LIMIT} is the most")
        return tuple(parse_address6(item) for item in items)

    def show(self, value: tuple[int, ...]) -> str:
        return ",".join(map(show_address6, value))


class _HopList:
    """The addresses, room for sixteen, and how many there are."""

    __slots__ = ("field", "size")

    def __init__(self, field: str) -> None:
        self.field = field
        self.size = 16 * LIMIT + 1

    def write(self, use: Extension, family: Family) -> bytes:
        hops: tuple[int, ...] = getattr(use, self.field) or ()
        packed = b"".join(hop.to_bytes(16, "big") for hop in hops)
        return packed.ljust(16 * LIMIT, b"\0") + bytes((len(hops),))

    def read(self, piece: bytes, into: Reading) -> None:
        count = piece[-1]
        if count > LIMIT:
            raise BadValue(f"{count} addresses from the kernel, {LIMIT} is the most")
        into.values[self.field] = tuple(
            int.from_bytes(piece[at : at + 16], "big") for at in range(0, 16 * count, 16)
        )


class Rt(Ranged, name="rt", families=(6,)):
    """Match packets with a routing header (RFC 8200, 4.4), by its fields.

    The options for type 0 (RFC 5095 has ended its use) come after
    `--rt-type 0`: --rt-0-res has the reserved field be zero, --rt-0-addrs
    names the header's addresses, all of them from the first on, or with
    --rt-0-not-strict some of them in this order.
    """

    whole: ClassVar[dict[str, Range]] = {"rt_segsleft": (0, UINT32_MAX)}
    rt_type = Option("--rt-type", type=UInt(), invert=True, doc="type of routing header")
    rt_segsleft = Option("--rt-segsleft", type=NumberRange(), invert=True, doc="segments left, or a range")
    rt_len = Option("--rt-len", type=UInt(), invert=True, doc="length of the header in bytes")
    rt_0_res = Flag("--rt-0-res", doc="the reserved field is zero; after --rt-type 0")
    rt_0_addrs = Option("--rt-0-addrs", type=Hops(), doc="its addresses, 16 at most; after --rt-type 0")
    rt_0_not_strict = Flag(
        "--rt-0-not-strict", doc="other addresses may stand between them; after --rt-0-addrs"
    )
    # struct ip6t_rt, linux/netfilter_ipv6/ip6t_rt.h
    layout = Layout(
        Number("rt_type", "I", always=True),
        Pair("rt_segsleft", "I", (0, UINT32_MAX)),
        Number("rt_len", "I", always=True),
        Bits(
            "B",
            given={1: "rt_type", 4: "rt_len", 8: "rt_0_res", 16: "rt_0_addrs", 32: "rt_0_not_strict"},
            echoed={2: "rt_segsleft"},
        ),
        Bits("B", inverted={1: "rt_type", 2: "rt_segsleft", 4: "rt_len"}),
        Pad(2),
        _HopList("rt_0_addrs"),
        size=280,
    )
    certain = True
    example = "-m rt --rt-type 0 --rt-len 24 -j DROP"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        before: set[str] = set()
        kind = given.get("rt_type")
        zero = kind is not None and kind.value == 0 and not kind.inverted
        for field in given:
            if field in ("rt_0_res", "rt_0_addrs") and not (zero and "rt_type" in before):
                raise BadValue(f"{getattr(cls, field).flag} needs --rt-type 0 before it", "IPT133")
            if field == "rt_0_not_strict" and "rt_0_addrs" not in before:
                raise BadValue("--rt-0-not-strict needs --rt-0-addrs before it", "IPT133")
            before.add(field)
        return super().settle(given, context)

    def matches(self, packet: Packet, world: World) -> bool | None:
        # rt_mt6, net/ipv6/netfilter/ip6t_rt.c
        at = header_at(packet, ROUTING)
        if at < 0:
            return False
        data = packet.data
        if len(data) < at + 4:
            raise HotDrop
        length = (data[at + 1] + 1) * 8
        if len(data) - at < length:
            raise HotDrop
        low, high = self.rt_segsleft or self.whole["rt_segsleft"]
        if (low <= data[at + 3] <= high) is self.is_inverted("rt_segsleft"):
            return False
        if self.rt_len is not None and (self.rt_len == length) is self.is_inverted("rt_len"):
            return False
        if self.rt_type is not None and (self.rt_type == data[at + 2]) is self.is_inverted("rt_type"):
            return False
        if self.rt_0_res and any(data[at + 4 : at + 8]):
            return False
        if self.rt_0_addrs is None:
            return True
        wanted = self.rt_0_addrs
        found = [
            int.from_bytes(data[at + 8 + n * 16 : at + 24 + n * 16], "big") for n in range((length - 8) // 16)
        ]
        if not self.rt_0_not_strict:
            return list(wanted) == found
        place = 0
        for address in found:
            if place < len(wanted) and address == wanted[place]:
                place += 1
        return place == len(wanted) <= len(found)


EXTENSIONS: tuple[Any, ...] = (Rt,)
