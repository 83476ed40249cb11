"""Rulesets from the wild, loaded by the command; script/corpus does it with all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .corpus import loaded_by_command, sample

if TYPE_CHECKING:
    from .conftest import Netns


FILES = 8


@pytest.mark.parametrize("backend", ["legacy", "nft"])
@pytest.mark.parametrize("number", range(FILES))
def test_loaded_by_the_command_it_is_as_it_should_be(number: int, backend: str, netns: Netns) -> None:
    if backend == "legacy":
        pytest.importorskip("iptc", reason="needs python-iptables")
    netns.need(f"iptables-{backend}-save", f"ip6tables-{backend}-save", "ipset", "nft")
    file = sample(FILES)[number]
    netns.make_sets(file.ipsets, file.family)
    assert not loaded_by_command(file, backend, netns), file.name
