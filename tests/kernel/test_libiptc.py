"""libiptc, given entries built by hand, compared with what iptables-legacy-save says."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from iptkit.kernel import libiptc, sockopt

if TYPE_CHECKING:
    from iptkit.values.context import Family

    from .conftest import Netns

FAMILIES: list[Any] = [pytest.param(4, "ip", id="ipv4"), pytest.param(6, "ip6", id="ipv6")]


@pytest.fixture(autouse=True)
def _available() -> None:
    try:
        libiptc._load(4)
    except libiptc.LegacyUnavailable as error:
        pytest.skip(str(error))


def bare(family: Family, target: str, packets: int = 0, octets: int = 0) -> bytes:
    """A rule without matches whose standard target names the verdict or the chain, as libiptc wants it."""
    layout = sockopt.layout_of(family)
    entry = bytearray(layout.standard_entry(0, packets, octets))
    name = target.encode()
    entry[layout.size + 2 : layout.size + 2 + len(name)] = name
    return bytes(entry)


@pytest.mark.parametrize(("family", "prefix"), FAMILIES)
def test_edit_and_commit(netns: Netns, family: Family, prefix: str) -> None:
    save = f"{prefix}tables-legacy-save"
    netns.need(save)
    with netns.entered(), libiptc.Handle(family, "filter") as table:
        assert table.chains() == ["INPUT", "FORWARD", "OUTPUT"]
        table.create_chain("new")
        table.create_chain("old")
        table.rename_chain("old", "zz")
        assert table.is_chain("zz")
        assert not table.is_chain("old")
        assert table.builtin("INPUT")
        assert not table.builtin("zz")
        table.append_entry("INPUT", bare(family, "ACCEPT", 1, 10))
        table.append_entries("INPUT", [bare(family, "new", 2, 20), bare(family, "DROP", 3, 30)])
        table.insert_entry("INPUT", bare(family, "zz", 4, 40))
        table.insert_entry("INPUT", bare(family, "RETURN", 5, 50), 3)
        table.append_entries("zz", (bare(family, "RETURN", n, n) for n in range(1, 5)))
        table.replace_entry("zz", bare(family, "ACCEPT", 6, 60), 2)
        table.delete_num_entry("zz", 4)
        table.set_counter("zz", 3, 7, 2**64 - 1)
        table.set_policy("FORWARD", "DROP", (8, 80))
        table.set_policy("OUTPUT", "DROP")
        assert table.get_policy("FORWARD") == ("DROP", 8, 80)
        assert table.get_policy("new") is None
        table.append_entry("new", bare(family, "DROP"))
        table.flush_entries("new")
        table.commit()
        with pytest.raises(ValueError, match="closed"):
            table.chains()
    assert netns.save(save, "-c") == (
        "*filter\n"
        ":INPUT ACCEPT [0:0]\n"
        ":FORWARD DROP [8:80]\n"
        ":OUTPUT DROP [0:0]\n"
        ":new - [0:0]\n"
        ":zz - [0:0]\n"
        "[4:40] -A INPUT -j zz\n"
        "[1:10] -A INPUT -j ACCEPT\n"
        "[5:50] -A INPUT -j RETURN\n"
        "[2:20] -A INPUT -j new\n"
        "[3:30] -A INPUT -j DROP\n"
        "[1:1] -A zz -j RETURN\n"
        "[6:60] -A zz -j ACCEPT\n"
        "[7:18446744073709551615] -A zz -j RETURN\n"
        "COMMIT\n"
    )
    with netns.entered(), libiptc.Handle(family, "filter") as table:
        table.zero_entries("zz")
        table.flush_entries("INPUT")
        table.delete_chain("new")
        kept = table.get_policy("FORWARD")
        assert kept == ("DROP", 8, 80)
        table.set_policy("FORWARD", kept[0], kept[1:])
        table.commit()
    assert netns.save(save, "-c") == (
        "*filter\n"
        ":INPUT ACCEPT [0:0]\n"
        ":FORWARD DROP [8:80]\n"
        ":OUTPUT DROP [0:0]\n"
        ":zz - [0:0]\n"
        "[0:0] -A zz -j RETURN\n"
        "[0:0] -A zz -j ACCEPT\n"
        "[0:0] -A zz -j RETURN\n"
        "COMMIT\n"
    )


def test_nothing_happens_without_commit(netns: Netns) -> None:
    netns.need("iptables-legacy-save")
    with netns.entered():
        with libiptc.Handle(4, "filter") as table:
            table.append_entry("INPUT", bare(4, "DROP"))
        assert sockopt.is_blank(4, "filter")


def test_errors_carry_number_and_text(netns: Netns) -> None:
    with netns.entered(), libiptc.Handle(4, "filter") as table:
        rule = bare(4, "ACCEPT")
        table.create_chain("used")
        table.append_entry("INPUT", bare(4, "used"))
        cases: list[tuple[Any, int, str]] = [
            (lambda: table.append_entry("nosuch", rule), errno.ENOENT, "No chain/target/match by that name"),
            (lambda: table.create_chain("used"), errno.EEXIST, "Chain already exists"),
            (lambda: table.create_chain("x" * 40), errno.EINVAL, "Invalid argument"),
            (lambda: table.delete_chain("used"), errno.EMLINK, "Too many links"),
            (lambda: table.delete_num_entry("INPUT", 7), errno.E2BIG, "too big"),
            (lambda: table.set_policy("used", "DROP"), errno.ENOENT, "Bad built-in chain name"),
            (lambda: table.set_policy("INPUT", "used"), errno.EINVAL, "Bad policy name"),
            (lambda: table.get_policy("nosuch"), errno.ENOENT, "No chain"),
        ]
        for call, number, text in cases:
            with pytest.raises(libiptc.LibiptcError) as caught:
                call()
            assert (caught.value.errno, text in str(caught.value)) == (number, True), str(caught.value)
    with netns.entered(), pytest.raises(libiptc.LibiptcError, match="does not exist") as caught:
        libiptc.Handle(4, "nosuch")
    assert caught.value.errno == errno.ENOENT


def test_malformed_entries_never_reach_libiptc(netns: Netns) -> None:
    good = bare(4, "ACCEPT")
    at = sockopt.layout_of(4).target_offset_at
    bad = [
        good + b"\0" * 8,
        good[:-8],
        good[:at] + b"\xff\xff" + good[at + 2 :],
        good[:at] + b"\0\0" + good[at + 2 :],
    ]
    with netns.entered(), libiptc.Handle(4, "filter") as table:
        for entry in bad:
            with pytest.raises(ValueError, match="do not fit"):
                table.append_entry("INPUT", entry)
            with pytest.raises(ValueError, match="do not fit"):
                table.insert_entry("INPUT", entry)
        with pytest.raises(ValueError, match="count from 1"):
            table.insert_entry("INPUT", good, 0)
        with pytest.raises(ValueError, match="NUL"):
            table.create_chain("a\0b")


def test_commit_zeroes_policy_counters(netns: Netns) -> None:
    """What the docstring of `commit` warns of; if libiptc learns to keep them, it is out of date."""
    netns.need_observed("iptables-legacy-save")
    with netns.entered():
        for change in ("set", "keep"):
            with libiptc.Handle(4, "filter") as table:
                if change == "set":
                    table.set_policy("OUTPUT", "ACCEPT", (9, 90))
                else:
                    table.append_entry("INPUT", bare(4, "ACCEPT"))
                table.commit()
            counters = {"set": "[9:90]", "keep": "[0:0]"}[change]
            assert f":OUTPUT ACCEPT {counters}\n" in netns.save("iptables-legacy-save", "-c")


def test_a_concurrent_change_of_size_is_noticed(netns: Netns) -> None:
    netns.need("iptables-legacy")
    with netns.entered(), libiptc.Handle(4, "filter") as table:
        table.append_entry("INPUT", bare(4, "ACCEPT"))
        netns.run("iptables-legacy", "-A", "OUTPUT", "-j", "DROP")
        with pytest.raises(libiptc.LibiptcError) as caught:
            table.commit()
        assert caught.value.errno == errno.EAGAIN


QUIET = """
import os, sys
def audit(event, arguments):
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"):
        print("started a process:", event, arguments)
sys.addaudithook(audit)
from iptkit.kernel import libiptc
assert "iptc" not in sys.modules
before = dict(os.environ)
libiptc._load(4); libiptc._load(6)
assert dict(os.environ) == before
import iptc
assert iptc.Rule and iptc.ip4tc.iptc.iptc_append_entry.argtypes is None
"""


def test_import_is_quiet_and_starts_nothing() -> None:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": root, "PATH": "/nonexistent"},
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libiptc, "_libraries", {})
    monkeypatch.setitem(libiptc._SOVERSIONS, "ip4tc", 99)
    with pytest.raises(libiptc.LegacyUnavailable, match=r"libip4tc\.so\.99.*pip install.*apt install"):
        libiptc._load(4)


def test_missing_python_iptables_says_what_to_install() -> None:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = (
        "from iptkit.kernel import libiptc\n"
        "try: libiptc.Handle(6, 'filter')\n"
        "except libiptc.LegacyUnavailable as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert "pip install" in result.stdout
