"""Laws H1 to H8 of latency histograms, against a sorted list."""

from __future__ import annotations

import math
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.histogram import (
    IMPLAUSIBLE_S,
    LARGEST_S,
    SMALLEST_S,
    LatencyHistogram,
    LatencyRecorder,
    summary_ms,
)

durations = st.one_of(
    st.floats(SMALLEST_S, LARGEST_S),
    st.floats(0, 2 * SMALLEST_S),
    st.floats(-7, 4).map(lambda exponent: 10.0**exponent),
)
percents = st.one_of(st.sampled_from([0.0, 50.0, 95.0, 99.0, 99.9, 100.0]), st.floats(0, 100))


def recorded(values: list[float]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(values=st.lists(durations, min_size=1, max_size=200), p=percents)
def test_law_h1_a_percentile_is_within_two_percent(values: list[float], p: float) -> None:
    """Law H1: compared with the exact nearest-rank percentile of the sorted list."""
    exact = sorted(values)[max(1, math.ceil(p / 100 * len(values))) - 1]
    answer = recorded(values).percentile(p)
    if exact >= LARGEST_S:
        assert answer == max(values)
    else:
        assert abs(answer - exact) <= max(0.02 * exact, SMALLEST_S)


@given(parts=st.lists(st.lists(st.one_of(durations, st.just(math.nan)), max_size=50), max_size=5))
def test_law_h2_merging_equals_recording_into_one(parts: list[list[float]]) -> None:
    """Law H2: counts are equal; the sum up to the order of float additions."""
    merged, whole = LatencyHistogram(), recorded([value for part in parts for value in part])
    for part in parts:
        merged.merge(recorded(part))
    ps = (1.0, 50.0, 99.0)
    assert merged.percentiles(ps) == whole.percentiles(ps)
    assert (merged.count, merged.max_s, merged.rejected_count) == (
        whole.count,
        whole.max_s,
        whole.rejected_count,
    )
    assert merged.sum_s == pytest.approx(whole.sum_s)


@given(values=st.lists(durations, max_size=100), ps=st.lists(percents, max_size=10))
def test_law_h3_percentiles_do_not_fall(values: list[float], ps: list[float]) -> None:
    """Law H3: in the order of p, and never above the maximum."""
    histogram = recorded(values)
    answers = histogram.percentiles(sorted(ps))
    assert answers == sorted(answers)
    assert all(0.0 <= answer <= histogram.max_s for answer in answers)


@given(values=st.lists(st.floats(), max_size=100))
def test_law_h4_every_call_is_counted_once(values: list[float]) -> None:
    """Law H4: whatever float is recorded, it is in count or in rejected_count."""
    histogram = recorded(values)
    assert histogram.count + histogram.rejected_count == len(values)
    assert histogram.count == sum(0.0 <= value < IMPLAUSIBLE_S for value in values)
    assert math.isfinite(histogram.sum_s)


@given(pairs=st.lists(st.tuples(st.integers(0, 3), durations), max_size=100))
def test_law_h5_overall_is_all_priorities_together(pairs: list[tuple[int, float]]) -> None:
    """Law H5: also by_priority is exactly what was recorded for that priority."""
    recorder = LatencyRecorder()
    for priority, value in pairs:
        recorder.record(priority, value)
    shown = recorder.snapshot_ms()
    whole = summary_ms(recorded([value for _, value in pairs]))
    assert {key: shown[key] for key in whole} == pytest.approx(whole)  # type: ignore[literal-required]
    for index, summary in enumerate(shown["by_priority"].values()):
        alone = summary_ms(recorded([value for priority, value in pairs if priority == index]))
        assert summary == pytest.approx(alone)


@given(windows=st.lists(st.lists(st.tuples(st.integers(0, 3), durations), max_size=10), max_size=6))
def test_law_h6_a_snapshot_covers_the_last_two_windows(windows: list[list[tuple[int, float]]]) -> None:
    """Law H6: against a model that keeps two lists."""
    recorder, model = LatencyRecorder(), deque[list[float]]([[], []], maxlen=2)
    for window in windows:
        for priority, value in window:
            recorder.record(priority, value)
            model[-1].append(value)
        kept = [value for part in model for value in part]
        shown = recorder.snapshot_ms()
        assert shown["count"] == len(kept)
        assert shown["max_latency_ms"] == pytest.approx(1000 * max(kept, default=0.0))
        recorder.rotate()
        model.append([])


@given(windows=st.lists(st.lists(st.tuples(st.integers(0, 3), durations), max_size=10), max_size=6))
def test_law_h7_totals_have_everything_once(windows: list[list[tuple[int, float]]]) -> None:
    """Law H7: against one histogram per priority that nobody rotates."""
    recorder = LatencyRecorder()
    model = [LatencyHistogram() for _ in range(4)]
    for window in windows:
        for priority, value in window:
            recorder.record(priority, value)
            model[priority].record(value)
        totals = list(recorder.totals().values())
        assert [one.count for one in totals] == [one.count for one in model]
        assert [one.max_s for one in totals] == [one.max_s for one in model]
        assert [one.sum_s for one in totals] == pytest.approx([one.sum_s for one in model])
        recorder.rotate()


@given(
    values=st.lists(durations, max_size=200),
    bounds=st.lists(st.floats(2 * SMALLEST_S, LARGEST_S / 2), max_size=12).map(sorted),
)
def test_law_h8_cumulative_counts_are_within_two_percent_of_their_bound(
    values: list[float], bounds: list[float]
) -> None:
    """Law H8: what is clearly below a bound is in its count, what is clearly above is not."""
    found = recorded(values).cumulative(bounds)
    assert found == sorted(found)
    assert found[-1] == len(values)
    for bound, count in zip(bounds, found, strict=False):
        assert sum(value <= bound / 1.02 for value in values) <= count
        assert count <= sum(value < bound * 1.02 for value in values)
