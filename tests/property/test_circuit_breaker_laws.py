"""Laws B1 to B7 of the circuit breaker: a state machine against a small model, with live edits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from django_update_pipeline.core.circuit_breaker import CircuitBreaker, CircuitState

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
PERMIT_TIMEOUT_S = 16.0

# Times are multiples of 1/8 s, so that float sums are exact and the model may compare with ==.
eighths = st.integers(0, 400).map(lambda n: n / 8)


class BreakerMachine(RuleBasedStateMachine):
    """The breaker beside a model that keeps plain facts: counts, when it opened, which permits are out."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 64.0
        self.draw = 0.0
        self.breaker = CircuitBreaker(
            failure_threshold=3,
            recovery_timeout=8.0,
            half_open_max_calls=2,
            permit_timeout_s=PERMIT_TIMEOUT_S,
            monotonic=lambda: self.now,
            random=lambda: self.draw,
        )
        self.threshold, self.timeout, self.trials = 3, 8.0, 2
        self.state, self.failures, self.passed = CLOSED, 0, 0
        self.permits: list[float] = []
        self.row, self.opened_at, self.growth, self.held = 0, 0.0, 1.0, False
        self.last_told = CLOSED

    # the model's own moves

    def _open(self, row: int, held: bool = False) -> None:
        self.state, self.opened_at, self.row, self.held = OPEN, self.now, row, held
        limit = min(2 ** min(row - 1, 20), 10)
        self.growth = 1 + (limit - 1) * self.draw
        self.passed, self.permits = 0, []

    def _close(self) -> None:
        self.state, self.failures, self.row, self.held = CLOSED, 0, 0, False
        self.passed, self.permits = 0, []

    def _half_open(self) -> None:
        self.state, self.passed, self.permits, self.held = HALF_OPEN, 0, [], False

    def _edited(self) -> None:
        if self.state is CLOSED and self.failures >= self.threshold:
            self._open(1)
        elif self.state is HALF_OPEN and self.passed >= self.trials:
            self._close()

    # what may happen

    @rule(seconds=eighths)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(draw=st.sampled_from([0.0, 0.25, 0.5, 0.75]))
    def chance(self, draw: float) -> None:
        self.draw = draw

    @rule()
    def ask(self) -> None:
        if self.state is OPEN and not self.held and self.now >= self.opened_at + self.timeout * self.growth:
            self._half_open()
        if self.state is HALF_OPEN:
            self.permits = [until for until in self.permits if until > self.now]
            admitted = len(self.permits) + self.passed < self.trials
            if admitted:
                self.permits.append(self.now + PERMIT_TIMEOUT_S)
        else:
            admitted = self.state is CLOSED
        assert self.breaker.can_execute() is admitted

    @rule()
    def succeed(self) -> None:
        self.breaker.record_success()
        if self.state is CLOSED:
            self.failures = 0
        elif self.state is HALF_OPEN:
            self.failures, self.passed, self.permits = 0, self.passed + 1, self.permits[1:]
            self._edited()

    @rule()
    def fail(self) -> None:
        self.breaker.record_failure()
        if self.state is CLOSED:
            self.failures += 1
            self._edited()
        elif self.state is HALF_OPEN:
            self.failures += 1
            self._open(self.row + 1)

    @rule()
    def cancel(self) -> None:
        self.breaker.release()
        self.permits = self.permits[1:]

    @precondition(lambda self: self.state is not CLOSED)
    @rule()
    def wait_as_told(self) -> None:
        """Law B2: after retry_after_s, and not before, a call is let through."""
        wait_s = self.breaker.retry_after_s()
        if self.held:
            assert wait_s == float("inf")
        elif self.state is OPEN:
            if wait_s >= 0.25:
                self.now += wait_s - 0.125
                assert not self.breaker.can_execute()
                self.now += 0.125
            else:
                self.now += wait_s
            self.ask()
            assert self.state is HALF_OPEN
            assert self.permits

    @rule(value=st.integers(1, 6))
    def edit_threshold(self, value: int) -> None:
        self.breaker.metrics.failure_threshold = self.threshold = value
        self._edited()

    @rule(value=eighths)
    def edit_timeout(self, value: float) -> None:
        self.breaker.metrics.recovery_timeout = self.timeout = value

    @rule(value=st.integers(1, 4))
    def edit_trials(self, value: int) -> None:
        self.breaker.metrics.half_open_max_calls = self.trials = value
        self._edited()

    @rule(value=st.integers(0, 6))
    def edit_failure_count(self, value: int) -> None:
        self.breaker.metrics.failure_count = self.failures = value
        self._edited()

    @rule(value=st.sampled_from(CircuitState))
    def assign_state(self, value: CircuitState) -> None:
        self.breaker.metrics.state = value
        {CLOSED: self._close, HALF_OPEN: self._half_open, OPEN: lambda: self._open(1)}[value]()

    @rule(is_open=st.booleans())
    def force(self, is_open: bool) -> None:
        if is_open:
            self.breaker.force_open("test")
            self._open(1, held=True)
        else:
            self.breaker.force_close("test")
            self._close()

    @rule()
    def take(self) -> None:
        """Law B6: events link up, and the last one names the state that is."""
        for event in self.breaker.take_events():
            assert event.before is self.last_told
            assert event.at <= self.now
            assert event.cause
            self.last_told = event.after
        assert self.last_told is self.breaker.state

    # what is always so

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert self.breaker.state is self.breaker.metrics.state is self.state
        assert self.breaker.failure_count == self.breaker.metrics.failure_count == self.failures
        shown = self.breaker.get_state()
        assert shown["trials_passed"] == self.passed
        assert shown["is_held_open"] is self.held

    @invariant()
    def law_b1_closed_means_below_the_threshold(self) -> None:
        if self.breaker.state is CLOSED:
            assert self.breaker.failure_count < self.breaker.metrics.failure_threshold

    @invariant()
    def law_b3_half_open_means_trials_are_missing(self) -> None:
        if self.breaker.state is HALF_OPEN:
            assert self.breaker.get_state()["trials_passed"] < self.breaker.metrics.half_open_max_calls

    @invariant()
    def law_b5_an_opening_lasts_from_one_to_ten_recovery_timeouts(self) -> None:
        if self.state is OPEN and not self.held:
            lasted = self.now - self.opened_at
            if lasted < self.timeout:
                assert self.timeout - lasted <= self.breaker.retry_after_s() <= 10 * self.timeout
            if self.row == 1:
                assert self.breaker.retry_after_s() == max(0.0, self.timeout - lasted)


TestLawsB1ToB7 = BreakerMachine.TestCase


def opened(now: list[float], **config: float) -> CircuitBreaker:
    breaker = CircuitBreaker(**config, monotonic=lambda: now[0], random=lambda: 0.5)  # type: ignore[arg-type]
    breaker.metrics.state = OPEN
    return breaker


@given(trials=st.integers(1, 10), asks=st.integers(1, 30))
def test_law_b3_half_open_admits_exactly_as_many_trials_as_it_needs(trials: int, asks: int) -> None:
    """Law B3: however often it is asked, permits and passed trials stay within half_open_max_calls."""
    breaker = opened([0.0], half_open_max_calls=trials, recovery_timeout=0.0)
    assert sum(breaker.can_execute() for _ in range(asks)) == min(asks, trials)
    for _ in range(trials):
        assert breaker.state is HALF_OPEN
        breaker.record_success()
    assert breaker.state is CLOSED


@given(lost=st.integers(1, 5), rounds=st.integers(1, 5), timeout_s=st.floats(0.001, 1e4))
def test_law_b4_lost_permits_come_back(lost: int, rounds: int, timeout_s: float) -> None:
    """Law B4: calls that never settle can't keep a half-open breaker from trying."""
    now = [0.0]
    breaker = opened(now, half_open_max_calls=lost, permit_timeout_s=timeout_s, recovery_timeout=0.0)
    for _ in range(rounds):
        assert [breaker.can_execute() for _ in range(lost + 1)] == [True] * lost + [False]
        while wait_s := breaker.retry_after_s():  # a second turn where the sum of floats rounds down
            now[0] += wait_s
    assert breaker.can_execute()
    assert breaker.get_state()["permits_lost_count"] == lost * rounds


@given(results=st.lists(st.booleans(), max_size=20), waited_s=st.floats(0, 29.9))
def test_law_b7_a_late_result_changes_nothing(results: list[bool], waited_s: float) -> None:
    """Law B7: results that arrive while open change neither state, count nor open time."""
    now = [0.0]
    breaker = CircuitBreaker(monotonic=lambda: now[0], random=lambda: 0.5)
    for _ in range(5):
        breaker.record_failure()
    now[0] += waited_s
    before = (breaker.state, breaker.failure_count, breaker.retry_after_s())
    for is_success in results:
        (breaker.record_success if is_success else breaker.record_failure)()
    assert (breaker.state, breaker.failure_count, breaker.retry_after_s()) == before
    assert breaker.retry_after_s() == pytest.approx(30.0 - waited_s)


@given(
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=12), timeout_s=st.floats(0.01, 1e3)
)
def test_law_b5_growth_doubles_its_ceiling_and_is_capped(draws: list[float], timeout_s: float) -> None:
    """Law B5: the n-th opening in a row lasts from 1 to min(2 ** (n - 1), 10) recovery timeouts."""
    now, chance = [0.0], iter(draws)
    breaker = CircuitBreaker(
        recovery_timeout=timeout_s, monotonic=lambda: now[0], random=lambda: next(chance)
    )
    for _ in range(5):
        breaker.record_failure()
    assert breaker.retry_after_s() == timeout_s
    for n, draw in enumerate(draws, start=2):
        now[0] += breaker.retry_after_s() + 1e-6
        assert breaker.can_execute()
        breaker.record_failure()
        ceiling = min(2 ** (n - 1), 10)
        assert breaker.retry_after_s() == pytest.approx(timeout_s * (1 + (ceiling - 1) * draw), rel=1e-6)
