"""The rulesets of fixtures/rulesets in a kernel: what is loaded, by whom, and how it is saved again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iptkit import api
from iptkit.text.diagnostic import RulesetError

if TYPE_CHECKING:
    from iptkit.values.context import Family

    from .conftest import Netns

FOLDER = Path(__file__).parents[2] / "fixtures" / "rulesets"
RULESETS = ("docker-host", "ipv6-host", "router", "web-server", "web-server-edited")
PREFIX = {4: "iptables", 6: "ip6tables"}


def family_of(name: str) -> Family:
    return 6 if name.startswith("ipv6") else 4


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.save").read_text(encoding="latin-1")


def tables(saved: str) -> dict[str, str]:
    """The tables of a save file by name; their order is the kernel's affair."""
    return {section.split("\n")[0]: section for section in saved.split("COMMIT\n")[:-1]}


def canonical(name: str) -> str:
    return api.save(api.load(text_of(name), family_of(name)), counters=True)


def test_all_are_listed() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {*RULESETS, "web-server-broken", "block"}


@pytest.mark.parametrize("name", RULESETS)
def test_canonical_form_is_what_the_tools_save(name: str, netns: Netns) -> None:
    prefix = PREFIX[family_of(name)]
    netns.need(f"{prefix}-legacy-restore", f"{prefix}-legacy-save")
    netns.run(f"{prefix}-legacy-restore", *(["-c"] if has_counters(name) else []), text=text_of(name))
    assert tables(netns.save(f"{prefix}-legacy-save", "-c")) == tables(canonical(name))


@pytest.mark.parametrize("backend", ["legacy", "nft"])
@pytest.mark.parametrize("name", RULESETS)
def test_restored_and_saved(name: str, backend: str, netns: Netns) -> None:
    if backend == "legacy":
        pytest.importorskip("iptc", reason="needs python-iptables")
    family = family_of(name)
    netns.need(f"{PREFIX[family]}-{backend}-save")
    with netns.entered():
        api.restore(text_of(name), family, backend=backend, counters=has_counters(name))
        mine = api.save_live(family, backend=backend)
    theirs = netns.save(f"{PREFIX[family]}-{backend}-save")
    assert tables(mine) == tables(theirs)
    with_zeros = api.save(api.load(text_of(name), family, counters=has_counters(name)))
    assert rules(theirs) == rules(with_zeros)


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_a_broken_table_changes_nothing(backend: str, netns: Netns) -> None:
    if backend == "legacy":
        pytest.importorskip("iptc", reason="needs python-iptables")
    netns.need(f"iptables-{backend}-restore", f"iptables-{backend}-save")
    netns.run(f"iptables-{backend}-restore", "-c", text=text_of("web-server"))
    before = netns.save(f"iptables-{backend}-save", "-c")
    with netns.entered(), pytest.raises(RulesetError, match="70000"):
        api.restore(text_of("web-server-broken"), backend=backend)
    assert netns.save(f"iptables-{backend}-save", "-c") == before


def has_counters(name: str) -> bool:
    return api.has_counters(api.parse(text_of(name)))


def rules(saved: str) -> list[str]:
    """The rules of a save file, each chain's in their order."""
    found = []
    for section in tables(saved).values():
        table, *lines = section.split("\n")
        found += [f"{table} {line}" for line in lines if line.startswith("-A")]
    return sorted(found, key=lambda line: line.split(" -A ")[0] + line.split()[2])
