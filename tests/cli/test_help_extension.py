"""`iptkit help-extension`: every extension has a page, in text and JSON, drawn from its declaration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from iptkit import api
from iptkit.cli.main import iptkit
from iptkit.extensions.core import BUILTIN_CHAINS
from iptkit.extensions.manual import alike, manual, manuals, names
from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target

if TYPE_CHECKING:
    from iptkit.extensions.manual import ExtensionManual

NAMES = [*MATCHES, *TARGETS]


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(iptkit, ["help-extension", *arguments])
    return result.exit_code, result.stdout, result.stderr


def read(*arguments: str) -> list[dict[str, Any]]:
    status, out, _ = run("--format", "json", *arguments)
    assert status == 0
    found = json.loads(out)
    assert found["schema"] == "iptkit-extensions/1"
    extensions: list[dict[str, Any]] = found["extensions"]
    return extensions


@pytest.mark.parametrize("name", NAMES)
def test_every_extension_has_a_page(name: str) -> None:
    status, out, error = run(name)
    assert (status, error) == (0, "")
    for family in (4, 6):
        for find in (find_match, find_target):
            cls = find(name, family)
            if cls is None:
                continue
            for option in cls.options:
                assert all(flag in out for flag in option.names)
                assert option.type is None or option.type.metavar in out
            assert cls.example in out
            assert f"{cls.kind} {cls.name}" in out
    for line in out.split("\n"):
        assert len(line) < 80 or "-m " in line or "-j " in line, line


def test_the_list_has_them_all() -> None:
    status, out, _ = run()
    assert status == 0
    listed = {line.split()[0] for line in out.split("\n") if line.startswith("  ")}
    assert listed == set(names())
    assert listed == {each["name"] for each in read()}
    # Aliases have a page and no line of their own.
    assert "icmpv6" not in listed
    assert read("icmpv6") == read("icmp6")


def test_page() -> None:
    _, out, _ = run("socket")
    assert out.startswith("match socket, IPv4 and IPv6\n\nMatch ")
    for head in ("Synopsis\n", "Description\n", "Options\n", "Where it may stand\n", "Example\n"):
        assert f"\n{head}" in out
    assert "tables:     any\n" in out
    assert "hooks:      PREROUTING and INPUT\n" in out


def test_families_that_differ_are_told_apart() -> None:
    assert [each["families"] for each in read("ah")] == [[4], [6]]
    assert [each["families"] for each in read("-6", "ah")] == [[6]]
    assert [each["families"] for each in read("mark")] == [[4, 6]]
    status, _, error = run("-4", "hl")
    assert status == 2
    assert "belongs to IPv6" in error


def test_where_it_may_stand() -> None:
    (masquerade, _) = read("MASQUERADE")
    assert (masquerade["kind"], masquerade["tables"], masquerade["hooks"]) == (
        "target",
        ["nat"],
        ["POSTROUTING"],
    )
    (trace,) = read("TRACE")
    assert trace["tables"] == ["raw"]
    assert "filter" in trace["nft_tables"]
    (tcp,) = read("tcp")
    assert tcp["protocols"] == ["tcp"]
    (tcpmss,) = read("TCPMSS")
    assert tcpmss["depends"] is True


def test_options() -> None:
    (tcp,) = read("tcp")
    by_name = {option["names"][0]: option for option in tcp["options"]}
    assert by_name["--sport"]["names"] == ["--sport", "--source-port"]
    assert by_name["--sport"]["inverted"] is True
    assert by_name["--syn"]["excludes"] == ["--tcp-flags"]
    assert by_name["--syn"]["value"] == ""
    assert by_name["--dport"]["value"] == "port[:port]"


def test_synopsis() -> None:
    assert read("mark")[0]["synopsis"] == ["-m mark", "[!] --mark value[/mask]"]
    assert read("MARK")[0]["synopsis"][1].startswith("{--set-xmark value[/mask] | --set-mark")
    recent = read("recent")[0]["synopsis"]
    assert recent[1] == "{[!] --set | [!] --rcheck | [!] --update | [!] --remove}"
    assert "[--rttl]" in recent


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("conntrak", 'did you mean "conntrack"?'),
        ("masquerade", 'did you mean "MASQUERADE"?'),
        ("qwertz", "no match and no target 'qwertz'\n"),
        ("ACCEPT", "ACCEPT is a verdict"),
        ("", "no match and no target ''"),
        ("../matches/tcp", "no match and no target"),
    ],
)
def test_what_there_is_not(name: str, said: str) -> None:
    status, out, error = run(name)
    assert (status, out) == (2, "")
    assert said in error


def test_color() -> None:
    assert "\x1b[" not in run("mark")[1]
    assert "\x1b[1mSynopsis\x1b[0m" in run("--color", "always", "mark")[1]


PLACES = {"IPT110", "IPT111", "IPT112", "IPT113", "IPT114"}


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_good_where_it_is_said_to_be(name: str) -> None:
    for each in manuals(name):
        assert any(is_good(each, table, chain) for table in each.tables for chain in BUILTIN_CHAINS[table]), (
            each
        )


def is_good(each: ExtensionManual, table: str, chain: str) -> bool:
    """Does the example load there, and has lint nothing to say of its place?"""
    if chain not in each.hooks:
        return False
    family = each.families[0]
    document = api.parse(f"*{table}\n-A {chain} {each.example}\nCOMMIT\n")
    if api.interpret(document, family).status:
        return False
    return not PLACES & {found.code for found in api.lint(document, family=family)}


def test_classes_that_say_the_same_are_one_page() -> None:
    four, six = find_target("REDIRECT", 4), find_target("REDIRECT", 6)
    assert four is not None
    assert six is not None
    assert alike(four, six)
    assert [each.families for each in manuals("REDIRECT")] == [(4, 6)]
    assert manual(four).summary == manuals("REDIRECT")[0].summary
