"""NamedTuple for a program that is to start fast.

typing.NamedTuple compiles every annotation of a class, to see that it is one,
and a constructor, although most runs of a program never make an instance.  Of
some sixty classes that took as long as a small file takes to be linted.  So
annotations are left to mypy here, and a constructor is made with the first
instance; after that it is the one that collections.namedtuple makes.
tests/text/test_record.py holds what comes of it against typing's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NamedTuple, Self
else:
    from _collections import _tuplegetter

    def _first(cls: type, *values: Any, **more: Any) -> Any:
        """The `__new__` of a class of which there is no instance yet."""
        owner = next(each for each in cls.__mro__ if "_fields" in vars(each))
        names = "".join(f"{name}, " for name in owner._fields)
        new = eval(f"lambda _cls, {names}: _new(_cls, ({names}))", {"_new": tuple.__new__})  # noqa: S307  # names of fields, of our own
        new.__defaults__ = tuple(owner._field_defaults.values())
        owner.__new__ = staticmethod(new)
        return new(cls, *values, **more)

    class _Record(tuple):
        __slots__ = ()

        @classmethod
        def _make(cls, values: Iterable[Any]) -> Self:
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **changed: Any) -> Self:
            made = self._make(map(changed.pop, self._fields, self))
            if changed:
                raise ValueError(f"Got unexpected field names: {list(changed)!r}")
            return made

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            shown = ", ".join([f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True)])
            return f"{type(self).__name__}({shown})"

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

    class _Maker(type):
        """Makes such a tuple of each class that names NamedTuple as its only base."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, body)
            names = tuple(body.get("__annotations__", ()))
            body["_field_defaults"] = {field: body[field] for field in names if field in body}
            body["_fields"] = body["__match_args__"] = names
            body["__slots__"] = ()
            body["__new__"] = _first
            for at, field in enumerate(names):
                body[field] = _tuplegetter(at, None)
            return type(name, (_Record,), body)

    class NamedTuple(metaclass=_Maker):
        """As typing.NamedTuple."""


__all__ = ["NamedTuple"]
