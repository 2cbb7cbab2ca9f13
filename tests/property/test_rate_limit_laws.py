"""Laws T1 to T3 of the token bucket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.rate_limit import TokenBucket

rates = st.floats(0.01, 1e5)
bursts = st.integers(1, 1000)
starts = st.floats(0, 1e7)
steps = st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=60)


@given(rate=rates, burst=bursts, start=starts, steps=steps)
def test_law_t1_no_window_gives_more_than_burst_and_rate(
    rate: float, burst: int, start: float, steps: list[tuple[float, int]]
) -> None:
    """Law T1: for every pair of moments, not only from the start."""
    now = [start]
    bucket = TokenBucket(rate, burst, lambda: now[0])
    given_at: list[tuple[float, int]] = []
    for wait_s, n in steps:
        now[0] += wait_s
        if bucket.try_acquire(n):
            given_at.append((now[0], n))
    for first, (begin, _) in enumerate(given_at):
        total = 0
        for end, n in given_at[first:]:
            total += n
            allowed = burst + rate * (end - begin)
            assert total <= allowed * (1 + 1e-9) + 1e-5 + rate * 1e-8


@given(rate=rates, burst=bursts, start=starts, steps=steps, n=st.integers(1, 1000))
def test_law_t2_waiting_as_told_is_enough_and_needed(
    rate: float, burst: int, start: float, steps: list[tuple[float, int]], n: int
) -> None:
    """Law T2: retry_after_s is neither too short nor (beyond rounding) too long."""
    now = [start]
    bucket = TokenBucket(rate, burst, lambda: now[0])
    for wait_s, taken in steps:
        now[0] += wait_s
        bucket.try_acquire(taken)
    n = min(n, burst)
    wait_s = bucket.retry_after_s(n)
    before = now[0]
    if wait_s * rate > 0.01 and wait_s > 1e-6:
        now[0] = before + 0.99 * wait_s
        assert not bucket.try_acquire(n)
    now[0] = before + wait_s
    assert bucket.retry_after_s(n) == 0.0
    assert bucket.try_acquire(n)


@given(rate=rates, burst=bursts, refused=st.integers(1, 20))
def test_law_t3_a_refused_request_costs_nothing(rate: float, burst: int, refused: int) -> None:
    """Law T3: asking for too much leaves the bucket as it was."""
    bucket = TokenBucket(rate, burst, lambda: 0.0)
    assert not any(bucket.try_acquire(burst + 1) for _ in range(refused))
    assert bucket.try_acquire(burst)
    assert not any(bucket.try_acquire() for _ in range(refused))
