"""How a value is refused."""

from __future__ import annotations


class BadValue(ValueError):
    """A value an option does not take.

    The message fits after "--option: ".  `code` is the lint code it falls
    under where that is not the value type's own, `hint` what to write instead,
    `word` which of the option's words is at fault, counted from 0.
    """

    def __init__(self, message: str, code: str = "", hint: str = "", word: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.word = word
