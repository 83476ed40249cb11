"""Packets through the evaluator: python -m benchmarks.packets [--rules N ...] [--ruleset FILE] [--entries N]

With --json the figures, nothing else.

Each ruleset by index, as the evaluator remembers, and by the plain walk over
all rules beside it: with conntrack and trace off, and with connections tracked.
"Off" is a rule of the raw table, -j CT --notrack.  The ruleset is
the mixed one, its policies set to ACCEPT so that packets go all the way and
their connections come into the table; the packets are those of TCP and UDP
flows between two networks, a hundred flows at a time.  Seconds are those of
the processor.

With --entries that many connections are held, and what one of them takes of
the memory is told.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import mixed
from benchmarks.dice import Dice
from iptkit import api
from iptkit.evaluator.machine import Machine
from iptkit.evaluator.wire import build
from iptkit.values.packet import Packet

if TYPE_CHECKING:
    from iptkit.ruleset.model import Ruleset

FLOWS = 2_000
AT_ONCE = 100  # flows whose packets come in turn
GAP = 1e-4  # seconds between packets
START = 1_700_000_000.0
RUNS = 3  # the best of them counts
BOUNDS = {1_000: 50_000, 10_000: 20_000}  # packets a second, conntrack and trace off
WAYS = (
    ("untracked", True, False),
    ("untracked, plain walk", False, False),
    ("tracked", True, True),
    ("tracked, plain walk", False, True),
)
MOST_BYTES = 1024  # of memory that a connection may take

Frame = tuple[str, bytes]  # the interface it comes in by, and the packet


def rules(count: int) -> Ruleset:
    """The mixed ruleset with this many rules, its policies ACCEPT."""
    return _open(api.load("".join(f"{line}\n" for line in mixed.lines(count, seed=1))))


def _open(ruleset: Ruleset) -> Ruleset:
    for table in ruleset.tables.values():
        for chain in table.chains.values():
            if chain.builtin:
                chain.policy = "ACCEPT"
    return ruleset


def traffic(ruleset: Ruleset, flows: int) -> list[Frame]:
    """The packets of so many flows, as peers send them that these rules lie between.

    Who gets a packet answers it as it came to them, translated addresses and
    all; who gets no answer sends the first packet again, twice.
    """
    machine = Machine(ruleset)
    dice = Dice(5)
    waiting = [_flow(dice) for _ in range(flows)]
    out: list[Frame] = []
    active: list[_Flow] = []
    machine.now = START
    while waiting or active:
        while waiting and len(active) < AT_ONCE:
            active.append(waiting.pop())
        for flow in active:
            interface, data = flow.frame()
            out.append((interface, data))
            machine.now += GAP
            machine.receive(Packet(data), interface)
            left = [bytes(seen.packet.data) for seen in machine.out if seen.packet.in_interface]
            flow.arrived(left[0] if left else None)
            machine.forget_notes()
        active = [flow for flow in active if not flow.over]
    return out


class _Flow:
    """A client and a server: what they say in turn, and how each sees the other."""

    def __init__(self, client: str, server: str, sport: int, dport: int, turns: list[Turn]) -> None:
        self.ends = [(client, sport, server, dport), (server, dport, client, sport)]
        self.turns = turns
        self.at = self.tries = 0
        self.over = False

    def frame(self) -> Frame:
        """The packet whose turn it is."""
        said = self.turns[self.at]
        src, sport, dst, dport = self.ends[said.answer]
        fields = {"src": src, "sport": sport, "dst": dst, "dport": dport} | said.fields
        return "out0" if said.answer else "in0", build(fields, 4)[0]

    def arrived(self, data: bytes | None) -> None:
        """How it came to the other, if it did."""
        if data is None:
            self.tries += 1
            self.over = self.tries > 2
            return
        seen = Packet(data)
        self.ends[1 - self.turns[self.at].answer] = (
            str(ip_address(seen.dst)),
            seen.dport,
            str(ip_address(seen.src)),
            seen.sport,
        )
        self.at += 1
        self.tries = 0
        self.over = self.at == len(self.turns)


class Turn(NamedTuple):
    """A packet of a flow: from the server or the client, and its fields beside addresses and ports."""

    answer: bool
    fields: dict[str, Any]


def _flow(dice: Dice) -> _Flow:
    client = f"10.0.1.{dice.number(2, 250)}"
    near = f"10.0.2.{dice.number(2, 250)}"
    far = f"172.{dice.number(16, 31)}.{dice.number(0, 255)}.{dice.number(1, 250)}"
    server = dice.pick((near, near, far))
    sport, dport = dice.number(1024, 65000), dice.pick((22, 53, 80, 443, 8080, 5432, 25))
    turns: list[Turn] = []
    if dice.chance(0.25):
        for _ in range(10):
            turns.append(Turn(False, {"proto": "udp", "payload": "q" * 40}))
            turns.append(Turn(True, {"proto": "udp", "payload": "a" * 80}))
        return _Flow(client, server, sport, dport, turns)
    ours, theirs = dice.number(0, 1 << 30), dice.number(0, 1 << 30)

    def segment(flags: str, sent: int, *, answer: bool = False) -> None:
        nonlocal ours, theirs
        seq, ack = (theirs, ours) if answer else (ours, theirs)
        said = {"proto": "tcp", "flags": flags, "seq": seq, "payload": "x" * sent}
        if "A" in flags:
            said["ack"] = ack
        turns.append(Turn(answer, said))
        moved = sent + ("S" in flags) + ("F" in flags)
        if answer:
            theirs += moved
        else:
            ours += moved

    segment("S", 0)
    segment("SA", 0, answer=True)
    segment("A", 0)
    for _ in range(6):
        segment("PA", 100)
        segment("PA", 300, answer=True)
        segment("A", 0)
    segment("FA", 0)
    segment("FA", 0, answer=True)
    segment("A", 0)
    return _Flow(client, server, sport, dport, turns)


def rate(ruleset: Ruleset, frames: list[Frame], *, indexed: bool, tracked: bool) -> float:
    """Packets a second, once every flow has been seen."""
    machine = Machine(ruleset, indexed=indexed)
    machine.noting = False
    if not tracked:
        raw = api.load("*raw\n-A PREROUTING -j CT --notrack\nCOMMIT\n")
        whole = ruleset.copy()
        whole.tables.update(raw.tables)
        machine.load(whole)
    _run(machine, frames)
    machine.tracker.flush(machine.now)
    seconds = _run(machine, frames)
    for _ in range(RUNS - 1):
        machine.tracker.flush(machine.now)
        seconds = min(seconds, _run(machine, frames))
    return len(frames) / seconds


def _run(machine: Machine, frames: list[Frame]) -> float:
    gc.collect()
    gc.disable()
    start = time.process_time()
    now = START
    for interface, data in frames:
        now += GAP
        machine.now = now
        machine.receive(Packet(data), interface)
    seconds = time.process_time() - start
    gc.enable()
    machine.logs.clear()
    return seconds


def memory(entries: int) -> float:
    """Bytes of resident memory that one of so many UDP and TCP connections takes."""
    machine = Machine(api.load("*filter\nCOMMIT\n"))
    machine.noting = False
    machine.tracker.settings.max = 0
    gc.disable()
    before = _resident()
    for number in range(entries):
        address = f"172.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        given: dict[str, Any] = {"src": "10.0.1.2", "dst": address}
        if number & 1:
            given |= {"proto": "udp", "sport": 1024 + number % 60000, "dport": 53}
        else:
            given |= {"proto": "tcp", "sport": 1024 + number % 60000, "dport": 80, "flags": "S"}
        machine.now = START
        machine.receive(Packet(build(given, 4)[0]), "in0")
    gc.enable()
    held = machine.tracker.count_entries
    if held < entries * 0.99:
        raise SystemExit(f"{entries} connections were to be held, and {held} are")
    return (_resident() - before) / held


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def main() -> int:
    parser = argparse.ArgumentParser(description="Packets through the evaluator.")
    parser.add_argument("--rules", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--ruleset", type=Path, help="the rules of this file instead of the mixed ones")
    parser.add_argument("--entries", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="fail where a bound is missed")
    given = parser.parse_args()
    found: dict[str, Any] = {"rules": {}}
    missed = []
    if given.ruleset is not None:
        rulesets = [_open(api.load(given.ruleset.read_bytes()))]
    else:
        rulesets = [rules(count) for count in given.rules]
    for ruleset in rulesets:
        count = sum(len(chain.rules) for table in ruleset.tables.values() for chain in table.chains.values())
        frames = traffic(ruleset, FLOWS)
        rates = {
            "packets": len(frames),
            **{
                name: round(rate(ruleset, frames, indexed=indexed, tracked=tracked))
                for name, indexed, tracked in WAYS
            },
        }
        found["rules"][count] = rates
        if rates["untracked"] < BOUNDS.get(count, 0):
            missed.append(f"{count} rules: {rates['untracked']} packets a second, {BOUNDS[count]} wanted")
        if not given.json:
            for name in ("untracked", "tracked"):
                fast, plain = rates[name], rates[f"{name}, plain walk"]
                print(
                    f"{count:>7} rules, {name:>9}: {fast:>7} packets/s by index, {plain:>7} by the plain walk"
                    f" ({fast / plain:.1f} times)"
                )
    if given.entries:
        found["bytes_an_entry"] = round(memory(given.entries))
        if found["bytes_an_entry"] > MOST_BYTES:
            missed.append(f"{found['bytes_an_entry']} bytes a connection, {MOST_BYTES} allowed")
        if not given.json:
            print(f"{given.entries:>7} connections: {found['bytes_an_entry']} bytes each")
    if given.json:
        print(json.dumps(found))
    for each in missed:
        print(each, file=sys.stderr)
    return 1 if given.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
