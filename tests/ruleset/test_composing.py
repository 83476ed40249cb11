"""A shape put together from pieces is bound as the plain binder binds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iptkit.ruleset.binding import Binder
from iptkit.ruleset.bound import Bound, Placed, bind
from iptkit.ruleset.composing import Composer
from iptkit.syntax.document import RuleLine, Shape
from iptkit.syntax.parser import Parser
from iptkit.text.source import Source

SHARED = Path(__file__).resolve().parents[3] / "shared" / "corpus"
BINDERS = {4: Binder(4), 6: Binder(6)}

HOW = ("finish", "earlier", "later", "offset", "part")  # how it came about, not what it says

REFS = ("chain", "source", "destination", "in_interface", "out_interface", "jump", "jumps")

# Words that make sense together often enough, and not always.
RUNS = st.sampled_from(
    [
        ("-s", None),
        ("!", "-s", None),
        ("-d", None),
        ("-i", None),
        ("!", "-o", None),
        ("-p", "tcp"),
        ("-p", "udp"),
        ("!", "-p", "icmp"),
        ("-f",),
        ("!", "-f"),
        ("-m", "tcp", "--dport", None),
        ("-m", "tcp", "!", "--sport", None),
        ("-p", "tcp", "--dport", None),
        ("--dport", None),
        ("-m", "tcp"),
        ("-m", "multiport", "--dports", None),
        ("-m", "comment", "--comment", None),
        ("-m", "comment", "--comment", "-j"),
        ("-m", "conntrack", "--ctstate", None),
        ("-m", "limit", "--limit", None, "--limit-burst", None),
        ("-m", "limit"),
        ("-m", "mark", "!", "--mark", None),
        ("-m", "tcp", "--tcp-flags", None, None),
        ("-m", "tcp", "--syn"),
        ("-m", "nosuch"),
        ("-j", None),
        ("-g", None),
        ("-j", "LOG", "--log-prefix", None),
        ("-j", "LOG", "--log-lev", None),
        ("-j", "MARK", "--set-mark", None),
        ("-j", "REJECT", "--reject-with", None),
        ("-j", "DNAT", "--to-destination", None),
        ("-j", "DNAT"),
        ("-c", None, None),
        ("-A", None),
        ("-m", "multiport", "!", "--sports", None),
        ("--comment", None),
        ("-m", "tcp", "--dport=80"),
        ("--protocol", "tcp"),
        ("--source", None),
        ("!",),
        (None,),
        ("-h",),
        ("-m", "connlimit", "--connlimit-above", None),
    ]
)


def seen(bound: Bound) -> dict[str, Any]:
    """All that a Bound says, in a form that compares: with places and words counted from the first."""
    count = len(bound.memos)

    def placed(use: Placed, offset: int = 0) -> tuple[Any, ...]:
        segment = use.segment
        fields = [(option.field, *rest) for option, *rest in segment.fields]
        holes = [hole % count for hole in use.holes]
        values = list(range(count))
        assert list(use.key(values)) == holes if len(holes) != 1 else use.key(values) == holes[0]
        return segment.cls, fields, segment.rule, use.word + offset, use.named, holes

    out = {}
    for name in (n for n in dir(bound) if not n.startswith("__") and n not in HOW):
        value = getattr(bound, name)
        if name == "matches":
            value = [placed(use) for use in value]
        elif name == "reading":
            value = [placed(use, bound.offset) for use in value]
        elif name == "target" and value is not None:
            value = placed(value)
        elif name == "memos":
            value = [id(memo) for memo in value]
        elif name == "lists":
            value = [ref % count for ref in value]
        elif value.__class__ is int and name in REFS:
            value %= count
        out[name] = value
    return out


@settings(max_examples=400, deadline=None)
@given(st.lists(RUNS, max_size=7), st.sampled_from([4, 6]))
def test_any_shape(runs: list[tuple[str | None, ...]], family: int) -> None:
    binder = BINDERS[family]
    shape = Shape.of(("-A", None, *(word for run in runs for word in run)))
    composed = Composer(binder).compose(shape)
    if composed is not None:
        assert seen(composed) == seen(bind(binder, shape))


def test_common_shapes_are_composed() -> None:
    composer = Composer(BINDERS[4])
    shape = Shape.of(("-A", None, "-s", None, "-p", "tcp", "-m", "tcp", "--dport", None, "-j", None))
    assert composer.compose(shape) is not None


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared corpus is not on this machine")
def test_shapes_of_the_corpus() -> None:
    parser = Parser()
    composed = 0
    for path in SHARED.rglob("*.save"):
        binder = BINDERS[6 if ".v6." in path.name else 4]
        composer = Composer(binder)
        lines = parser.parse(Source.of(path.read_bytes())).lines
        for shape in {line.shape for line in lines if isinstance(line, RuleLine) and line.shape}:
            found = composer.compose(shape)
            if found is not None:
                composed += 1
                assert seen(found) == seen(bind(binder, shape)), shape.words
    assert composed > 1000
