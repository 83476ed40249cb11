"""Values against the recorded answers of iptables 1.8.9, where the recording lies beside the repository."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from iptkit.values import addresses as adr
from iptkit.values.interfaces import parse_interface
from iptkit.values.names import protocol_name, protocol_number, resolved_service_port, service_port
from iptkit.values.ports import parse_port, parse_port_range_tcp, parse_port_range_udp, show_port_range

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDED = Path(__file__).parents[3] / "shared" / "conformance"

# One option with one value, in quotes or not, and nothing else but a plain target.
ONE_OPTION = (
    r"-A (?P<chain>\w+) (?P<lead>{lead})(?P<no>! )?"
    r'(?:{flag}) (?P<value>"[^"\\]*"|[^" ]+)(?P<tail>(?: -j \w+)?)$'
)


def recorded(groups: set[str], flag: str, lead: str = "") -> list[tuple[dict[str, Any], re.Match[str]]]:
    path = RECORDED / "rules.jsonl"
    if not path.exists():
        pytest.skip("no recorded answers of the real tool here (shared/conformance)")
    pattern = re.compile(ONE_OPTION.format(flag=flag, lead=lead))
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        if case["ext"] not in groups:
            continue
        # Words are bytes seen as Latin-1 in this project, whatever the record's encoding.
        text = case["line"].encode(case.get("encoding", "utf-8")).decode("latin-1")
        match = pattern.match(text)
        # `-i ! eth0` and the like are about the words of a rule, not about a value.
        if match is not None and match["value"] != "!":
            found.append((case, match))
    assert found
    return found


def compare(case: dict[str, Any], match: re.Match[str], save: Callable[[str], list[str]]) -> None:
    """Hold what `save` makes of the value, one string a rule, against the recorded rules."""
    value = match["value"].strip('"')
    real = case["legacy"]
    try:
        middles = save(value)
    except adr.HostName:
        return  # what it stands for was the recording machine's to say
    except ValueError:
        assert not real["ok"], f"{case['line']} was taken as {real['save']}"
        return
    assert real["ok"], f"{case['line']} was refused: {real['stderr']}"
    lines = [f"-A {match['chain']}{middle}{match['tail']}" for middle in middles]
    assert "\n".join(lines) == real["save"].encode(case.get("encoding", "utf-8")).decode("latin-1")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_addresses(family: str) -> None:
    for flag, long in (("-s", "--source|--src|--sr|--sou"), ("-d", "--destination|--dst|--dest")):

        def save(value: str, flag: str = flag) -> list[str]:
            if family == "ipv4":
                networks = [
                    (mask, adr.show_network4(address, mask)) for address, mask in adr.parse_networks4(value)
                ]
            else:
                networks = [
                    (mask, adr.show_network6(address, mask)) for address, mask in adr.parse_networks6(value)
                ]
            return [f" {flag} {text}" if mask else "" for mask, text in networks]

        group = {"core-addr4" if family == "ipv4" else "core-addr6"}
        if flag == "-d" and family == "ipv6":
            continue  # none recorded
        for case, match in recorded(group, f"{flag}|{long}"):
            compare(case, match, save)


def test_protocols() -> None:
    def save(value: str) -> list[str]:
        number = protocol_number(value)
        return [f" -p {protocol_name(number)}" if number else ""]

    for case, match in recorded({"core-proto"}, "-p"):
        compare(case, match, save)


def test_interfaces() -> None:
    for case, match in recorded({"core-iface"}, "-i|-o|--in-interface|--out-interface"):
        flag = "-o" if "-o" in match[0].split('"')[0] else "-i"

        def save(value: str, flag: str = flag, no: str = match["no"] or "") -> list[str]:
            name = parse_interface(value)
            return ["" if name == "+" else f" {no}{flag} {name}"]

        # An option that the chain has no use for is not the value's fault.
        if "Can't use" not in case["legacy"]["stderr"]:
            compare(case, match, save)


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp", "dccp"])
def test_ports(protocol: str) -> None:
    for case, match in recorded(
        {"core-ports", f"libxt_{protocol}"}, "--[sd]port", f"-p {protocol} (?:-m {protocol} )?"
    ):
        option = "--sport" if "--sport" in match[0] else "--dport"

        def save(value: str, option: str = option, no: str = match["no"] or "") -> list[str]:
            if protocol in ("tcp", "sctp"):
                low, high = parse_port_range_tcp(value, protocol)
            else:
                low, high = parse_port_range_udp(value)
            shown = f" {no}{option} {show_port_range(low, high)}"
            if (low, high) == (0, 65535) and protocol in ("tcp", "udp"):
                shown = ""
            return [f" -p {protocol} -m {protocol}{shown}"]

        compare(case, match, save)


def test_multiport() -> None:
    def save(value: str) -> list[str]:
        return [
            " -p tcp -m multiport --dports "
            + ",".join(str(parse_port(text, "tcp")) for text in value.split(","))
        ]

    for case, match in recorded({"libxt_multiport"}, "--dports", "-p tcp -m multiport "):
        if ":" not in match["value"] and not match["no"]:
            compare(case, match, save)


def test_tables_of_names() -> None:
    path = RECORDED / "env.json"
    if not path.exists():
        pytest.skip("no record of the real tool's surroundings here (shared/conformance)")
    env = json.loads(path.read_text(encoding="utf-8"))
    for protocol in env["protocols"]:
        for name in [protocol["name"], *protocol["aliases"]]:
            if name == name.lower():
                assert protocol_number(name) == protocol["number"]
    first: dict[tuple[str, str | None], int] = {}
    for service in env["services"]:
        for name in [service["name"], *service["aliases"]]:
            first.setdefault((name, service["proto"]), service["port"])
            first.setdefault((name, None), service["port"])
    for (name, proto), port in first.items():
        assert service_port(name, proto) == port
    names = {name for name, _ in first}
    for proto in ("tcp", "udp", "sctp", "dccp", "udplite", "ddp"):
        for name in names:
            if (name, proto) not in first:
                with pytest.raises(ValueError, match="service"):
                    service_port(name, proto)
    for name in names:
        ports = [first[name, proto] for proto in ("tcp", "udp", "sctp") if (name, proto) in first]
        if ports:
            assert resolved_service_port(name) == ports[0]
