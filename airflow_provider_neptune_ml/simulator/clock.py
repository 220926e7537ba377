"""The simulator's clock: real time, faster time, or time that only moves when told to."""

from __future__ import annotations

import time

END = 253402300799.0  # the last second of the year 9999: what datetime can tell


class Clock:
    """
    Tell the simulated time as seconds since the epoch; it never goes back, and stops at its end.

    :param rate: simulated seconds per real second: 1.0 is real time, 60.0 an hour a minute, 0.0 a clock that
        only
        :meth:`advance` moves.
    :param starts_at: the simulated time at the start (default: now).
    """

    def __init__(self, rate: float, starts_at: float | None = None) -> None:
        self._rate = rate
        self._base = time.time() if starts_at is None else starts_at
        self._started = time.monotonic()

    def now(self) -> float:
        """Return the simulated time."""
        if not self._rate:
            return self._base
        return min(self._base + (time.monotonic() - self._started) * self._rate, END)

    def advance(self, seconds: float) -> None:
        """Jump ahead by simulated seconds."""
        if not 0 <= seconds <= END - self.now():  # neither NaN
            raise ValueError(f"seconds={seconds}: the clock can't go back, and ends with the year 9999")
        self._base += seconds
