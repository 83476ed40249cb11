"""A file encoded in two halves is what it is in one piece; whatever is not plain is left to the one."""

from __future__ import annotations

import sys
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iptkit.kernel import halves
from iptkit.kernel.block import build, encode_part
from iptkit.kernel.entries import Encoder
from iptkit.ruleset.binding import Binder
from iptkit.ruleset.interpret import interpret
from iptkit.syntax.parser import Parser
from iptkit.text import aside
from iptkit.text.aside import Together
from iptkit.text.source import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iptkit.kernel.block import Block, Part
    from iptkit.values.context import Family

    from .conftest import Netns

FOLDER = Path(__file__).parents[2] / "fixtures" / "rulesets"
PROGRAM = (sys.executable, "-m", "iptkit")
HOOKS = {"filter": 14, "nat": 27, "mangle": 31, "raw": 9, "security": 14}

GOALS = ["ACCEPT", "DROP", "ONE", "TWO", "LOG", "REJECT --reject-with tcp-reset", "RETURN"]
RULES = st.builds(
    "{}-A {}{}{}{}".format,
    st.sampled_from(["", "[3:4] "]),
    st.sampled_from(["INPUT", "ONE", "TWO"]),
    st.sampled_from(["", " -s 10.0.0.1/32", " -i eth0", " -d 10.0.0.0/8 -i eth+"]),
    st.sampled_from(
        ["", " -p tcp -m tcp --dport 22", ' -m comment --comment "x y"', " -m mark --mark 0x1/0xff"]
    ),
    st.sampled_from([*[f" -j {goal}" for goal in GOALS], " -g ONE", " -g TWO", "", ""]),
).filter(lambda rule: "tcp-reset" not in rule or "-p tcp" in rule)
# What a half cannot know alone, or what has a fault.
ODD = st.sampled_from(
    """-N NEW|-D INPUT 1|-I INPUT -j ACCEPT|-F ONE|-P INPUT DROP|-A NOWHERE -j DROP|-A INPUT -j NO|-Z|-X
    -A INPUT -s 10.0.0.1,10.0.0.2 -j DROP|-A INPUT --dport|-A INPUT -m set --match-set a src|COMMIT|*nat
    -A INPUT -s here.example -j DROP|:ONE - [0:0]|nonsense|*filter|:NEW - [0:0]|-A INPUT -p tcp --dport 70000
    """.replace("\n    ", "|")
    .strip("|")
    .split("|")
)
HEAD = "*filter\n:INPUT DROP [7:8]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:ONE - [0:0]\n:TWO - [0:0]\n"


def in_one_piece(text: str, family: Family) -> dict[str, Block] | None:
    outcome = interpret(Parser().parse(Source("x", text)), Binder(family), counters=True)
    if outcome.diagnostics:
        return None
    tables = {name: outcome.ruleset.tables[name] for name in outcome.tables}
    return blocks(tables, family, {})


def blocks(tables: Any, family: Family, parts: dict[str, Sequence[Part]]) -> dict[str, Block]:
    encoder = Encoder(family)
    return {name: build(table, HOOKS[name], encoder, parts=parts.get(name)) for name, table in tables.items()}


def in_halves(text: str, family: Family, at: int) -> dict[str, Block]:
    """As the two processes do it, one after the other here, with the sending between them."""
    source = Source("x", text)
    place = sum(map(len, text.splitlines(keepends=True)[:at]))
    first, second = (
        halves.Half(source, where, Binder(family), counters=True, table=None)
        for where in ((1, 0, place), (at + 1, place, len(text)))
    )
    sent = second.packed()

    class Child:
        def result(self) -> bytes:
            return sent

    reading = halves.Halved(first, Child())  # type: ignore[arg-type]  # as one
    outcome = reading.interpret(reading.document(), None)
    parts = reading.parts(outcome)
    assert not any(
        chain.rules for table in outcome.ruleset.tables.values() for chain in table.chains.values()
    )
    return blocks({name: outcome.ruleset.tables[name] for name in outcome.tables}, family, parts)


def seen(block: Block) -> tuple[object, ...]:
    image = block.image
    return (
        bytes(image.blob),
        image.hook_entry,
        image.underflow,
        image.num_entries,
        block.counters,
        block.policies,
    )


def check(text: str, family: Family, at: int) -> bool:
    """Are the halves as the whole?  They may be not, only where something is not plain."""
    whole = in_one_piece(text, family)
    try:
        found = in_halves(text, family, at)
    except Together:
        return False
    assert whole is not None
    assert {name: seen(block) for name, block in found.items()} == {
        name: seen(block) for name, block in whole.items()
    }
    return True


@settings(max_examples=150, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=30), st.data())
def test_plain_rules(rules: list[str], data: st.DataObject) -> None:
    text = HEAD + "\n".join(rules) + "\nCOMMIT\n*nat\n:OUTPUT ACCEPT [1:2]\n-A OUTPUT -j ACCEPT\nCOMMIT\n"
    assert check(text, 4, data.draw(st.integers(0, text.count("\n"))))


@settings(max_examples=150, deadline=None)
@given(st.lists(RULES | ODD, min_size=1, max_size=12), st.booleans(), st.data())
def test_any_lines(lines: list[str], ended: bool, data: st.DataObject) -> None:
    text = HEAD + "\n".join(lines) + ("\nCOMMIT\n" if ended else "")
    check(text, 4, data.draw(st.integers(0, text.count("\n") + 1)))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.save")), ids=lambda path: path.stem)
def test_rulesets(path: Path) -> None:
    text = path.read_text(encoding="latin-1")
    family: Family = 6 if path.stem.startswith("ipv6") else 4
    done = [check(text, family, at) for at in range(0, text.count("\n") + 2, 3)]
    assert all(done) == (path.stem not in ("block", "web-server-broken"))


def test_what_the_machine_must_be_asked() -> None:
    text = HEAD + "-A INPUT -m set --match-set a src -j DROP\n-A INPUT -j DROP\nCOMMIT\n"
    for at in (0, 8):
        with pytest.raises(Together):
            in_halves(text, 4, at)


def test_a_part_holds_nothing_but_its_chains() -> None:
    text = HEAD + "-A ONE -j ACCEPT\n-A INPUT -j ONE\n-A INPUT -p tcp\nCOMMIT\n"
    outcome = interpret(Parser().parse(Source("x", text)), Binder(4))
    part = encode_part(outcome.ruleset.tables["filter"], Encoder(4))
    assert {*part.runs} == {"INPUT", "ONE"}
    assert part.counters == array("Q", [0, 0] * 3)
    assert [part.chains[number] for number in part.jumps_to] == ["ONE"]
    assert len(part.onward) == 1


def large(rules: int) -> str:
    return HEAD + "".join(f"-A {'ONE' if n % 3 else 'INPUT'} -s 10.{n >> 8 & 255}.{n & 255}.1/32 "
                          f"-p tcp -m tcp --dport {n % 9000 + 1} -j {'TWO' if n % 5 == 0 else 'DROP'}\n"
                          for n in range(rules)) + "COMMIT\n"  # fmt: skip


@pytest.mark.parametrize("processors", ["0", "0-1"])
def test_in_a_kernel(processors: str, netns: Netns, tmp_path: Path) -> None:
    pytest.importorskip("iptc", reason="needs python-iptables")
    netns.need("iptables-legacy-save", "taskset")
    if aside.processors() < 2:
        pytest.skip("needs two processors")
    file = tmp_path / "large.save"
    file.write_text(large(aside.LARGE))
    netns.run("taskset", "-c", processors, *PROGRAM, "restore", "-c", "--backend", "legacy", str(file))
    saved = netns.save("iptables-legacy-save", "-c")
    assert saved.count("-A ONE") == sum(bool(n % 3) for n in range(aside.LARGE))
    rules = [line for line in saved.split("\n") if line.startswith("[0:0] -A")]
    wanted = [f"[0:0] {line}" for line in large(aside.LARGE).split("\n") if line.startswith("-A")]
    for chain in ("INPUT", "ONE"):
        assert [r for r in rules if f"-A {chain} " in r] == [w for w in wanted if f"-A {chain} " in w]
    # A fault in either half: said as ever, and nothing is changed.
    lines = large(aside.LARGE).split("\n")
    for at in (20, len(lines) - 20):
        file.write_text("\n".join([*lines[:at], "-A ONE -p tpc -j DROP", *lines[at:]]))
        result = netns.run(*PROGRAM, "restore", "-c", "--backend", "legacy", str(file), check=False)
        assert result.returncode == 2
        assert f"large.save:{at + 1}:" in result.stderr.decode()
        assert netns.save("iptables-legacy-save", "-c") == saved
