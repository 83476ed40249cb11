"""Restores into a live legacy kernel, held against iptables-legacy-restore and -save."""

from __future__ import annotations

import fcntl
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from iptkit import api
from iptkit.kernel import libiptc, live, sockopt
from iptkit.kernel.backend import CommitError
from iptkit.kernel.entries import Encoder, Unencodable
from iptkit.kernel.legacy import LegacyBackend
from iptkit.kernel.lock import LockBusy
from iptkit.kernel.readback import blank, digest_of, marks_of
from iptkit.text.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from iptkit.kernel.transaction import Transaction
    from iptkit.ruleset.model import Rule, Ruleset
    from iptkit.values.context import Family

    from .conftest import Netns

SAVE4, RESTORE4 = "iptables-legacy-save", "iptables-legacy-restore"

# A bit of everything: what libiptc, the block and the text treat each in its own way.
FULL = r"""*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT DROP [7:8]
[1:2] -A PREROUTING -p udp -m udp --dport 53 -j NOTRACK
COMMIT
*filter
:INPUT DROP [5:6]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [18446744073709551615:1]
:LOG - [0:0]
:empty - [0:0]
:web - [0:0]
[1:2] -A INPUT -i eth+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[3:4] -A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 80:90 -m comment --comment "it\'s \"web\"" -j web
[5:6] -A INPUT ! -s 192.0.2.1/32 -d 198.51.100.0/24 ! -i lo -f
[7:8] -A INPUT -j LOG
[9:10] -A web -g empty
[11:12] -A web -m limit --limit 5/min -j RETURN
[13:14] -A web -p icmp -m icmp --icmp-type 8 -j REJECT --reject-with icmp-host-prohibited
[0:0] -A web
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
[0:0] -A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 192.0.2.7:8080
[21:22] -A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
"""
FULL6 = """*filter
:INPUT DROP [5:6]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:web - [0:0]
[1:2] -A INPUT -s 2001:db8::/32 -i eth+ -p tcp -m tcp --dport 80 -j web
[3:4] -A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT
[5:6] -A INPUT -p all -j DROP
[7:8] -A web -g web2
[9:9] -A web2 -m hl --hl-eq 255 -j REJECT --reject-with icmp6-no-route
COMMIT
""".replace(":web - [0:0]\n", ":web - [0:0]\n:web2 - [0:0]\n").replace("-p all ", "")


def restore(text: str, family: Family = 4, **options: Any) -> Transaction:
    done = api.restore_source(
        Source.of(text, "test"), family, backend="legacy", **{"counters": True, **options}
    )
    assert not done.outcome.status, done.outcome.diagnostics
    return done


def canonical(text: str) -> dict[str, list[str]]:
    """A save by table, since the order of tables follows from the order they were first used in."""
    tables: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            tables[line] = []
        elif line:
            tables[[*tables][-1]].append(line)
    return tables


@pytest.mark.parametrize(("family", "text", "tool"), [(4, FULL, "iptables"), (6, FULL6, "ip6tables")])
@pytest.mark.parametrize("noflush", [False, True])
def test_restore_is_what_the_real_tool_makes_of_it(
    netns: Netns, family: Family, text: str, tool: str, noflush: bool
) -> None:
    netns.need(f"{tool}-legacy-save")
    with netns.entered():
        restore(text, family, noflush=noflush)
    assert canonical(netns.save(f"{tool}-legacy-save", "-c")) == canonical(text)


@pytest.mark.parametrize(("family", "text", "tool"), [(4, FULL, "iptables"), (6, FULL6, "ip6tables")])
def test_live_rules_are_ordinary_rules(netns: Netns, family: Family, text: str, tool: str) -> None:
    netns.need(f"{tool}-legacy-restore")
    netns.run(f"{tool}-legacy-restore", "-c", text=text)
    with netns.entered():
        assert canonical(api.save_live(family, backend="legacy", counters=True)) == canonical(text)
        found = api.live(family, backend="legacy")
    assert not [rule for rule in rules_of(found) if isinstance(rule, live.KeptRule)]


@pytest.mark.parametrize(("family", "text", "tool"), [(4, FULL, "iptables"), (6, FULL6, "ip6tables")])
def test_a_table_built_here_is_the_one_that_libiptc_makes(
    netns: Netns, family: Family, text: str, tool: str
) -> None:
    netns.need(f"{tool}-legacy-restore")
    netns.run(f"{tool}-legacy-restore", "-c", text=text)
    with netns.entered():
        names = sockopt.table_names(family)
        theirs = {name: sockopt.read_table(family, name) for name in names}
        restore(text, family)
        for name, image in theirs.items():
            ours = sockopt.read_table(family, name)
            assert marks_of(ours).difference(marks_of(image)) is None
            assert sockopt.counters_of(ours) == sockopt.counters_of(image)
            blank(ours)
            blank(image)
            assert digest_of(ours) == digest_of(image)


def rules_of(ruleset: Ruleset) -> list[Rule]:
    return [
        rule for table in ruleset.tables.values() for chain in table.chains.values() for rule in chain.rules
    ]


@pytest.mark.parametrize(("family", "text"), [(4, FULL), (6, FULL6)])
def test_entries_made_together_are_entries_made_one_by_one(family: Family, text: str) -> None:
    from array import array

    rules = rules_of(api.load(text, family))
    marks = array("q")
    together = list(Encoder(family).entries(rules, marks))
    plain = Encoder(family)
    assert together == [plain.entry(rule) for rule in rules]
    assert list(marks) == [plain.mark(rule) for rule in rules]


def test_entries_of_the_corpus_are_the_same_either_way() -> None:
    from array import array

    from tests.kernel.corpus import sample

    for file in sample(40):
        outcome = api.interpret(api.parse(file.data, file.name), file.family, counters=file.counters)
        rules = [rule for rule in rules_of(outcome.ruleset) if not rule.bound.opaque]
        plain = Encoder(file.family, _encode)
        together = list(Encoder(file.family, _encode, keep=False).entries(rules, array("q")))
        assert together == [plain.entry(rule) for rule in rules], file.name


def _encode(use: Any, family: Family) -> bytes:
    """As a backend does, with a number for each set."""
    from iptkit.extensions.ipset import SetUse
    from iptkit.kernel.entries import encode_use, with_header

    if isinstance(use, SetUse):
        return with_header(use, use.encode_with(family, {name: len(name) for name in use.set_names()}))
    return encode_use(use, family)


def test_the_corpus_loads_as_the_real_tool_loads_it(netns: Netns) -> None:
    from tests.kernel.corpus import sample

    netns.need(SAVE4, "ip6tables-legacy-save", "ipset")
    for file in sample(25):
        tool = "ip6tables" if file.family == 6 else "iptables"
        netns.make_sets(file.ipsets, file.family)
        with netns.entered():
            restore(file.data.decode("latin-1"), file.family, counters=file.counters, noflush=True)
            saved = canonical(netns.save(f"{tool}-legacy-save", "-c"))
            for table in file.canonical:
                assert saved[table] == file.canonical[table], file.name
            netns.blank(file.family)
        netns.drop_sets()


# -- all or nothing


GOOD_THEN_BAD = """*filter
:INPUT DROP [1:1]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -j RETURN
-A POSTROUTING -p tcp -j REDIRECT --to-ports 80
COMMIT
"""


@pytest.mark.parametrize("noflush", [False, True])
def test_a_table_that_the_kernel_refuses_undoes_the_one_before(netns: Netns, noflush: bool) -> None:
    netns.need(SAVE4, RESTORE4)
    netns.run(RESTORE4, "-c", text=FULL)
    before = netns.save(SAVE4, "-c")
    with netns.entered(), pytest.raises(CommitError) as caught:
        restore(GOOD_THEN_BAD, noflush=noflush)
    assert netns.save(SAVE4, "-c") == before
    assert caught.value.table == "nat"
    assert caught.value.line == 13
    assert caught.value.findings[0].code == "IPT111"
    assert caught.value.status == 1


def test_a_table_that_was_not_there_is_blank_after_a_failure(netns: Netns) -> None:
    netns.need(SAVE4)
    with netns.entered(), pytest.raises(CommitError):
        restore(GOOD_THEN_BAD)
    for lines in canonical(netns.save(SAVE4, "-c")).values():
        assert all("ACCEPT [0:0]" in line for line in lines[:-1])


def test_per_table_leaves_the_table_before_in_place(netns: Netns) -> None:
    netns.need(SAVE4)
    with netns.entered(), pytest.raises(CommitError):
        restore(GOOD_THEN_BAD, per_table=True)
    assert "--dport 22" in netns.save(SAVE4)


def test_a_fault_in_the_text_asks_for_no_table(netns: Netns) -> None:
    netns.need(SAVE4)
    with netns.entered():
        done = api.restore_source(
            Source.of("*filter\n-A INPUT -j NOWHERE\nCOMMIT\n", "test"), backend="legacy"
        )
    assert done.outcome.status == 2
    assert netns.save(SAVE4) == ""


def test_a_missing_set_is_named_before_anything_is_changed(netns: Netns) -> None:
    netns.need(SAVE4)
    text = (
        "*nat\nCOMMIT\n*filter\n-A INPUT -j DROP\n-A INPUT -m set --match-set nowhere src -j ACCEPT\nCOMMIT\n"
    )
    with netns.entered(), pytest.raises(CommitError, match="nowhere") as caught:
        restore(text, counters=False)
    assert caught.value.line == 5
    assert netns.save(SAVE4) == ""


def test_what_is_read_back_must_be_what_was_meant(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    netns.need(SAVE4, RESTORE4)
    netns.run(RESTORE4, "-c", text=FULL)
    before = netns.save(SAVE4, "-c")
    monkeypatch.setattr(sockopt, "read_table", _meddling_after_the_commit(sockopt.read_table, "nat"))
    with netns.entered(), pytest.raises(CommitError, match="read back"):
        restore(FULL.replace("192.0.2.7", "192.0.2.8"))
    assert netns.save(SAVE4, "-c") == before


def _meddling_after_the_commit(
    read: Callable[..., sockopt.TableImage], table: str
) -> Callable[..., sockopt.TableImage]:
    seen: list[str] = []

    def reading(family: Family, name: str, **options: Any) -> sockopt.TableImage:
        image = read(family, name, **options)
        seen.append(name)
        # The state, the image for the undo, and then what was committed.
        if name == table and seen.count(name) == 3:
            image.blob[0] ^= 1
        return image

    return reading


# -- what others do meanwhile


def test_a_busy_lock_is_said_and_nothing_done(netns: Netns) -> None:
    netns.need(SAVE4)
    with open(netns.lockfile, "w", encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with netns.entered(), pytest.raises(LockBusy) as caught:
            restore(FULL)
    assert api.exit_status(caught.value) == 4
    assert netns.save(SAVE4) == ""


def test_a_change_by_somebody_who_takes_no_lock_is_noticed(
    netns: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("iptc")
    netns.need(SAVE4, RESTORE4)
    netns.run(RESTORE4, "-c", text=FULL)
    state = LegacyBackend.state

    def state_and_then_a_change(self: LegacyBackend, *args: Any, **options: Any) -> Ruleset:
        found = state(self, *args, **options)
        # As many rules as before: libiptc would not notice.
        other = "*filter\n-D LOG 1\n-A web -j ACCEPT\nCOMMIT\n".replace("-D LOG 1", "-D INPUT 1")
        netns.run(RESTORE4, "-n", text=other)
        return found

    monkeypatch.setattr(LegacyBackend, "state", state_and_then_a_change)
    monkeypatch.setenv("XTABLES_LOCKFILE", str(netns.lockfile) + ".other")
    with netns.entered(), pytest.raises(CommitError, match="somebody else"):
        restore("*filter\n-A web -j DROP\nCOMMIT\n", noflush=True)
    saved = netns.save(SAVE4)
    assert "-A web -j ACCEPT" in saved
    assert "-A web -j DROP" not in saved


# -- counters


def test_rules_that_stay_keep_counting(netns: Netns) -> None:
    pytest.importorskip("iptc")
    netns.need(SAVE4, RESTORE4)
    netns.run("ip", "link", "set", "lo", "up")
    text = """*filter
:INPUT ACCEPT [100:200]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:keep - [0:0]
[10:20] -A INPUT -p udp -m udp --dport 9 -j keep
[30:40] -A keep -j RETURN
COMMIT
"""
    netns.run(RESTORE4, "-c", text=text)
    with netns.entered():
        send(3)
        restore(
            "*filter\n:new - [0:0]\n-I INPUT 1 -j new\n[7:8] -A new -p tcp -j RETURN\nCOMMIT\n", noflush=True
        )
        send(2)
    saved = netns.save(SAVE4, "-c")
    # 28 bytes of headers and one of data
    assert f"[{10 + 5}:{20 + 5 * 29}] -A INPUT -p udp -m udp --dport 9 -j keep" in saved
    assert f"[{30 + 5}:{40 + 5 * 29}] -A keep -j RETURN" in saved
    assert "[7:8] -A new -p tcp -j RETURN" in saved
    # The policy counts too, and also the port-unreachable messages that come back.
    policy = next(line for line in saved.splitlines() if line.startswith(":INPUT"))
    assert int(policy.split("[")[1].split(":")[0]) >= 105


def test_a_policy_that_the_file_does_not_name_keeps_its_counters(netns: Netns) -> None:
    netns.need(SAVE4, RESTORE4)
    netns.run(RESTORE4, "-c", text=FULL)
    with netns.entered():
        restore("*filter\n:FORWARD DROP [1:2]\nCOMMIT\n")
        saved = netns.save(SAVE4, "-c", "-t", "filter")
    assert ":INPUT DROP [5:6]" in saved
    assert ":FORWARD DROP [1:2]" in saved
    assert "-A" not in saved


def send(count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(count):
            sock.sendto(b"x", ("127.0.0.1", 9))


STEPS = """*filter
-I INPUT 2 -s 192.0.2.0/24,198.51.100.7 -j DROP
-D INPUT -i eth+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-R INPUT 1 -j web
-N extra
-A extra -c 5 6 -j RETURN
-E web site
-Z site
-Z INPUT 3
-F empty
-A empty -j RETURN
-P FORWARD DROP
-A site -j extra
-X nothing
COMMIT
""".replace("-X nothing\n", "-N nothing\n-X nothing\n")


def test_every_step_does_what_the_real_tool_does(netns: Netns) -> None:
    pytest.importorskip("iptc")
    netns.need(SAVE4, RESTORE4)
    netns.run(RESTORE4, "-c", text=FULL)
    netns.run(RESTORE4, "-n", text=STEPS)
    wanted = netns.save(SAVE4, "-c", "-t", "filter")
    netns.run(RESTORE4, "-c", text=FULL)
    with netns.entered():
        restore(STEPS, noflush=True, counters=False)
    found = netns.save(SAVE4, "-c", "-t", "filter")
    # The real tool loses the counters of policies at every commit.
    assert rules_alone(found) == rules_alone(wanted)
    assert ":INPUT DROP [5:6]" in found


def rules_alone(text: str) -> list[str]:
    return [line.partition(" [")[0] if line.startswith(":") else line for line in text.splitlines()]


# -- what iptkit does not know


def test_an_unknown_extension_goes_through_its_plugin(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("iptc")
    netns.need(SAVE4)
    from iptkit.extensions import registry
    from iptkit.ruleset import bound

    text = (
        "*mangle\n:new - [0:0]\n"
        "-A PREROUTING -p tcp -m mark ! --mark 0x1/0xff -m tcp --dport 9 -j MARK --set-xmark 0x2/0x3\n"
        "-A PREROUTING -m mark --mark 0x7 -j new\nCOMMIT\n"
    )
    names = {"mark"}, {"MARK"}

    def hidden(find: Any, which: set[str]) -> Any:
        return lambda name, family: None if name in which else find(name, family)

    monkeypatch.setattr(bound, "find_match", hidden(registry.find_match, names[0]))
    monkeypatch.setattr(bound, "find_target", hidden(registry.find_target, names[1]))
    with netns.entered():
        restore(text, counters=False)
        saved = netns.save(SAVE4, "-t", "mangle")
        for line in text.splitlines():
            if line.startswith("-A"):
                assert line in saved


def test_what_cannot_be_read_is_kept_as_it_is(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("iptc")
    netns.need(SAVE4, RESTORE4)
    netns.run(RESTORE4, "-c", text=FULL)
    netns.run(RESTORE4, "-n", text='*filter\n-A INPUT -m recent --name "a b" --set -j web\nCOMMIT\n')
    with netns.entered():
        found = api.live(4, backend="legacy")
        kept = [rule for rule in rules_of(found) if isinstance(rule, live.KeptRule)]
        assert [rule.text() for rule in kept] == [
            " -m recent --set --name a b --mask 255.255.255.255 --rsource -j web"
        ]
        restore("*filter\n-E web site\n-A site -j ACCEPT\nCOMMIT\n", noflush=True)
    saved = netns.save(SAVE4)
    assert "-m recent --set --name a b --mask 255.255.255.255 --rsource -j site" in saved
    assert "-A site -j ACCEPT" in saved


def test_an_extension_that_nobody_decodes_is_read_through_the_save_program(
    netns: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("iptc")
    netns.need(SAVE4, RESTORE4)
    netns.run(RESTORE4, "-c", text=FULL)

    def decode(kind: str, name: str, *rest: Any) -> Any:
        if name in ("limit", "REJECT"):
            raise Unencodable(f"no {name}")
        return decoded(kind, name, *rest)

    decoded = live._decode
    monkeypatch.setattr(live, "_decode", decode)
    with netns.entered():
        assert canonical(api.save_live(4, backend="legacy", counters=True)) == canonical(FULL)
        restore("*filter\n-A web -j ACCEPT\nCOMMIT\n", noflush=True)
    assert canonical(netns.save(SAVE4, "-c"))["*filter"] == [
        *canonical(FULL)["*filter"][:-1],
        "[0:0] -A web -j ACCEPT",
        "COMMIT",
    ]


def test_tables_merely_named_come_into_use(netns: Netns) -> None:
    netns.need(SAVE4)
    with netns.entered():
        restore("*raw\nCOMMIT\n*mangle\nCOMMIT\n", counters=False)
        assert sockopt.table_names(4) == ["mangle", "raw"]
        assert [*api.live(4, backend="legacy").tables] == ["raw", "mangle"]


def test_libiptc_is_not_needed_to_replace_a_table(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    netns.need(SAVE4)

    def missing(family: Family) -> None:
        raise libiptc.LegacyUnavailable("not here")

    monkeypatch.setattr(libiptc, "_load", missing)
    with netns.entered():
        restore(FULL)
    assert canonical(netns.save(SAVE4, "-c")) == canonical(FULL)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_last_table(netns: Netns, number: signal.Signals, tmp_path: Path) -> None:
    netns.need(SAVE4)
    (tmp_path / "rules").write_text(GOOD_THEN_BAD.replace(" -p tcp -j REDIRECT --to-ports 80", " -j RETURN"))
    code = f"""
import os, sys
from iptkit import api
from iptkit.kernel import sockopt
replace = sockopt.replace_table
def replacing(image):
    os.kill(os.getpid(), {number:d})
    return replace(image)
sockopt.replace_table = replacing
api.restore(open(sys.argv[1]).read(), backend="legacy")
"""
    done = netns.run(sys.executable, "-c", code, str(tmp_path / "rules"), check=False)
    assert done.returncode == -number
    saved = netns.save(SAVE4)
    assert "--dport 22" in saved
    assert "-A POSTROUTING -j RETURN" in saved
