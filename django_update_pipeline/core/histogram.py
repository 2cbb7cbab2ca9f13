"""Latencies: a histogram of fixed size, and the recorder that keeps one per priority.

Lives here: counting and percentiles. Not here: what is timed, and when a window ends (the shell calls
``rotate``). The buckets grow by a constant factor, so the relative error is the same from microseconds to
minutes (the idea of DDSketch, Masson et al., VLDB 2019, without its sparse store).

Both classes are written on one event loop, and take no locks. What reads works on copies, each made in one step of the
interpreter, so any thread may read while the loop writes and rotates.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, TypedDict

SMALLEST_S: Final = 1e-6
"""Durations up to this share the first bucket."""
LARGEST_S: Final = 1000.0
"""Durations from here on share the last bucket; a percentile that falls there is answered by the maximum."""
IMPLAUSIBLE_S: Final = 1e9
"""From here on (30 years) a value is a mistake, no duration; sums stay finite without it."""
RATIO: Final = 1.04
"""Upper bound of a bucket over its lower one. Answers lie in its geometric middle: at most 1.99 % off."""

_log = math.log
_SCALE: Final = 1.0 / math.log(RATIO)
_SHIFT: Final = 1.0 - math.log(SMALLEST_S) * _SCALE
_BUCKET_COUNT: Final = int(math.log(LARGEST_S) * _SCALE + _SHIFT) + 2
_MIDDLES: Final = (SMALLEST_S, *(SMALLEST_S * RATIO ** (i - 0.5) for i in range(1, _BUCKET_COUNT)))


class LatencyHistogram:
    """How often which duration was seen, within 2 %; some 5 KB (at most 20 KB), whatever is recorded.

    Law H1: ``percentile(p)`` is within 2 % of the exact nearest-rank percentile of what was recorded, from
        ``SMALLEST_S`` to ``LARGEST_S``. Below, it errs by at most ``SMALLEST_S``; above, it is the maximum.
    Law H2: merging histograms equals recording everything into one.
    Law H3: percentiles do not fall as ``p`` grows, and none is above the maximum.
    Law H4: each call of ``record`` is counted once: in ``count``, or in ``rejected_count``.
    Law H8: ``cumulative(bounds)`` does not fall, and each entry counts everything up to 2 % below its bound and
        nothing from 2 % above it.
    """

    __slots__ = ("_counts", "max_s", "rejected_count", "sum_s")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKET_COUNT
        self.sum_s = 0.0
        self.max_s = 0.0
        self.rejected_count = 0

    def record(self, value_s: float) -> None:
        """Count a duration in seconds: some 0.17 us on CPython 3.11.

        NaN, negative and implausible values are no durations: they are left out, and counted as rejected.
        """
        if SMALLEST_S < value_s < LARGEST_S:
            self._counts[int(_log(value_s) * _SCALE + _SHIFT)] += 1
        elif 0.0 <= value_s <= SMALLEST_S:
            self._counts[0] += 1
        elif LARGEST_S <= value_s < IMPLAUSIBLE_S:
            self._counts[-1] += 1
        else:
            self.rejected_count += 1
            return
        self.sum_s += value_s
        if value_s > self.max_s:
            self.max_s = value_s

    @property
    def count(self) -> int:
        """How many durations were recorded. O(buckets), so that ``record`` need not count."""
        return sum(self._counts)

    @property
    def mean_s(self) -> float:
        """The exact mean in seconds; 0 when nothing was recorded."""
        count = self.count
        return self.sum_s / count if count else 0.0

    def percentile(self, p: float) -> float:
        """The duration in seconds that ``p`` percent of the recorded ones do not exceed (nearest rank).

        0 when nothing was recorded. O(buckets).

        Raises:
            ValueError: ``p`` is not from 0 to 100.
        """
        return self.percentiles((p,))[0]

    def percentiles(self, ps: Sequence[float]) -> list[float]:
        """Several percentiles at the price of one pass; ``ps`` may have any order."""
        for p in ps:
            if not 0.0 <= p <= 100.0:
                raise ValueError(f"percentile {p!r} is outside 0 to 100; for the 99th give 99, not 0.99")
        counts = self._counts[:]
        count = sum(counts)
        answers = dict.fromkeys(ps, 0.0)
        if count:
            index, below = -1, 0
            for p in sorted(answers):
                rank = max(1, math.ceil(p / 100.0 * count))
                while below < rank:
                    index += 1
                    below += counts[index]
                is_last = index == _BUCKET_COUNT - 1
                answers[p] = self.max_s if is_last else min(_MIDDLES[index], self.max_s)
        return [answers[p] for p in ps]

    def cumulative(self, bounds_s: Sequence[float]) -> list[int]:
        """How many durations were at most so long, for each bound in seconds; then, as the last entry, all of them.

        ``bounds_s`` ascends; each is compared with the buckets' middles.
        """
        counts = self._counts[:]
        found, begin, below = [], 0, 0
        for bound_s in bounds_s:
            end = bisect_right(_MIDDLES, bound_s)
            below += sum(counts[begin:end])
            begin = max(begin, end)
            found.append(below)
        return [*found, below + sum(counts[begin:])]

    def merge(self, other: LatencyHistogram) -> None:
        """Add what another one recorded to this one; the other stays as it is."""
        theirs = other._counts[:]
        if any(theirs):  # looking costs a tenth of adding, and most windows of most priorities are empty
            self._counts = [mine + one for mine, one in zip(self._counts, theirs, strict=True)]
        self.sum_s += other.sum_s
        self.max_s = max(self.max_s, other.max_s)
        self.rejected_count += other.rejected_count


class LatencySummary(TypedDict):
    """What is told of one histogram, in milliseconds."""

    average_latency_ms: float
    p50_latency_ms: float
    p95_latency_ms: float
    p99_latency_ms: float
    max_latency_ms: float
    count: int


class LatencySnapshot(LatencySummary):
    """A summary over all priorities, and one for each: ``by_priority["critical"]["p99_latency_ms"]``."""

    by_priority: dict[str, LatencySummary]


def summary_ms(histogram: LatencyHistogram) -> LatencySummary:
    """A histogram's mean, percentiles and maximum in milliseconds; all 0 when nothing was recorded."""
    p50, p95, p99 = histogram.percentiles((50.0, 95.0, 99.0))
    return {
        "average_latency_ms": histogram.mean_s * 1000.0,
        "p50_latency_ms": p50 * 1000.0,
        "p95_latency_ms": p95 * 1000.0,
        "p99_latency_ms": p99 * 1000.0,
        "max_latency_ms": histogram.max_s * 1000.0,
        "count": histogram.count,
    }


class LatencyRecorder:
    """One histogram per priority; the overall figures are their merger, made when asked.

    The snapshot covers what was recorded since the last ``rotate`` but one: with a rotation every 30 s, the
    last 30 to 60 s. Without rotations it covers everything. So a bad minute does not colour a day's figures,
    and a long good day does not hide a bad minute.

    Law H5: a snapshot's overall figures are those of all priorities recorded together.
    Law H6: what was recorded is in the snapshot until the second rotation after it, and not longer.
    Law H7: ``totals`` has everything that was ever recorded, once, however often it was rotated.

    A reader takes the three windows in one step, and a rotation puts three others in their place, so no reader sees a
    rotation half done.

    Args:
        labels: a name for each priority; the priority's value is the index.
    """

    __slots__ = ("_labels", "_windows", "records")

    def __init__(self, labels: Sequence[str] = ("critical", "high", "normal", "low")) -> None:
        self._labels = tuple(labels)
        # What left the snapshot, the window before, and the one that is written: each a histogram per priority.
        self._windows = (self._fresh(), self._fresh(), self._fresh())
        # Bound once: it saves an attribute look-up on each record. Until the next rotation, also for others.
        self.records = tuple(histogram.record for histogram in self._windows[2])

    def _fresh(self) -> tuple[LatencyHistogram, ...]:
        return tuple(LatencyHistogram() for _ in self._labels)

    def record(self, priority: int, value_s: float) -> None:
        """Count a latency in seconds: some 0.2 us."""
        self.records[priority](value_s)

    def rotate(self) -> None:
        """End a window: what was recorded before the previous rotation leaves the snapshot. On the loop."""
        gone, before, now = self._windows
        fresh = self._fresh()
        self._windows = (_merged(gone, before), now, fresh)
        self.records = tuple(histogram.record for histogram in fresh)

    def snapshot_ms(self) -> LatencySnapshot:
        """The figures in milliseconds, overall and by priority::

            {"average_latency_ms": 3.1, "p50_latency_ms": 2.9, "p95_latency_ms": 5.0, "p99_latency_ms": 8.2,
             "max_latency_ms": 9.0, "count": 120, "by_priority": {"critical": {"p50_latency_ms": 1.0, ...}}}

        Some 0.2 ms: for metrics, not for each update. Any thread.
        """
        _, before, now = self._windows
        merged = _merged(before, now)
        overall = LatencyHistogram()
        for histogram in merged:
            overall.merge(histogram)
        by_priority = {label: summary_ms(one) for label, one in zip(self._labels, merged, strict=True)}
        return {**summary_ms(overall), "by_priority": by_priority}

    def totals(self) -> dict[str, LatencyHistogram]:
        """By priority's label, everything that was ever recorded, as copies. Any thread."""
        gone, before, now = self._windows
        return dict(zip(self._labels, _merged(_merged(gone, before), now), strict=True))


def _merged(
    first: Sequence[LatencyHistogram], second: Sequence[LatencyHistogram]
) -> tuple[LatencyHistogram, ...]:
    """The mergers of two rows of histograms; both stay as they are."""
    merged = tuple(LatencyHistogram() for _ in first)
    for histogram, one, other in zip(merged, first, second, strict=True):
        histogram.merge(one)
        histogram.merge(other)
    return merged
