"""C's number readers against the C library itself."""

from __future__ import annotations

import ctypes
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iptkit.values.cnumbers import atoi, leading_int, strtod, strtoul

texts = st.text(alphabet="0123456789aAfFxXeEpP+-. \tinN,:/", max_size=24)
numbers = st.from_regex(r"\A ?[+-]?(0[xX])?[0-9]{1,24}[a-f/: ]?\Z")


class _C:
    """The functions of the C library this process runs with."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        try:
            self.strtod = libc.strtod
            self.strtoul = libc.strtoul
            self.strtoll = libc.strtoll
            self.atoi = libc.atoi
        except AttributeError:
            pytest.skip("the C library cannot be asked")
        self.strtod.restype = ctypes.c_double
        self.strtoul.restype = ctypes.c_uint64
        self.strtoll.restype = ctypes.c_int64
        end = ctypes.POINTER(ctypes.c_void_p)
        self.strtod.argtypes = [ctypes.c_void_p, end]
        self.strtoul.argtypes = self.strtoll.argtypes = [ctypes.c_void_p, end, ctypes.c_int]

    def ask(self, name: str, text: str, *base: int) -> tuple[float, str]:
        """The number, and the text left over."""
        buffer = ctypes.create_string_buffer(text.encode("latin-1"))
        end = ctypes.c_void_p()
        start = ctypes.addressof(buffer)
        value = getattr(self, name)(start, ctypes.byref(end), *base)
        return value, text[(end.value or start) - start :]


@pytest.fixture(scope="module")
def c() -> _C:
    return _C()


@given(text=texts | numbers, base=st.sampled_from([0, 10, 16]))
@example(text="0x", base=0)
@example(text="-18446744073709551615", base=10)
@example(text="08", base=0)
def test_strtoul(c: _C, text: str, base: int) -> None:
    assert strtoul(text, base) == c.ask("strtoul", text, base)


@given(text=texts | numbers)
@example(text="-9223372036854775809")
def test_leading_int(c: _C, text: str) -> None:
    assert leading_int(text) == c.ask("strtoll", text, 10)


@given(text=texts | numbers)
@example(text="4294967296")
def test_atoi(c: _C, text: str) -> None:
    assert atoi(text) == c.atoi(ctypes.c_char_p(text.encode("latin-1")))


@given(text=texts | st.from_regex(r"\A[+-]?(0x)?[0-9a-f]{0,12}\.?[0-9a-f]{0,12}([ep][+-]?[0-9]{0,4})?\Z"))
@example(text="infinity and")
@example(text="nan(1)x")
@example(text="0x.p1")
@example(text="1e400")
@example(text="0x1p9999")
def test_strtod(c: _C, text: str) -> None:
    ours, theirs = strtod(text), c.ask("strtod", text)
    assert ours[1] == theirs[1]
    assert ours[0] == theirs[0] or (math.isnan(ours[0]) and math.isnan(theirs[0]))
