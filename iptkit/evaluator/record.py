"""What happened on a machine since one last looked, as one JSON object.

The fields and their names are those of recordings of a real kernel;
man/iptkit-eval.1 tells them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.conntrack.dump import record as entry_record
from iptkit.conntrack.dump import sort_key
from iptkit.evaluator.machine import HELD
from iptkit.evaluator.wire import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iptkit.evaluator.machine import Machine, Seen
    from iptkit.values.context import Family
    from iptkit.values.packet import Packet

SHOWN_STATS = (
    "invalid",
    "insert_failed",
    "drop",
    "early_drop",
    "icmp_error",
    "clash_resolve",
    "chaintoolong",
)


class Recorder:
    """Tells what happens on a machine, step by step.

    places  names for the interfaces, where they have other ones: {"in0": "client"}
    """

    def __init__(self, machine: Machine, places: Mapping[str, str] | None = None) -> None:
        self.machine = machine
        self.places = places or {}
        self.total: dict[str, list[int]] = {}
        self.injected: list[dict[str, Any]] | None = None
        self._kinds: dict[int, tuple[Packet, str]] = {}
        self._stats = dict(machine.tracker.stats)
        self.reloaded()

    def reloaded(self) -> None:
        """The rules are new: their counters begin with what was loaded."""
        self._before = self.machine.snapshot_counters()

    def expect(self, injected: list[dict[str, Any]] | None) -> None:
        """These packets, described, come next: what looks like them is them (see `same_packet`).

        None: the machine itself knows which packets it made.
        """
        self.injected = injected
        self._kinds.clear()

    def kind(self, packet: Packet) -> str:
        """Is it an injected packet, perhaps rewritten, or one that the machine made?"""
        if self.injected is None:
            return "generated" if packet.generated else "injected"
        held = self._kinds.get(id(packet))
        if held is not None:
            return held[1]
        seen = describe(packet.data)
        same = any(same_packet(each, seen, self.machine.family) for each in self.injected)
        kind = "injected" if same else "generated"
        self._kinds[id(packet)] = packet, kind  # the packet is held so that its id stays its own
        return kind

    def brief(self, *, packets: bool = True, local: bool = False) -> dict[str, Any]:
        """What happened to the packets since the last time: not what it did to counters and connections.

        `packets`: were there any to judge?  `local`: the machine itself sent
        them.  The notes stay; see Machine.forget_notes.
        """
        machine = self.machine
        found: dict[str, Any] = {
            "ct": [
                {
                    "hook": each.hook,
                    "state": each.state,
                    "dir": None if each.direction is None else ("ORIGINAL", "REPLY")[each.direction],
                    "kind": self.kind(each.packet),
                }
                for each in machine.tracked
            ]
        }
        trace = [[self.kind(each.packet), each.key, each.mark] for each in machine.trace]
        out = [self._sent(each) for each in machine.out]
        out.sort(key=lambda each: str(each["at"]))
        delivered = [self._delivered(each) for each in machine.local]
        if packets:
            found.update(self._verdict(trace, out, delivered, local=local))
            found["out"], found["local"] = out, delivered
            found["egress"] = [
                {"kind": self.kind(each.packet), "mark": each.packet.mark, "out": each.interface}
                for each in machine.egress
            ]
        found["trace"] = trace
        found["logs"] = self._logs()
        if machine.tracker.notes:
            found["invalid_reason"] = list(machine.tracker.notes)
        return found

    def verdict_alone(self, *, local: bool = False) -> dict[str, Any]:
        """The verdict of the packet just sent, where nothing is traced."""
        machine = self.machine
        if any(not each.packet.generated for each in machine.out):
            return {"verdict": "OUTPUT" if local else "FORWARD"}
        if any(not each.packet.generated for each in machine.local):
            return {"verdict": "INPUT"}
        for packet, why, line in machine.drops:
            if packet.generated:
                continue
            if why == HELD:
                return {"verdict": "HELD"}
            if line is not None and line.target_name in ("REJECT", "DROP"):
                return {"verdict": line.target_name, "dropped_by": line.key}
        if machine.out or machine.local:
            return {"verdict": "ROUTER_ERROR"}
        return {"verdict": "DROP", "dropped_by": "stack"}

    def take(self, *, packets: bool, local: bool = False) -> dict[str, Any]:
        """All that happened since the last time; the notes begin anew."""
        machine = self.machine
        found = self.brief(packets=packets, local=local)
        found["counters"] = self._counters()
        found["ctstat"] = self._statistics()
        entries = sorted(machine.tracker.entries(machine.now), key=sort_key)
        found["conntrack"] = [entry_record(entry, machine.now) for entry in entries]
        expected = machine.translator.expectations.lines(machine.now)
        if expected:
            found["expect"] = expected
        machine.forget_notes()
        return found

    def _verdict(
        self,
        trace: list[list[Any]],
        out: list[dict[str, Any]],
        delivered: list[dict[str, Any]],
        *,
        local: bool,
    ) -> dict[str, str]:
        """What became of the injected packet, and what ended it."""
        machine = self.machine
        if any(each["kind"] == "injected" for each in out):
            return {"verdict": "OUTPUT" if local else "FORWARD"}
        if any(each["kind"] == "injected" for each in delivered):
            return {"verdict": "INPUT"}
        last = None
        for kind, key, _ in trace:
            if kind == "injected":
                last = key
        if last is None and self._were_fragments():
            return {"verdict": "HELD"}
        target = machine.line_at(last).target_name if last is not None else ""
        if last is not None and target in ("REJECT", "DROP"):
            return {"verdict": target, "dropped_by": last}
        if out or delivered:
            return {"verdict": "ROUTER_ERROR"}
        return {"verdict": "DROP", "dropped_by": "stack"}

    def _were_fragments(self) -> bool:
        if self.injected is None:
            return any(why == HELD for _, why, _ in self.machine.drops)
        return any("frag_off" in each or "mf" in each for each in self.injected)

    def _logs(self) -> list[dict[str, Any]]:
        return [
            {
                "group": each.record.group,
                "prefix": each.record.prefix,
                "hook": each.hook,
                "kind": self.kind(each.packet),
                "in": each.in_interface or None,
                "out": each.out_interface or None,
                "mark": each.mark,
            }
            for each in self.machine.logs
            if each.record.kind == "NFLOG"
        ]

    def _sent(self, each: Seen) -> dict[str, Any]:
        seen = describe(each.packet.data)
        kind = self.kind(each.packet)
        found = {"at": self.places.get(each.interface, each.interface), "kind": kind, "packet": seen}
        if kind == "generated" or (self.machine.family == 6 and "ip_id" in seen):
            seen.pop("ip_id", None)  # the kernel's choice
        else:
            found["hex"] = bytes(each.packet.data).hex()
        return found

    def _delivered(self, each: Seen) -> dict[str, Any]:
        seen = describe(each.packet.data)
        kind = self.kind(each.packet)
        found = {"kind": kind, "mark": each.packet.mark, "in": each.interface, "packet": seen}
        if kind == "generated":
            seen.pop("ip_id", None)
        else:
            found["hex"] = bytes(each.packet.data).hex()
        return found

    def _counters(self) -> dict[str, list[int]]:
        now = self.machine.snapshot_counters()
        before, self._before = self._before, now
        found = {}
        for key, count in now.items():
            was = before.get(key, (0, 0))
            if count != was:
                found[key] = [count[0] - was[0], count[1] - was[1]]
                total = self.total.setdefault(key, [0, 0])
                total[0] += found[key][0]
                total[1] += found[key][1]
        return found

    def _statistics(self) -> dict[str, int]:
        stats = self.machine.tracker.stats
        before, self._stats = self._stats, dict(stats)
        return {
            name: stats[name] - before.get(name, 0)
            for name in SHOWN_STATS
            if stats.get(name, 0) != before.get(name, 0)
        }


def short_record(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry as it is told where the table is full of others: without what stands in its line alone."""
    kept = "l3 l4num l4 timeout mark status helper tcp sctp orig reply flags".split()
    found = {name: entry[name] for name in kept if name in entry}
    for side in ("orig", "reply"):
        found[side] = {name: value for name, value in entry[side].items() if name not in ("packets", "bytes")}
        if f"zone-{side}" in entry:
            found[side]["zone"] = entry[f"zone-{side}"]
    return found


def same_packet(injected: Mapping[str, Any], seen: Mapping[str, Any], family: Family) -> bool:
    """Does a packet that was seen look like an injected one that may have been rewritten?

    So a sniffer judges, which sees nothing but bytes: by identification, flags and type.
    """
    if injected.get("proto") != seen.get("proto"):
        return False
    if family == 4:
        return bool(injected.get("ip_id") == seen.get("ip_id"))
    if injected.get("ip_id") is not None and injected.get("ip_id") == seen.get("ip_id"):
        return True
    proto = injected.get("proto")
    if proto == "tcp":
        return injected.get("flags") == seen.get("flags") and injected.get("sport") is not None
    if proto == "icmpv6":
        return bool(injected.get("type") == seen.get("type") and injected.get("code") == seen.get("code"))
    return True
