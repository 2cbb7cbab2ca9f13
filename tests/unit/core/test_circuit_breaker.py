"""The circuit breaker by example; its laws are in tests/property/test_circuit_breaker_laws.py."""

from __future__ import annotations

import json
import math

import pytest

from django_update_pipeline.core.circuit_breaker import (
    EVENTS_KEPT,
    MAX_FAILURE_THRESHOLD,
    MAX_HALF_OPEN_CALLS,
    MAX_RECOVERY_TIMEOUT_S,
    BreakerChanged,
    CircuitBreaker,
    CircuitMetrics,
    CircuitState,
)
from django_update_pipeline.core.circuit_table import TABLE, BreakerEvent, Effect
from django_update_pipeline.core.config import CircuitBreakerConfig
from django_update_pipeline.exceptions import ConfigurationError

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
START = 1000.0


class Time:
    """A clock that only moves when told, and counts how often it is read."""

    def __init__(self) -> None:
        self.now = START
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def breaker(time: Time) -> CircuitBreaker:
    return CircuitBreaker(monotonic=time, random=lambda: 0.5)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        assert breaker.can_execute()
        breaker.record_failure()


def to_half_open(breaker: CircuitBreaker, time: Time) -> None:
    """Opens the breaker and waits; the next can_execute is the first trial."""
    fail(breaker, breaker.metrics.failure_threshold)
    time.now += breaker.retry_after_s()


def test_the_defaults_are_those_of_the_settings(breaker):
    config, metrics = CircuitBreakerConfig(), breaker.metrics
    assert metrics.failure_threshold == config.failure_threshold == 5
    assert metrics.recovery_timeout == config.recovery_timeout == 30.0
    assert metrics.half_open_max_calls == config.half_open_max_calls == 3
    assert breaker.state is metrics.state is CLOSED
    assert breaker.failure_count == metrics.failure_count == 0


# -- closed and open


def test_the_fifth_failure_in_a_row_opens(breaker):
    fail(breaker, 4)
    assert (breaker.state, breaker.failure_count) == (CLOSED, 4)
    fail(breaker, 1)
    assert (breaker.state, breaker.failure_count) == (OPEN, 5)
    assert not breaker.can_execute()


def test_a_success_forgets_the_failures_before_it(breaker):
    fail(breaker, 4)
    breaker.record_success()
    assert breaker.failure_count == 0
    fail(breaker, 4)
    assert breaker.state is CLOSED


def test_a_first_opening_lasts_exactly_the_recovery_timeout(breaker, time):
    fail(breaker, 5)
    assert breaker.retry_after_s() == 30.0
    time.now += 29.999
    assert not breaker.can_execute()
    time.now = START + 30.0
    assert breaker.retry_after_s() == 0.0
    assert breaker.state is OPEN, "reading changes nothing"
    assert breaker.can_execute()
    assert breaker.state is HALF_OPEN


def test_asking_a_closed_breaker_reads_no_clock(breaker, time):
    assert breaker.can_execute()
    breaker.record_success()
    assert breaker.retry_after_s() == 0.0
    assert time.reads == 0


def test_a_late_result_changes_nothing_but_its_own_count(breaker, time):
    fail(breaker, 5)
    time.now += 10.0
    breaker.record_success()
    breaker.record_failure()
    breaker.release()
    assert (breaker.state, breaker.failure_count, breaker.retry_after_s()) == (OPEN, 5, 20.0)
    assert breaker.get_state()["late_result_count"] == 2


# -- half-open


def test_half_open_admits_three_trials_and_closes_when_they_succeed(breaker, time):
    to_half_open(breaker, time)
    assert [breaker.can_execute() for _ in range(5)] == [True, True, True, False, False]
    breaker.record_success()
    breaker.record_success()
    assert breaker.state is HALF_OPEN
    assert not breaker.can_execute(), "a trial that passed is not made again"
    breaker.record_success()
    assert (breaker.state, breaker.failure_count) == (CLOSED, 0)


def test_trials_may_come_one_after_another(breaker, time):
    to_half_open(breaker, time)
    for _ in range(3):
        assert breaker.state is not CLOSED
        assert breaker.can_execute()
        breaker.record_success()
    assert breaker.state is CLOSED


def test_one_failed_trial_opens_again(breaker, time):
    to_half_open(breaker, time)
    breaker.can_execute()
    breaker.record_success()
    breaker.can_execute()
    breaker.record_failure()
    assert (breaker.state, breaker.failure_count) == (OPEN, 1)
    assert not breaker.can_execute()


def test_each_round_of_trials_starts_afresh(breaker, time):
    to_half_open(breaker, time)
    assert [breaker.can_execute() for _ in range(3)] == [True, True, True]
    breaker.record_success()
    breaker.record_failure()
    state = breaker.get_state()
    assert (state["trials_in_flight"], state["trials_passed"]) == (0, 0)
    time.now += breaker.retry_after_s()
    assert [breaker.can_execute() for _ in range(4)] == [True, True, True, False]
    for _ in range(3):
        breaker.record_success()
    assert breaker.retry_after_s() == 0.0
    to_half_open(breaker, time)
    assert [breaker.can_execute() for _ in range(4)] == [True, True, True, False]


def test_a_cancelled_trial_counts_as_nothing_and_gives_its_permit_back(breaker, time):
    breaker.metrics.half_open_max_calls = 1
    to_half_open(breaker, time)
    assert breaker.can_execute()
    assert not breaker.can_execute()
    breaker.release()
    assert breaker.state is HALF_OPEN
    assert breaker.can_execute()
    breaker.record_success()
    assert breaker.state is CLOSED


def test_a_release_without_a_permit_out_is_harmless(breaker, time):
    breaker.release()
    to_half_open(breaker, time)
    breaker.can_execute()
    breaker.release()
    breaker.release()
    assert breaker.get_state()["trials_in_flight"] == 0


def test_a_lost_permit_comes_back_after_its_timeout(time):
    breaker = CircuitBreaker(half_open_max_calls=2, permit_timeout_s=7.0, monotonic=time, random=lambda: 0.0)
    to_half_open(breaker, time)
    assert breaker.can_execute()
    time.now += 2.0
    assert breaker.retry_after_s() == 0.0
    assert breaker.can_execute()
    assert breaker.retry_after_s() == 5.0
    time.now += 4.9
    assert not breaker.can_execute()
    time.now += 0.2
    assert breaker.retry_after_s() == 0.0
    assert breaker.can_execute()
    assert not breaker.can_execute()
    assert breaker.get_state()["permits_lost_count"] == 1
    breaker.record_success()
    breaker.record_success()  # the lost call's result is taken for a trial's too
    assert breaker.state is CLOSED


def test_openings_in_a_row_last_longer_up_to_ten_times(time):
    draws = iter([1.0, 1.0, 0.0, 1.0, 1.0, 0.5])
    breaker = CircuitBreaker(recovery_timeout=10.0, monotonic=time, random=lambda: next(draws))
    to_half_open(breaker, time)
    waits = []
    for _ in range(6):
        breaker.can_execute()
        breaker.record_failure()
        waits.append(breaker.retry_after_s())
        time.now += waits[-1]
    assert waits == pytest.approx([20.0, 40.0, 10.0, 100.0, 100.0, 55.0])
    assert breaker.get_state()["openings_in_row"] == 7
    for _ in range(3):
        breaker.can_execute()
        breaker.record_success()
    assert breaker.state is CLOSED
    fail(breaker, 5)
    assert breaker.retry_after_s() == pytest.approx(10.0), "after closing, an opening is a first one again"


def test_a_thousand_openings_in_a_row_do_not_overflow(time):
    breaker = CircuitBreaker(recovery_timeout=1.0, monotonic=time, random=lambda: 1.0)
    to_half_open(breaker, time)
    for _ in range(2000):
        breaker.can_execute()
        breaker.record_failure()
        time.now += 10.0
    assert breaker.can_execute()


# -- live edits


def test_the_documented_reset_by_assignment_takes_effect_at_once(breaker):
    fail(breaker, 5)
    breaker.metrics.state = CircuitState.CLOSED
    breaker.metrics.failure_count = 0
    assert breaker.can_execute()
    assert (breaker.state, breaker.failure_count) == (CLOSED, 0)


def test_the_documented_reset_in_the_other_order_works_too(breaker):
    fail(breaker, 5)
    breaker.metrics.failure_count = 0
    assert breaker.state is OPEN
    breaker.metrics.state = CircuitState.CLOSED
    assert breaker.can_execute()


def test_a_higher_threshold_lets_more_failures_pass(breaker):
    fail(breaker, 4)
    breaker.metrics.failure_threshold = 10
    fail(breaker, 5)
    assert breaker.state is CLOSED
    fail(breaker, 1)
    assert breaker.state is OPEN


def test_a_threshold_at_or_below_the_count_opens_at_once(breaker):
    fail(breaker, 4)
    breaker.metrics.failure_threshold = 4
    assert breaker.state is OPEN
    assert breaker.take_events()[-1].cause == "failure_threshold was set to 4"


def test_a_failure_count_at_the_threshold_opens_at_once(breaker):
    breaker.metrics.failure_count = 5
    assert breaker.state is OPEN
    assert breaker.take_events()[-1].cause == "failure_count was set to 5"


def test_another_recovery_timeout_moves_the_present_opening(breaker, time):
    fail(breaker, 5)
    time.now += 12.0
    breaker.metrics.recovery_timeout = 60
    assert breaker.retry_after_s() == 48.0
    breaker.metrics.recovery_timeout = 0.1
    assert breaker.retry_after_s() == 0.0
    assert breaker.can_execute()


def test_a_recovery_timeout_of_zero_makes_the_next_call_a_trial(breaker):
    breaker.metrics.recovery_timeout = 0
    fail(breaker, 5)
    assert breaker.can_execute()
    assert breaker.state is HALF_OPEN


def test_fewer_trials_than_have_passed_close_at_once(breaker, time):
    to_half_open(breaker, time)
    for _ in range(2):
        breaker.can_execute()
        breaker.record_success()
    breaker.metrics.half_open_max_calls = 2
    assert breaker.state is CLOSED
    assert breaker.take_events()[-1].cause == "half_open_max_calls was set to 2"


def test_an_assigned_state_starts_afresh(breaker, time):
    breaker.metrics.state = OPEN
    assert breaker.retry_after_s() == 30.0
    breaker.metrics.state = HALF_OPEN
    assert [breaker.can_execute() for _ in range(4)] == [True, True, True, False]
    breaker.record_failure()
    assert breaker.retry_after_s() == 45.0, "the second in a row: grown by the draw of a half"
    breaker.metrics.state = OPEN
    assert breaker.retry_after_s() == 30.0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("failure_threshold", 0, "failure_threshold is 0; it must be a whole number from 1 to 1,000,000."),
        ("failure_threshold", True, "failure_threshold is True"),
        ("failure_threshold", 2.5, "failure_threshold is 2.5"),
        ("failure_threshold", 1_000_001, "failure_threshold is 1000001"),
        ("recovery_timeout", -1, "recovery_timeout is -1; it must be a number of seconds from 0 to 86,400."),
        ("recovery_timeout", math.nan, "recovery_timeout is nan"),
        ("recovery_timeout", math.inf, "call force_open()"),
        ("recovery_timeout", "30", "recovery_timeout is '30'"),
        ("recovery_timeout", True, "recovery_timeout is True"),
        ("half_open_max_calls", 0, "half_open_max_calls is 0; it must be a whole number from 1 to 1,000."),
        ("failure_count", -1, "Assign 0 to forget past failures."),
        ("state", "closed", "CircuitState.CLOSED"),
        ("state", None, "state is None"),
    ],
)
def test_a_wrong_assignment_names_value_limit_and_mend_and_changes_nothing(breaker, name, value, expected):
    before = breaker.get_state()
    with pytest.raises(ConfigurationError) as caught:
        setattr(breaker.metrics, name, value)
    assert expected in str(caught.value)
    assert caught.value.path == f"circuit_breaker.{name}"
    assert breaker.get_state() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure_threshold": 0},
        {"recovery_timeout": -0.1},
        {"half_open_max_calls": 0},
        {"permit_timeout_s": 0.0},
    ],
)
def test_wrong_values_are_refused_at_construction(time, wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        CircuitBreaker(**wrong, monotonic=time, random=lambda: 0.5)


def test_the_metrics_show_themselves(breaker):
    assert isinstance(breaker.metrics, CircuitMetrics)
    assert repr(breaker.metrics) == (
        "CircuitMetrics(state=CircuitState.CLOSED, failure_count=0, failure_threshold=5, "
        "recovery_timeout=30.0, half_open_max_calls=3)"
    )


# -- an operator's orders


def test_a_forced_opening_holds_until_it_is_closed(breaker, time):
    breaker.force_open("maintenance of Redis")
    time.now += 1e9
    assert not breaker.can_execute()
    assert breaker.retry_after_s() == math.inf
    state = breaker.get_state()
    assert (state["is_held_open"], state["retry_after_s"]) == (True, None)
    breaker.force_close()
    assert breaker.can_execute()
    assert breaker.get_state()["is_held_open"] is False


def test_an_assigned_state_ends_a_hold(breaker):
    breaker.force_open()
    breaker.metrics.state = OPEN
    assert breaker.retry_after_s() == 30.0


def test_forced_changes_are_audited_even_if_the_state_stays(breaker):
    breaker.force_close("just to be sure")
    breaker.force_open("x" * 1000)
    breaker.force_open()
    assert [(e.before, e.after, e.cause) for e in breaker.take_events()] == [
        (CLOSED, CLOSED, "forced closed: just to be sure"),
        (CLOSED, OPEN, "forced open: " + "x" * 200),
        (OPEN, OPEN, "forced open"),
    ]


# -- what there is to see


def test_each_change_is_told_once_with_cause_and_time(breaker, time):
    to_half_open(breaker, time)
    breaker.can_execute()
    time.now += 1.0
    breaker.record_failure()
    time.now += breaker.retry_after_s()
    for _ in range(3):
        breaker.can_execute()
        breaker.record_success()
    breaker.metrics.state = OPEN
    breaker.metrics.state = OPEN
    assert breaker.take_events() == [
        BreakerChanged(CLOSED, OPEN, "5 failures in a row", START),
        BreakerChanged(OPEN, HALF_OPEN, "the recovery timeout has passed", START + 30.0),
        BreakerChanged(HALF_OPEN, OPEN, "a trial call failed", START + 31.0),
        BreakerChanged(OPEN, HALF_OPEN, "the recovery timeout has passed", START + 76.0),
        BreakerChanged(HALF_OPEN, CLOSED, "3 trial calls succeeded", START + 76.0),
        BreakerChanged(CLOSED, OPEN, "the state was assigned", START + 76.0),
    ]
    assert breaker.take_events() == []


def test_who_listens_is_called_once_a_change_and_finds_it(breaker):
    told: list[str] = []
    breaker.on_change = lambda: told.extend(event.cause for event in breaker.take_events())
    fail(breaker, 4)
    assert told == []
    fail(breaker, 1)
    breaker.record_failure()
    breaker.force_close()
    assert told == ["5 failures in a row", "forced closed"]


def test_events_nobody_takes_are_bounded_and_their_loss_is_counted(breaker):
    for _ in range(EVENTS_KEPT):
        breaker.force_close()
    assert breaker.get_state()["events_lost_count"] == 0
    breaker.force_open("the last")
    assert breaker.get_state()["events_lost_count"] == 1
    events = breaker.take_events()
    assert len(events) == EVENTS_KEPT
    assert events[-1].cause == "forced open: the last"


def test_the_state_is_a_plain_dict_for_json(breaker, time):
    to_half_open(breaker, time)
    breaker.can_execute()
    state = breaker.get_state()
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    assert state == {
        "state": "half_open",
        "failure_count": 5,
        "failure_threshold": 5,
        "recovery_timeout": 30.0,
        "half_open_max_calls": 3,
        "retry_after_s": 0.0,
        "is_held_open": False,
        "trials_in_flight": 1,
        "trials_passed": 0,
        "opened_count": 1,
        "openings_in_row": 1,
        "late_result_count": 0,
        "permits_lost_count": 0,
        "events_lost_count": 0,
    }


# -- the code runs the table


def put(breaker: CircuitBreaker, time: Time, state: CircuitState) -> None:
    breaker.metrics.state = state
    if state is HALF_OPEN:
        assert breaker.can_execute()
    breaker.take_events()


DRIVERS = {
    BreakerEvent.SUCCESS: CircuitBreaker.record_success,
    BreakerEvent.FAILURE: CircuitBreaker.record_failure,
    BreakerEvent.RELEASED: CircuitBreaker.release,
    BreakerEvent.FORCED_OPEN: CircuitBreaker.force_open,
    BreakerEvent.FORCED_CLOSED: CircuitBreaker.force_close,
    BreakerEvent.ASSIGNED_CLOSED: lambda b: setattr(b.metrics, "state", CLOSED),
    BreakerEvent.ASSIGNED_OPEN: lambda b: setattr(b.metrics, "state", OPEN),
    BreakerEvent.ASSIGNED_HALF_OPEN: lambda b: setattr(b.metrics, "state", HALF_OPEN),
    BreakerEvent.RECOVERY_DUE: lambda b: setattr(b.metrics, "recovery_timeout", 0) or b.can_execute(),
    BreakerEvent.THRESHOLD_REACHED: lambda b: setattr(b.metrics, "failure_count", 5),
    BreakerEvent.TRIALS_PASSED: lambda b: setattr(b.metrics, "half_open_max_calls", 1) or b.record_success(),
}


@pytest.mark.parametrize(
    ("state", "event"),
    [key for key, cell in TABLE.items() if cell.effect is not Effect.IMPOSSIBLE],
    ids=lambda value: value.name,
)
def test_each_cell_of_the_table_is_what_the_breaker_does(breaker, time, state, event):
    put(breaker, time, state)
    DRIVERS[event](breaker)
    assert breaker.state is TABLE[state, event].after


def test_every_event_has_a_driver():
    assert set(DRIVERS) == set(BreakerEvent)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            {"failure_threshold": 0},
            "failure_threshold is 0; it must be a whole number from 1 to 1,000,000. To let every call through "
            "whatever fails, give a large number.",
        ),
        (
            {"recovery_timeout": -0.5},
            "recovery_timeout is -0.5; it must be a number of seconds from 0 to 86,400. To hold the breaker open "
            "for longer, call force_open().",
        ),
        (
            {"half_open_max_calls": True},
            "half_open_max_calls is True; it must be a whole number from 1 to 1,000. Give the number of trial calls "
            "that must succeed before the breaker closes.",
        ),
        (
            {"permit_timeout_s": 0.0},
            "permit_timeout_s is 0.0; it must be a number of seconds from 0.001 to 86,400. Give a little more than "
            "the transport's own timeout.",
        ),
    ],
)
def test_what_is_told_of_a_value_that_is_out_of_range(time, made, message):
    """Word for word: the value, the limit and the mend."""
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreaker(**made, monotonic=time, random=lambda: 0.5)
    assert str(caught.value) == message
    assert caught.value.path == f"circuit_breaker.{next(iter(made))}"


@pytest.mark.parametrize(
    "made",
    [
        {"failure_threshold": MAX_FAILURE_THRESHOLD},
        {"recovery_timeout": MAX_RECOVERY_TIMEOUT_S},
        {"half_open_max_calls": MAX_HALF_OPEN_CALLS},
        {"permit_timeout_s": MAX_RECOVERY_TIMEOUT_S},
        {"permit_timeout_s": 0.001},
    ],
)
def test_values_at_their_bounds_are_taken(time, made):
    CircuitBreaker(**made, monotonic=time, random=lambda: 0.5)


def test_a_new_breaker_has_nothing_to_tell(breaker):
    state = breaker.get_state()
    counts = {
        name: value for name, value in state.items() if name.endswith("count") or name.startswith("trials")
    }
    assert set(counts.values()) == {0}
    assert state["is_held_open"] is False
    assert state["openings_in_row"] == 0
    assert breaker.retry_after_s() == 0.0


def test_without_a_word_a_lost_permit_is_missed_for_thirty_seconds(time, breaker):
    to_half_open(breaker, time)
    for _ in range(3):
        assert breaker.can_execute()
    time.now += 29.999
    assert not breaker.can_execute()
    assert breaker.retry_after_s() == pytest.approx(0.001)
    time.now += 0.001
    assert breaker.can_execute()
    assert breaker.get_state()["permits_lost_count"] == 3


def test_each_permit_lost_and_each_opening_is_counted(time):
    breaker = CircuitBreaker(permit_timeout_s=1.0, monotonic=time, random=lambda: 0.0)
    for round_ in range(1, 4):
        fail(breaker, 5) if round_ == 1 else breaker.force_open()
        assert breaker.get_state()["opened_count"] == round_
        breaker.force_close()
    to_half_open(breaker, time)
    for _ in range(4):
        assert breaker.can_execute()
        time.now += 1.0
    assert breaker.can_execute()
    assert breaker.get_state()["permits_lost_count"] == 4


def test_trials_under_way_and_passed_take_up_the_room_together(time, breaker):
    to_half_open(breaker, time)
    assert breaker.can_execute()
    breaker.record_success()
    assert breaker.retry_after_s() == 0.0
    assert breaker.can_execute()
    assert breaker.retry_after_s() == 0.0
    assert breaker.can_execute()
    assert breaker.retry_after_s() == 30.0
    assert not breaker.can_execute()


def test_trials_of_an_earlier_recovery_do_not_count_for_the_next(time):
    breaker = CircuitBreaker(monotonic=time, random=lambda: 0.0)
    to_half_open(breaker, time)
    for _ in range(2):
        assert breaker.can_execute()
        breaker.record_success()
    assert breaker.can_execute()
    breaker.record_failure()
    time.now += breaker.retry_after_s()
    for _ in range(3):
        assert breaker.state is not CLOSED
        assert breaker.can_execute()
        breaker.record_success()
    assert breaker.state is CLOSED


def test_events_that_nobody_took_are_lost_one_by_one_and_counted(breaker):
    for _ in range(EVENTS_KEPT + 5):
        breaker.force_open()
    assert breaker.get_state()["events_lost_count"] == 5
    assert len(breaker.take_events()) == EVENTS_KEPT


def test_open_times_double_up_to_ten_fold(time):
    """The n-th opening in a row lasts up to 2 ** (n - 1) times the timeout, and never more than ten times."""
    breaker = CircuitBreaker(monotonic=time, random=lambda: math.nextafter(1.0, 0.0))
    to_half_open(breaker, time)
    lasted = []
    for _ in range(12):
        assert breaker.can_execute()
        breaker.record_failure()
        lasted.append(breaker.retry_after_s() / 30.0)
        time.now += breaker.retry_after_s()
    assert lasted == pytest.approx([2.0, 4.0, 8.0] + [10.0] * 9)


def test_an_opening_by_order_is_a_first_one(time):
    """Neither a hold nor an assignment makes the next opening by failures last longer."""
    breaker = CircuitBreaker(monotonic=time, random=lambda: math.nextafter(1.0, 0.0))
    breaker.force_open()
    breaker.force_close()
    fail(breaker, 5)
    assert breaker.retry_after_s() == 30.0
    breaker.force_open()
    breaker.metrics.state = HALF_OPEN
    assert breaker.can_execute()
    breaker.record_failure()
    assert breaker.retry_after_s() == pytest.approx(60.0)
    breaker.force_close()
    fail(breaker, 5)
    assert breaker.retry_after_s() == 30.0
