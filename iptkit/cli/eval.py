"""iptkit eval"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from iptkit import api
from iptkit.cli.common import (
    Exit,
    color_option,
    complete_file,
    fail,
    family_of,
    family_options,
    read_source,
    report_diagnostics,
    want_color,
)
from iptkit.text.diagnostic import Diagnostic, IptkitError, Severity, Span
from iptkit.text.record import NamedTuple
from iptkit.text.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.cli.packets import Teller
    from iptkit.evaluator.flow import Step
    from iptkit.evaluator.packetline import BadLine
    from iptkit.evaluator.session import Outcome, Session
    from iptkit.ruleset.model import Ruleset
    from iptkit.values.context import Family

SIDES = {"client": "in0", "server": "out0"}  # of the topology that holds where none is given


class Output(NamedTuple):
    """How to print."""

    json: bool
    trace: bool
    why_not: bool
    color: str


@click.command()
@family_options
@click.option("--packet", "packets", multiple=True, metavar="PACKET", help="a packet, written on one line")
@click.option("--flow", shell_complete=complete_file, metavar="FILE", help="a script of packets and times")
@click.option("--pcap", shell_complete=complete_file, metavar="FILE", help="a capture")
@click.option(
    "--scenario",
    shell_complete=complete_file,
    metavar="FILE",
    help="JSON lines: rulesets with packets, step by step; needs no RULES",
)
@click.option(
    "--conntrack", shell_complete=complete_file, metavar="FILE", help="the connections to start from"
)
@click.option(
    "--topology",
    multiple=True,
    shell_complete=complete_file,
    metavar="FILE",
    help="what `ip -j addr` and `ip -j route` print",
)
@click.option("--ipset", shell_complete=complete_file, metavar="FILE", help="what `ipset save` prints")
@click.option("--sysctl", "sysctls", multiple=True, metavar="NAME=VALUE", help="a setting of the kernel")
@click.option("--interface", default="", metavar="NAME", help="where the packets of a capture come in")
@click.option("--time", "start", default="", metavar="TIME", help="when it begins, such as 2026-03-01T12:00")
@click.option("-c", "--counters", is_flag=True, help="rules begin with the counters they have in the file")
@click.option("--trace", is_flag=True, help="tell each rule that matches")
@click.option("--why-not", is_flag=True, help="tell each rule that does not, and why")
@click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", help="of the output"
)
@color_option
@click.argument("rules", required=False, shell_complete=complete_file)
def command(
    family: int,
    packets: tuple[str, ...],
    flow: str | None,
    pcap: str | None,
    scenario: str | None,
    conntrack: str | None,
    topology: tuple[str, ...],
    ipset: str | None,
    sysctls: tuple[str, ...],
    interface: str,
    start: str,
    counters: bool,
    trace: bool,
    why_not: bool,
    format_: str,
    color: str,
    rules: str | None,
) -> None:
    """What would happen to packets that meet RULES, as a Linux kernel would have it.

    The packets come from --packet, --flow, --pcap or --scenario.  Where an
    answer hangs on something nobody said, all outcomes are given, each with
    its condition.

    Exit status: 0 done, and all is as expected; 1 something expected did not
    happen; 2 something given could not be read.
    """
    given = [name for name, value in (("packet", packets), ("flow", flow), ("pcap", pcap)) if value]
    output = Output(format_ == "json", trace, why_not, color)
    if scenario is not None:
        if given or rules is not None:
            fail("--scenario brings its own rules and packets; give nothing beside it")
        _scenarios(read_source(scenario))
        return
    if len(given) != 1:
        fail("give packets with one of --packet, --flow, --pcap or --scenario")
    sources = {"RULES": rules or "-", "--flow": flow, "--conntrack": conntrack, "--ipset": ipset}
    if list(sources.values()).count("-") > 1:
        fail("only one file can be standard input")
    family_ = family_of(family)
    try:
        session = _session(
            family_, rules or "-", counters, conntrack, topology, ipset, sysctls, _start(start, pcap), why_not
        )
        session.places = places = None if topology else {device: side for side, device in SIDES.items()}
        for world in session.worlds:
            world.recorder.places = places or {}
        if pcap:
            from iptkit.cli.pcap import run_capture

            sys.exit(run_capture(session, pcap, interface, output))
        known = _places(session, default=not topology)
        if flow:
            sys.exit(_run_flow(session, read_source(flow), family_, known, output))
        sys.exit(_run_packets(session, packets, family_, known, output))
    except IptkitError as error:
        fail(str(error))


def _start(text: str, pcap: str | None) -> float:
    from datetime import UTC, datetime

    if not text:
        import time

        return 0.0 if pcap else float(int(time.time()))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--time {text}: is no time; write it like 2026-03-01T12:00")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _session(
    family: Family,
    rules: str,
    counters: bool,
    conntrack: str | None,
    topology: tuple[str, ...],
    ipset: str | None,
    sysctls: tuple[str, ...],
    now: float,
    why_not: bool,
) -> Session:
    around = None
    if topology:
        from iptkit.evaluator.topology import read_topology

        around = read_topology((source.name, source.text) for source in map(read_source, topology))
    return api.packet_session(
        _ruleset(read_source(rules), family, counters),
        topology=around,
        sysctls=dict(map(_sysctl, sysctls)),
        sets=read_source(ipset).text if ipset else "",
        connections=read_source(conntrack).text.splitlines() if conntrack else (),
        now=now,
        why_not=why_not,
    )


def _sysctl(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if not name or not value.isdecimal():
        fail(f"--sysctl {text}: must be NAME=VALUE, the value a whole number")
    return name, int(value)


def _ruleset(source: Source, family: Family, counters: bool) -> Ruleset:
    outcome = api.interpret(api.parse_source(source), family, counters=counters)
    if outcome.status:
        report_diagnostics(source, [each for each in outcome.diagnostics if each.severity is Severity.ERROR])
        sys.exit(Exit.FAILED)
    return outcome.ruleset


def _places(session: Session, *, default: bool) -> dict[str, str]:
    """The words for where packets come from, and the interfaces they mean."""
    machine = session.worlds[0].machine
    found = dict(SIDES) if default else {}
    found["firewall"] = ""
    found.update({name: name for name in machine.topology.interfaces if name != "lo"})
    return found


# -- packets and flows


def _run_packets(
    session: Session, packets: tuple[str, ...], family: Family, known: dict[str, str], output: Output
) -> int:
    from iptkit.evaluator.packetline import BadLine, parse_packet, words_of

    teller = _teller(session, output)
    for text in packets:
        held = text.encode("utf-8").decode("latin-1")
        try:
            line = parse_packet(words_of(held), family, known)
        except BadLine as bad:
            _refuse(Source.of(held, "--packet"), bad)
        found = session.send(line)
        if output.json:
            _write({"packet": text, "time": session.now, "outcomes": _json(found)})
        else:
            _print([text, *teller.outcomes(found)])
        session.wait_until(session.now + 1 / 512)
    return Exit.OK


def _run_flow(session: Session, source: Source, family: Family, known: dict[str, str], output: Output) -> int:
    from iptkit.evaluator.flow import parse_flow
    from iptkit.evaluator.packetline import BadLine

    try:
        steps = list(parse_flow(source.text, family, known))
    except BadLine as bad:
        _refuse(source, bad)
    teller = _teller(session, output)
    unmet = 0
    for step in steps:
        before = session.now if step.relative else session.start
        session.wait_until(before + step.time)
        found = _do(session, step)
        missed = list(_unmet(step, found))
        unmet += len(missed)
        if output.json:
            _write(
                {
                    "line": step.number,
                    "time": round(session.now - session.start, 6),
                    "packet": step.text,
                    "outcomes": _json(found),
                    "unmet": [each.message for each in missed],
                }
            )
        elif step.packet is not None:
            _print([f"{round(session.now - session.start, 6):<8.12g} {step.text}", *teller.outcomes(found)])
        report_diagnostics(source, missed, output.color)
    return Exit.FOUND if unmet else Exit.OK


def _do(session: Session, step: Step) -> list[Outcome]:
    """Run one line of a script."""
    if step.packet is not None:
        return session.send(step.packet)
    if step.command == "flush":
        session.each(lambda machine: machine.tracker.flush(machine.now))
    for word in step.words if step.command == "sysctl" else ():
        name, _, value = word.partition("=")
        try:
            session.each(lambda machine, name=name, value=value: machine.set_sysctl(name, int(value)))  # type: ignore[misc]  # mypy does not infer lambdas with defaults
        except KeyError:
            raise IptkitError(f"line {step.number}: {name} is no sysctl that decides about packets") from None
    return session.look() if step.expected else []


def _unmet(step: Step, found: list[Outcome]) -> Iterator[Diagnostic]:
    """What was expected of a packet and did not happen, or not for certain."""
    from iptkit.cli.packets import condition
    from iptkit.evaluator.flow import actual, holds

    for expected in step.expected:
        wrong = [outcome for outcome in found if not holds(expected, outcome.what)]
        if not wrong:
            continue
        outcome = wrong[0]
        what = (
            expected.value if expected.name in ("verdict", "state") else f"{expected.name} {expected.value}"
        )
        message = f"expected {what}, and it is {actual(expected.name, outcome.what)}"
        hint = ""
        if len(wrong) < len(found) and outcome.conditions:
            hint = "if " + " and ".join(map(condition, outcome.conditions))
        span = Span(step.number, expected.word.start, expected.word.end)
        yield Diagnostic("", "", Severity.ERROR, message, span, hint)


def _teller(session: Session, output: Output) -> Teller:
    from iptkit.cli.packets import Teller

    return Teller(
        session.worlds[0].machine,
        trace=output.trace,
        why_not=output.why_not,
        color=want_color(output.color),
    )


def _json(found: list[Outcome]) -> list[dict[str, Any]]:
    from iptkit.cli.packets import as_json

    return as_json(found)


def _refuse(source: Source, bad: BadLine) -> NoReturn:
    """Show the line and the word in it that cannot be read, and end."""
    found = Diagnostic("", "", Severity.ERROR, bad.message, Span(bad.line, bad.start, bad.end), bad.hint)
    report_diagnostics(source, [found])
    sys.exit(Exit.FAILED)


# -- scenarios


def _scenarios(source: Source) -> None:
    for number, line in enumerate(source.lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.encode("latin-1"))
        except ValueError as error:
            fail(f"{source.name}:{number}: is no JSON: {error}")
        if not isinstance(record, dict):
            fail(f"{source.name}:{number}: must be an object")
        try:
            truth = api.run_scenario(record.get("scenario", record))
        except IptkitError as error:
            fail(f"{source.name}:{number}: {error}")
        _write({"name": record.get("name", f"{source.name}:{number}"), "truth": truth})


# -- printing


def _write(value: Any) -> None:
    _print([json.dumps(value)])


def _print(lines: list[str]) -> None:
    try:
        sys.stdout.buffer.write("".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
