"""Scenarios: a ruleset, packets step by step, and a record of everything that happened.

The input is one JSON object, as in recordings of a real kernel; the record
has the same fields, so that both can be compared.  man/iptkit-eval.1 tells
them all.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any

from iptkit.conntrack.settings import POLICIES, Settings
from iptkit.evaluator.commands import run_command
from iptkit.evaluator.loading import refused_by_kernel
from iptkit.evaluator.machine import Machine, read_packet
from iptkit.evaluator.record import Recorder, short_record
from iptkit.evaluator.topology import two_networks
from iptkit.evaluator.wire import BadField, Fields, build, describe, suggestion
from iptkit.extensions.world import Owner, Unknown
from iptkit.text.record import NamedTuple
from iptkit.values.checksum import checksum

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.ruleset.model import Ruleset
    from iptkit.values.context import Family
    from iptkit.values.packet import Packet

    Loader = Callable[[str, Family, Ruleset | None, bool], "Loaded"]

START = 1_700_000_000.0  # the time scenarios begin at: a day of November 2023
TICK = 1 / 128  # seconds that a packet takes: more than a tick of the kernel; sums of it are exact
ADDRESSES = {
    4: {"client": "10.0.1.2", "server": "10.0.2.2", "firewall": "10.0.2.1"},
    6: {"client": "fd00:1::2", "server": "fd00:2::2", "firewall": "fd00:2::1"},
}
SIDES = {"client": "in0", "server": "out0"}
AT = {interface: side for side, interface in SIDES.items()}
MACS = {
    "client": "02:00:00:00:01:02",
    "in0": "02:00:00:00:01:01",
    "server": "02:00:00:00:02:02",
    "out0": "02:00:00:00:02:01",
}
SAVED = ("security", "raw", "mangle", "nat", "filter")
PREFILLED = 262144  # entries of a full table
KEYS = (
    "family rules restore_counters sysctl mtu local_stack ipset cttimeout prefill steps ident_base fresh"
).split()
STEP_KEYS = (
    "from packet repeat l2_src l2_dst advance virtual rules restore_counters sysctl ctflush cmd note"
).split()


class Loaded(NamedTuple):
    """What became of a ruleset that was to be loaded: the state after it, or why it was refused.

    saved  what iptables-save prints of the file's tables, counters zeroed
    """

    ruleset: Ruleset | None
    tables: tuple[str, ...] = ()
    status: int = 0
    message: str = ""


class Scenario:
    """One scenario, run on a machine of its own."""

    def __init__(self, given: object, load: Loader, save: Callable[[Ruleset, tuple[str, ...]], str]) -> None:
        """Read it.  `load` and `save` read and print rulesets.  Raises BadField."""
        fields = Fields(given, "scenario")
        fields.only(KEYS)
        for name in ("rules", "steps"):
            if name not in fields.given:
                raise BadField(fields.at(name), "is missing")
        self.fields = fields
        self.load = load
        self.save = save
        family = fields.text("family", "ipv4")
        if family not in ("ipv4", "ipv6"):
            raise BadField(fields.at("family"), f"{family!r} is neither ipv4 nor ipv6")
        self.family: Family = 4 if family == "ipv4" else 6
        self.steps = [
            self._checked_step(each, f"steps[{place}]") for place, each in enumerate(fields.items("steps"))
        ]
        self.ident = fields.number("ident_base", 0x4000)
        self.used: tuple[str, ...] = ()

    def _checked_step(self, given: object, path: str) -> Fields:
        step = Fields(given, self.fields.at(path))
        step.only(STEP_KEYS)
        if "packet" in step.given:
            sender = step.text("from")
            if sender not in ("client", "server", "firewall"):
                raise BadField(step.at("from"), f"{sender!r} is no side; it is client, server or firewall")
        if "advance" in step.given and not _is_seconds(step.given["advance"]):
            raise BadField(step.at("advance"), "must be a number of seconds, 0 or more")
        return step

    # -- beginning

    def run(self) -> dict[str, Any]:
        """Everything that happens, with the fields of a recording.  Raises BadField."""
        fields = self.fields
        settings = self._settings()
        loaded = self.load(fields.text("rules"), self.family, None, fields.flag("restore_counters"))
        refused = self._refusal(loaded, settings, fields.text("rules"))
        if refused is not None:
            return {"load_error": refused}
        assert loaded.ruleset is not None
        self.used = loaded.tables
        machine = self.machine = self._machine(loaded.ruleset, settings)
        out: dict[str, Any] = {"saved": self.save(loaded.ruleset, self._used())}
        self.recorder = Recorder(machine, AT)
        if fields.flag("restore_counters"):
            out["loaded_counters"] = {
                key: list(count)
                for key, count in machine.snapshot_counters().items()
                if count != (0, 0) and key.partition(":")[0] in self.used
            }
        self.ruleset = loaded.ruleset
        out["steps"] = [self._step(place, step) for place, step in enumerate(self.steps)]
        out["final"] = self._final()
        return out

    def _settings(self) -> Settings:
        fields = self.fields
        settings = Settings({"nf_conntrack_acct": 1, "nf_conntrack_log_invalid": 255})
        for place, each in enumerate(fields.items("cttimeout")):
            policy = Fields(each, f"{fields.at('cttimeout')}[{place}]")
            policy.only(("name", "l3", "l4", "timeouts"))
            protocol = policy.text("l4")
            if protocol not in POLICIES:
                raise BadField(
                    policy.at("l4"), f"{protocol!r} has no timeouts{suggestion(protocol, POLICIES)}"
                )
            timeouts = Fields(policy.given.get("timeouts", {}), policy.at("timeouts"))
            timeouts.only(POLICIES[protocol][1])
            settings.add_policy(
                policy.text("name"), protocol, {name: timeouts.number(name, 0) for name in timeouts.given}
            )
        return settings

    def _machine(self, ruleset: Ruleset, settings: Settings) -> Machine:
        fields = self.fields
        topology = two_networks()
        mtus = Fields(fields.given.get("mtu", {}), fields.at("mtu"))
        mtus.only(topology.interfaces)
        for name in mtus.given:
            topology.interfaces[name].mtu = mtus.number(name, 1500, 68, 65535)
        machine = Machine(ruleset, topology, settings=settings, all_tables=True)
        machine.sockets = True
        machine.tracing = True
        machine.now = START
        machine.answering = fields.flag("local_stack")
        self._set_sysctls(machine, Fields(fields.given.get("sysctl", {}), fields.at("sysctl")))
        if fields.given.get("ipset"):
            from iptkit.extensions.sets import read_sets

            machine.sets = read_sets(fields.text("ipset"), machine.now)
        if fields.given.get("prefill"):
            prefill = Fields(fields.given["prefill"], fields.at("prefill"))
            prefill.only(("free", "status"))
            status = prefill.text("status")
            if status not in ("assured", "unreplied"):
                raise BadField(prefill.at("status"), f"{status!r} is neither assured nor unreplied")
            others = PREFILLED - prefill.number("free", 0, 0, PREFILLED)
            machine.tracker.count_entries = others
            machine.tracker.evictable = others if status == "unreplied" else 0
        return machine

    def _set_sysctls(self, machine: Machine, fields: Fields) -> None:
        for name in fields.given:
            try:
                machine.set_sysctl(name, fields.number(name, 0))
            except KeyError:
                raise BadField(fields.at(name), "is no sysctl that decides about packets") from None

    def _refusal(self, loaded: Loaded, settings: Settings, text: str) -> dict[str, Any] | None:
        lines = text.split("\n")
        if loaded.ruleset is None:
            return {"rc": loaded.status, "stderr": loaded.message}
        rule = refused_by_kernel(loaded.ruleset, settings)
        if rule is None:
            return None
        line = rule.line.number
        while line < len(lines) and lines[line] != "COMMIT":
            line += 1
        line += 1
        program = "iptables-restore" if self.family == 4 else "ip6tables-restore"
        return {"rc": 1, "stderr": f"{program}: line {line} failed"}

    # -- steps

    def _step(self, place: int, step: Fields) -> dict[str, Any]:
        machine = self.machine
        given = step.given
        record: dict[str, Any] = {"i": place}
        self.recorder.expect([])
        if "advance" in given:
            machine.now += given["advance"]
            if given.get("virtual"):  # time for connections alone
                machine.translator.expectations.postpone(given["advance"])
                machine.tracker.postpone(given["advance"])
            machine.tracker.expire(machine.now)
        if "sysctl" in given:
            self._set_sysctls(machine, Fields(given["sysctl"], step.at("sysctl")))
        if given.get("ctflush"):
            machine.tracker.flush(machine.now)
        if "cmd" in given:
            try:
                status, message = run_command(machine.tracker, step.items("cmd"), machine.now)
            except (BadField, ValueError) as bad:
                raise BadField(step.at("cmd"), getattr(bad, "reason", str(bad))) from None
            record["cmd"] = {"rc": status, "stderr": message}
        if "rules" in given:
            self._reload(step, record)
        unknown = ""
        if "packet" in given:
            try:
                self._inject(place, step, record)
            except Unknown as raised:
                unknown = str(raised)
        doubts = [each.question for each in machine.doubts]
        record.update(self.recorder.take(packets="packet" in given, local=given.get("from") == "firewall"))
        if unknown:
            record["verdict"], record["unknown"] = "UNKNOWN", unknown
            record.pop("dropped_by", None)
        if doubts:
            record["doubts"] = doubts
        if "prefill" in self.fields.given:
            record["conntrack"] = [short_record(each) for each in record["conntrack"]]
            record["ctstat"].pop("early_drop", None)  # how many go is chance
        machine.now += TICK
        return record

    def _used(self) -> tuple[str, ...]:
        """The tables of the rulesets so far, in the order a save prints all five."""
        return tuple(name for name in SAVED if name in self.used)

    def _reload(self, step: Fields, record: dict[str, Any]) -> None:
        machine = self.machine
        loaded = self.load(step.text("rules"), self.family, self.ruleset, step.flag("restore_counters"))
        refused = self._refusal(loaded, machine.tracker.settings, step.text("rules"))
        if refused is not None:
            record["load_error"] = refused
        else:
            assert loaded.ruleset is not None
            self.ruleset = loaded.ruleset
            machine.load(loaded.ruleset)
            self.used = (*self.used, *(name for name in loaded.tables if name not in self.used))
        record["saved"] = self.save(self.ruleset, self._used())
        self.recorder.reloaded()

    def _inject(self, place: int, step: Fields, record: dict[str, Any]) -> None:
        given = Fields(step.given["packet"], step.at("packet"))
        sender = step.text("from")
        addresses = ADDRESSES[self.family]
        packet = {
            "src": addresses[sender],
            "dst": addresses["client" if sender == "server" else "server"],
            **given.given,
        }
        wire = build(packet, self.family, ident=self.ident + place + 1, path=given.path)
        record["wire"] = [piece.hex() for piece in wire]
        self.recorder.expect([describe(piece) for piece in wire])
        for _ in range(step.number("repeat", 1, 1, 1_000_000)):
            for piece in wire:
                if sender == "firewall":
                    record["send"] = self._send(piece, given)
                else:
                    self._receive(piece, sender, step)

    def _default_destination(self) -> str:
        return ADDRESSES[self.family]["server"]

    def _send(self, data: bytes, given: Fields) -> str:
        to = int.from_bytes(given.address("dst", self.family, self._default_destination()), "big")
        code = self.machine.route_error(to)
        if code:
            return errno.errorcode[code]
        packet = completed(data, self.family)
        if packet is None:
            return "EINVAL"
        packet.mark = given.number("mark", 0)
        packet.owner = Owner(0, 0, ())
        route = self.machine.routing.lookup(packet.dst)
        if route is not None and route.kind == "broadcast":
            return "EACCES"  # the socket has no SO_BROADCAST (raw_sendmsg)
        code = self.machine.send_out(packet)
        return "OK" if code == 0 else errno.errorcode.get(code, str(code))

    def _receive(self, data: bytes, sender: str, step: Fields) -> None:
        packet = read_packet(data)
        if packet is None or packet.family != self.family:
            return
        interface = SIDES[sender]
        packet.source_mac = _mac(step, "l2_src", MACS[sender])
        packet.destination_mac = _mac(step, "l2_dst", MACS[interface])
        packet.link_type = link_type(packet.destination_mac, MACS[interface])
        self.machine.receive(packet, interface)

    def _final(self) -> dict[str, Any]:
        final: dict[str, Any] = {"counters": self.recorder.total}
        if self.fields.given.get("ipset"):
            from iptkit.extensions.sets import save_sets

            final["ipset"] = save_sets(self.machine.sets, self.machine.now)
        lists = self.machine.named_objects("recent")
        if lists:
            final["recent"] = {name: table.lines() for name, table in lists.items()}
        return final


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _mac(step: Fields, name: str, default: str) -> bytes:
    text = step.text(name, default)
    found = text.replace(":", "")
    if len(found) != 12 or len(text) != 17:
        raise BadField(step.at(name), f"{text!r} is no MAC address")
    try:
        return bytes.fromhex(found)
    except ValueError:
        raise BadField(step.at(name), f"{text!r} is no MAC address") from None


def link_type(destination: bytes, own: str) -> str:
    """What a frame's destination makes of its packet (eth_type_trans)."""
    if destination == b"\xff" * 6:
        return "broadcast"
    if destination[0] & 1:
        return "multicast"
    return "unicast" if destination == bytes.fromhex(own.replace(":", "")) else "otherhost"


def completed(data: bytes, family: Family) -> Packet | None:
    """A packet as it leaves a raw socket: the kernel fills in length and checksum (raw_send_hdrinc)."""
    if family == 4:
        header = (data[0] & 15) * 4 if data else 0
        if header < 20 or len(data) < header:
            return None
        whole = bytearray(data)
        struct.pack_into("!H", whole, 2, len(whole) & 0xFFFF)
        whole[10:12] = bytes(2)
        whole[10:12] = checksum(whole[:header]).to_bytes(2, "big")
        return read_packet(bytes(whole))
    said = data[4:6]
    if len(data) < 40 or 40 + int.from_bytes(said, "big") <= len(data):
        return read_packet(data)
    # IPv6 is sent as it is, even where its header promises more.
    packet = read_packet(data[:4] + (len(data) - 40).to_bytes(2, "big") + data[6:])
    if packet is not None:
        packet.data[4:6] = said
    return packet
