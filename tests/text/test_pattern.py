"""A Pattern is compiled when it is first used, and then finds what re finds."""

from __future__ import annotations

import re

import pytest

from iptkit.text.pattern import Pattern


def test_compiled_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compile_noted(text: str, flags: int) -> re.Pattern[str]:
        compiled.append(text)
        return _COMPILE(text, flags)

    monkeypatch.setattr("iptkit.text.pattern.re.compile", compile_noted)
    pattern = Pattern("[a-c]+", re.IGNORECASE)
    assert compiled == []
    assert pattern.fullmatch("ABC")
    assert not pattern.fullmatch("abd")
    found = pattern.match("abd")
    assert found is not None
    assert found[0] == "ab"
    assert pattern.match("xxC") is None
    assert compiled == ["[a-c]+"]


_COMPILE = re.compile
