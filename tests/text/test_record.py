"""iptkit's NamedTuple makes of a class what typing's makes."""

from __future__ import annotations

import pickle
import typing
from typing import Any

import pytest

from iptkit.text import record
from iptkit.text.record import NamedTuple


class Place(NamedTuple):
    """Somewhere in a file."""

    line: int
    word: str | None = None
    more: tuple[int, ...] = (1, 2)

    @property
    def shown(self) -> str:
        return f"{self.line}:{self.word}"

    @classmethod
    def first(cls) -> Place:
        return cls(1)


SOURCE = """
from __future__ import annotations
class Made(NamedTuple):
    "What it is."
    a: int
    b: unheard | of = 3
    def twice(self):
        return self.a * 2
    kind = "made"
"""


def made(base: Any) -> Any:
    names: dict[str, Any] = {"NamedTuple": base, "__name__": "somewhere"}
    exec(SOURCE, names)  # noqa: S102  # one text for both
    return names["Made"]


def test_both_make_the_same() -> None:
    ours, theirs = made(record.NamedTuple), made(typing.NamedTuple)
    for name in ("__name__", "__module__", "__doc__", "_fields", "_field_defaults", "__match_args__", "kind"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert list(ours.__annotations__) == list(theirs.__annotations__)
    assert ours.__bases__ == theirs.__bases__ == (tuple,)
    assert ours(2) == theirs(2) == (2, 3)
    assert repr(ours(2, b="x")) == repr(theirs(2, b="x"))
    assert ours(4).twice() == theirs(4).twice() == 8
    assert ours(1)._replace(b=5)._asdict() == theirs(1)._replace(b=5)._asdict()
    for base in (ours, theirs):
        with pytest.raises(TypeError):
            base()
        with pytest.raises(AttributeError):
            base(1).a = 2


def test_what_such_a_class_can() -> None:
    place = Place(3, more=())
    assert place.shown == "3:None"
    assert tuple(place) == (3, None, ())
    assert Place.first() == Place(1)
    assert pickle.loads(pickle.dumps(place)) == place  # noqa: S301  # of our own, here
    match place:
        case Place(line, None):
            assert line == 3
        case _:
            pytest.fail("it does not match by position")
