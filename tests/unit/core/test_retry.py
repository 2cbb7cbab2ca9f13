"""Backoff, decision and due-heap by example; laws in tests/property/test_retry_laws.py."""

from __future__ import annotations

import math

import pytest

from django_update_pipeline.core.config import RetryConfig
from django_update_pipeline.core.retry import (
    FALLBACK_DELAY_S,
    MAX_DELAY_S,
    ExponentialBackoff,
    GiveUp,
    RetryIn,
    RetryQueue,
    decide,
)
from django_update_pipeline.exceptions import ConfigurationError


class Fixed:
    """A policy that always gives the same answer."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def delay_s(self, retry_count: int) -> float:
        return self.answer  # type: ignore[return-value]


# -- backoff


def test_the_ceiling_doubles_up_to_the_maximum():
    backoff = ExponentialBackoff(0.05, 0.3, random=lambda: 1.0)
    assert [backoff.delay_s(n) for n in range(5)] == pytest.approx([0.05, 0.1, 0.2, 0.3, 0.3])


def test_the_jitter_is_full():
    draws = iter([0.0, 0.25, 0.999])
    backoff = ExponentialBackoff(1.0, 5.0, random=lambda: next(draws))
    assert [backoff.delay_s(1) for _ in range(3)] == pytest.approx([0.0, 0.5, 1.998])


def test_the_defaults_are_those_of_the_settings():
    backoff, config = ExponentialBackoff(random=lambda: 0.0), RetryConfig()
    assert (backoff.base_delay_s, backoff.max_delay_s) == (config.base_delay_s, config.max_delay_s)


@pytest.mark.parametrize("retry_count", [-3, 0, 64, 2000, 10**30])
def test_no_retry_count_overflows(retry_count):
    backoff = ExponentialBackoff(0.05, 5.0, random=lambda: 1.0)
    assert 0.05 <= backoff.delay_s(retry_count) <= 5.0


@pytest.mark.parametrize(("base", "top"), [(0, 5), (-1, 5), (2, 1), (1, 3601), (math.nan, 5), (1, math.nan)])
def test_senseless_delays_are_refused(base, top):
    with pytest.raises(ConfigurationError, match=r"0 < base_delay_s <= max_delay_s <= 3600") as caught:
        ExponentialBackoff(base, top, random=lambda: 0.0)
    assert caught.value.path == "retry"


# -- decision


def test_an_update_is_retried_as_often_as_it_may():
    policy = Fixed(0.25)
    assert [decide(n, 3, policy) for n in range(3)] == [RetryIn(0.25)] * 3
    assert decide(3, 3, policy) == GiveUp("failed 4 times; max_retries is 3")
    assert isinstance(decide(0, 0, policy), GiveUp)


@pytest.mark.parametrize("answer", [math.nan, math.inf, -0.1, 3600.5, None, "1", True, 10**400])
def test_an_answer_that_is_no_duration_is_replaced_and_told(answer):
    decision = decide(1, 3, Fixed(answer))
    assert isinstance(decision, RetryIn)
    assert decision.delay_s == FALLBACK_DELAY_S
    assert decision.complaint is not None
    assert decision.complaint.startswith("Fixed.delay_s(1) returned ")
    assert len(decision.complaint) < 300


@pytest.mark.parametrize("answer", [0, 0.0, 3600.0])
def test_an_answer_at_its_limits_is_taken(answer):
    assert decide(1, 3, Fixed(answer)) == RetryIn(float(answer))


def test_what_a_policy_raises_passes_through():
    class Broken:
        def delay_s(self, retry_count: int) -> float:
            raise KeyError("no such table")

    with pytest.raises(KeyError):
        decide(0, 3, Broken())


# -- due-heap


def test_what_is_due_comes_earliest_first_and_once():
    queue: RetryQueue[str] = RetryQueue()
    queue.push("late", 3.0)
    queue.push("first", 1.0)
    queue.push("second", 2.0)
    queue.push("also second", 2.0)
    assert queue.next_due() == 1.0
    assert queue.pop_due(0.999) == []
    assert queue.pop_due(2.0) == ["first", "second", "also second"]
    assert (queue.next_due(), len(queue)) == (3.0, 1)
    assert queue.pop_due(99.0) == ["late"]
    assert (queue.next_due(), len(queue), queue.pop_due(99.0)) == (None, 0, [])


def test_items_that_can_not_be_compared_may_share_a_due_time():
    queue: RetryQueue[dict[str, int]] = RetryQueue()
    queue.push({"a": 1}, 1.0, key="b")
    queue.push({"b": 2}, 1.0, key=3)
    assert queue.pop_due(1.0) == [{"a": 1}, {"b": 2}]


def test_a_discarded_item_is_never_given():
    queue: RetryQueue[str] = RetryQueue()
    queue.push("stays", 2.0, key="s")
    made = queue.push("goes", 1.0)
    assert queue.discard(made) == "goes"
    assert queue.next_due() == 2.0
    assert queue.discard(made) is None
    assert queue.pop_due(9.0) == ["stays"]


def test_a_key_of_the_queue_s_own_is_nobody_else_s():
    queue: RetryQueue[str] = RetryQueue()
    queue.push("a", 1.0, key=0)
    first, second = queue.push("b", 2.0), queue.push("c", 3.0)
    assert len({0, first, second}) == 3
    assert (queue.discard(second), queue.discard(first)) == ("c", "b")
    assert queue.pop_due(9.0) == ["a"]


def test_a_key_moves_by_discard_and_push():
    queue: RetryQueue[str] = RetryQueue()
    queue.push("x", 1.0, key="k")
    queue.push("other", 4.0)
    assert queue.discard("k") == "x"
    queue.push("x", 5.0, key="k")
    assert queue.pop_due(3.0) == [], "the dead entry of the first push gives nothing"
    assert queue.next_due() == 4.0
    assert queue.pop_due(5.0) == ["other", "x"]


def test_a_key_that_waits_is_refused_rather_than_replaced():
    queue: RetryQueue[str] = RetryQueue()
    queue.push("x", 1.0, key="k")
    with pytest.raises(ValueError, match="'k' already waits; discard it first"):
        queue.push("y", 2.0, key="k")
    assert queue.pop_due(9.0) == ["x"]


@pytest.mark.parametrize("due_s", [math.nan, math.inf, -math.inf])
def test_a_due_time_that_is_not_finite_is_refused(due_s):
    queue: RetryQueue[str] = RetryQueue()
    with pytest.raises(ValueError, match="must be finite"):
        queue.push("x", due_s)
    assert len(queue) == 0


def test_dead_entries_do_not_pile_up():
    queue: RetryQueue[int] = RetryQueue()
    for n in range(10):
        queue.push(n, 1e6 + n)
    for n in range(1000):
        queue.discard(queue.push(n, 2e6))
        assert len(queue._heap) <= 2 * len(queue) + 16
    assert queue.pop_due(1e6 + 10) == list(range(10))


def test_a_policy_is_asked_with_the_retries_there_were():
    asked = []

    class Asked:
        def delay_s(self, retry_count: int) -> float:
            asked.append(retry_count)
            return 0.0

    for count in range(3):
        decide(count, 3, Asked())
    assert asked == [0, 1, 2]


def test_delays_may_be_as_long_as_the_longest():
    assert ExponentialBackoff(MAX_DELAY_S, MAX_DELAY_S, random=lambda: 0.5).ceiling_s(0) == MAX_DELAY_S
