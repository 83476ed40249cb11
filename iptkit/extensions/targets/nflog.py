"""Hand packets to a logging program."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.logprefix import LogPrefix
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Given, Option, Target
from iptkit.extensions.world import Record
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT16_MAX

if TYPE_CHECKING:
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# struct xt_nflog_info, linux/netfilter/xt_NFLOG.h: len, group, threshold, flags, pad, prefix
_INFO = struct.Struct("=IHHHH64s")
_COPY_LEN = 0x1  # XT_NFLOG_F_COPY_LEN


class Nflog(Target, name="NFLOG"):
    """Hand a copy of the packet to the programs that listen to a netlink group, and go on to the next rule.

    ulogd and tcpdump (`-i nflog:GROUP`) are such programs.  The prefix is cut
    to 63 bytes without a word.  --nflog-range has never had an effect.
    """

    revision = 0
    nflog_prefix = Option("--nflog-prefix", type=LogPrefix(63), doc="text to log, up to 63 bytes")
    nflog_group = Option("--nflog-group", type=UInt(UINT16_MAX), doc="the netlink group; 0 when not given")
    nflog_range = Option(
        "--nflog-range", type=UInt(), excludes=("nflog_size",), doc="without effect; see --nflog-size"
    )
    nflog_size = Option(
        "--nflog-size", type=UInt(), excludes=("nflog_range",), doc="how many bytes of the packet to copy"
    )
    nflog_threshold = Option(
        "--nflog-threshold",
        type=UInt(UINT16_MAX),
        doc="packets to queue up before they are handed over; 1 when not given",
    )
    logs = True
    effect = "steady"
    example = '-m conntrack --ctstate INVALID -j NFLOG --nflog-prefix "invalid: " --nflog-group 2'

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        # Zero is the same as nothing, but for the size.
        return {field: found for field, found in given.items() if found.value != 0 or field == "nflog_size"}

    def encode(self, family: Family) -> bytes:
        size = self.nflog_size
        return _INFO.pack(
            (self.nflog_range or 0) if size is None else size,
            self.nflog_group or 0,
            self.nflog_threshold or 0,
            0 if size is None else _COPY_LEN,
            0,
            (self.nflog_prefix or "").encode("latin-1"),
        )

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"NFLOG: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        length, group, threshold, flags, _, prefix = _INFO.unpack_from(payload)
        sized = flags & _COPY_LEN
        return cls.of(
            nflog_prefix=prefix.partition(b"\0")[0].decode("latin-1") or None,
            nflog_group=group or None,
            nflog_range=None if sized else length or None,
            nflog_size=length if sized else None,
            nflog_threshold=threshold or None,
        )

    def act(self, packet: Packet, world: World) -> str | None:
        world.record(packet, Record("NFLOG", self.nflog_prefix or "", group=self.nflog_group or 0))
        return None


EXTENSIONS: tuple[Any, ...] = (Nflog,)
