"""Set the mark of a packet's connection, or copy it from or to the packet's own."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.marks import SETTERS, as_xmark, others
from iptkit.extensions.numbers import MarkAndMask, UInt
from iptkit.extensions.spec import Flag, Given, Option, Problem, Target
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT32_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.spec import RuleFacts
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

_ACTIONS = (*SETTERS, "save_mark", "restore_mark")
# struct xt_connmark_tginfo2, linux/netfilter/xt_connmark.h:
# ctmark, ctmask, nfmask, shift direction, shift bits, mode
_INFO = struct.Struct("=IIIBBBx")
_SET, _SAVE, _RESTORE = range(3)
_LEFT, _RIGHT = range(2)


class HexMask(UInt):
    """A mask of 32 bits, printed in hexadecimal."""

    metavar = "mask"

    def __init__(self) -> None:
        super().__init__(hexadecimal=True)


class Connmark(Target, name="CONNMARK"):
    """Set the mark of the packet's connection, save the packet's mark to it, or restore it from there.

    --set-xmark clears the bits of its mask and XORs its value in, and the
    other setters come down to that.  --save-mark clears ctmask in the
    connection's mark and XORs in the packet's mark ANDed with nfmask;
    --restore-mark clears nfmask in the packet's and XORs in the connection's
    ANDed with ctmask.  What is written can be shifted on the way.

    Masks take effect in the order given: one after a setter replaces the
    setter's own.
    """

    revision = 2
    set_xmark = Option(
        "--set-xmark", type=MarkAndMask(), excludes=others("set_xmark", _ACTIONS), doc="clear mask, XOR value"
    )
    save_mark = Flag(
        "--save-mark", excludes=others("save_mark", _ACTIONS), doc="copy the packet's mark to the connection"
    )
    restore_mark = Flag(
        "--restore-mark",
        excludes=others("restore_mark", _ACTIONS),
        doc="copy the connection's mark to the packet",
    )
    nfmask = Option("--nfmask", type=HexMask(), excludes=("mask",), doc="bits of the packet's mark")
    ctmask = Option("--ctmask", type=HexMask(), excludes=("mask",), doc="bits of the connection's mark")
    left_shift_mark = Option("--left-shift-mark", type=UInt(32), doc="shift left by so many bits, up to 31")
    right_shift_mark = Option(
        "--right-shift-mark", type=UInt(32), doc="shift right by so many bits, up to 31"
    )
    set_mark = Option(
        "--set-mark",
        type=MarkAndMask(),
        excludes=others("set_mark", _ACTIONS),
        doc="clear mask and value, OR value",
    )
    and_mark = Option(
        "--and-mark", type=UInt(), excludes=others("and_mark", _ACTIONS), doc="AND with these bits"
    )
    or_mark = Option("--or-mark", type=UInt(), excludes=others("or_mark", _ACTIONS), doc="OR with these bits")
    xor_mark = Option(
        "--xor-mark", type=UInt(), excludes=others("xor_mark", _ACTIONS), doc="XOR with these bits"
    )
    mask = Option("--mask", type=HexMask(), excludes=("nfmask", "ctmask"), doc="nfmask and ctmask at once")
    at_least_one = _ACTIONS
    effect = "steady"
    aware = False
    rewrites = ("mark", "connmark")
    example = "-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        nfmask = ctmask = UINT32_MAX
        value: int | None = None
        shift = ""
        for field, found in given.items():
            number = found.value
            if field in SETTERS:
                value, ctmask = as_xmark(field, number)
            elif field == "mask":
                nfmask = ctmask = number
            elif field == "nfmask":
                nfmask = number
            elif field == "ctmask":
                ctmask = number
            elif field.endswith("_shift_mark"):
                shift = field
        kept: dict[str, Any] = {}
        if value is not None:
            kept["set_xmark"] = (value, ctmask)
        else:
            kept["restore_mark" if "restore_mark" in given else "save_mark"] = True
            kept["nfmask"] = nfmask
            kept["ctmask"] = ctmask
        if shift and given[shift].value:
            kept[shift] = given[shift].value
        return {field: Given(number, False) for field, number in kept.items()}

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        # connmark_tg_check, net/netfilter/xt_connmark.c
        for field in ("left_shift_mark", "right_shift_mark"):
            if getattr(self, field) == 32:
                yield Problem("the kernel shifts a mark by 31 bits at most", field)

    def encode(self, family: Family) -> bytes:
        value, ctmask = self.set_xmark or (0, UINT32_MAX if self.ctmask is None else self.ctmask)
        nfmask = UINT32_MAX if self.nfmask is None else self.nfmask
        mode = _SAVE if self.save_mark else _RESTORE if self.restore_mark else _SET
        direction = _LEFT if self.right_shift_mark is None else _RIGHT
        bits = self.left_shift_mark if self.right_shift_mark is None else self.right_shift_mark
        return _INFO.pack(value, ctmask, nfmask, direction, bits or 0, mode)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"CONNMARK: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        value, ctmask, nfmask, direction, bits, mode = _INFO.unpack_from(payload)
        if mode > _RESTORE:
            raise BadValue(f"CONNMARK: mode {mode} from the kernel")
        given: dict[str, Any] = {}
        if mode == _SET:
            given["set_xmark"] = (value, ctmask)
        else:
            given = {
                "save_mark" if mode == _SAVE else "restore_mark": True,
                "nfmask": nfmask,
                "ctmask": ctmask,
            }
        if bits:
            given["left_shift_mark" if direction == _LEFT else "right_shift_mark"] = bits
        return cls.of(**given)

    def act(self, packet: Packet, world: World) -> str | None:
        # connmark_tg_shift, net/netfilter/xt_connmark.c
        connection = packet.connection
        if connection is None or connection.template:
            return None
        if self.set_xmark is not None:
            value, mask = self.set_xmark
            connection.mark = self._shifted(connection.mark & ~mask ^ value)
            return None
        nfmask = UINT32_MAX if self.nfmask is None else self.nfmask
        ctmask = UINT32_MAX if self.ctmask is None else self.ctmask
        if self.save_mark:
            connection.mark = connection.mark & ~ctmask ^ self._shifted(packet.mark & nfmask)
        else:
            packet.mark = packet.mark & ~nfmask ^ self._shifted(connection.mark & ctmask)
        return None

    def _shifted(self, mark: int) -> int:
        if self.right_shift_mark:
            return mark >> self.right_shift_mark
        return mark << (self.left_shift_mark or 0) & UINT32_MAX


EXTENSIONS: tuple[Any, ...] = (Connmark,)
