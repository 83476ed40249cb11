"""The cases of fixtures/extensions against the real tool and kernel: verdict, saved text, bytes loaded."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iptkit import api
from iptkit.extensions.spec import Extension
from iptkit.kernel import sockopt
from iptkit.kernel.entries import Decoder, encode_use
from tests.extensions.cases import Case, files, read

from .conftest import OBSERVED

if TYPE_CHECKING:
    from iptkit.ruleset.model import Rule
    from iptkit.values.context import Family

    from .conftest import Netns

TOOLS = {
    4: ("iptables-legacy-restore", "iptables-legacy-save"),
    6: ("ip6tables-legacy-restore", "ip6tables-legacy-save"),
}
# The kernel knows sets by numbers of its own.
UNCOMPARED = frozenset(("set", "SET"))
# In some uses of these, iptables leaves bytes behind that the kernel does not look at and that are
# not saved: compared by what they mean, not to the byte.
NOT_TO_THE_BYTE = {
    "connlimit": "the last three words of an IPv4 mask",
    "HMARK": "the last three words of an IPv4 mask",
    "CT": "the zone's direction when there are two, or when a mark is the zone",
    "CONNMARK": "the packet's mask beside a mark that is set",
    "ECN": "the IP codepoint when only TCP's flags are changed",
}


@pytest.mark.parametrize("name", files())
def test_as_the_real_tool_does(name: str, netns: Netns) -> None:
    netns.need(*(tool for tools in TOOLS.values() for tool in tools))
    cases = read(name)
    make_sets(netns, cases)
    with netns.entered():
        wrong = differences(netns, cases)
    found = netns.version(TOOLS[4][0])
    if wrong and found != OBSERVED:
        pytest.skip(f"{len(wrong)} of {len(cases)} cases differ in iptables {found}; they are of {OBSERVED}")
    assert not wrong, f"{len(wrong)} of {len(cases)} cases differ:\n" + "\n".join(wrong)


def differences(netns: Netns, cases: list[Case]) -> list[str]:
    wrong: list[str] = []
    groups: dict[tuple[Family, str], list[Case]] = {}
    for case in cases:
        if case.verdict in ("ok", "lossy"):
            groups.setdefault((case.family, case.table), []).append(case)
        else:
            wrong += refused(netns, case)
    for (family, table), group in groups.items():
        wrong += loaded(netns, family, table, group)
    return wrong


def run(netns: Netns, *command: str, text: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run a tool where this thread is: cheaper than entering the namespace for each of so many."""
    return subprocess.run(
        command,
        input=text.encode("latin-1"),
        capture_output=True,
        check=False,
        env={**os.environ, "XTABLES_LOCKFILE": str(netns.lockfile), "LC_ALL": "C"},
    )


def make_sets(netns: Netns, cases: list[Case]) -> None:
    """The sets that the cases name: s hash:ip, n hash:net, p hash:ip,port, and the family behind."""
    if not any("-set" in case.rule for case in cases):
        return
    netns.need("ipset")
    for letter, kind in (("s", "hash:ip"), ("n", "hash:net"), ("p", "hash:ip,port")):
        netns.run("ipset", "create", f"{letter}4", kind)
        netns.run("ipset", "create", f"{letter}6", kind, "family", "inet6")


def refused(netns: Netns, case: Case) -> list[str]:
    """A case that does not load: who refuses it?"""
    tool = TOOLS[case.family][0]
    tested = run(netns, tool, "--test", text=case.text(case.rule)).returncode
    if case.verdict == "refused":
        return [] if tested else [f"{case.where}: iptables takes it\n    {case.rule}"]
    # `bpf --object-pinned` looks for the object as soon as it is read.
    if tested and case.verdict != "machine":
        return [f"{case.where}: iptables refuses it\n    {case.rule}"]
    if case.verdict == "kernel" and not run(netns, tool, text=case.text(case.rule)).returncode:
        return [f"{case.where}: the kernel takes it\n    {case.rule}"]
    return []


def loaded(netns: Netns, family: Family, table: str, cases: list[Case]) -> list[str]:
    """Load cases together, and compare what the kernel then has."""
    restore, save = TOOLS[family]
    text = "\n".join([f"*{table}", *(case.line(case.rule) for case in cases), "COMMIT", ""])
    done = run(netns, restore, text=text)
    if done.returncode and len(cases) == 1:
        return not_loaded(cases[0], done.stderr.decode("latin-1"))
    if done.returncode:
        middle = len(cases) // 2
        return loaded(netns, family, table, cases[:middle]) + loaded(netns, family, table, cases[middle:])
    wrong = []
    image = sockopt.read_table(family, table)
    starts = sockopt.chain_starts(image)
    decoder = Decoder(family, {offset: name for name, offset in starts.items()})
    printed = run(netns, save, "-t", table).stdout.decode("latin-1")
    lines = [line for line in printed.split("\n") if line.startswith("-A ")]
    rules = api.load(text.encode("latin-1"), family).tables[table].chains
    for chain in dict.fromkeys(case.chain for case in cases):
        group = [case for case in cases if case.chain == chain]
        saved = [line for line in lines if line.split(" ")[1] == chain]
        entries = [(offset, entry) for offset, entry in sockopt.entries(image) if offset >= starts[chain]]
        for case, line, (offset, entry), rule in zip(
            group, saved, entries[: len(group)], rules[chain].rules, strict=True
        ):
            if line != case.line(case.saved):
                wrong.append(f"{case.where}: saved as {line}\n    {case.rule}")
            problem = "" if uncompared(rule) else compare(entry, offset, rule, family, decoder)
            if problem:
                wrong.append(f"{case.where}: {problem}\n    {case.rule}")
    return wrong


def not_loaded(case: Case, message: str) -> list[str]:
    """A case that should load and did not: does this kernel have what it names?"""
    if "Error occurred" not in message:
        listed = "".join(
            Path(f"/proc/thread-self/net/{prefix}_tables_{kind}").read_text(encoding="ascii")
            for prefix in ("ip", "ip6")
            for kind in ("matches", "targets")
        ).split()
        rule = api.load(case.text(case.rule).encode("latin-1"), case.family).tables[case.table]
        uses = [use for each in rule.chains[case.chain].rules for use in (*each.matches, each.target)]
        if any(isinstance(use, Extension) and use.kernel_name not in listed for use in uses):
            return []
    return [f"{case.where}: not loaded: {message.splitlines()[0]}\n    {case.rule}"]


def uncompared(rule: Rule) -> bool:
    return any(isinstance(use, Extension) and use.name in UNCOMPARED for use in (*rule.matches, rule.target))


def compare(entry: memoryview, offset: int, rule: Rule, family: Family, decoder: Decoder) -> str:
    """Does the kernel hold the bytes that iptkit makes, and does iptkit read them as the rule?"""
    layout = sockopt.layout_of(family)
    ours = b"".join(encode_use(use, family) for use in rule.matches if isinstance(use, Extension))
    theirs = bytes(entry[layout.size : layout.target_offset(entry)])
    if isinstance(rule.target, Extension):
        ours += encode_use(rule.target, family)
        theirs = bytes(entry[layout.size : layout.next_offset(entry)])
    uses = (*rule.matches, rule.target)
    exact = not any(isinstance(use, Extension) and use.name in NOT_TO_THE_BYTE for use in uses)
    if exact and ours != theirs:
        return f"the kernel holds\n    {theirs.hex(' ', 4)}, we make\n    {ours.hex(' ', 4)}"
    found = decoder.entry(entry, offset)
    if (found.matches, found.target) != (rule.matches, rule.target):
        return f"read back as{found.text()}"
    return ""
