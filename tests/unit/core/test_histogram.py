"""Latency histogram and recorder by example; laws in tests/property/test_histogram_laws.py."""

from __future__ import annotations

import json
import math
import sys
import threading

import pytest

from django_update_pipeline.core.histogram import (
    LARGEST_S,
    SMALLEST_S,
    LatencyHistogram,
    LatencyRecorder,
    summary_ms,
)
from django_update_pipeline.core.messages import UpdatePriority


def histogram(*values_s: float) -> LatencyHistogram:
    made = LatencyHistogram()
    for value_s in values_s:
        made.record(value_s)
    return made


def test_an_empty_histogram_answers_zero():
    empty = histogram()
    assert (empty.count, empty.sum_s, empty.max_s, empty.mean_s) == (0, 0.0, 0.0, 0.0)
    assert empty.percentile(99) == 0.0


def test_percentiles_are_within_two_percent():
    thousand = histogram(*(n / 1000 for n in range(1, 1001)))
    assert thousand.count == 1000
    assert thousand.mean_s == pytest.approx(0.5005)
    assert thousand.percentile(50) == pytest.approx(0.5, rel=0.02)
    assert thousand.percentile(95) == pytest.approx(0.95, rel=0.02)
    assert thousand.percentile(99) == pytest.approx(0.99, rel=0.02)
    assert thousand.percentile(100) == pytest.approx(1.0, rel=0.02)


def test_the_median_of_two_is_the_lower_and_rank_zero_is_the_least():
    two = histogram(0.010, 0.020)
    assert two.percentile(50) == pytest.approx(0.010, rel=0.02)
    assert two.percentile(51) == pytest.approx(0.020, rel=0.02)
    assert two.percentile(0) == pytest.approx(0.010, rel=0.02)


def test_buckets_around_one_second_are_as_fine_as_others():
    """Truncating a negative logarithm towards zero would make one bucket of twice the width there."""
    assert histogram(0.962, 1.038).percentile(50) == pytest.approx(0.962, rel=0.02)


def test_several_percentiles_come_in_the_order_they_were_asked():
    values = histogram(0.001, 0.01, 0.1)
    assert values.percentiles((99, 1, 50, 99)) == [
        values.percentile(99),
        values.percentile(1),
        values.percentile(50),
        values.percentile(99),
    ]


@pytest.mark.parametrize("value_s", [0.0, 1e-9, SMALLEST_S])
def test_tiny_durations_share_a_bucket(value_s):
    assert histogram(value_s).percentile(50) == value_s


@pytest.mark.parametrize("value_s", [LARGEST_S, 5000.0, 9e8])
def test_huge_durations_are_answered_by_the_maximum(value_s):
    assert histogram(value_s).percentile(50) == value_s


def test_no_answer_is_above_the_maximum():
    assert histogram(0.0100).percentile(99) <= 0.0100


@pytest.mark.parametrize("value_s", [math.nan, math.inf, 1e9, -math.inf, -0.001])
def test_what_is_no_duration_is_rejected_and_counted(value_s):
    spoiled = histogram(value_s, 0.5)
    assert (spoiled.count, spoiled.rejected_count, spoiled.sum_s, spoiled.max_s) == (1, 1, 0.5, 0.5)


@pytest.mark.parametrize("p", [-1, 100.1, math.nan])
def test_a_percentile_outside_0_to_100_is_refused(p):
    with pytest.raises(ValueError, match="give 99, not"):
        histogram(1.0).percentile(p)


def test_merging_adds_and_leaves_the_other_alone():
    left, right = histogram(0.1, math.nan), histogram(0.2, 0.3)
    left.merge(right)
    assert (left.count, left.rejected_count, left.max_s) == (3, 1, 0.3)
    assert left.sum_s == pytest.approx(0.6)
    left.record(0.4)
    assert right.count == 2


def test_its_memory_is_fixed():
    full = histogram(*(1e-7 * 1.01**n for n in range(2500)))
    counts = full._counts
    assert len(counts) == len(LatencyHistogram()._counts)
    assert sys.getsizeof(counts) + 28 * len(set(counts)) < 20_000


# -- the recorder


def test_a_recorder_tells_overall_and_each_priority_in_milliseconds():
    recorder = LatencyRecorder()
    recorder.record(UpdatePriority.CRITICAL, 0.001)
    recorder.record(UpdatePriority.LOW, 0.100)
    recorder.record(UpdatePriority.LOW, 0.100)
    shown = recorder.snapshot_ms()
    assert shown["count"] == 3
    assert shown["average_latency_ms"] == pytest.approx(67.0)
    assert shown["p50_latency_ms"] == pytest.approx(100.0, rel=0.02)
    assert shown["p99_latency_ms"] == pytest.approx(100.0, rel=0.02)
    assert shown["max_latency_ms"] == pytest.approx(100.0)
    assert list(shown["by_priority"]) == [priority.label for priority in UpdatePriority]
    assert shown["by_priority"]["critical"]["p95_latency_ms"] == pytest.approx(1.0, rel=0.02)
    assert shown["by_priority"]["low"]["count"] == 2
    assert shown["by_priority"]["high"] == summary_ms(LatencyHistogram())
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown


def test_a_value_leaves_the_snapshot_with_the_second_rotation():
    recorder = LatencyRecorder()
    recorder.record(UpdatePriority.NORMAL, 1.0)
    recorder.rotate()
    recorder.record(UpdatePriority.NORMAL, 0.5)
    assert recorder.snapshot_ms()["count"] == 2
    recorder.rotate()
    assert recorder.snapshot_ms()["count"] == 1
    assert recorder.snapshot_ms()["max_latency_ms"] == 500.0
    recorder.rotate()
    assert recorder.snapshot_ms()["count"] == 0


def test_the_totals_keep_what_left_the_snapshot():
    recorder = LatencyRecorder()
    recorder.record(UpdatePriority.HIGH, 0.25)
    for _ in range(3):
        recorder.rotate()
    recorder.record(UpdatePriority.HIGH, 0.5)
    assert recorder.snapshot_ms()["count"] == 1
    totals = recorder.totals()
    assert list(totals) == [priority.label for priority in UpdatePriority]
    assert (totals["high"].count, totals["high"].sum_s, totals["high"].max_s) == (2, 0.75, 0.5)
    assert totals["low"].count == 0


def test_what_was_read_stays_as_it_was():
    recorder = LatencyRecorder()
    recorder.record(UpdatePriority.HIGH, 0.25)
    totals = recorder.totals()
    recorder.record(UpdatePriority.HIGH, 0.25)
    assert totals["high"].count == 1


def test_cumulative_counts_end_with_all():
    counted = histogram(0.0, 0.002, 0.002, 0.2, 5000.0, math.nan)
    assert counted.cumulative((0.001, 0.01, 1.0)) == [1, 3, 4, 5]
    assert counted.cumulative(()) == [5]


def test_a_reader_in_another_thread_sees_no_rotation_half_done():
    """Totals never fall and the snapshot is never more than two windows, however the threads meet."""
    recorder = LatencyRecorder()
    stop = threading.Event()
    seen: list[str] = []

    def read() -> None:
        last, last_sum = 0, 0.0
        while not stop.is_set():
            total = recorder.totals()["normal"]
            count = total.cumulative((0.5,))[-1]
            if count < last or total.sum_s < last_sum:
                seen.append(f"{last} -> {count}, {last_sum} -> {total.sum_s}")
            last, last_sum = count, total.sum_s
            if recorder.snapshot_ms()["count"] > 200:
                seen.append("more than two windows")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=read)
    thread.start()
    try:
        for _ in range(300):
            for _ in range(100):
                recorder.record(UpdatePriority.NORMAL, 0.25)
            recorder.rotate()
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert seen == []
    assert recorder.totals()["normal"].count == 30_000


def test_the_bounds_of_the_buckets_count_each_value_once():
    for value_s in (0.0, SMALLEST_S, math.nextafter(SMALLEST_S, 1), math.nextafter(LARGEST_S, 0), LARGEST_S):
        twice = histogram(value_s, value_s)
        assert (twice.count, twice.rejected_count, twice.max_s) == (2, 0, value_s)
        assert twice.sum_s == 2 * value_s
    ends = histogram(0.0, 0.0, SMALLEST_S, LARGEST_S, LARGEST_S, 1e8)
    assert (ends._counts[0], ends._counts[1], ends._counts[-1], ends.count) == (3, 0, 3, 6)


def test_rejected_values_are_counted_each_and_added_by_a_merger():
    spoiled = histogram(math.nan, -1.0, math.inf)
    assert spoiled.rejected_count == 3
    spoiled.merge(histogram(math.nan, math.nan))
    assert spoiled.rejected_count == 5


def test_a_summary_is_of_these_percentiles_in_milliseconds():
    """Of a thousand durations no two percentiles fall together."""
    thousand = histogram(*(n / 1000 for n in range(1, 1001)))
    summary = summary_ms(thousand)
    for name, p in (("p50", 50), ("p95", 95), ("p99", 99)):
        assert summary[f"{name}_latency_ms"] == thousand.percentile(p) * 1000.0
    assert summary["average_latency_ms"] == thousand.mean_s * 1000.0
    assert summary["max_latency_ms"] == 1000.0


def test_a_rank_is_the_nearest_above():
    """101 values: the 99th percentile is the 100th of them, not the 99th and not the last."""
    many = histogram(*[0.001] * 99, 0.1, 10.0)
    assert many.percentile(99) == pytest.approx(0.1, rel=0.02)
    assert many.percentile(100) == pytest.approx(10.0, rel=0.02)
    assert many.percentile(98) == pytest.approx(0.001, rel=0.02)
