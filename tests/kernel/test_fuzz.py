"""Two thousand random rules through iptables and iptkit; script/fuzz runs as many as one likes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.fuzzing.run import run

if TYPE_CHECKING:
    from iptkit.values.context import Family

    from .conftest import Netns

SEED = 20
COUNT = 1000  # of each family


@pytest.mark.parametrize("family", [4, 6])
def test_random_rules_as_the_real_tool(family: Family, netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = "iptables" if family == 4 else "ip6tables"
    netns.need_observed(f"{prefix}-legacy-restore")
    netns.need(f"{prefix}-legacy-save", "ipset")
    monkeypatch.setitem(os.environ, "LC_ALL", "C")
    with netns.entered():
        result = run(SEED, COUNT, (family,))
    loaded, refused, kernel, _ = result.counted
    assert not result.differences, result.report()
    # Rules worth the while: a good part of them loads, and each way of refusing comes up.
    assert loaded > COUNT // 4
    assert min(refused, kernel) > COUNT // 20
