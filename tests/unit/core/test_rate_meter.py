"""The rate over the last ten seconds."""

from __future__ import annotations

import pytest

from django_update_pipeline.core.rate_meter import WINDOW_S, RateMeter


def test_nothing_counted_is_no_rate():
    assert RateMeter().per_second(5.0) == 0.0


def test_in_the_first_second_the_count_is_the_rate():
    """Not the count over a fraction of a second, which would promise more than was seen."""
    meter = RateMeter()
    meter.add(7, 100.0)
    meter.add(3, 100.5)
    assert meter.per_second(100.5) == 10.0
    assert meter.per_second(101.0) == 10.0


def test_then_it_is_the_mean_since_the_first_count():
    meter = RateMeter()
    meter.add(10, 100.5)
    assert meter.per_second(102.5) == 5.0
    meter.add(20, 104.5)
    assert meter.per_second(104.5) == 7.5
    assert meter.per_second(110.5) == 3.0


def test_after_ten_seconds_the_oldest_are_forgotten_second_by_second():
    meter = RateMeter()
    for second in range(100, 121):
        meter.add(second, float(second))
    assert meter.per_second(120.0) == pytest.approx(sum(range(110, 121)) / 10)
    assert meter.per_second(120.5) == pytest.approx(sum(range(110, 121)) / 10.5)
    assert meter.per_second(121.0) == pytest.approx(sum(range(111, 121)) / 10)


@pytest.mark.parametrize("pause", [WINDOW_S + 1, WINDOW_S + 2, 50, 1000])
def test_after_a_long_pause_nothing_is_left(pause):
    meter = RateMeter()
    for second in range(WINDOW_S + 3):
        meter.add(5, 100.0 + second)
    last = 100.0 + WINDOW_S + 2
    assert meter.per_second(last + pause) == 0.0
    meter.add(10, last + pause)
    assert meter.per_second(last + pause) == 1.0


def test_one_count_is_seen_for_ten_seconds_and_no_longer():
    meter = RateMeter()
    meter.add(1, 3.0)
    assert meter.per_second(13.0) == pytest.approx(0.1)
    assert meter.per_second(13.9) > 0.0
    assert meter.per_second(14.0) == 0.0


def test_a_clock_that_starts_anywhere_and_goes_back_a_little_is_no_matter():
    for start in (0.0, 0.4, 12345.6):
        meter = RateMeter()
        meter.add(4, start)
        meter.add(4, start + 2)
        assert meter.per_second(start + 2) == 4.0
    meter = RateMeter()
    meter.add(1, 20.0)
    meter.add(1, 30.0)
    meter.add(2, 29.0)
    assert meter.per_second(30.0) == pytest.approx(0.4)


def test_reading_changes_nothing():
    """A reader whose clock ran ahead (another thread, a moment later) must not take a count away."""
    meter = RateMeter()
    meter.add(10, 1000.0)
    assert meter.per_second(1030.0) == 0.0
    meter.add(10, 1001.0)
    assert meter.per_second(1002.0) == 10.0
