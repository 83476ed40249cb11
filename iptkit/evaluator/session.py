"""Packets one after another through a machine, with every outcome of what is not known.

Where a match cannot tell (which user sent the packet?), the machine is copied
and goes both ways; each outcome names the conditions it rests on.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from iptkit.evaluator.chains import is_known
from iptkit.evaluator.flow import Happened
from iptkit.evaluator.machine import Machine, read_packet
from iptkit.evaluator.passages import Passages
from iptkit.evaluator.record import Recorder
from iptkit.evaluator.scenario import completed
from iptkit.evaluator.wire import BadField, build
from iptkit.extensions.world import Owner, Unknown
from iptkit.text.diagnostic import IptkitError
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iptkit.evaluator.packetline import PacketLine
    from iptkit.evaluator.world import Doubt
    from iptkit.values.packet import Packet

MOST = 64  # outcomes that are followed at once
# Of wider choices (a port out of a range) only the range is told: what follows is the same for all.
FOLLOWED = 4


class TooManyOutcomes(IptkitError):
    """So much is unknown that its combinations cannot all be told."""


class Outcome(NamedTuple):
    """One way things may have gone.

    conditions  what it rests on
    chances     what was left to chance in between, and is told by its range
    """

    conditions: tuple[Doubt, ...]
    chances: tuple[Doubt, ...]
    what: Happened


class _World:
    """A machine, its recorder, and the conditions under which it is the real one."""

    __slots__ = ("conditions", "machine", "recorder")

    def __init__(self, machine: Machine, recorder: Recorder, conditions: tuple[Doubt, ...] = ()) -> None:
        self.machine = machine
        self.recorder = recorder
        self.conditions = conditions


class Session:
    """A machine, or several where not all is known, that packets are sent through.

    places  names of the interfaces for the records, see Recorder
    """

    def __init__(self, machine: Machine, places: Mapping[str, str] | None = None) -> None:
        self.places = places
        self.certain = is_certain(machine)
        self.stateful = is_stateful(machine)
        self.worlds = [_World(machine, Recorder(machine, places))]
        self.start = machine.now
        self._count = 0

    @property
    def now(self) -> float:
        return self.worlds[0].machine.now

    def wait_until(self, time: float) -> None:
        """Let time pass."""
        for world in self.worlds:
            world.machine.now = max(time, world.machine.now)
            world.machine.tracker.expire(world.machine.now)

    def each(self, act: Callable[[Machine], None]) -> None:
        """Do something to the machine, in all its versions."""
        for world in self.worlds:
            act(world.machine)

    def send(self, line: PacketLine) -> list[Outcome]:
        """Send a packet through; all outcomes.  Raises BadField for a packet that makes no sense."""
        self._count += 1
        family = self.worlds[0].machine.family
        wire = build(line.packet, family, ident=0x4000 + self._count)
        return self.run(lambda machine: _inject(machine, wire, line), local=not line.source)

    def look(self) -> list[Outcome]:
        """How things stand, after no packet."""
        found = []
        for world in self.worlds:
            world.recorder.expect(None)
            record = world.recorder.take(packets=False)
            found.append(Outcome(world.conditions, (), Happened(record, None, world.machine.now)))
        return found

    def run(self, act: Callable[[Machine], Packet | None], *, local: bool) -> list[Outcome]:
        """Do something that sends a packet; all outcomes."""
        done: list[tuple[_World, Outcome]] = []
        for world in self.worlds:
            done += self._explore(world, act, local)
            if len(done) > MOST:
                raise TooManyOutcomes(
                    f"there are more than {MOST} outcomes; say more about the packets, such as uid= or mac="
                )
        self.worlds = self._merged([world for world, _ in done], [outcome for _, outcome in done])
        return [outcome for _, outcome in done]

    def _explore(
        self, world: _World, act: Callable[[Machine], Packet | None], local: bool
    ) -> list[tuple[_World, Outcome]]:
        if self.certain:
            return [self._once(world, act, local, ())]
        done = []
        waiting: list[tuple[Any, ...]] = [()]
        while waiting:
            answers = waiting.pop()
            machine = clone(world.machine)
            recorder = copy.copy(world.recorder)
            recorder.machine = machine
            recorder.total = {key: list(count) for key, count in recorder.total.items()}
            new = _World(machine, recorder, world.conditions)
            found = self._once(new, act, local, answers)
            done.append(found)
            doubts = found[1].conditions[len(world.conditions) :]
            taken = [doubt.answer for doubt in found[0].machine.last_doubts]
            for place in range(len(answers), len(taken)):
                doubt = found[0].machine.last_doubts[place]
                if len(doubt.options) <= FOLLOWED:
                    waiting += [(*taken[:place], other) for other in doubt.options if other != doubt.answer]
            if len(done) + len(waiting) > MOST or len(doubts) > MOST:
                raise TooManyOutcomes(
                    f"there are more than {MOST} outcomes; say more about the packets, such as uid= or mac="
                )
        return done

    def _once(
        self, world: _World, act: Callable[[Machine], Packet | None], local: bool, answers: tuple[Any, ...]
    ) -> tuple[_World, Outcome]:
        machine, recorder = world.machine, world.recorder
        machine.answers = list(answers)
        recorder.expect(None)
        unknown = ""
        packet = None
        try:
            packet = act(machine)
        except Unknown as raised:
            unknown = str(raised)
        doubts = list(machine.doubts)
        why_not = list(machine.why_not or ())
        drops = list(machine.drops)
        record = recorder.take(packets=True, local=local)
        if unknown:
            record["verdict"] = "UNKNOWN"
            record["unknown"] = unknown
            record.pop("dropped_by", None)
        machine.last_doubts = doubts
        world.conditions += tuple(each for each in doubts if len(each.options) <= FOLLOWED)
        chances = tuple(each for each in doubts if len(each.options) > FOLLOWED)
        entry = getattr(packet, "connection", None)
        record["why"] = next((why for _, why, line in drops if why and line is None), "")
        if why_not:
            record["why_not"] = why_not
        return world, Outcome(world.conditions, chances, Happened(record, entry, machine.now))

    def _merged(self, worlds: list[_World], outcomes: list[Outcome]) -> list[_World]:
        """The worlds, without those that are the same as another although they came about otherwise."""
        if len(worlds) == 1 or self.stateful:
            return worlds
        kept: list[_World] = []
        seen: list[dict[str, Any]] = []
        for world, outcome in zip(worlds, outcomes, strict=True):
            record = outcome.what.record
            if record in seen:
                same = kept[seen.index(record)]
                same.conditions = tuple(each for each in same.conditions if each in world.conditions)
            else:
                kept.append(world)
                seen.append(record)
        return kept


def _inject(machine: Machine, wire: list[bytes], line: PacketLine) -> Packet | None:
    packet = None
    for data in wire:
        packet = completed(data, machine.family) if not line.source else read_packet(data)
        if packet is None:
            raise BadField("packet", "is none that a machine would take")
        packet.mark = line.beside.get("mark", 0)
        if not line.source:
            packet.owner = Owner(line.beside.get("uid"), line.beside.get("gid"))
            machine.send_out(packet)
        else:
            if "mac" in line.beside:
                packet.source_mac = bytes.fromhex(line.beside["mac"].replace(":", ""))
            machine.receive(packet, line.source)
    return packet


def is_certain(machine: Machine) -> bool:
    """Do the rules ask for nothing that packets alone do not tell?"""
    for table in machine.tables.values():
        for line in table.lines():
            if any(not is_known(match) or not match.certain for match in line.matches):
                return False
    return not any(route.others for route in machine.topology.routes)


def is_stateful(machine: Machine) -> bool:
    """Do rules keep anything between packets?"""
    return any(
        getattr(use, "stateful", False)
        for table in machine.tables.values()
        for line in table.lines()
        for use in (*line.matches, line.target)
        if use is not None
    )


def clone(machine: Machine) -> Machine:
    """The same machine, to go another way; rules and topology are shared."""
    machine.led = None  # of the packet before; what it leads to is large
    new = Machine.__new__(Machine)
    memo: dict[int, Any] = {id(machine): new}
    for shared in (machine.topology, machine.routing):
        memo[id(shared)] = shared
    memo[id(machine.classes)] = machine.classes.fresh()
    memo[id(machine.passages)] = Passages()  # they will be learnt anew
    lines = {id(line): line for line in machine.lines()}
    for line in lines.values():
        # What a rule is does not change; what it counts and keeps does.
        for fixed in (line.rule, line.test, line.target, *line.matches):
            if fixed is not None:
                memo[id(fixed)] = fixed
        memo[id(line.matches)] = line.matches
    for name, value in vars(machine).items():
        setattr(new, name, copy.deepcopy(value, memo))
    return new
