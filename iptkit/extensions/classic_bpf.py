"""A classic Berkeley Packet Filter, run on a packet as the kernel runs it (net/core/filter.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.numbers import UINT32_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iptkit.values.packet import Packet

# Classes of instructions (linux/bpf_common.h), and where offsets are no longer the packet's (linux/filter.h)
_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_ANCILLARY, _NETWORK, _LINK = 0xFFFFF000, 0xFFF00000, 0xFFE00000
_PROTOCOL, _PACKET_TYPE, _MARK = 0, 4, 20
_KINDS = {"unicast": 0, "broadcast": 1, "multicast": 2, "otherhost": 3, "loopback": 5}
_WORD, _HALF, _BYTE = 4, 2, 1
_SIZES = {0x00: _WORD, 0x08: _HALF, 0x10: _BYTE}


class _NotKnown(Exception):
    """What the program asks for is nothing a packet tells."""


class _Outside(Exception):
    """A load behind the end: the program returns 0."""


def run(program: Sequence[tuple[int, int, int, int]], packet: Packet) -> int | None:
    """What the program (code, jt, jf, k) returns, None where it asks for what is not known here."""
    try:
        return _run(program, packet)
    except _Outside:
        return 0
    except _NotKnown:
        return None


def _run(program: Sequence[tuple[int, int, int, int]], packet: Packet) -> int:
    a = x = 0
    memory = [0] * 16
    at = 0
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        kind = code & 7
        if kind == _LD:
            mode = code & 0xE0
            if mode == 0x00:
                a = k
            elif mode == 0x60:
                a = memory[k]
            elif mode == 0x80:
                a = len(packet.data)
            else:
                a = _load(packet, k if mode == 0x20 else k + x & UINT32_MAX, _SIZES[code & 0x18])
        elif kind == _LDX:
            mode = code & 0xE0
            if mode == 0x00:
                x = k
            elif mode == 0x60:
                x = memory[k]
            elif mode == 0x80:
                x = len(packet.data)
            else:
                x = (_load(packet, k, _BYTE) & 0xF) * 4
        elif kind == _ST:
            memory[k] = a
        elif kind == _STX:
            memory[k] = x
        elif kind == _ALU:
            operand = x if code & 8 else k
            if code & 0xF0 in (0x30, 0x90) and not operand:
                return 0  # a division by zero
            a = _reckon(code & 0xF0, a, operand)
        elif kind == _JMP:
            if code & 0xF0 == 0:
                at += k
            else:
                at += if_true if _compare(code & 0xF0, a, x if code & 8 else k) else if_false
        elif kind == _RET:
            return a if code & 0x18 == 0x10 else k
        elif code & 0xF8 == 0x80:
            a = x
        else:
            x = a


def _reckon(operation: int, a: int, operand: int) -> int:
    results = {
        0x00: lambda: a + operand,
        0x10: lambda: a - operand,
        0x20: lambda: a * operand,
        0x30: lambda: a // operand,
        0x40: lambda: a | operand,
        0x50: lambda: a & operand,
        0x60: lambda: a << (operand & 31),
        0x70: lambda: a >> (operand & 31),
        0x80: lambda: -a,
        0x90: lambda: a % operand,
        0xA0: lambda: a ^ operand,
    }
    return results[operation]() & UINT32_MAX


def _compare(operation: int, a: int, operand: int) -> bool:
    if operation == 0x10:
        return a == operand
    if operation == 0x20:
        return a > operand
    if operation == 0x30:
        return a >= operand
    return bool(a & operand)


def _load(packet: Packet, offset: int, size: int) -> int:
    data = packet.data
    if offset >= _ANCILLARY:
        return _ancillary(packet, offset - _ANCILLARY)
    if offset >= _NETWORK:
        offset -= _NETWORK  # the packet begins with its network header
    elif offset >= _LINK:
        raise _NotKnown
    if offset + size > len(data):
        raise _Outside
    return int.from_bytes(data[offset : offset + size], "big")


def _ancillary(packet: Packet, what: int) -> int:
    if what == _PROTOCOL:
        return 0x0800 if packet.family == 4 else 0x86DD
    if what == _MARK:
        return packet.mark
    if what == _PACKET_TYPE and packet.link_type is not None:
        return _KINDS[packet.link_type]
    raise _NotKnown
