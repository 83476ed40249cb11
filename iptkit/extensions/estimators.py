"""Rates that `-j RATEEST` measures and `-m rateest` compares (net/core/gen_estimator.c).

A rate is an average that each measurement moves by a share of 1 in 2^ewma;
inside it has eight bits behind the point.
"""

from __future__ import annotations


class Estimator:
    """Bytes and packets a second of what was counted.

    interval  the time between measurements: a second times 2^interval, -2 to 3
    ewma      the share of a new measurement is 1 in 2^ewma
    """

    __slots__ = ("_bytes", "_due", "_every", "_ewma", "_interval", "_packets", "_rates", "_was")

    def __init__(self, interval: int, ewma: int, hz: int, now: int) -> None:
        self._interval = interval + 2
        self._ewma = ewma
        self._every = (hz // 4 << self._interval) or 1
        self._due = now + self._every
        self._bytes = self._packets = 0
        self._was = (0, 0)
        self._rates = [0, 0]

    def count(self, length: int, now: int) -> None:
        """A packet came by, at that tick."""
        self._measure(now)
        self._bytes += length
        self._packets += 1

    def read(self, now: int) -> tuple[int, int]:
        """Bytes and packets a second, whole ones."""
        self._measure(now)
        return self._rates[0] >> 8, self._rates[1] >> 8

    def _measure(self, now: int) -> None:
        while now >= self._due:
            self._due += self._every
            counted = self._bytes, self._packets
            if counted == self._was and not any(rate >> self._ewma for rate in self._rates):
                # Nothing moves any more until something is counted.
                self._due += max(now - self._due, 0) // self._every * self._every
                continue
            for place, (count, was) in enumerate(zip(counted, self._was, strict=True)):
                rate = count - was << 10 - self._interval
                self._rates[place] += (rate >> self._ewma) - (self._rates[place] >> self._ewma)
            self._was = counted


__all__ = ["Estimator"]
