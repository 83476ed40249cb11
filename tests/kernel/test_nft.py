"""nf_tables: the child processes, and the undo beneath them."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from iptkit.kernel import nfnetlink, nftchild

if TYPE_CHECKING:
    from pathlib import Path

    from iptkit.values.context import Family

    from .conftest import Netns

RULES = {
    4: """\
*filter
:INPUT DROP [11:1100]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [7:70]
:one - [0:0]
:two - [0:0]
[1:100] -A INPUT -s 10.0.0.0/8 -i eth+ -p tcp -m tcp --dport 22 -m comment --comment "a \\"b\\"" -j two
[2:200] -A INPUT ! -p tcp -m comment --comment inverted -j one
[3:300] -A INPUT -p tcp -m multiport --dports 1,2,3 -j one
[4:400] -A INPUT -p tcp -m tcp --tcp-option 8 -m conntrack --ctstate NEW -g one
[5:500] -A INPUT -p udp -m string --string "abc" --algo bm --to 65535 -j DROP
[6:600] -A INPUT -m quota --quota 100 -j ACCEPT
[7:700] -A one -m limit --limit 3/min -j LOG --log-prefix "x y"
[8:800] -A one -p tcp -m hashlimit --hashlimit-upto 10/sec --hashlimit-burst 5 --hashlimit-name web \
-j REJECT --reject-with tcp-reset
[18446744073709551615:18446744073709551615] -A one -m recent --set --name q --mask 255.255.255.255 --rsource
[9:900] -A two -p icmp -m icmp --icmp-type 8 -m statistic --mode random --probability 0.50000000000
[10:1000] -A two -p sctp -m sctp --dport 80 -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [1:60]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [2:120]
:POSTROUTING ACCEPT [3:180]
[1:10] -A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080
[2:20] -A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
""",
    6: """\
*filter
:INPUT DROP [11:1100]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [7:70]
:one - [0:0]
-A INPUT -s fe80::/10 -p ipv6-icmp -m icmp6 --icmpv6-type 135 -m hl --hl-eq 255 -j ACCEPT
-A INPUT ! -p udp -m comment --comment inverted -j one
-A INPUT -p tcp -m multiport --dports 1,2,3 -j one
-A one -p tcp -m hashlimit --hashlimit-upto 10/sec --hashlimit-burst 5 --hashlimit-name web6 \
-j REJECT --reject-with tcp-reset
-A one -m limit --limit 3/min -j LOG --log-prefix "x y"
COMMIT
*mangle
:PREROUTING ACCEPT [1:60]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -j MARK --set-xmark 0x1/0xffffffff
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
COMMIT
""",
}

# Commits raw, filter and a new chain, then fails in nat or mangle.
BROKEN = {
    4: "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j NOTRACK\nCOMMIT\n"
    "*filter\n:INPUT ACCEPT [5:5]\n:new - [0:0]\n-A INPUT -j new\nCOMMIT\n"
    "*nat\n-A OUTPUT -j nosuch\nCOMMIT\n",
    6: "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j NOTRACK\nCOMMIT\n"
    "*filter\n:INPUT ACCEPT [5:5]\n:new - [0:0]\n-A INPUT -j new\nCOMMIT\n"
    "*mangle\n-A OUTPUT -j nosuch\nCOMMIT\n",
}
TABLES = ["raw", "filter", "nat", "mangle"]

FAMILIES: list[Any] = [pytest.param(4, "ip", id="ipv4"), pytest.param(6, "ip6", id="ipv6")]


@pytest.mark.parametrize(("family", "prefix"), FAMILIES)
def test_rollback_brings_everything_back(netns: Netns, family: Family, prefix: str) -> None:
    save = f"{prefix}tables-nft-save"
    netns.need(save)
    with netns.entered():
        loaded = nftchild.nft_restore(family, RULES[family].encode(), counters=True)
        assert loaded.status == 0, loaded.stderr
        if family == 6:
            _count_ipv6_packets(netns)
        saved = netns.save(save, "-c")
        assert "[0:0] -A" not in saved or family == 6
        before = nfnetlink.snapshot(family, TABLES)
        assert set(before.present) | set(before.absent) == set(TABLES)
        assert "raw" in before.absent
        failed = nftchild.nft_restore(family, BROKEN[family].encode(), counters=True)
        assert failed.status != 0
        assert "raw" in nfnetlink.table_names(family)
        assert "-A INPUT -j new" in netns.save(save)
        nfnetlink.rollback(before)
        assert netns.save(save, "-c") == saved
        assert set(nfnetlink.table_names(family)) == set(before.present)
        assert nfnetlink.snapshot(family, TABLES) == before
        # Also when nothing is left of the tables, and twice from one snapshot.
        for name in before.present:
            netns.run("nft", "delete", "table", prefix, name)
        nfnetlink.rollback(before)
        nfnetlink.rollback(before)
        assert netns.save(save, "-c") == saved
        # What was brought back can be edited like anything that iptables made.
        netns.run(f"{prefix}tables-nft", "-I", "one", "-p", "tcp", "-j", "ACCEPT")
        netns.run(f"{prefix}tables-nft", "-D", "one", "-p", "tcp", "-j", "ACCEPT")
        assert netns.save(save, "-c") == saved


def _count_ipv6_packets(netns: Netns) -> None:
    """Give IPv6 rules counters the only way there is: by packets."""
    netns.run("ip6tables-nft", "-A", "OUTPUT", "-p", "udp", "-j", "ACCEPT")
    netns.run("ip", "link", "set", "lo", "up")
    for _ in range(3):
        netns.run("python3", "-c", "import socket; socket.socket(10, 2).sendto(b'x' * 99, ('::1', 9))")
    assert "[3:441] -A OUTPUT -p udp -j ACCEPT" in netns.save("ip6tables-nft-save", "-c")


def test_ipv6_restore_loses_rule_counters(netns: Netns) -> None:
    """Why text is no undo; if a later version keeps them, the docstring of nfnetlink is out of date."""
    netns.need_observed("ip6tables-nft-restore")
    with netns.entered():
        for line in ("[1:2] -A INPUT -j ACCEPT", "-A INPUT -c 1 2 -j ACCEPT"):
            text = f"*filter\n:INPUT ACCEPT [3:4]\n{line}\nCOMMIT\n"
            assert nftchild.nft_restore(6, text.encode(), counters=True).status == 0
            saved = netns.save("ip6tables-nft-save", "-c")
            assert ":INPUT ACCEPT [3:4]\n" in saved
            assert "[0:0] -A INPUT -j ACCEPT\n" in saved


def test_rollback_of_nothing_but_absence(netns: Netns) -> None:
    netns.need("iptables-nft")
    with netns.entered():
        before = nfnetlink.snapshot(4, ["filter", "filter"])
        assert (before.present, before.absent) == ((), ("filter",))
        nfnetlink.rollback(before)
        netns.run("iptables-nft", "-A", "INPUT", "-j", "DROP")
        nfnetlink.rollback(before)
        assert nfnetlink.table_names(4) == []
        nfnetlink.rollback(nfnetlink.snapshot(4, []))


def test_other_tables_and_families_are_left_alone(netns: Netns) -> None:
    netns.need("iptables-nft", "nft")
    with netns.entered():
        netns.run(
            "nft", "-f", "-", text="table ip mine { chain c { counter drop; }; }\ntable ip6 filter { }\n"
        )
        netns.run("iptables-nft", "-A", "INPUT", "-j", "DROP")
        before = nfnetlink.snapshot(4, ["filter"])
        netns.run("nft", "add", "rule", "ip", "mine", "c", "accept")
        listed = netns.run("nft", "list", "ruleset").stdout
        nfnetlink.rollback(before)
        assert netns.run("nft", "list", "table", "ip", "mine").stdout in listed
        assert nfnetlink.table_names(6) == ["filter"]


def test_foreign_rules_come_back_too(netns: Netns) -> None:
    netns.need("nft")
    with netns.entered():
        netns.run("iptables-nft", "-A", "INPUT", "-j", "DROP")
        netns.run(
            "nft",
            "-f",
            "-",
            text="add rule ip filter INPUT ct mark 5 counter packets 3 bytes 4 log prefix q\n",
        )
        listed = netns.run("nft", "-a", "list", "table", "ip", "filter").stdout
        before = nfnetlink.snapshot(4, ["filter"])
        netns.run("iptables-nft", "-F")
        nfnetlink.rollback(before)
        assert _without_handles(netns.run("nft", "list", "table", "ip", "filter").stdout) == _without_handles(
            listed
        )


def _without_handles(listed: bytes) -> list[bytes]:
    return [line.partition(b" # handle")[0] for line in listed.splitlines()]


@pytest.mark.parametrize(
    ("addition", "what"),
    [
        ("add set ip filter s { type ipv4_addr; }", "sets"),
        ("add counter ip filter c", "named objects"),
        ("add flowtable ip filter f { hook ingress priority 0; devices = { lo }; }", "flow tables"),
        ("add rule ip filter INPUT tcp dport 22 jump { accept; }", "anonymous chains"),
        ("add rule ip filter INPUT tcp dport { 22, 23 } accept", "sets"),
    ],
)
def test_what_cannot_be_brought_back_is_refused_before_anything(
    netns: Netns, addition: str, what: str
) -> None:
    netns.need("nft")
    with netns.entered():
        netns.run("iptables-nft", "-A", "INPUT", "-j", "DROP")
        made = netns.run("nft", addition, check=False)
        if made.returncode:
            pytest.skip(f"this kernel or nft has none: {made.stderr.decode()}")
        with pytest.raises(nfnetlink.NfTablesError, match=f"table filter has {what}"):
            nfnetlink.snapshot(4, ["filter"])


def test_failed_rollback_changes_nothing(netns: Netns) -> None:
    netns.need("iptables-nft")
    with netns.entered():
        netns.run("iptables-nft", "-A", "INPUT", "-p", "tcp", "-m", "string", "--string", "x", "--algo", "bm")
        before = nfnetlink.snapshot(4, ["filter"])
        netns.run("iptables-nft", "-F")
        listed = netns.run("nft", "-a", "list", "ruleset").stdout
        at = before._messages.rindex(b"string\0")
        before._messages[at : at + 6] = b"nosuch"
        with pytest.raises(nfnetlink.NfTablesError, match="cannot write to nf_tables") as caught:
            nfnetlink.rollback(before)
        assert caught.value.errno == errno.ENOENT
        assert netns.run("nft", "-a", "list", "ruleset").stdout == listed


def test_save_and_restore_children(netns: Netns) -> None:
    netns.need("iptables-nft-restore", "iptables-legacy-save")
    with netns.entered():
        assert nftchild.nft_save(4) == b""
        one = b"*filter\n:INPUT ACCEPT [0:0]\n[1:2] -A INPUT -j DROP\nCOMMIT\n"
        two = b"*nat\n-A OUTPUT -j ACCEPT\nCOMMIT\n"
        assert nftchild.nft_restore(4, one, test=True) == (0, b"", b"")
        assert nfnetlink.base_chains(4) == []
        assert nftchild.nft_restore(4, one + two, counters=True, table="filter").status == 0
        assert b"[1:2] -A INPUT -j DROP\n" in nftchild.nft_save(4)
        assert b"\n-A INPUT -j DROP\n" in nftchild.nft_save(4, counters=False)
        assert b"*nat" not in nftchild.nft_save(4)
        assert nftchild.nft_restore(4, one, noflush=True).status == 0
        assert nftchild.nft_save(4, table="filter").count(b"-A INPUT -j DROP\n") == 2
        wrong = nftchild.nft_restore(4, b"*filter\n-A INPUT -j nosuch\nCOMMIT\n")
        assert wrong.status == 2
        assert b"nosuch" in wrong.stderr
        with pytest.raises(nftchild.ToolError, match="failed with status"):
            nftchild.nft_save(4, table="nosuch")
        netns.run("nft", "add rule ip filter INPUT ct label 1 meta cpu 3 drop")
        with pytest.raises(nftchild.ToolError, match=r"Table `filter' is incompatible"):
            nftchild.nft_save(4)
        netns.run("iptables-legacy-restore", text="*raw\n-A OUTPUT -j ACCEPT\nCOMMIT\n")
        assert b"-A OUTPUT -j ACCEPT" in nftchild.legacy_save(4)


def test_children_are_found_in_fixed_places_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "sh"
    fake.write_text("#!/bin/sh\necho fake\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("XTABLES_LOCKFILE", "/my/lock")
    assert nftchild.find_tool("sh") in ("/usr/bin/sh", "/bin/sh")
    done = nftchild.run_tool("sh", ["-c", "cat; env; pwd; exit 3"], b"in \xff\n")
    assert done.status == 3
    assert done.stdout.startswith(b"in \xff\n")
    assert b"LC_ALL=C\n" in done.stdout
    assert b"XTABLES_LOCKFILE=/my/lock\n" in done.stdout
    assert b"SECRET" not in done.stdout
    assert done.stdout.endswith(b"\n/\n")
    assert nftchild.run_tool("sh", ["-c", "kill -9 $$"]).status == -9
    with pytest.raises(nftchild.ToolError, match="not installed"):
        nftchild.run_tool("no-such-program")
    with pytest.raises(nftchild.ToolError, match=r"within 0\.2 s"):
        nftchild.run_tool("sh", ["-c", "exec sleep 20"], timeout=0.2)


def test_a_child_that_reads_nothing_does_not_hang() -> None:
    assert nftchild.run_tool("sh", ["-c", "exit 0"], os.urandom(1 << 20)).status == 0
