"""What iptables takes, the kernel holds, and iptables-save leaves out or writes so that it cannot be read."""

from __future__ import annotations

import pytest

from iptkit import api
from iptkit.extensions.spec import Match
from iptkit.ruleset.binding import Binder
from iptkit.values.context import Context

BINDER = Binder(6)
ALL = 0xFFFFFFFF


def read(options: str) -> Match:
    outcome = api.interpret(api.parse(f"*filter\n-A INPUT {options}\nCOMMIT\n"), 6, binder=BINDER)
    assert not outcome.status, outcome.diagnostics
    (match,) = outcome.ruleset.tables["filter"].chains["INPUT"].rules[0].matches
    assert isinstance(match, Match)
    return match


@pytest.mark.parametrize(
    ("bare", "option"),
    [
        ("-m frag", f"--fragid 0:{ALL}"),
        ("-m rt", "--rt-segsleft :"),
        ("-p mh -m mh", "--mh-type 0:"),
    ],
)
def test_a_whole_range_says_nothing(bare: str, option: str) -> None:
    whole = read(f"{bare} {option}")
    assert whole == read(bare)
    assert type(whole).decode(whole.encode(6), Context(6)) == whole
    # With `!` it says that no packet matches, which a saved rule no longer does.
    never = read(f"{bare} ! {option}")
    assert never != whole
    assert never.text() == whole.text()
    assert type(never).decode(never.encode(6), Context(6)) == never


@pytest.mark.parametrize(
    ("bare", "flags"),
    [("-m frag", (12, 0x01)), ("-m rt", (16, 0x02))],
)
def test_the_flag_of_a_whole_range_is_not_looked_at(bare: str, flags: tuple[int, int]) -> None:
    """iptables sets it all the same, and the kernel compares whether it is set or not."""
    match = read(bare)
    payload = bytearray(match.encode(6))
    at, flag = flags
    payload[at] |= flag
    assert type(match).decode(bytes(payload), Context(6)) == match


def test_a_set_may_have_any_name() -> None:
    match = read('-m set --match-set "weave-;r#q N^" src')
    assert match.text() == "set --match-set weave-;r#q N^ src"
