"""Match with a program of the Berkeley Packet Filter."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.classic_bpf import run
from iptkit.extensions.labels import Label
from iptkit.extensions.spec import Match, Option, Problem, RuleFacts
from iptkit.values.cnumbers import strtoul
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT16_MAX, UINT32_MAX
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

Instruction = tuple[int, int, int, int]  # code, jt, jf, k: struct sock_filter, linux/filter.h

MAX_INSTRUCTIONS = 64  # XT_BPF_MAX_NUM_INSTR
_PATH_MAX = 512
_BYTECODE, _PINNED = 0, 1  # enum xt_bpf_modes
# struct xt_bpf_info_v1, linux/netfilter/xt_bpf.h: mode, number of instructions, a file descriptor that only
# the loading process knows, a union of the program and the path, the kernel's pointer
_INFO = struct.Struct(f"=HHi{_PATH_MAX}s8x")
_INSTRUCTION = struct.Struct("=HBBI")

# What bpf_check_classic takes (net/core/filter.c), by the class in the low three bits of a code.
_LOADS = {0x00, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x80, 0x01, 0x61, 0x81, 0xB1}
_STORES = {0x02, 0x03}
_ARITHMETIC = {0x84, *(op << 4 | source | 4 for op in range(8) for source in (0, 8))} | {
    op << 4 | source | 4 for op in (9, 10) for source in (0, 8)
}
_JUMPS = {0x05, *(op << 4 | source | 5 for op in range(1, 5) for source in (0, 8))}
_RETURNS = {0x06, 0x16}
_REST = {0x07, 0x87}
_CODES = _LOADS | _STORES | _ARITHMETIC | _JUMPS | _RETURNS | _REST


class Bytecode:
    """`length,code jt jf k,...`, as nfbpf_compile prints it; numbers are decimal and wrap round."""

    metavar = "length,code jt jf k,..."
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> tuple[Instruction, ...]:
        length, rest = strtoul(text)
        length &= UINT16_MAX
        if rest == text or rest[:1] != ",":
            raise BadValue(f"must begin with the number of instructions and a comma, not {quote(text)}")
        if not 0 < length <= MAX_INSTRUCTIONS:
            raise BadValue(f"a program has from 1 to {MAX_INSTRUCTIONS} instructions, not {length}")
        items = rest[1:].split(",")
        if not items[-1]:
            items.pop()
        if len(items) != length:
            raise BadValue(f"{length} instructions are announced, {len(items)} are there")
        return tuple(self._instruction(item) for item in items)

    def _instruction(self, item: str) -> Instruction:
        found = []
        rest = item
        for mask in (UINT16_MAX, 0xFF, 0xFF, UINT32_MAX):
            before = rest
            number, rest = strtoul(rest)
            if rest == before:
                raise BadValue(f"an instruction is four numbers, code jt jf k, not {quote(item)}")
            found.append(number & mask)
        return found[0], found[1], found[2], found[3]

    def show(self, value: tuple[Instruction, ...]) -> str:
        listing = ",".join(" ".join(map(str, instruction)) for instruction in value)
        return f'"{len(value)},{listing}"'


class Bpf(Match, name="bpf"):
    """Match packets for which a program returns anything but 0.

    `--bytecode` is a classic program of up to 64 instructions, in decimal; it
    sees the packet from its IP header on, unlike what tcpdump -ddd prints for
    Ethernet (`nfbpf_compile RAW FILTER` makes it).  `--object-pinned` names a
    program of type socket filter in a bpf file system, which must be there when
    the rule is loaded.
    """

    revision = 1
    at_least_one = ("bytecode", "object_pinned")
    bytecode = Option("--bytecode", type=Bytecode(), excludes=("object_pinned",), doc="the program itself")
    object_pinned = Option(
        "--object-pinned", type=Label(_PATH_MAX - 1), excludes=("bytecode",), doc="path of a pinned program"
    )
    rewritable = True
    example = '-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0" -j ACCEPT'

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        program = self.bytecode or ()
        for at, instruction in enumerate(program):
            reason = _refused(instruction, len(program) - at - 1)
            if reason:
                yield Problem(f"instruction {at}: {reason}", "bytecode")
                return
        if program and program[-1][0] not in _RETURNS:
            yield Problem("the last instruction must be a return", "bytecode")

    def encode(self, family: Family) -> bytes:
        if self.bytecode is not None:
            program = b"".join(_INSTRUCTION.pack(*instruction) for instruction in self.bytecode)
            return _INFO.pack(_BYTECODE, len(self.bytecode), 0, program)
        return _INFO.pack(_PINNED, 0, 0, (self.object_pinned or "").encode("latin-1"))

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"bpf: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        mode, length, _, union = _INFO.unpack_from(payload)
        if mode == _PINNED:
            return cls.of(object_pinned=union.partition(b"\0")[0].decode("latin-1"))
        if mode != _BYTECODE or length > MAX_INSTRUCTIONS:
            raise BadValue(f"bpf: mode {mode} with {length} instructions from the kernel is unknown")
        return cls.of(bytecode=tuple(_INSTRUCTION.iter_unpack(union[: length * _INSTRUCTION.size])))

    def matches(self, packet: Packet, world: World) -> bool | None:
        if self.bytecode is None:
            return None  # what a pinned program does is not known
        found = run(self.bytecode, packet)
        return None if found is None else found != 0


def _refused(instruction: Instruction, following: int) -> str:
    """Why the kernel's checker refuses an instruction with so many after it, or ""."""
    code, jump_true, jump_false, k = instruction
    if code not in _CODES:
        return f"there is no code {code}"
    if code in (0x34, 0x94) and k == 0:
        return "division by 0"
    if code in (0x64, 0x74) and k >= 32:
        return "a shift by more than 31 bits"
    if code in (0x60, 0x61, *_STORES) and k >= 16:
        return "there are 16 words of memory"
    if code == 0x05:
        return "jumps behind the end" if k >= following else ""
    if code in _JUMPS and max(jump_true, jump_false) >= following:
        return "jumps behind the end"
    return ""


EXTENSIONS: tuple[Any, ...] = (Bpf,)
