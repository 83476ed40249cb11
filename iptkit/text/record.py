"""NamedTuple for a program that is to start fast.

What typing makes of a class statement is collections.namedtuple, its base, with
defaults, methods and annotations; only that typing compiles every annotation
first, to see that it is one.  That is mypy's business, and of some fifty
classes it took as long as a small file takes to be linted.
tests/text/test_record.py holds both against each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from collections import namedtuple

    class _Maker(type):
        """Makes a tuple of each class that names NamedTuple as its only base."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body.get("__annotations__", {})
            defaults = [body[field] for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            for key, value in body.items():
                if key not in fields and key not in ("__module__", "__qualname__"):
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Maker):
        """As typing.NamedTuple."""


__all__ = ["NamedTuple"]
