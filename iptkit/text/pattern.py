"""Regular expressions that are compiled when they are first used.

Compiling one takes as long as reading some fifty rules, and most runs need few of all there are.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Pattern:
    """As re.Pattern, for those of its methods that are asked of it."""

    def __init__(self, text: str, flags: int = 0) -> None:
        self._text = text
        self._flags = flags

    @functools.cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self._text, self._flags)

    @functools.cached_property
    def match(self) -> Callable[..., re.Match[str] | None]:
        return self._compiled.match

    @functools.cached_property
    def search(self) -> Callable[..., re.Match[str] | None]:
        return self._compiled.search

    @functools.cached_property
    def fullmatch(self) -> Callable[..., re.Match[str] | None]:
        return self._compiled.fullmatch
