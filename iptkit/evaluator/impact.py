"""What new rules would do to connections that are there: whose next packets change verdict.

Each connection of a dump is tried with the packet that may well come next in
either direction, on a machine with the old rules and on one with the new ones.
Where what becomes of it is not certain, all that may become of it counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.conntrack.dump import proc_line, state_name
from iptkit.evaluator.machine import Machine, read_packet
from iptkit.evaluator.record import Recorder
from iptkit.evaluator.topology import LOOPBACK
from iptkit.evaluator.wire import build
from iptkit.extensions.world import Owner, Unknown
from iptkit.text.record import NamedTuple
from iptkit.values.addresses import show_address4, show_address6
from iptkit.values.packet import GRE, ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.conntrack.entry import Entry
    from iptkit.values.tuples import Tuple

UNKNOWN = "UNKNOWN"
MOST = 64  # answers to what is not known that are tried for one packet
DIRECTIONS = ("original", "reply")
_PORTED = {TCP: "tcp", UDP: "udp", UDPLITE: "udplite", SCTP: "sctp"}
# The segment that an end sends next, where it is no plain ACK: by state and direction.
_FLAGS = {("SYN_SENT", 0): "S", ("SYN_SENT", 1): "SA", ("SYN_RECV", 1): "SA", ("CLOSE", 0): "S"}


class Fate(NamedTuple):
    """What becomes of a packet: all verdicts that may be, and the rule or policy that decides each.

    `by` has keys such as `filter:INPUT:3`, or "" where no rule decides.
    """

    verdicts: tuple[str, ...]
    by: tuple[str, ...]

    @property
    def text(self) -> str:
        return " or ".join(self.verdicts)


class Change(NamedTuple):
    """A connection whose next packet in one direction fares otherwise under the new rules.

    own  is it the caller's own session?
    """

    entry: Entry
    line: str
    direction: int
    before: Fate
    after: Fate
    own: bool


class Ends(NamedTuple):
    """The two ends of a session, as addresses and ports."""

    source: int
    source_port: int
    destination: int
    destination_port: int

    def are_of(self, entry: Entry) -> bool:
        """Does a connection run between these ends?"""
        for each in (entry.original, entry.reply):
            mine = (each.src, each.source, each.dst, each.destination)
            if mine in (
                tuple(self),
                (self.destination, self.destination_port, self.source, self.source_port),
            ):
                return True
        return False


class Impact(NamedTuple):
    """All changes, and the machine with the new rules."""

    after: Machine
    changes: list[Change]

    def document(self) -> list[dict[str, Any]]:
        """As JSON has it."""
        return [document(each) for each in self.changes]

    def lines(self) -> Iterator[str]:
        """For people, a few lines for each change."""
        for each in self.changes:
            yield from text(each, self.after)


def changes(before: Machine, after: Machine, own: Ends | None = None) -> list[Change]:
    """The changes for all connections that `before` holds; `after` holds the same ones.

    The caller's own session comes first.
    """
    found = []
    old_rules, new_rules = Recorder(before), Recorder(after)
    for entry in list(before.tracker.entries(before.now)):
        if entry.original.family != before.family:
            continue
        mine = own is not None and own.are_of(entry)
        line = proc_line(entry, before.now)
        for direction in (0, 1):
            old, new = (_fate(rules, entry, direction) for rules in (old_rules, new_rules))
            if old.verdicts != new.verdicts:
                found.append(Change(entry, line, direction, old, new, mine))
    return sorted(found, key=lambda each: not each.own)


def _fate(recorder: Recorder, entry: Entry, direction: int) -> Fate:
    machine = recorder.machine
    tuple_ = entry.tuple(direction)
    data = build(_description(tuple_, entry, direction), machine.family)[0]
    ends: dict[str, str] = {}
    waiting: list[tuple[Any, ...]] = [()]
    tried = 0
    while waiting and tried < MOST:
        answers = waiting.pop()
        tried += 1
        machine.forget_notes()
        machine.answers = list(answers)
        packet = read_packet(data)
        assert packet is not None, "built by ourselves"
        try:
            local = machine.routing.is_own(tuple_.src) and not machine.routing.is_own(tuple_.dst)
            if local:
                packet.owner = Owner()
                machine.send_out(packet)
            else:
                machine.receive(packet, _way_in(machine, tuple_))
            verdict, by = _end(recorder, local)
        except Unknown as unknown:
            verdict, by = UNKNOWN, str(unknown)
        ends.setdefault(verdict, by)
        taken = [doubt.answer for doubt in machine.doubts]
        for place in range(len(answers), len(taken)):
            others = machine.doubts[place].options
            waiting += [(*taken[:place], other) for other in others if other != taken[place]]
    machine.forget_notes()
    names = tuple(sorted(ends))
    return Fate(names, tuple(ends[name] for name in names))


def _way_in(machine: Machine, tuple_: Tuple) -> str:
    """Where a packet from this source comes in: where one to it would leave."""
    if machine.routing.is_own(tuple_.src):
        return LOOPBACK
    route = machine.routing.lookup(tuple_.src)
    return route.interface if route is not None else ""


def _end(recorder: Recorder, local: bool) -> tuple[str, str]:
    """The verdict, and the rule or policy it is due to."""
    found = recorder.verdict_alone(local=local)
    if "dropped_by" in found:
        return found["verdict"], found["dropped_by"]
    keys = [each.key for each in recorder.machine.trace if not each.packet.generated]
    by = next((key for key in reversed(keys) if key.startswith("filter:")), keys[-1] if keys else "")
    passed = found["verdict"] in ("FORWARD", "INPUT", "OUTPUT")
    return "ACCEPT" if passed else found["verdict"], by


def _description(tuple_: Tuple, entry: Entry, direction: int) -> dict[str, Any]:
    """The packet that may well come next."""
    show = show_address4 if tuple_.family == 4 else show_address6
    found: dict[str, Any] = {"src": show(tuple_.src), "dst": show(tuple_.dst)}
    proto = tuple_.proto
    if proto in _PORTED:
        found.update(proto=_PORTED[proto], sport=tuple_.source, dport=tuple_.destination)
        if proto == TCP:
            found["flags"] = _FLAGS.get((state_name(entry), direction), "A")
        elif proto == SCTP:
            found["chunks"] = [{"type": "data"}]
    elif proto in (ICMP, ICMPV6):
        found.update(proto="icmp" if proto == ICMP else "icmpv6", id=tuple_.source)
        found.update(type=tuple_.destination >> 8, code=tuple_.destination & 0xFF)
    elif proto == GRE and (tuple_.source or tuple_.destination):
        found.update(proto="gre", gre_version=1, call_id=tuple_.destination)
    else:
        found["proto"] = proto
    return found


def document(each: Change) -> dict[str, Any]:
    """A change as JSON has it."""
    return {
        "connection": each.line,
        "direction": DIRECTIONS[each.direction],
        "own_session": each.own,
        "before": _fate_document(each.before),
        "after": _fate_document(each.after),
    }


def _fate_document(fate: Fate) -> list[dict[str, str]]:
    return [{"verdict": name, "by": by} for name, by in zip(fate.verdicts, fate.by, strict=True)]


def text(each: Change, after: Machine) -> Iterator[str]:
    """A change as lines for people."""
    mark = "your own session: " if each.own else ""
    yield f"{mark}{each.before.text} -> {each.after.text} ({DIRECTIONS[each.direction]} direction)"
    yield f"    {each.line}"
    for key in each.after.by:
        yield f"    by {_named(after, key)}"


def _named(machine: Machine, key: str) -> str:
    """A rule by its key and its words; whatever else it is, in words."""
    try:
        rule = machine.line_at(key).rule
    except KeyError:
        return key or "no rule"
    return key if rule is None else f"{key}: -A {key.split(':')[1]}{rule.text()}"
