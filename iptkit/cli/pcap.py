"""iptkit eval --pcap: a capture, packet by packet, in constant memory but for the connections."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from iptkit.cli.common import Exit, fail, want_color
from iptkit.evaluator.capture import KNOWN, send_frame, take_apart
from iptkit.evaluator.packetline import shown
from iptkit.evaluator.wire import describe
from iptkit.extensions.world import Unknown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from iptkit.cli.eval import Output
    from iptkit.evaluator.session import Session

EXPIRE_EVERY = 10.0  # seconds of the capture after which connections that timed out are taken out
SHOW_EVERY = 0.2  # seconds between two looks at how far it is


def run_capture(session: Session, path: str, interface: str, output: Output) -> int:
    """Send every packet of a capture through; gives the exit status."""
    try:
        import dpkt
    except ImportError:
        fail("reading captures needs dpkt: pip install 'iptkit[pcap]'")
    machine = session.worlds[0].machine
    if interface and interface not in machine.topology.interfaces:
        fail(f"--interface {interface}: there is none; there are {', '.join(machine.topology.interfaces)}")
    try:
        with sys.stdin.buffer if path == "-" else open(path, "rb") as file:
            try:
                reader = dpkt.pcap.UniversalReader(file)
            except (ValueError, dpkt.dpkt.Error) as error:
                fail(f"{path} is no capture: {error}")
            link = reader.datalink()
            if link not in KNOWN:
                fail(f"{path}: captures of link type {link} cannot be read")
            run = _Run(session, interface, output, link)
            try:
                for _ in _watched(run.packets(reader), file, output):
                    pass
            except (dpkt.dpkt.Error, EOFError, ValueError) as error:
                fail(f"{path}: the capture ends in the middle of packet {run.count + 1}: {error}")
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror or error}")
    run.summary()
    return Exit.OK


class _Run:
    """One capture."""

    def __init__(self, session: Session, interface: str, output: Output, link: int) -> None:
        world = session.worlds[0]
        self.machine = world.machine
        self.recorder = world.recorder
        self.recorder.expect(None)
        self.interface = interface
        self.output = output
        self.link = link
        self.count = self.others = 0
        self.verdicts: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self.doubts: Counter[str] = Counter()
        self.machine.tracing = output.trace or output.json or output.why_not
        from iptkit.cli.packets import Teller

        self.teller = Teller(
            self.machine, trace=output.trace, why_not=output.why_not, color=want_color(output.color)
        )

    def packets(self, reader: Any) -> Iterator[None]:
        machine = self.machine
        begun = machine.now
        first: float | None = None
        expired = 0.0
        for stamp, frame in reader:
            if first is None:
                first = float(stamp)
                expired = first
            # --time moves the capture's clock.
            machine.now = max(machine.now, float(stamp) - first + begun if begun else float(stamp))
            if float(stamp) - expired >= EXPIRE_EVERY:
                expired = float(stamp)
                machine.tracker.expire(machine.now)
                machine.fragments.expire(machine.now)
            self.count += 1
            self._one(frame)
            yield

    def _one(self, data: bytes) -> None:
        machine = self.machine
        frame = take_apart(self.link, data, machine.family)
        unknown = ""
        local = False
        try:
            packet, local = send_frame(machine, frame, self.interface)
            if packet is None:
                self.others += 1
                return
        except Unknown as raised:
            unknown = str(raised)
        record = self._verdict(unknown, local=local)
        self.verdicts[record["verdict"]] += 1
        if record.get("dropped_by"):
            self.rules[record["dropped_by"]] += 1
        if self.output.json:
            _say(json.dumps({"number": self.count, "time": round(machine.now, 6), **record}))
        elif self.output.trace or self.output.why_not:
            if machine.why_not:
                record["why_not"] = list(machine.why_not)
            _say(f"{self.count} {shown(describe(frame.data))}")
            for line in self.teller.record(record, "  "):
                _say(line)
        machine.forget_notes()

    def _verdict(self, unknown: str, *, local: bool) -> dict[str, Any]:
        machine = self.machine
        record: dict[str, Any]
        if self.machine.tracing:
            record = self.recorder.brief(local=local)
        else:
            record = self.recorder.verdict_alone(local=local)
        from iptkit.evaluator.session import FOLLOWED

        doubts = [each.question for each in machine.doubts if len(each.options) <= FOLLOWED]
        if unknown or doubts:
            self.doubts.update(doubts or (unknown,))
            record["verdict"] = "UNKNOWN"
            record["unknown"] = unknown or ", ".join(doubts)
            record.pop("dropped_by", None)
        return record

    def summary(self) -> None:
        """The whole of it, in numbers."""
        machine = self.machine
        left = sum(1 for _ in machine.tracker.entries(machine.now))
        if self.output.json:
            _say(
                json.dumps(
                    {
                        "packets": self.count,
                        "not_taken": self.others,
                        "verdicts": dict(self.verdicts),
                        "dropped_by": dict(self.rules),
                        "unknown": dict(self.doubts),
                        "connections": left,
                    }
                )
            )
            return
        _say(f"{self.count:,} packets, {left:,} connections left")
        for name, count in self.verdicts.most_common():
            _say(f"  {count:>12,}  {name}")
        if self.others:
            _say(f"  {self.others:>12,}  not IPv{machine.family}, or no packet a machine takes")
        if self.rules:
            _say("dropped by")
            for key, count in self.rules.most_common():
                _say(f"  {count:>12,}  {key}  {self.teller.rule(key) if key != 'stack' else ''}".rstrip())
        if self.doubts:
            _say(
                "not known, and taken to be so; what comes after the first of these packets rests on it, too"
            )
            for question, count in self.doubts.most_common():
                _say(f"  {count:>12,}  {question}")


def _say(text: str) -> None:
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.OK)


def _watched(steps: Iterator[None], file: BinaryIO, output: Output) -> Iterator[None]:
    """The steps, with progress on a terminal."""
    if not sys.stderr.isatty() or output.trace or output.why_not:
        yield from steps
        return
    try:
        size = os.fstat(file.fileno()).st_size
    except OSError:
        size = 0
    begun = shown_at = time.monotonic()
    for count, step in enumerate(steps, 1):
        yield step
        if count % 64 == 0 and (now := time.monotonic()) - shown_at >= SHOW_EVERY:
            shown_at = now
            done = f" {100 * file.tell() // size}%" if size and file.seekable() else ""
            sys.stderr.write(f"\r{count:,} packets{done}, {count / (now - begun):,.0f} a second ")
            sys.stderr.flush()
    sys.stderr.write("\r\x1b[K")
