"""Laws Y1 to Y3 of stalls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.liveness import GRACE_TICKS, AwakeClock, StallMeter

# How much the monotonic clock and the processor time went on, and whether that was a tick.
moves = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 300), st.booleans()), max_size=40)


@given(tick_s=st.floats(0.01, 5), moves=moves)
def test_law_y1_the_clock_never_goes_back_nor_runs_ahead(
    tick_s: float, moves: list[tuple[float, float, bool]]
) -> None:
    """Law Y1: at every reading, ticked or not."""
    now, cpu = 1000.0, 7.0
    clock = AwakeClock(tick_s, now, cpu)
    last_awake = 0.0
    for passed, used, is_tick in moves:
        now += passed
        cpu += used
        if is_tick:
            clock.tick(now, cpu)
        awake = clock.read(now, cpu)
        assert awake >= last_awake - 1e-6
        assert awake <= now - 1000.0 + 1e-6
        last_awake = awake


@given(tick_s=st.floats(0.01, 5), jump=st.floats(0, 1e6), used=st.floats(0, 0.001))
def test_law_y2_a_jump_without_work_counts_for_its_grace(tick_s: float, jump: float, used: float) -> None:
    """Law Y2: whether it is read at the jump or after the tick that follows it."""
    clock = AwakeClock(tick_s, 50.0, 1.0)
    most = max(GRACE_TICKS * tick_s, used) + 1e-6
    assert clock.read(50.0 + jump, 1.0 + used) <= most
    clock.tick(50.0 + jump, 1.0 + used)
    assert clock.read(50.0 + jump, 1.0 + used) <= most


@given(
    rounds=st.lists(st.tuples(st.floats(0, 90), st.floats(0, 90)), min_size=1, max_size=20),
    limit_s=st.floats(0.1, 10),
)
def test_law_y3_a_stall_is_told_while_it_is_on_and_for_a_while(
    rounds: list[tuple[float, float]], limit_s: float
) -> None:
    """Law Y3: against a list of all rounds; each waits some time to be asked, then some for the answer."""
    keep_s = 60.0
    meter = StallMeter(limit_s, keep_s)
    now = 0.0
    ended: list[tuple[float, float]] = []

    def told(at: float, waits: float) -> float:
        of_late = [took for end, took in ended if at - end <= keep_s and took >= limit_s]
        return max([*of_late, *([waits] if waits >= limit_s else [])], default=0.0)

    for pause, took in rounds:
        now += pause
        assert meter.worst(now).seconds == pytest.approx(told(now, 0.0))
        meter.ask(now)
        now += took
        waits = meter.waits_s(now)
        assert waits == pytest.approx(took)
        assert meter.worst(now).seconds == pytest.approx(told(now, waits))
        meter.answer(now)
        ended.append((now, waits))
    assert meter.count == sum(took >= limit_s for _, took in ended)
