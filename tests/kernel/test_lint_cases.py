"""The texts of fixtures/lint, given to the real tools: they refuse what lint calls an error, and no more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from iptkit import api
from iptkit.text.diagnostic import BOTH, Severity
from tests.lint.cases import Case, files, read

if TYPE_CHECKING:
    from tests.kernel.conftest import Netns

# What these need, the machine of the test does not have.
ELSEWHERE = ("IPT141", "IPT218")


def refused_by(case: Case) -> set[str]:
    """The backends that refuse the text, as lint has it."""
    found = api.lint(api.parse(case.text), family=6 if case.family == 6 else 4)
    return {name for d in found if d.severity is Severity.ERROR for name in d.backends or BOTH}


def _make_sets(netns: Netns, case: Case) -> None:
    """The sets that the text names: without them the tools refuse whatever else it says."""
    netns.need("ipset")
    for name in set(re.findall(rb"--(?:match|add|del)-set ([a-z]+)", case.text)):
        family = "inet6" if case.family == 6 else "inet"
        netns.run("ipset", "-exist", "create", name.decode(), "hash:net", "family", family, check=False)


@pytest.mark.parametrize("backend", BOTH)
def test_errors_are_what_is_refused(netns: Netns, backend: str) -> None:
    wrong = []
    for stem in files():
        if stem.startswith(ELSEWHERE):
            continue
        for case in read(stem):
            prefix = "ip6tables" if case.family == 6 else "iptables"
            tool = f"{prefix}-{backend}-restore"
            netns.need_observed(tool)
            if backend == "legacy":
                netns.blank(case.family)
            else:
                netns.run("nft", "flush", "ruleset")
            _make_sets(netns, case)
            result = netns.run(tool, text=case.text, check=False)
            said = backend in refused_by(case)
            if said != bool(result.returncode):
                wrong.append(f"{case.where}: {result.returncode}, {result.stderr.decode()[:80]!r}")
    assert not wrong, "\n".join(wrong)
