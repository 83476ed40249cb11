"""restore --plan tells which connections would fare otherwise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from iptkit.cli.main import iptkit

if TYPE_CHECKING:
    from pathlib import Path

OPEN = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
"""
SHUT = """*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT
-A FORWARD -p udp -j REJECT --reject-with icmp-port-unreachable
COMMIT
"""


def _tcp(source: str, sport: int, dport: int) -> str:
    there = f"src={source} dst=10.0.1.1 sport={sport} dport={dport} packets=4 bytes=187"
    back = f"src=10.0.1.1 dst={source} sport={dport} dport={sport} packets=2 bytes=91"
    return f"ipv4     2 tcp      6 431999 ESTABLISHED {there} {back} [ASSURED] mark=0 zone=0 use=2"


DNS = (
    "ipv4     2 udp      17 29 src=10.0.1.2 dst=10.0.2.2 sport=1024 dport=53 packets=1 bytes=33"
    " src=10.0.2.2 dst=10.0.1.2 sport=53 dport=1024 packets=1 bytes=30 mark=0 zone=0 use=2"
)


def _plan(folder: Path, *words: str, ssh: str = "") -> str:
    (folder / "state").write_text(OPEN)
    (folder / "new").write_text(SHUT)
    (folder / "dump").write_text(
        "\n".join((DNS, _tcp("10.0.1.3", 40001, 80), _tcp("10.0.1.2", 40000, 22), ""))
    )
    arguments = ["restore", "--plan", "--backend", "memory", "--state", str(folder / "state"), *words]
    ran = CliRunner().invoke(iptkit, [*arguments, str(folder / "new")], env={"SSH_CONNECTION": ssh})
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_the_own_session_comes_first(tmp_path: Path) -> None:
    told = _plan(
        tmp_path, "--conntrack", str(tmp_path / "dump"), ssh="10.0.1.2 40000 10.0.1.1 22"
    ).splitlines()
    at = told.index("2 connections would fare otherwise:")
    assert told[at + 1] == "your own session: ACCEPT -> DROP (original direction)"
    assert told[at + 3].strip() == "by filter:INPUT:policy"
    assert "ACCEPT -> REJECT (original direction)" in told
    assert "ACCEPT -> REJECT (reply direction)" in told
    assert "dport=80" not in "".join(told[at:])


def test_json(tmp_path: Path) -> None:
    told = json.loads(_plan(tmp_path, "--format", "json", "--conntrack", str(tmp_path / "dump")))
    found = [(each["direction"], each["before"], each["after"]) for each in told["connections"]]
    policy = {"verdict": "DROP", "by": "filter:INPUT:policy"}
    assert ("original", [{"verdict": "ACCEPT", "by": "filter:INPUT:policy"}], [policy]) in found
    assert not any(each["own_session"] for each in told["connections"])


def test_no_connections_no_word(tmp_path: Path) -> None:
    assert "fare otherwise" not in _plan(tmp_path)
    assert json.loads(_plan(tmp_path, "--format", "json"))["connections"] is None


@pytest.mark.parametrize("words", [("--conntrack", "x"), ("--topology", "x")])
def test_only_with_plan(words: tuple[str, ...]) -> None:
    ran = CliRunner().invoke(iptkit, ["restore", "--backend", "memory", *words], input=OPEN)
    assert ran.exit_code == 1
    assert "go with --plan" in ran.output


def test_what_is_not_known_counts_both_ways(tmp_path: Path) -> None:
    (tmp_path / "dump").write_text(_tcp("10.0.1.3", 40001, 80) + "\n")
    (tmp_path / "state").write_text(OPEN)
    new = OPEN.replace("COMMIT", "-A OUTPUT -m owner --uid-owner 0 -j DROP\nCOMMIT")
    words = ["--state", str(tmp_path / "state"), "--conntrack", str(tmp_path / "dump")]
    ran = CliRunner().invoke(iptkit, ["restore", "--plan", "--backend", "memory", *words], input=new)
    assert "ACCEPT -> ACCEPT or DROP (reply direction)" in ran.output


def test_a_bad_dump_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dump").write_text("tcp 6 nonsense\n")
    words = ["--plan", "--backend", "memory", "--conntrack", str(tmp_path / "dump")]
    ran = CliRunner().invoke(iptkit, ["restore", *words], input=OPEN)
    assert ran.exit_code == 2
    assert "line 1" in ran.output
