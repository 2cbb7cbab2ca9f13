"""How many a second, over the last ten seconds."""

from __future__ import annotations

WINDOW_S = 10


class RateMeter:
    """Counts per second of the clock handed in; the rate is over the seconds since the first count, at most ten."""

    __slots__ = ("_buckets", "_first", "_last")

    def __init__(self) -> None:
        self._buckets = [0] * (WINDOW_S + 1)
        self._last = 0
        self._first: float | None = None

    def add(self, count: int, now: float) -> None:
        """Counts at a monotonic time."""
        if self._first is None:
            self._first = now
            self._last = int(now)
        self._advance(int(now))
        self._buckets[int(now) % len(self._buckets)] += count

    def per_second(self, now: float) -> float:
        """The mean rate over the last ten seconds, or since the first count if that is less."""
        if self._first is None:
            return 0.0
        self._advance(int(now))
        span = min(now - self._first, WINDOW_S + now - int(now))
        return sum(self._buckets) / max(span, 1.0)

    def _advance(self, second: int) -> None:
        if second <= self._last:
            return
        for passed in range(self._last + 1, min(second, self._last + len(self._buckets)) + 1):
            self._buckets[passed % len(self._buckets)] = 0
        if second - self._last >= len(self._buckets):
            self._buckets = [0] * len(self._buckets)
        self._last = second
