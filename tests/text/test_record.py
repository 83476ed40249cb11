"""iptkit's NamedTuple makes of a class what typing's makes."""

from __future__ import annotations

import pickle
import typing
from typing import TYPE_CHECKING, Any

import pytest

from iptkit.text import record
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


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
class One(NamedTuple):
    a: int
class None_(NamedTuple):
    pass
class More(Made):
    __slots__ = ()
"""


def made(base: Any) -> dict[str, Any]:
    names: dict[str, Any] = {"NamedTuple": base, "__name__": "somewhere"}
    exec(SOURCE, names)  # noqa: S102  # one text for both
    return names


def outcome(do: Callable[[dict[str, Any]], Any], names: dict[str, Any]) -> object:
    """What comes of something: the value, or the kind of error."""
    try:
        return do(names)
    except Exception as error:  # noqa: BLE001  # whatever it is, it must be the same
        return type(error)


@pytest.mark.parametrize(
    "do",
    [
        *[
            lambda n, name=name: getattr(n["Made"], name)
            for name in ("__name__", "__module__", "__doc__", "_fields", "_field_defaults", "__match_args__")
        ],
        lambda n: n["Made"].kind,
        lambda n: list(n["Made"].__annotations__),
        lambda n: tuple(n["Made"](2)),
        lambda n: n["Made"](2) == (2, 3),
        lambda n: hash(n["Made"](2)),
        lambda n: (n["Made"](1).a, n["Made"](1).b),
        lambda n: repr(n["Made"](2, b="x")),
        lambda n: tuple(n["Made"](b=1, a=2)),
        lambda n: n["Made"](4).twice(),
        lambda n: n["Made"](1)._replace(b=5)._asdict(),
        lambda n: tuple(n["Made"]._make([1, 2])),
        lambda n: tuple(n["One"](7)),
        lambda n: tuple(n["None_"]()),
        lambda n: repr(n["More"](1)),
        lambda n: type(n["More"](1)) is n["More"] and type(n["Made"](1)) is n["Made"],
        lambda n: [n["More"](1), n["Made"](2)],
        lambda n: n["Made"](1)[0],
        lambda n: sorted([n["Made"](2), n["Made"](1)]),
        # and what they refuse
        lambda n: n["Made"](),
        lambda n: n["Made"](1, 2, 3),
        lambda n: n["Made"](1, c=2),
        lambda n: n["Made"]._make([1]),
        lambda n: n["Made"](1)._replace(c=2),
        lambda n: setattr(n["Made"](1), "a", 2),
        lambda n: setattr(n["Made"](1), "other", 2),
        lambda n: n["None_"](1),
    ],
)
def test_both_are_the_same(do: Callable[[dict[str, Any]], Any]) -> None:
    ours, theirs = made(record.NamedTuple), made(typing.NamedTuple)
    for _ in range(2):  # the first instance, and a later one
        assert outcome(do, ours) == outcome(do, theirs)


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
