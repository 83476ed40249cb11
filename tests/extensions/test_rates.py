"""Rates and times: what is printed says what is kept, and the clock and zone of the machine do not matter."""

from __future__ import annotations

import calendar
import time
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from iptkit import api
from iptkit.extensions.matches import hashlimit, limit
from iptkit.extensions.matches.time import Date, Daytime, Monthdays, Weekdays
from iptkit.extensions.rates import parse_period, show_period
from iptkit.values.context import Context
from iptkit.values.numbers import UINT32_MAX

if TYPE_CHECKING:
    import pytest

scales = st.sampled_from([limit.SCALE, hashlimit.SCALE])
contexts = Context(4)


@given(scale=scales, packets=st.integers(1, 10_000), unit=st.sampled_from(["s", "min", "hour", "day"]))
def test_a_rate_printed_is_the_nearest_that_is_kept(scale: int, packets: int, unit: str) -> None:
    period = parse_period(f"{packets}/{unit}", scale)
    again = parse_period(show_period(period, scale), scale)
    # A printed rate is rounded down, so its period is the same or a little longer.
    assert period <= again
    assert show_period(again, scale) == show_period(period, scale)


def test_units_are_one_rate() -> None:
    same = [parse_period(text, limit.SCALE) for text in ("1", "1/s", "60/minute", "3600/h", "86400/day")]
    assert same == [limit.SCALE] * 5


@given(cost=st.integers(1, UINT32_MAX))
def test_bytes_come_back_as_their_cost(cost: int) -> None:
    octets = hashlimit.cost_to_bytes(cost)
    assert hashlimit.cost_to_bytes(hashlimit.bytes_to_cost(octets)) == octets


@given(seconds=st.integers(0, calendar.timegm((2038, 12, 31, 23, 59, 59))))
def test_dates_are_utc(seconds: int) -> None:
    shown = Date().show(seconds)
    assert shown == time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    assert Date().parse(shown, contexts) == seconds


@given(year=st.integers(1971, 2038), month=st.integers(0, 12), day=st.integers(0, 31))
def test_dates_that_are_none_move_on(year: int, month: int, day: int) -> None:
    """As mktime does: the 30th of February is the first or second of March."""
    first = calendar.timegm((year - (month == 0), month or 12, 1, 0, 0, 0))
    assert Date().parse(f"{year}-{month}-{day}", contexts) == first + (day - 1) * 86400


@given(seconds=st.integers(0, 86399))
def test_daytimes(seconds: int) -> None:
    shown = Daytime().show(seconds)
    assert len(shown) == 8
    assert Daytime().parse(shown, contexts) == seconds


@given(days=st.sets(st.integers(1, 31), min_size=1))
def test_monthdays(days: set[int]) -> None:
    mask = Monthdays().parse(",".join(map(str, days)), contexts)
    assert mask == sum(1 << day for day in days)
    assert Monthdays().show(mask) == ",".join(map(str, sorted(days)))


@given(days=st.sets(st.integers(1, 7), min_size=1))
def test_weekdays(days: set[int]) -> None:
    mask = Weekdays().parse(",".join(map(str, days)), contexts)
    assert Weekdays().parse(Weekdays().show(mask), contexts) == mask


def test_no_zone_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"*filter\n-A INPUT -m time --datestart 2030-07-01 --timestart 8:00\nCOMMIT\n"
    before = api.save(api.load(text, 4))
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert api.save(api.load(text, 4)) == before
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "--timestart 08:00:00 --timestop 23:59:59 --datestart 2030-07-01T00:00:00" in before
