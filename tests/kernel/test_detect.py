"""Which backend is found to be live."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iptkit.kernel import detect as module
from iptkit.kernel import nfnetlink, nftchild, sockopt
from iptkit.kernel.detect import Detection, detect
from iptkit.kernel.nftchild import ChildResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .conftest import Netns


def pretend(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    """Let `iptables --version` say this; None: not installed."""

    def run(name: str, arguments: Sequence[str] = (), text: bytes = b"", timeout: float = 0) -> ChildResult:
        if version is None:
            raise nftchild.ToolError("not installed")
        return ChildResult(0, f"{name} {version}\n".encode(), b"")

    monkeypatch.setattr(nftchild, "run_tool", run)


@pytest.mark.parametrize(
    ("version", "backend"),
    [("v1.8.9 (nf_tables)", "nft"), ("v1.8.9 (legacy)", "legacy"), ("v1.6.1", "legacy"), (None, "nft")],
)
def test_nothing_live(
    netns: Netns, monkeypatch: pytest.MonkeyPatch, version: str | None, backend: str
) -> None:
    pretend(monkeypatch, version)
    with netns.entered():
        found = detect(4)
        assert (found.backend, found.both_live) == (backend, False)
        assert found.reason.startswith("no tables in use; ")
        assert sockopt.table_names(4) == []
        assert nfnetlink.table_names(4) == []


def test_one_live(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    netns.need("iptables-legacy", "ip6tables-nft")
    with netns.entered():
        netns.run("iptables-legacy", "-A", "INPUT", "-j", "DROP")
        netns.run("ip6tables-nft", "-A", "INPUT", "-j", "DROP")
        pretend(monkeypatch, "v1.8.9 (nf_tables)")
        assert detect(4) == Detection("legacy", False, "legacy tables in use: filter")
        pretend(monkeypatch, "v1.8.9 (legacy)")
        assert detect(6) == Detection("nft", False, "nf_tables tables of iptables in use: filter")


def test_both_live(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    netns.need("iptables-legacy", "iptables-nft")
    with netns.entered():
        netns.run("iptables-legacy", "-P", "FORWARD", "DROP")
        netns.run("iptables-nft", "-t", "nat", "-A", "POSTROUTING", "-j", "ACCEPT")
        pretend(monkeypatch, "v1.8.9 (legacy)")
        found = detect(4)
        assert (found.backend, found.both_live) == ("legacy", True)
        assert "legacy (filter)" in found.reason
        assert "nf_tables (nat)" in found.reason


def test_what_is_not_ours_does_not_count(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    """An emptied legacy table, and nft's own tables, of whatever name."""
    netns.need("iptables-legacy", "nft")
    pretend(monkeypatch, "v1.8.9 (nf_tables)")
    with netns.entered():
        netns.run("iptables-legacy", "-L")
        netns.run(
            "nft",
            "-f",
            "-",
            text="table ip filter { chain input { type filter hook input priority 0; }; chain INPUT { }; }\n"
            "table ip mine { chain INPUT { type filter hook input priority 0; }; }\n"
            "table inet nat { chain PREROUTING { type nat hook prerouting priority -100; }; }\n",
        )
        found = detect(4)
        assert (found.backend, found.both_live) == ("nft", False)
        assert found.reason.startswith("no tables in use")


def test_without_rights_the_reason_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(family: int) -> list[str]:
        raise sockopt.TableError("cannot read it: Permission denied")

    monkeypatch.setattr(module, "_legacy_tables", refuse)
    monkeypatch.setattr(module, "_nft_tables", refuse)
    pretend(monkeypatch, "v1.8.9 (legacy)")
    found = detect(4)
    assert found.backend == "legacy"
    assert "Permission denied" in found.reason


@pytest.mark.parametrize("arguments", [("save",), ("restore",)])
def test_the_commands_warn_where_both_are_live(netns: Netns, arguments: tuple[str, ...]) -> None:
    netns.need("iptables-legacy", "iptables-nft", "iptables")
    command = ("env", f"PYTHONPATH={Path(__file__).parents[2]}", sys.executable, "-m", "iptkit", *arguments)
    assert not netns.run(*command, text="*filter\nCOMMIT\n").stderr
    netns.run("iptables-legacy", "-P", "FORWARD", "DROP")
    netns.run("iptables-nft", "-A", "OUTPUT", "-j", "ACCEPT")
    said = netns.run(*command, text="*filter\nCOMMIT\n").stderr
    assert said.startswith(b"iptkit: warning: legacy (filter) and nf_tables (filter) tables are both in use")
