"""`iptkit eval`: packets, scripts, captures and scenarios on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from iptkit.cli.main import iptkit
from iptkit.evaluator.wire import build

if TYPE_CHECKING:
    from click.testing import Result

FLOWS = Path(__file__).resolve().parents[2] / "fixtures" / "flows"
RULES = str(FLOWS / "web-server.save")
WEB = "client tcp 10.0.1.2:1024 > 10.0.2.2:80 S"


def run(*arguments: str, data: str = "") -> Result:
    return CliRunner().invoke(iptkit, ["eval", *arguments], input=data)


@pytest.mark.parametrize("flow", sorted(FLOWS.glob("*.flow")), ids=lambda path: path.stem)
def test_flows_do_what_they_expect(flow: Path) -> None:
    result = run(RULES, "--flow", str(flow))
    assert result.exit_code == 0, result.output


def test_tells_what_becomes_of_a_packet() -> None:
    result = run(RULES, "--packet", WEB, "--trace")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        WEB,
        "  FORWARD  NEW",
        "  leaves at server: tcp 10.0.2.1:1024 > 10.0.2.2:80 S seq=1000 ttl=63",
        "    nat:PREROUTING:policy  policy ACCEPT",
        "    filter:FORWARD:3       -p tcp -m multiport --dports 80,443 -j WEB",
        "    filter:WEB:1           -s 10.0.1.0/24 -m conntrack --ctstate NEW -j ACCEPT",
        "    nat:POSTROUTING:1      -o out0 -j MASQUERADE",
    ]


def test_tells_why_rules_do_not_match() -> None:
    lines = run(RULES, "--packet", WEB.replace(":80", ":81"), "--why-not").stdout.splitlines()
    assert "  DROP  NEW  by filter:FORWARD:policy  policy DROP" in lines
    assert "    filter:FORWARD:3       no: -m multiport --dports 80,443" in lines
    assert "    filter:FORWARD:4       no: -p udp" in lines


def test_json_has_the_names_of_records() -> None:
    result = run(RULES, "--packet", WEB, "--format", "json")
    found = json.loads(result.stdout)
    assert found["packet"] == WEB
    (outcome,) = found["outcomes"]
    assert outcome["verdict"] == "FORWARD"
    assert outcome["conditions"] == outcome["chances"] == []
    assert outcome["counters"]["filter:WEB:1"] == [1, 40]
    assert outcome["conntrack"][0]["state"] == "SYN_SENT"


def test_all_outcomes_of_what_is_not_known() -> None:
    result = run(RULES, "--packet", "firewall tcp 10.0.2.1:4000 > 10.0.2.2:25 S")
    assert "UNKNOWN: one of 2" in result.stdout
    assert "if -m owner ! --uid-owner 8 (filter:OUTPUT:1) matches" in result.stdout


def test_says_what_was_expected_and_is_not() -> None:
    script = f"0 {WEB} => DROP by filter:FORWARD:2\n"
    result = run(RULES, "--flow", "-", data=script)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[:3] == [
        "<stdin>:1:47: error: expected DROP, and it is FORWARD",
        f"  1 | {script.rstrip()}",
        "    |                                               ^^^^",
    ]


def test_points_at_what_cannot_be_read() -> None:
    result = run(RULES, "--flow", "-", data="0 client tpc 10.0.1.2 > 10.0.2.2\n")
    assert result.exit_code == 2
    assert "<stdin>:1:10: error: 'tpc' is no protocol; did you mean 'tcp'?" in result.stderr
    assert "|          ^^^" in result.stderr
    result = run(RULES, "--packet", "client tcp 10.0.1.2 > 10.0.2.2 ttl=x")
    assert result.exit_code == 2
    assert "--packet:1:36: error: 'x' is no number" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((RULES,), "give packets with one of"),
        ((RULES, "--packet", WEB, "--flow", "x"), "give packets with one of"),
        (("--flow", "-"), "only one file can be standard input"),
        ((RULES, "--scenario", "x"), "brings its own rules"),
        ((RULES, "--packet", WEB, "--sysctl", "net.ipv4.ip_forward"), "NAME=VALUE"),
        ((RULES, "--packet", WEB, "--sysctl", "net.ipv4.nosuch=1"), "net.ipv4.nosuch is none"),
        ((RULES, "--packet", WEB, "--time", "noon"), "is no time"),
        ((RULES, "--packet", "client udp 10.0.1.2 > 10.0.2.2 ttl=999"), "packet.ttl: 999 is not between"),
        (("/nonexistent", "--packet", WEB), "cannot read"),
    ],
)
def test_refuses(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_rules_that_are_refused() -> None:
    result = run("-", "--packet", WEB, data="*filter\n-A INPUT -j WEB\nCOMMIT\n")
    assert result.exit_code == 2
    assert "IPT101" in result.stderr


def test_sysctls_connections_and_time(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.write_text(
        "tcp      6 100 ESTABLISHED src=10.0.1.2 dst=10.0.2.2 sport=1024 dport=80"
        " src=10.0.2.2 dst=10.0.1.2 sport=80 dport=1024 [ASSURED] mark=0 use=1\n"
    )
    packet = WEB[:-1] + "A"
    assert "ESTABLISHED" in run(RULES, "--conntrack", str(dump), "--packet", packet).stdout
    assert "  FORWARD  NEW" in run(RULES, "--packet", packet).stdout
    strict = run(RULES, "--sysctl", "net.netfilter.nf_conntrack_tcp_loose=0", "--packet", packet)
    assert "  DROP  INVALID" in strict.stdout
    dump.write_text("nonsense\n")
    assert "conntrack: line 1" in run(RULES, "--conntrack", str(dump), "--packet", packet).stderr


def test_time_of_day() -> None:
    rule = "-A FORWARD -m time --timestart 09:00:00 --timestop 17:00:00 -j ACCEPT\n"
    rules = "*filter\n:FORWARD DROP [0:0]\n" + rule
    for hour, verdict in ((12, "FORWARD"), (20, "DROP")):
        result = run("-", "--packet", WEB, "--time", f"2026-03-01T{hour}:00", data=rules + "COMMIT\n")
        assert f"  {verdict}  NEW" in result.stdout


def test_topology(tmp_path: Path) -> None:
    file = tmp_path / "topology.json"
    addresses = [{"family": "inet", "local": "192.0.2.1", "prefixlen": 24}]
    interface = {"ifname": "eth0", "flags": ["UP"], "addr_info": addresses}
    file.write_text(json.dumps([interface]) + json.dumps([{"dst": "10.0.0.0/8", "type": "prohibit"}]))
    packet = "eth0 icmp 192.0.2.7 > 192.0.2.1 echo-request"
    assert "  INPUT  NEW" in run(RULES, "--topology", str(file), "--packet", packet).stdout
    answer = run(RULES, "--topology", str(file), "--packet", "eth0 udp 192.0.2.7:1 > 10.1.1.1:2").stdout
    assert "  ROUTER_ERROR" in answer
    assert "answer at eth0: icmp 192.0.2.1 > 192.0.2.7 destination-unreachable/13" in answer
    result = run(RULES, "--topology", str(file), "--packet", WEB)
    assert "one of firewall, eth0" in result.stderr


def test_scenarios() -> None:
    scenario = {
        "family": "ipv4",
        "rules": "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p udp -j DROP\nCOMMIT\n",
        "steps": [{"from": "client", "packet": {"proto": "udp"}}],
    }
    result = run("--scenario", "-", "--format", "json", data=json.dumps({"name": "a", "scenario": scenario}))
    found = json.loads(result.stdout)
    assert found["name"] == "a"
    assert found["truth"]["steps"][0]["dropped_by"] == "filter:FORWARD:1"
    bad: list[tuple[dict[str, Any], str]] = [
        ({**scenario, "famly": "ipv4"}, "scenario.famly: there is no such field; did you mean 'family'?"),
        ({**scenario, "steps": [{"from": "clinet", "packet": {}}]}, "scenario.steps[0].from: 'clinet'"),
        (
            {**scenario, "steps": [{"from": "client", "packet": {"dport": -1}}]},
            "scenario.steps[0].packet.dport: -1 is not between 0 and 65535",
        ),
        ({**scenario, "sysctl": {"a": 1}}, "scenario.sysctl.a: is no sysctl"),
        ({**scenario, "mtu": {"eth0": 1}}, "scenario.mtu.eth0: there is no such field"),
        ({"family": "ipv4", "steps": []}, "scenario.rules: is missing"),
        ({**scenario, "steps": [{"cmd": ["conntrack", "-E"]}]}, "scenario.steps[0].cmd: conntrack -E is not"),
        ({**scenario, "steps": [{"advance": -1}]}, "scenario.steps[0].advance: must be"),
    ]
    for wrong, message in bad:
        result = run("--scenario", "-", data=json.dumps(wrong))
        assert result.exit_code == 2
        assert f"<stdin>:1: {message}" in result.stderr
    assert "<stdin>:1: is no JSON" in run("--scenario", "-", data="{").stderr


def capture(path: Path, count: int) -> None:
    dpkt = pytest.importorskip("dpkt", reason="captures are read with dpkt")
    ethernet = bytes.fromhex("0200000001010200000001020800")
    packet = {"src": "10.0.1.2", "dst": "10.0.2.2", "proto": "udp", "dport": 53}
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for number in range(count):
            port = {"proto": "tcp", "dport": 80} if number % 2 else {}
            writer.writepkt(ethernet + build({**packet, **port, "sport": number + 1}, 4)[0], ts=1e9 + number)
        writer.writepkt(ethernet[:12] + b"\x08\x06" + bytes(28), ts=1e9 + count)


def test_captures(tmp_path: Path) -> None:
    file = tmp_path / "a.pcap"
    capture(file, 10)
    result = run(RULES, "--pcap", str(file))
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()[:4]] == [
        ["11", "packets,", "5", "connections", "left"],
        ["5", "REJECT"],
        ["5", "FORWARD"],
        ["1", *"not IPv4, or no packet a machine takes".split()],
    ]
    assert "5  filter:FORWARD:4  -p udp -j REJECT" in result.stdout
    lines = [
        json.loads(line) for line in run(RULES, "--pcap", str(file), "--format", "json").stdout.splitlines()
    ]
    assert [line["verdict"] for line in lines[:2]] == ["REJECT", "FORWARD"]
    assert lines[-1]["verdicts"] == {"REJECT": 5, "FORWARD": 5}
    traced = run(RULES, "--pcap", str(file), "--trace", "--interface", "in0").stdout
    assert "    filter:FORWARD:4       -p udp -j REJECT" in traced


def test_captures_that_are_none(tmp_path: Path) -> None:
    pytest.importorskip("dpkt", reason="captures are read with dpkt")
    file = tmp_path / "a.pcap"
    file.write_bytes(b"nonsense, and enough of it to be a header of something")
    result = run(RULES, "--pcap", str(file))
    assert result.exit_code == 2
    assert "is no capture" in result.stderr
    capture(file, 3)
    assert "there is none" in run(RULES, "--pcap", str(file), "--interface", "eth9").stderr
    file.write_bytes(file.read_bytes()[:-5])
    assert run(RULES, "--pcap", str(file)).exit_code in (0, 2)
