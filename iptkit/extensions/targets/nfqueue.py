"""Hand packets to a program."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.numbers import UInt
from iptkit.extensions.ranges import NumberRange, Range
from iptkit.extensions.spec import Flag, Given, Option, Problem, RuleFacts, Target
from iptkit.extensions.world import ACCEPT, QUEUE, Unknown
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT16_MAX
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

_BYPASS, _FANOUT = 1, 2
_INFO = struct.Struct("=HHH")  # struct xt_NFQ_info_v3, linux/netfilter/xt_NFQUEUE.h


class Queues(NumberRange):
    """`first:last`, the first below the last."""

    def parse(self, text: str, context: Context) -> Range:
        first, last = super().parse(text, context)
        if first >= last:
            raise BadValue(f"must be first:last, the first below the last, not {quote(text)}", "IPT127")
        return first, last


class Nfqueue(Target, name="NFQUEUE"):
    """Put the packet into a queue, where a program decides what becomes of it.

    The program answers accept, drop, or repeat, and may change the packet.
    With `--queue-balance` packets go to one of several queues, all those of a
    connection to the same.  Without a program that listens the packet is
    dropped, or with `--queue-bypass` goes on as if the rule were not there.
    """

    revision = 3
    queue_num = Option(
        "--queue-num", type=UInt(UINT16_MAX), excludes=("balance",), doc="the queue; 0 if not given"
    )
    balance = Option(
        "--queue-balance",
        type=Queues(UINT16_MAX, metavar="first:last"),
        excludes=("queue_num",),
        doc="queues to spread connections over",
    )
    bypass = Flag("--queue-bypass", doc="let packets go on when no program listens")
    fanout = Flag("--queue-cpu-fanout", needs=("balance",), doc="choose the queue by processor")
    decides = True
    example = "-p tcp -m tcp --dport 80 -j NFQUEUE --queue-balance 0:3 --queue-bypass"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return given if "balance" in given else {"queue_num": Given(0, False), **given}

    def save(self) -> Iterator[str]:
        # All 65536 queues are none to the kernel, and one to save.
        if self.balance == (0, UINT16_MAX):
            yield from ("--queue-num", "0")
            yield from (
                option.flag for option in (Nfqueue.bypass, Nfqueue.fanout) if getattr(self, option.field)
            )
        else:
            yield from super().save()

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        if self.balance == (0, UINT16_MAX):
            yield Problem("there can be 65535 queues, not 65536", "balance", hint="0:65534")

    def encode(self, family: Family) -> bytes:
        first, last = self.balance or (self.queue_num or 0,) * 2
        flags = _BYPASS * bool(self.bypass) | _FANOUT * bool(self.fanout)
        return _INFO.pack(first, last - first + 1 & UINT16_MAX, flags)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"NFQUEUE: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        first, total, flags = _INFO.unpack_from(payload)
        out: dict[str, Any] = {"queue_num": first}
        if total != 1:
            out = {"balance": (first, first + (total or UINT16_MAX + 1) - 1)}
        return cls.of(
            bypass=True if flags & _BYPASS else None, fanout=True if flags & _FANOUT else None, **out
        )

    def act(self, packet: Packet, world: World) -> str | None:
        # nf_queue, net/netfilter/nf_queue.c: --queue-bypass goes on with the next table
        queue = self.queue_num or 0
        if self.balance is not None:
            low, high = self.balance
            queue = world.choose("queue", range(low, high + 1))
        if world.queue_program(queue) is not False:
            raise Unknown(f"what the program at queue {queue} answers")
        return ACCEPT if self.bypass else QUEUE


EXTENSIONS: tuple[Any, ...] = (Nfqueue,)
