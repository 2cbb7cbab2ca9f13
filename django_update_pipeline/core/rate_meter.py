"""How many a second, over the last ten seconds."""

from __future__ import annotations

WINDOW_S = 10


class RateMeter:
    """Counts per second of the clock handed in; the rate is over the seconds since the first count, at most ten.

    Written on one loop. Reading changes nothing, so any thread may read.
    """

    __slots__ = ("_counts", "_first", "_seconds")

    def __init__(self) -> None:
        self._counts = [0] * (WINDOW_S + 1)
        self._seconds = [-1] * (WINDOW_S + 1)  # which second each of them counts
        self._first: float | None = None

    def add(self, count: int, now: float) -> None:
        """Counts at a monotonic time."""
        if self._first is None:
            self._first = now
        second = int(now)
        place = second % len(self._counts)
        if self._seconds[place] != second:
            self._counts[place] = 0  # first, so that no reader takes the old count for this second's
            self._seconds[place] = second
        self._counts[place] += count

    def per_second(self, now: float) -> float:
        """The mean rate over the last ten seconds, or since the first count if that is less."""
        if self._first is None:
            return 0.0
        oldest = int(now) - WINDOW_S
        held = zip(self._counts, self._seconds, strict=True)
        count = sum(count for count, second in held if second >= oldest)
        span = min(now - self._first, WINDOW_S + now - int(now))
        return count / max(span, 1.0)
