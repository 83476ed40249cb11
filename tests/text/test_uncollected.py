"""The cyclic collector rests, and goes on as before."""

from __future__ import annotations

import gc

import pytest

from iptkit.text.uncollected import Uncollected


def _fail() -> None:
    with Uncollected(), Uncollected():
        assert not gc.isenabled()
        raise ValueError("x")


def test_it_is_as_it_was_afterwards_even_after_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"):
        _fail()
    assert gc.isenabled()


def test_who_had_it_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with Uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
