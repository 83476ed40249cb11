"""Match at certain times of the day, days and dates."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Number, Reading
from iptkit.extensions.spec import Extension, Flag, Given, Match, Option, Problem, RuleFacts
from iptkit.values.cnumbers import strtoul
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT32_MAX
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# linux/netfilter/xt_time.h: bit n of a mask is day n of the month, or of the week from Monday on
ALL_MONTHDAYS = 0xFFFFFFFE
ALL_WEEKDAYS = 0xFE
LAST_SECOND = 86399
LAST_DATE = 0x7FFFFFFF  # what iptables puts where no --datestop is given
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_EPOCH_DAY = 719468  # days from 1 March of the year 0 to 1 January 1970


def _days_before(year: int, month: int) -> int:
    """Days from 1970-01-01 to the first of a month of the Gregorian calendar; month 0 is December before."""
    # Years that begin in March have their leap day last, and months of 31 and 30 days in a fixed pattern.
    year += (month - 3) // 12
    month = (month - 3) % 12
    return year * 365 + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 - _EPOCH_DAY


class _Clock:
    """Numbers up to a limit each, with what may stand between them, as xt_time's parser reads them."""

    words = 1
    code = "IPT129"

    def _numbers(self, text: str, limits: tuple[tuple[int, str], ...], least: int, message: str) -> list[int]:
        found = []
        rest = text
        for high, after in limits:
            number, rest = strtoul(rest)
            number &= UINT32_MAX
            found.append(number)
            if number > high or (rest and (not after or rest[0] != after)):
                break
            if not rest:
                if len(found) < least:
                    break
                return found
            rest = rest[1:]
        raise BadValue(message)


class Date(_Clock):
    """`YYYY[-MM[-DD[Thh[:mm[:ss]]]]]`, in UTC: seconds since 1970.  2024-02-30 is 1 March."""

    metavar = "YYYY[-MM[-DD[Thh[:mm[:ss]]]]]"
    _LIMITS = ((2038, "-"), (12, "-"), (31, "T"), (23, ":"), (59, ":"), (59, ""))

    def parse(self, text: str, context: Context) -> int:
        message = (
            f"must be a date from 1970 to 2038 like 2024-01-31 or 2024-01-31T23:59:59, not {quote(text)}"
        )
        numbers = self._numbers(text, self._LIMITS, 1, message)
        year, month, day, hour, minute, second = numbers + [1970, 1, 1, 0, 0, 0][len(numbers) :]
        seconds = (_days_before(year, month) + day - 1) * 86400 + hour * 3600 + minute * 60 + second
        if year < 1970 or seconds < 0:
            raise BadValue(message)
        return seconds

    def show(self, value: int) -> str:
        days, seconds = divmod(value, 86400)
        years = days // 366 + 1970
        while _days_before(years + 1, 1) <= days:
            years += 1
        month = next(m for m in range(12, 0, -1) if _days_before(years, m) <= days)
        return f"{years:04}-{month:02}-{days - _days_before(years, month) + 1:02}T{show_daytime(seconds)}"


class Daytime(_Clock):
    """`hh:mm[:ss]`: seconds since midnight."""

    metavar = "hh:mm[:ss]"
    _LIMITS = ((23, ":"), (59, ":"), (59, ""))

    def parse(self, text: str, context: Context) -> int:
        message = f"must be a time from 00:00 to 23:59:59, not {quote(text)}"
        hour, minute, *seconds = self._numbers(text, self._LIMITS, 2, message)
        return hour * 3600 + minute * 60 + (seconds[0] if seconds else 0)

    def show(self, value: int) -> str:
        return show_daytime(value)


def show_daytime(seconds: int) -> str:
    """`hh:mm:ss`."""
    minutes, second = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"


def _segments(text: str, width: int) -> Iterator[str]:
    """Split a comma list as the tool does: each item cut to `width`, nothing after a comma at the end."""
    while text:
        item, comma, text = text.partition(",")
        yield item[:width]
        if not comma:
            return


class Monthdays:
    """A comma list of 1 to 31, as a mask; what is longer than two characters is cut."""

    metavar = "day[,day...]"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        mask = 0
        for item in _segments(text, 2):
            day, rest = strtoul(item, 0)
            if rest or day & UINT32_MAX > 31:
                raise BadValue(f"must be days from 1 to 31, not {quote(item)}", hint="as in 1,15,31")
            mask |= 1 << (day & UINT32_MAX)
        return mask

    def show(self, value: int) -> str:
        return ",".join(str(day) for day in range(1, 32) if value >> day & 1)


class Weekdays:
    """A comma list of Mon to Sun, or 1 (Monday) to 7, as a mask; two letters are enough."""

    metavar = "day[,day...]"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        mask = 0
        for item in _segments(text, 3):
            day, rest = strtoul(item, 0)
            if rest:
                named = [n for n, name in enumerate(_WEEKDAYS, 1) if item[:2] == name[:2]]
                if not named:
                    raise BadValue(f"must be days from Mon to Sun or 1 to 7, not {quote(item)}")
                mask |= 1 << named[0]
            elif day & UINT32_MAX:
                # A shift by more than 31 begins anew, and what is above day 7 gets lost.
                mask |= 1 << (day & 31) & 0xFF
            else:
                raise BadValue("the week begins with 1, Monday", hint="7 is Sunday")
        return mask

    def show(self, value: int) -> str:
        return ",".join(name for day, name in enumerate(_WEEKDAYS, 1) if value >> day & 1)


class _Daytimes:
    """daytime_start and daytime_stop, which save prints both or neither."""

    size = 8
    _struct = struct.Struct("=II")

    def __init__(self, start: str, stop: str) -> None:
        self.start = start
        self.stop = stop

    def write(self, use: Extension, family: Family) -> bytes:
        start, stop = getattr(use, self.start), getattr(use, self.stop)
        return self._struct.pack(start or 0, LAST_SECOND if stop is None else stop)

    def read(self, piece: bytes, into: Reading) -> None:
        daytimes = self._struct.unpack(piece)
        if daytimes != (0, LAST_SECOND):
            into.values[self.start], into.values[self.stop] = daytimes


DAY = 86400  # seconds


def day_of_month(day: int) -> int:
    """1 to 31, for a day counted from 1970-01-01."""
    day += _EPOCH_DAY
    century_day = day % 146097  # days of 400 years
    year = (century_day - century_day // 1460 + century_day // 36524 - century_day // 146096) // 365
    day_of_year = century_day - (365 * year + year // 4 - year // 100)
    month = (5 * day_of_year + 2) // 153
    return day_of_year - (153 * month + 2) // 5 + 1


class Time(Match, name="time"):
    """Match by the time at which a packet arrives.

    All times are UTC unless `--kerneltz` is given; then they are in the time
    zone the kernel was told of at boot, which knows no summer time.  When
    `--timestop` is before `--timestart` the span goes over midnight, and days
    count apart on both sides of it; `--contiguous` makes it belong to the day
    on which it began.  iptables-save always prints `--datestop`: without one it
    is 2038-01-19T03:14:07, after which the rule no longer matches.
    """

    revision = 0
    timestart = Option("--timestart", type=Daytime(), doc="from this time of the day on")
    timestop = Option("--timestop", type=Daytime(), doc="up to this time of the day")
    monthdays = Option(
        "--monthdays", type=Monthdays(), invert=True, doc="on these days of the month, 1 to 31"
    )
    weekdays = Option("--weekdays", type=Weekdays(), invert=True, doc="on these days of the week, Mon to Sun")
    datestart = Option("--datestart", type=Date(), doc="from this date on")
    datestop = Option("--datestop", type=Date(), doc="up to this date")
    kerneltz = Flag("--kerneltz", excludes=("utc",), doc="times are in the kernel's time zone")
    contiguous = Flag("--contiguous", doc="a span over midnight is one, of the day it began")
    localtz = Flag("--localtz", excludes=("utc",), doc="the old name of --kerneltz")
    utc = Flag("--utc", excludes=("kerneltz", "localtz"), doc="times are UTC, as they are anyway")
    # struct xt_time_info, linux/netfilter/xt_time.h
    layout = Layout(
        Number("datestart", "I"),
        Number("datestop", "I", always=True),
        _Daytimes("timestart", "timestop"),
        Number("monthdays", "I", ALL_MONTHDAYS),
        Number("weekdays", "B", ALL_WEEKDAYS),
        Bits("B", given={1: "kerneltz", 2: "contiguous"}),
    )
    certain = True
    changing = True
    example = (
        "-m time --timestart 09:00:00 --timestop 18:00:00 --weekdays Mon,Tue,Wed,Thu,Fri"
        " --datestop 2038-01-19T03:14:07 -j ACCEPT"
    )

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = {field: each.value for field, each in given.items()}
        out.pop("utc", None)
        if out.pop("localtz", None):
            out["kerneltz"] = True
        for field, every in (("monthdays", ALL_MONTHDAYS), ("weekdays", ALL_WEEKDAYS)):
            if field in out and given[field].inverted:
                out[field] ^= every
        out.setdefault("datestop", LAST_DATE)
        daytimes = out.pop("timestart", 0), out.pop("timestop", LAST_SECOND)
        if daytimes != (0, LAST_SECOND):
            out["timestart"], out["timestop"] = daytimes
        for field, default in (("datestart", 0), ("monthdays", ALL_MONTHDAYS), ("weekdays", ALL_WEEKDAYS)):
            if out.get(field) == default:
                del out[field]
        return {field: Given(value, False) for field, value in out.items()}

    def save(self) -> Iterator[str]:
        for option, value in zip(self.options, self.values, strict=True):
            # A --datestop of 1970-01-01T00:00:00 is no --datestop to the tool.
            if value is None or (option.field == "datestop" and value == 0):
                continue
            yield option.flag
            if option.type is not None:
                yield option.type.show(value)

    def check(self, rule: RuleFacts) -> Iterator[Problem]:
        start = self.timestart or 0
        stop = LAST_SECOND if self.timestop is None else self.timestop
        if self.contiguous and start < stop:
            yield Problem(
                "--contiguous only makes sense when --timestop is before --timestart", "contiguous", "IPT136"
            )

    def matches(self, packet: Packet, world: World) -> bool | None:
        # time_mt, net/netfilter/xt_time.c
        stamp = int(world.now)
        if self.kerneltz:
            stamp -= 60 * world.minutes_west
        if stamp < (self.datestart or 0) or stamp > (self.datestop or 0):
            return False
        start = self.timestart or 0
        stop = LAST_SECOND if self.timestop is None else self.timestop
        second = stamp % DAY
        if start < stop:
            if not start <= second <= stop:
                return False
        else:
            if stop < second < start:
                return False
            if self.contiguous and second <= stop:
                stamp -= DAY
        weekday = (stamp // DAY + 3) % 7 + 1  # the first day was a Thursday, the fourth from Monday
        weekdays = ALL_WEEKDAYS if self.weekdays is None else self.weekdays
        if not weekdays >> weekday & 1:
            return False
        return self.monthdays is None or bool(self.monthdays >> day_of_month(stamp // DAY) & 1)


EXTENSIONS: tuple[Any, ...] = (Time,)
