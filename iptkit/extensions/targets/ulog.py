"""Hand packets to a logging program, on kernels before 3.17."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout, Number, Pad, String
from iptkit.extensions.logprefix import LogPrefix
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Given, Option, Target
from iptkit.extensions.world import Record
from iptkit.values.numbers import UINT32_MAX, UINT64_MAX

if TYPE_CHECKING:
    from iptkit.extensions.layout import Reading
    from iptkit.extensions.spec import Extension
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet


class CopyRange(UInt):
    """A number of bytes: 64 bits are kept, and 32 of them printed."""

    def show(self, value: int) -> str:
        return str(value & UINT32_MAX)


class GroupBit(Number):
    """A netlink group from 1 to 32, as one bit of a word."""

    __slots__ = ()

    def write(self, use: Extension, family: Family) -> bytes:
        group: int | None = getattr(use, self.field)
        return self.struct.pack(1 << (group or self.default) - 1)

    def read(self, piece: bytes, into: Reading) -> None:
        (bits,) = self.struct.unpack(piece)
        # With several bits, which iptables never sets, save prints the lowest.
        group = (bits & -bits).bit_length()
        if group != self.default:
            into.values[self.field] = group


class Ulog(Target, name="ULOG", families=(4,)):
    """Hand a copy of the packet to the programs that listen to a netlink group.

    Taken out of Linux 3.17: no kernel since loads it, and NFLOG is there in
    its place.  The prefix is cut to 31 bytes without a word.
    """

    revision = 0
    ulog_prefix = Option("--ulog-prefix", type=LogPrefix(31), doc="text to log, up to 31 bytes")
    ulog_nlgroup = Option(
        "--ulog-nlgroup", type=UInt(32, 1), doc="the netlink group, 1 to 32; 1 when not given"
    )
    ulog_cprange = Option(
        "--ulog-cprange", type=CopyRange(UINT64_MAX), doc="how many bytes of the packet to copy; 0 for all"
    )
    ulog_qthreshold = Option(
        "--ulog-qthreshold",
        type=UInt(50, 1),
        doc="packets to queue up before they are handed over, 1 to 50; 1 when not given",
    )
    # struct ipt_ulog_info, linux/netfilter_ipv4/ipt_ULOG.h of Linux 3.16, on a 64-bit machine
    layout = Layout(
        GroupBit("ulog_nlgroup", "I", 1),
        Pad(4),
        Number("ulog_cprange", "Q"),
        Number("ulog_qthreshold", "Q", 1),
        String("ulog_prefix", 32),
    )
    logs = True
    example = "-p tcp -m tcp --syn -j ULOG --ulog-nlgroup 2"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        defaults = {"ulog_nlgroup": 1, "ulog_cprange": 0, "ulog_qthreshold": 1}
        return {field: found for field, found in given.items() if found.value != defaults.get(field)}

    def act(self, packet: Packet, world: World) -> str | None:
        world.record(packet, Record("ULOG", self.ulog_prefix or "", group=self.ulog_nlgroup or 1))
        return None


EXTENSIONS: tuple[Any, ...] = (Ulog,)
