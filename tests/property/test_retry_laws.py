"""Laws R1 to R5 of retries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from django_update_pipeline.core.retry import (
    MAX_DELAY_S,
    ExponentialBackoff,
    GiveUp,
    RetryIn,
    RetryQueue,
    decide,
)


@given(
    base_s=st.floats(1e-4, 10.0),
    factor=st.floats(1.0, 300.0),
    draw=st.floats(0, 1, exclude_max=True),
    retry_count=st.integers(0, 5000),
)
def test_law_r1_a_delay_is_below_its_ceiling(
    base_s: float, factor: float, draw: float, retry_count: int
) -> None:
    """Law R1: from 0 to min(max, base * 2 ** n), and ceilings do not fall."""
    top_s = base_s * factor
    backoff = ExponentialBackoff(base_s, top_s, random=lambda: draw)
    ceiling_s = min(top_s, base_s * 2 ** min(retry_count, 20))
    assert backoff.ceiling_s(retry_count) == ceiling_s
    assert 0.0 <= backoff.delay_s(retry_count) <= ceiling_s
    assert backoff.ceiling_s(retry_count) <= backoff.ceiling_s(retry_count + 1) <= top_s


@given(max_retries=st.integers(0, 20), answers=st.lists(st.one_of(st.floats(), st.none(), st.integers())))
def test_law_r2_retried_exactly_max_retries_times(max_retries: int, answers: list[float]) -> None:
    """Law R2: whatever the policy answers."""
    given_answers = iter(answers)

    class Rubbish:
        def delay_s(self, retry_count: int) -> float:
            return next(given_answers, 0.0)

    retry_count = 0
    while isinstance(decision := decide(retry_count, max_retries, Rubbish()), RetryIn):
        assert 0.0 <= decision.delay_s <= MAX_DELAY_S
        retry_count += 1
    assert isinstance(decision, GiveUp)
    assert retry_count == max_retries


class RetryMachine(RuleBasedStateMachine):
    """The due-heap beside a plain list of (due, order, key, item)."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: RetryQueue[int] = RetryQueue()
        self.model: list[tuple[float, int, str, int]] = []
        self.pushed = 0
        self.now = 0.0

    def _waits(self, key: str) -> list[tuple[float, int, str, int]]:
        return [entry for entry in self.model if entry[2] == key]

    @rule(key=st.sampled_from("abcdefgh"), wait_s=st.integers(0, 5))
    def push(self, key: str, wait_s: int) -> None:
        self.pushed += 1
        if self._waits(key):
            try:
                self.queue.push(self.pushed, self.now + wait_s, key)
            except ValueError:
                return
            raise AssertionError("a key that waits was accepted")
        assert self.queue.push(self.pushed, self.now + wait_s, key) == key
        self.model.append((self.now + wait_s, self.pushed, key, self.pushed))

    @rule(times=st.integers(1, 40))
    def churn(self, times: int) -> None:
        for n in range(times):
            assert self.queue.discard(self.queue.push(-n, self.now + 100.0)) == -n

    @rule(key=st.sampled_from("abcdefgh"))
    def discard(self, key: str) -> None:
        found = self._waits(key)
        assert self.queue.discard(key) == (found[0][3] if found else None)
        self.model = [entry for entry in self.model if entry[2] != key]

    @rule(wait_s=st.integers(0, 4))
    def pop(self, wait_s: int) -> None:
        """Law R3: what is due, by due time and then by order."""
        self.now += wait_s
        due = sorted(entry for entry in self.model if entry[0] <= self.now)
        assert self.queue.pop_due(self.now) == [entry[3] for entry in due]
        self.model = [entry for entry in self.model if entry[0] > self.now]

    @invariant()
    def law_r4_next_due_is_the_least(self) -> None:
        assert self.queue.next_due() == min((entry[0] for entry in self.model), default=None)

    @invariant()
    def law_r5_only_what_waits_is_there(self) -> None:
        assert len(self.queue) == len(self.model)
        assert len(self.queue._heap) <= 2 * len(self.model) + 64


TestLawsR3ToR5 = RetryMachine.TestCase
