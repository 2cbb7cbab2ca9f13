"""The token bucket by example; laws in tests/property/test_rate_limit_laws.py."""

from __future__ import annotations

import math

import pytest

from django_update_pipeline.core.rate_limit import TokenBucket
from django_update_pipeline.exceptions import ConfigurationError


class Time:
    def __init__(self) -> None:
        self.now = 500.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def test_a_full_bucket_gives_its_burst_and_then_the_rate(time):
    bucket = TokenBucket(100, 200, time)
    assert sum(bucket.try_acquire() for _ in range(300)) == 200
    time.now += 0.1
    assert sum(bucket.try_acquire() for _ in range(300)) == 10
    time.now += 3600
    assert sum(bucket.try_acquire() for _ in range(300)) == 200


def test_it_tells_when_to_come_back(time):
    bucket = TokenBucket(rate_per_s=4, burst=2, monotonic=time)
    assert bucket.retry_after_s() == 0.0
    assert bucket.try_acquire(2)
    assert bucket.retry_after_s() == 0.25
    assert bucket.retry_after_s(2) == 0.5
    time.now += 0.25
    assert bucket.retry_after_s() == 0.0
    assert not bucket.try_acquire(2)
    assert bucket.try_acquire()


def test_more_than_the_burst_is_never_there(time):
    bucket = TokenBucket(1, 2, time)
    assert bucket.retry_after_s(3) == math.inf
    assert not bucket.try_acquire(3)
    assert bucket.try_acquire(2)


def test_a_clock_that_goes_back_gives_nothing(time):
    bucket = TokenBucket(1, 1, time)
    assert bucket.try_acquire()
    time.now -= 100
    assert not bucket.try_acquire()
    time.now += 100
    assert not bucket.try_acquire()
    time.now += 1
    assert bucket.try_acquire()


def test_it_shows_its_limits(time):
    bucket = TokenBucket(100, 200, time)
    assert (bucket.rate_per_s, bucket.burst) == (100.0, 200.0)


@pytest.mark.parametrize(
    ("rate", "burst", "named"),
    [
        (0, 1, "rate_per_s"),
        (-1, 1, "rate_per_s"),
        (math.inf, 1, "rate_per_s"),
        (math.nan, 1, "rate_per_s"),
        (1, 0.5, "burst"),
        (1, math.inf, "burst"),
        (1, math.nan, "burst"),
    ],
)
def test_senseless_limits_are_refused(time, rate, burst, named):
    with pytest.raises(ConfigurationError, match=f"^{named} is ") as caught:
        TokenBucket(rate, burst, time)
    assert caught.value.path == named


@pytest.mark.parametrize("n", [0, -1, math.nan])
def test_asking_for_nothing_is_refused(time, n):
    bucket = TokenBucket(1, 1, time)
    with pytest.raises(ValueError, match="above 0"):
        bucket.try_acquire(n)
    with pytest.raises(ValueError, match="above 0"):
        bucket.retry_after_s(n)
