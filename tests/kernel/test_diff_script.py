"""What `diff --format restore` writes, fed to the real iptables-restore."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import pytest

from iptkit import api

if TYPE_CHECKING:
    from pathlib import Path

    from iptkit.ruleset.model import Ruleset

    from .conftest import Netns

OLD = """\
*filter
:INPUT ACCEPT [10:1000]
:FORWARD DROP [1:40]
:OUTPUT ACCEPT [7:700]
:gone - [0:0]
:inner - [0:0]
:was - [0:0]
:web - [0:0]
[1:10] -A INPUT -i lo -j ACCEPT
[2:20] -A INPUT -p icmp -j ACCEPT
[3:30] -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
[4:40] -A INPUT -s 10.0.0.9/32 -j DROP
[5:50] -A INPUT -s 10.0.0.9/32 -j DROP
[6:60] -A INPUT -p tcp -m tcp --dport 80 -j web
[7:70] -A INPUT -j gone
[8:80] -A INPUT -j was
[9:90] -A FORWARD -j ACCEPT
[1:11] -A gone -j inner
[2:22] -A inner -j RETURN
[3:33] -A was -s 192.0.2.1/32 -j DROP
[4:44] -A was -j RETURN
[5:55] -A web -s 10.0.0.0/8 -j ACCEPT
[6:66] -A web -j DROP
COMMIT
"""

NEW = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:is - [0:0]
:late - [0:0]
:new - [0:0]
:web - [0:0]
-A INPUT -j new
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 2222 -j ACCEPT
-A INPUT -s 10.0.0.9/32 -j DROP
-A INPUT -p tcp -m tcp --dport 80 -j web
-A INPUT -s 10.0.0.9/32 -j DROP
-A INPUT -s 10.0.0.9/32 -j DROP
-A INPUT -j is
-A INPUT -p icmp -j ACCEPT
-A INPUT -j late
-A is -s 192.0.2.1/32 -j DROP
-A is -j RETURN
-A late -j ACCEPT
-A new -j late
-A web -m comment --comment "all of it is new" -j ACCEPT
COMMIT
"""


def expected(script: str, base: Ruleset) -> Ruleset:
    outcome = api.interpret(api.parse(script.encode("latin-1")), base=base, noflush=True, counters=True)
    assert not outcome.status, outcome.diagnostics
    return outcome.ruleset


def check(netns: Netns, variant: str, old: str, new: str) -> None:
    """Load `old`, apply the script, and compare what the kernel then has with what iptkit says."""
    restore, save = f"iptables-{variant}-restore", f"iptables-{variant}-save"
    netns.run(restore, "-c", text=old)
    base = api.load(netns.save(save, "-c"))
    script = api.diff(base, api.load(new)).script()
    netns.run(restore, "-c", "--noflush", text=script)
    live = api.load(netns.save(save, "-c"))
    wanted = expected(script, base)
    assert lines(live) == lines(wanted), script
    assert api.diff(live, api.load(new)).same


def lines(ruleset: Ruleset) -> list[str]:
    """The rules as iptables-save prints them, tables in one order."""
    return [
        line
        for name in sorted(ruleset.tables)
        for line in api.save(ruleset, counters=True, tables=(name,)).splitlines()
    ]


@pytest.mark.parametrize("variant", ["legacy", "nft"])
def test_every_kind_of_change(netns: Netns, variant: str) -> None:
    netns.need(f"iptables-{variant}-restore")
    check(netns, variant, OLD, NEW)


@pytest.mark.parametrize("variant", ["legacy", "nft"])
def test_and_back(netns: Netns, variant: str) -> None:
    netns.need(f"iptables-{variant}-restore")
    check(netns, variant, NEW, OLD)


@pytest.mark.parametrize("variant", ["legacy", "nft"])
def test_a_table_that_comes_and_one_that_goes(netns: Netns, variant: str) -> None:
    netns.need(f"iptables-{variant}-restore")
    raw = "*raw\n:PREROUTING DROP [3:4]\n:OUTPUT ACCEPT [0:0]\n:x - [0:0]\n[1:2] -A OUTPUT -j x\nCOMMIT\n"
    check(netns, variant, OLD, raw)


@pytest.mark.parametrize("variant", ["legacy", "nft"])
@pytest.mark.parametrize("seed", range(6))
def test_random_edits(netns: Netns, variant: str, seed: int) -> None:
    netns.need(f"iptables-{variant}-restore")
    shuffled = random.Random(seed)  # noqa: S311 - nothing secret about it
    check(netns, variant, _random(shuffled), _random(shuffled))


def _random(source: random.Random) -> str:
    """A file of few different rules, so that two of them have much in common."""
    chains = [
        "INPUT",
        "FORWARD",
        "OUTPUT",
        *sorted(source.sample(("a", "b", "c", "d"), source.randint(0, 4))),
    ]
    lines = ["*filter"]
    lines += [f":{c} {source.choice(('ACCEPT', 'DROP'))} [{source.randint(0, 9)}:0]" for c in chains[:3]]
    lines += [f":{chain} - [0:0]" for chain in chains[3:]]
    for chain in chains:
        later = [c for c in chains[3:] if chain not in "abcd" or c > chain]
        for _ in range(source.randint(0, 12)):
            match = source.choice(("", " -s 10.0.0.0/8", " -p tcp -m tcp --dport 22", " -p udp"))
            goal = source.choice(("ACCEPT", "DROP", *later))
            lines.append(f"[{source.randint(0, 99)}:{source.randint(0, 99)}] -A {chain}{match} -j {goal}")
    return "\n".join([*lines, "COMMIT", ""])


@pytest.mark.parametrize("variant", ["legacy", "nft"])
def test_the_command_reads_live_rules(netns: Netns, variant: str, tmp_path: Path) -> None:
    restore = f"iptables-{variant}-restore"
    netns.need(restore)
    old, new = tmp_path / "old.save", tmp_path / "new.save"
    old.write_text(OLD, encoding="ascii")
    new.write_text(NEW, encoding="ascii")
    netns.run(restore, "-c", text=OLD)
    command = (sys.executable, "-m", "iptkit", "diff", "--backend", variant)
    assert netns.run(*command, "-c", "live", str(old), check=False).returncode == 0
    script = netns.run(*command, "--format", "restore", "live", str(new), check=False)
    assert script.returncode == 1, script.stderr
    netns.run(restore, "-c", "--noflush", text=script.stdout)
    after = netns.run(*command, str(new), "live", check=False)
    assert (after.returncode, after.stdout) == (0, b"")
