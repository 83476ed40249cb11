"""Rates, `NUMBER[/UNIT]`, as `limit` and `hashlimit` write them.

The kernel is told the time between two packets, not the rate: whole fractions
of a second, 1/10,000 for `limit` and 1/1,000,000 for `hashlimit`.  That is the
value kept here, so `60/min` and `1/sec` are equal, and a rate that does not
divide the second comes back as the nearest one below it in time: 300/s as
303/sec.  (libxt_limit.c, libxt_hashlimit.c: parse_rate, print_rate)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.cnumbers import atoi
from iptkit.values.faults import BadValue
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from iptkit.values.context import Context

# Seconds per unit: the words, of which any beginning will do, and the name printed; the longest unit first.
_UNITS = (("day", 86400, "day"), ("hour", 3600, "hour"), ("minute", 60, "min"), ("second", 1, "sec"))


def parse_period(text: str, scale: int) -> int:
    """Return the time between two packets at the rate `text`, in 1/`scale` seconds, rounded down.

    Raises ValueError for what is no rate, for a rate of 0, and for one above `scale` packets a second.
    """
    number, slash, unit = text.partition("/")
    seconds = 1
    if slash:
        lowered = unit.lower()
        seconds = next((s for word, s, _ in _UNITS if lowered and word.startswith(lowered)), 0)
        if not seconds:
            raise BadValue(
                f"must be a rate such as 5/min, not {quote(text)}",
                "IPT128",
                "the units are second, minute, hour and day",
            )
    packets = atoi(number)
    if packets == 0:
        raise BadValue(f"must be a rate such as 5/min, above 0, not {quote(text)}", "IPT128")
    # A negative number is a huge one to the tools.
    period = scale * seconds // packets if packets > 0 else 0
    if period == 0:
        raise BadValue(f"must be a rate of at most {scale}/s, not {quote(text)}", "IPT128")
    return period


def show_period(period: int, scale: int) -> str:
    """Return the rate with that much time between two packets: in the longest unit that loses least."""
    if period <= 0:
        return "inf"
    _, seconds, name = _UNITS[0]
    for _, shorter, shorter_name in _UNITS[1:]:
        packets, left = divmod(shorter * scale, period)
        if packets < 1 or packets < left:
            break
        seconds, name = shorter, shorter_name
    return f"{seconds * scale // period}/{name}"


class Rate:
    """`NUMBER[/UNIT]`; a number alone is per second.  The value is the period in 1/`scale` seconds."""

    metavar = "number[/second|/minute|/hour|/day]"
    words = 1
    code = "IPT128"

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def parse(self, text: str, context: Context) -> int:
        return parse_period(text, self.scale)

    def show(self, value: int) -> str:
        return show_period(value, self.scale)
