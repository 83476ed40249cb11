"""Rulesets from the wild, loaded by the command; script/corpus does it with all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from iptkit.cli.main import iptkit

from .corpus import by_table, everything, loaded_by_command, sample

if TYPE_CHECKING:
    from .conftest import Netns


FILES = 8


def test_fmt_prints_what_a_kernel_would_save() -> None:
    """Of every file that loads, those that load without -c alone among them."""
    wrong = []
    for file in everything():
        done = CliRunner().invoke(iptkit, ["fmt", f"-{file.family}", "-c"], input=file.data)
        if done.exit_code or by_table(done.stdout_bytes.decode("latin-1")) != file.canonical:
            wrong.append(file.name)
    assert not wrong


@pytest.mark.parametrize("backend", ["legacy", "nft"])
@pytest.mark.parametrize("number", range(FILES))
def test_loaded_by_the_command_it_is_as_it_should_be(number: int, backend: str, netns: Netns) -> None:
    if backend == "legacy":
        pytest.importorskip("iptc", reason="needs python-iptables")
    netns.need(f"iptables-{backend}-save", f"ip6tables-{backend}-save", "ipset", "nft")
    file = sample(FILES)[number]
    netns.make_sets(file.ipsets, file.family)
    assert not loaded_by_command(file, backend, netns), file.name
