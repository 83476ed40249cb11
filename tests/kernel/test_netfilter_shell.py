"""netfilter's own shell cases, with iptkit as the programs that restore and save."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from . import netfilter_shell
from .conftest import OBSERVED
from .netfilter_shell import GROUPS, VARIANTS, Unavailable

if TYPE_CHECKING:
    from .conftest import Netns


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_cases_pass(variant: str, group: str, netns: Netns) -> None:
    if variant == "legacy":
        pytest.importorskip("iptc", reason="needs python-iptables")
    netns.need("unshare", f"xtables-{variant}-multi", "nft")
    if netns.version(f"iptables-{variant}-restore") != OBSERVED:
        pytest.skip(f"the cases are those of iptables {OBSERVED}")
    with tempfile.TemporaryDirectory(prefix="iptkit-shell-") as name:  # nobody may look into tmp_path
        folder = Path(name)
        folder.chmod(0o755)
        try:
            netfilter_shell.unpack(folder / "cases")
        except Unavailable as reason:
            pytest.skip(str(reason))
        multi = str(netfilter_shell.make_multi(folder / variant, variant))
        failed = []
        for case in netfilter_shell.cases(folder / "cases", (group,)):
            result = netfilter_shell.run_case(folder / "cases", case, variant, multi, netns.lockfile)
            if not result.passed:
                failed.append(f"{case}: exit {result.status}, not {result.expected}\n{result.output}")
    assert not failed, "\n".join(failed)
