"""Restores into live nf_tables, held against iptables-nft-restore and -save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iptkit import api
from iptkit.kernel import nfnetlink, nft
from iptkit.kernel.backend import CommitError
from iptkit.kernel.live import KeptRule
from iptkit.kernel.lock import LockBusy, XtablesLock
from iptkit.kernel.nftchild import nft_restore
from iptkit.text.source import Source

from .netfilter_shell import make_program
from .test_legacy_backend import FULL, FULL6, canonical, rules_of

if TYPE_CHECKING:
    from pathlib import Path

    from iptkit.kernel.transaction import Transaction
    from iptkit.values.context import Family

    from .conftest import Netns

SAVE4, RESTORE4 = "iptables-nft-save", "iptables-nft-restore"


def restore(text: str, family: Family = 4, **options: Any) -> Transaction:
    return api.restore_source(Source.of(text, "test"), family, backend="nft", **{"counters": True, **options})


@pytest.mark.parametrize(("family", "text", "tool"), [(4, FULL, "iptables"), (6, FULL6, "ip6tables")])
@pytest.mark.parametrize("noflush", [False, True])
def test_restore_is_what_the_real_tool_makes_of_it(
    netns: Netns, family: Family, text: str, tool: str, noflush: bool
) -> None:
    netns.need(f"{tool}-nft-save", f"{tool}-nft-restore")
    netns.run(f"{tool}-nft-restore", "-c", text=text)
    wanted = netns.save(f"{tool}-nft-save", "-c")
    netns.run("nft", "flush", "ruleset")
    with netns.entered():
        assert restore(text, family, noflush=noflush).committed
        assert netns.save(f"{tool}-nft-save", "-c") == wanted
        assert canonical(api.save_live(family, backend="nft", counters=True)) == canonical(wanted)


def test_the_corpus_loads_as_the_real_tool_loads_it(netns: Netns) -> None:
    from tests.kernel.corpus import sample

    netns.need(SAVE4, "ip6tables-nft-save", "ipset", "nft")
    for file in sample(12):
        tool = "ip6tables" if file.family == 6 else "iptables"
        netns.make_sets(file.ipsets, file.family)
        counters = ["-c"] if file.counters else []
        taken = netns.run(f"{tool}-nft-restore", *counters, text=file.data, check=False).returncode == 0
        wanted = netns.save(f"{tool}-nft-save", "-c")
        netns.run("nft", "flush", "ruleset")
        with netns.entered():
            if taken:
                done = restore(file.data.decode("latin-1"), file.family, counters=file.counters)
                assert done.committed, file.name
                assert netns.save(f"{tool}-nft-save", "-c") == wanted, file.name
            else:
                with pytest.raises(CommitError):
                    restore(file.data.decode("latin-1"), file.family, counters=file.counters)
                assert netns.save(f"{tool}-nft-save") == "", file.name
        netns.run("nft", "flush", "ruleset")
        netns.drop_sets()


BAD_NAT = """*filter
:INPUT ACCEPT [1:1]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
*nat
-A PREROUTING -j RETURN
-A POSTROUTING -p tcp -j REDIRECT --to-ports 80
COMMIT
"""


@pytest.mark.parametrize(("family", "text", "tool"), [(4, FULL, "iptables"), (6, FULL6, "ip6tables")])
@pytest.mark.parametrize("noflush", [False, True])
def test_a_table_that_is_refused_undoes_the_one_before(
    netns: Netns, family: Family, text: str, tool: str, noflush: bool
) -> None:
    netns.need(f"{tool}-nft-restore")
    netns.run(f"{tool}-nft-restore", "-c", text=text)
    with netns.entered():
        # Counters of IPv6 rules are in no text that comes out of a restore: look at the tables themselves.
        before = nfnetlink.snapshot(family, ["raw", "filter", "nat"])
        with pytest.raises(CommitError) as caught:
            restore(BAD_NAT, family, noflush=noflush)
        assert nfnetlink.snapshot(family, ["raw", "filter", "nat"]) == before
    assert caught.value.table == "nat"
    assert caught.value.line == 7
    assert caught.value.status == 4


def test_per_table_leaves_the_table_before_in_place(netns: Netns) -> None:
    netns.need(SAVE4)
    with netns.entered(), pytest.raises(CommitError):
        restore(BAD_NAT, per_table=True)
    assert "--dport 22" in netns.save(SAVE4)


def test_what_only_legacy_refuses_is_no_hindrance(netns: Netns) -> None:
    netns.need(SAVE4)
    with netns.entered():
        done = restore(
            "*filter\n:new - [0:0]\n:new ACCEPT [0:0]\n-A INPUT -j new\n-A new -j RETURN\nCOMMIT",
            counters=False,
        )
        assert done.committed
        assert {found.backends for found in done.outcome.diagnostics} == {("legacy",)}
    assert "-A new -j RETURN" in netns.save(SAVE4)


@pytest.mark.parametrize("line", ["-R INPUT 1 -j DROP", "-Z INPUT 1"])
def test_what_makes_the_tool_crash_is_refused(netns: Netns, line: str) -> None:
    netns.need(SAVE4)
    with netns.entered():
        done = restore(f"*filter\n-A INPUT -j ACCEPT\n{line}\nCOMMIT\n")
    assert done.outcome.status == 2
    assert done.outcome.diagnostics[0].span.line == 3
    assert netns.save(SAVE4) == ""


def test_what_is_read_back_must_be_what_was_meant(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    netns.need(SAVE4, RESTORE4)
    netns.run(RESTORE4, "-c", text=FULL)
    before = netns.save(SAVE4, "-c")
    feed = nft_restore

    def feeding_less(family: Family, text: bytes, **options: Any) -> Any:
        return feed(family, text.replace(b"-A INPUT -p udp -j DROP\n", b""), **options)

    monkeypatch.setattr(nft, "nft_restore", feeding_less)
    with netns.entered(), pytest.raises(CommitError, match="INPUT has 0 rules, not 1"):
        restore("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p udp -j DROP\nCOMMIT\n")
    assert netns.save(SAVE4, "-c") == before


def test_rules_in_another_order_are_noticed(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    netns.need(SAVE4)
    feed = nft_restore

    def feeding_otherwise(family: Family, text: bytes, **options: Any) -> Any:
        return feed(family, text.replace(b"-s 192.0.2.1", b"-s 192.0.2.2"), **options)

    monkeypatch.setattr(nft, "nft_restore", feeding_otherwise)
    with netns.entered(), pytest.raises(CommitError, match=r"rule 1 of chain INPUT is -s 192\.0\.2\.2/32"):
        restore("*filter\n-A INPUT -s 192.0.2.1 -j DROP\nCOMMIT\n")
    assert netns.save(SAVE4) == ""


def test_a_rule_that_cannot_be_read_is_kept(netns: Netns) -> None:
    netns.need(SAVE4, RESTORE4)
    netns.run(RESTORE4, text='*filter\n-A INPUT -m recent --name "a b" --set\n-A INPUT -j DROP\nCOMMIT\n')
    with netns.entered():
        found = rules_of(api.live(4, backend="nft"))
        assert [isinstance(rule, KeptRule) for rule in found] == [True, False]
        assert restore("*filter\n-A INPUT -j ACCEPT\nCOMMIT\n", noflush=True).committed
    assert netns.save(SAVE4).count("-A INPUT") == 3


def test_tables_with_what_iptables_does_not_make_are_left_alone(netns: Netns) -> None:
    netns.need("nft")
    netns.run("nft", "add table ip filter; add set ip filter s { type ipv4_addr; }")
    with netns.entered(), pytest.raises(nfnetlink.NfTablesError, match="sets"):
        restore("*filter\n-A INPUT -j ACCEPT\nCOMMIT\n")


@pytest.mark.parametrize(
    "lines",
    ["-R INPUT 2 -s 192.0.2.9 -j DROP", "-Z INPUT 1", "-R INPUT 1 -j LOG\n-I INPUT 1 -j DROP\n-D INPUT 3"],
)
def test_rules_that_were_there_can_be_replaced_and_zeroed(netns: Netns, lines: str) -> None:
    netns.need(SAVE4, RESTORE4)
    netns.need_observed(RESTORE4)
    before = "*filter\n[1:2] -A INPUT -s 192.0.2.1 -j DROP\n[3:4] -A INPUT -s 192.0.2.2 -j DROP\nCOMMIT\n"
    text = f"*filter\n{lines}\nCOMMIT\n"
    netns.run(RESTORE4, "-c", text=before)
    netns.run(RESTORE4, "-n", text=text)
    wanted = netns.save(SAVE4, "-c")
    netns.run(RESTORE4, "-c", text=before)
    with netns.entered():
        assert restore(text, noflush=True, counters=False).committed
    assert netns.save(SAVE4, "-c") == wanted


# -- what others do meanwhile


def test_a_rule_that_somebody_adds_meanwhile_stays(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    netns.need(SAVE4, "iptables-nft")
    feed = nft_restore

    def feeding(family: Family, text: bytes, **options: Any) -> Any:
        done = feed(family, text, **options)
        netns.run("iptables-nft", "-A", "INPUT", "-s", "192.0.2.7", "-j", "DROP")
        return done

    monkeypatch.setattr(nft, "nft_restore", feeding)
    with netns.entered():
        assert restore("*filter\n-A INPUT -p udp -j DROP\nCOMMIT\n").committed
    saved = netns.save(SAVE4)
    assert "-A INPUT -p udp -j DROP\n-A INPUT -s 192.0.2.7/32 -j DROP\n" in saved


def test_what_the_way_back_may_have_undone_is_said(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    netns.need(SAVE4, "iptables-nft")
    feed = nft_restore

    def feeding(family: Family, text: bytes, **options: Any) -> Any:
        for address in ("192.0.2.7", "192.0.2.8"):
            netns.run("iptables-nft", "-A", "OUTPUT", "-s", address, "-j", "DROP")
        return feed(family, text, **options)

    monkeypatch.setattr(nft, "nft_restore", feeding)
    with netns.entered(), pytest.raises(CommitError, match="somebody else changed nf_tables"):
        restore(BAD_NAT)


def test_restores_take_turns(netns: Netns) -> None:
    netns.need(SAVE4)
    with netns.entered(), XtablesLock(str(netns.lockfile)):
        with pytest.raises(LockBusy):
            restore("*filter\nCOMMIT\n", wait=0.2)
        assert netns.save(SAVE4) == ""


def test_a_lock_that_cannot_be_had_is_no_hindrance(
    netns: Netns, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netns.need(SAVE4)
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "no" / "such" / "folder"))
    with netns.entered():
        assert restore("*filter\n-A INPUT -j DROP\nCOMMIT\n").committed


# -- what -v tells


TOLD = """# first
*filter
:foo - [0:0]
:bar - [0:0]
-A INPUT ! -d 1.1.1.0/255.0.255.0 -j ACCEPT
-A FORWARD ! -f ! -o eth0
-A FORWARD -f -i eth+ -p 47 -g foo
-A FORWARD ! -p udp -s 192.0.2.1 -j foo
-A FORWARD -p 135
-A FORWARD -p 33
-I FORWARD 1 -s 192.0.2.3 -p icmp -j DROP
# last
COMMIT
*nat
:natfoo - [0:0]
-A natfoo
COMMIT
"""
TOLD6 = """*filter
:foo - [0:0]
-A foo ! -s ::1 -i eth0 -j RETURN
-A foo -d ffff::/ffff::1 -p 58
-A foo -p tcp -j DROP
COMMIT
"""


@pytest.mark.parametrize("backend", ["legacy", "nft"])
@pytest.mark.parametrize(("prefix", "text"), [("iptables", TOLD), ("ip6tables", TOLD6)])
def test_restore_tells_what_the_real_tool_tells(
    netns: Netns, prefix: str, text: str, backend: str, tmp_path: Path
) -> None:
    if backend == "legacy":
        pytest.importorskip("iptc", reason="needs python-iptables")
    tool = f"{prefix}-{backend}-restore"
    netns.need_observed(tool)
    netns.run(tool, text=text)
    for options in (["-v"], ["-v", "-n"]):
        wanted = netns.run(tool, *options, text=text).stdout.decode().splitlines()
        found = netns.run(str(make_program(tmp_path, tool)), *options, text=text).stdout.decode().splitlines()
        # The nft variant prints comments out of order, into a pipe.
        assert [line for line in found if line[0] != "#"] == [line for line in wanted if line[0] != "#"]
        assert {line for line in found if line[0] == "#"} == {line for line in wanted if line[0] == "#"}
