"""Batching by examples; its laws are in tests/property/test_batching_laws.py."""

from __future__ import annotations

import math

import pytest

from django_update_pipeline.core.batching import NEVER, AdaptiveBatching, BatchProcessor
from django_update_pipeline.core.config import BatchingConfig
from django_update_pipeline.core.messages import UpdateKind, UpdateMessage, UpdatePriority
from django_update_pipeline.exceptions import ConfigurationError

CRITICAL, HIGH, NORMAL, LOW = UpdatePriority


def update(agent="x", priority=NORMAL, at=0.0, kind=UpdateKind.EVENT):
    return UpdateMessage(
        agent, "said", payload=b"{}", priority=priority, accepted_at=at, kind=kind, channels=("a",)
    )


def flush(processor, now):
    batch = processor.take_due(now)
    processor.queue.delivered(batch)
    processor.released(now)
    return batch


# when


def test_an_idle_pipeline_answers_at_once():
    processor = BatchProcessor()
    assert processor.wait_until() == NEVER
    processor.accept(update(at=100.0))
    assert processor.wait_until() == 100.0
    assert len(flush(processor, 100.0)) == 1
    assert processor.wait_until() == NEVER


def test_a_busy_class_pauses_1_2_4_ms_up_to_its_window():
    processor = BatchProcessor()
    now, pauses = 100.0, []
    for _ in range(8):
        processor.accept(update(at=now))
        due = processor.wait_until()
        pauses.append(round((due - now) * 1000, 6))
        flush(processor, due)
        now = due
    assert pauses == [0, 1, 2, 4, 8, 16, 20, 20]


def test_a_quiet_window_starts_it_afresh():
    policy = AdaptiveBatching()
    policy.flushed([NORMAL], 1.0)
    policy.flushed([NORMAL], 1.002)
    assert policy.due_at(NORMAL, 1.003) == pytest.approx(1.004)
    assert policy.due_at(NORMAL, 1.022) == 1.022
    policy.flushed([NORMAL], 1.022)
    assert policy.due_at(NORMAL, 1.022) == pytest.approx(1.023)


def test_classes_pause_by_themselves_and_critical_never():
    policy = AdaptiveBatching()
    policy.flushed([CRITICAL, LOW], 1.0)
    assert policy.due_at(CRITICAL, 1.0) == policy.due_at(HIGH, 1.0) == 1.0
    assert policy.due_at(LOW, 1.0) == 1.001


def test_an_urgent_update_takes_along_what_pauses():
    processor = BatchProcessor()
    processor.accept(update(at=1.0))
    flush(processor, 1.0)
    processor.accept(update("y", at=1.0))
    assert processor.take_due(1.0) == []
    processor.accept(update("z", CRITICAL, at=1.0))
    assert [u.agent_id for u in flush(processor, 1.0)] == ["z", "y"]


def test_a_clock_that_runs_ahead_at_the_door_does_not_break_the_pause():
    policy = AdaptiveBatching()
    policy.flushed([NORMAL], 5.0)
    assert policy.due_at(NORMAL, 4.0) == pytest.approx(5.001)


def test_a_shorter_window_counts_at_once():
    policy = AdaptiveBatching()
    for _ in range(8):
        policy.flushed([NORMAL], 1.0)
    policy.batch_timeout_ms = 2.0
    assert policy.due_at(NORMAL, 1.0) == pytest.approx(1.002)


def test_what_waits_is_looked_at_when_the_window_changes():
    processor = BatchProcessor(AdaptiveBatching(BatchingConfig(batch_timeout_ms=60_000)))
    now = 1.0
    for _ in range(11):
        processor.accept(update(at=now))
        now = processor.wait_until()
        flush(processor, now)
    processor.accept(update(at=now))
    assert processor.wait_until() > now + 1.0
    processor.batch_timeout_ms = 5
    assert processor.batch_timeout_ms == 5.0
    assert processor.wait_until() < now
    assert len(flush(processor, now)) == 1
    assert processor.wait_until() == NEVER


def test_more_than_a_batch_is_due_at_once():
    processor = BatchProcessor(AdaptiveBatching(BatchingConfig(max_batch_size=2)))
    for number in range(5):
        processor.accept(update(f"agent {number}", at=1.0))
    assert [len(flush(processor, 1.0)) for _ in range(4)] == [2, 2, 1, 0]


def test_what_waited_for_a_batch_that_was_out_is_due_when_it_is_settled():
    processor = BatchProcessor()
    processor.accept(update(at=1.0))
    batch = processor.take_due(1.0)
    processor.accept(update(at=1.5))
    assert processor.wait_until() == NEVER
    processor.queue.delivered(batch)
    processor.released(2.0)
    assert processor.wait_until() == 2.0
    processor.released(3.0)
    assert processor.wait_until() == 2.0


def test_the_end_of_a_back_off_is_waited_for():
    processor = BatchProcessor()
    processor.accept(update(at=1.0))
    batch = processor.take_due(1.0)
    processor.queue.give_back(batch)
    processor.queue.back_off("x", 7.0)
    processor.queue.release(batch)
    processor.released(1.0)
    assert processor.wait_until() == 7.0
    assert processor.take_due(6.9) == []
    assert len(processor.take_due(7.0)) == 1


# how large


def test_a_batch_is_as_large_as_allowed_until_something_is_measured():
    policy = AdaptiveBatching()
    assert policy.limit() == 50
    policy.measured(0, 1.0)
    policy.measured(5, -1.0)
    policy.measured(5, math.nan)
    policy.measured(5, math.inf)
    assert policy.limit() == 50


def settled(fixed_ms, marginal_ms, start=(), turns=60):
    policy = AdaptiveBatching(BatchingConfig(target_flush_ms=10.0))
    for size in start:
        policy.measured(size, (fixed_ms + marginal_ms * size) / 1000)
    sizes = []
    for _ in range(turns):
        sizes.append(min(policy.limit(), policy.max_batch_size))
        policy.measured(sizes[-1], (fixed_ms + marginal_ms * sizes[-1]) / 1000)
    return sizes


def test_many_connections_make_batches_small():
    """20 ms for each update: an urgent one must not wait for fifty of them."""
    sizes = settled(0.1, 20.0)
    assert sizes[0] == 50
    assert max(sizes[10:]) <= 2


def test_single_updates_of_an_idle_time_do_not_make_a_burst_slow():
    """What went wrong: 9 ms to wake everybody, however large the batch, and the size stayed at 1."""
    sizes = settled(9.0, 0.02, start=[1] * 100)
    assert sizes[0] <= 3, "it is tried step by step"
    assert sizes[12:] == [50] * len(sizes[12:])


def test_a_fixed_part_above_the_target_is_shared_by_many():
    """Batches of one would take 30 ms each as well: 33 a second instead of 1,600."""
    sizes = settled(30.0, 0.02, start=[1] * 100)
    assert sorted(sizes[12:])[len(sizes) // 2] == 50


def test_a_size_that_takes_the_target_is_kept():
    sizes = settled(2.0, 0.8, start=[1] * 10)
    assert sorted(sizes[20:])[20] in (9, 10)


def test_a_cost_that_grows_is_followed():
    """What went wrong: the old cheap flushes made the dear ones look as if size did not matter."""
    policy = AdaptiveBatching(BatchingConfig(target_flush_ms=10.0))
    for cost_ms, best in ((0.1, 50), (5.0, 2), (0.1, 50), (20.0, 1), (1.0, 10)):
        for _ in range(15):
            size = min(policy.limit(), policy.max_batch_size)
            policy.measured(size, size * cost_ms / 1000)
        assert best / 1.6 - 1 <= min(policy.limit(), policy.max_batch_size) <= 1.6 * best + 1


def test_one_long_flush_is_forgotten_soon():
    """A collection of garbage, or a machine that was suspended, is no reason to send one by one."""
    policy = AdaptiveBatching(BatchingConfig(target_flush_ms=10.0))
    for duration_s in (0.005, 0.005, 7.0, 0.005, 0.005):
        policy.measured(50, duration_s)
    assert policy.limit() >= 50


def test_a_flush_that_leaves_something_behind_stretches_the_next_ones() -> None:
    """At saturation larger turns serve everybody sooner; once nothing is left behind, the target is the target."""
    policy = AdaptiveBatching(BatchingConfig(target_flush_ms=10.0))
    for size in (1, 2, 3, 4) * 20:
        policy.measured(size, size * 0.005)
    calm = policy.limit()
    for size in (1, 2, 3, 4) * 20:
        policy.measured(size, size * 0.005, True)
    behind = policy.limit()
    for size in (1, 2, 3, 4) * 20:
        policy.measured(size, size * 0.005, False)
    assert calm == 2
    assert behind > 2 * calm
    assert policy.limit() == calm


def test_a_limit_may_be_several_batches():
    """10 ms are enough for a hundred, which is more than a batch may have: they go out together."""
    policy = AdaptiveBatching(BatchingConfig(max_batch_size=7, target_flush_ms=10.0))
    for size in (50, 60) * 60:
        policy.measured(size, size / 10_000)
    assert policy.limit() == 100
    processor = BatchProcessor(policy)
    for number in range(40):
        processor.accept(update(f"agent {number}", NORMAL, 0.0))
    sizes = [len(processor.take_due(0.0))]
    while batch := processor.take_more(0.0, 0):
        sizes.append(len(batch))
    assert sizes == [7, 7, 7, 7, 7, 5]


class Noting(AdaptiveBatching):
    """Flushes of so many batches of one; what it is told of them."""

    def __init__(self, most=5):
        super().__init__(BatchingConfig(max_batch_size=1))
        self.most = most
        self.told = []

    def limit(self):
        return self.most

    def flushed(self, classes, now):
        self.told.append((set(classes), now))


def test_of_one_flush_the_policy_is_told_once_a_class():
    """What comes while its batches are handed out may empty the queue again and again."""
    policy = Noting()
    processor = BatchProcessor(policy)
    processor.accept(update("first", NORMAL, 0.0))
    assert len(processor.take_due(1.0)) == 1
    for name, priority in (("second", HIGH), ("third", NORMAL), ("fourth", HIGH)):
        processor.accept(update(name, priority, 1.0))
        assert len(processor.take_more(1.0, 0)) == 1
    assert policy.told == [({NORMAL}, 1.0), ({HIGH}, 1.0)]


@pytest.mark.parametrize(("limit", "batches"), [(0, 1), (1, 1), (2, 2), (5, 5)])
def test_what_a_flush_leaves_behind_is_due_as_it_began(limit, batches):
    processor = BatchProcessor(Noting(limit))
    for number in range(7):
        processor.accept(update(f"agent {number}", NORMAL, 0.0))
    taken = [processor.take_due(1.0)]
    while batch := processor.take_more(1.0, 0):
        taken.append(batch)
    assert [len(batch) for batch in taken] == [1] * batches
    assert processor.is_behind
    assert processor.next_due == 1.0


# the founding names


def test_max_batch_size_is_checked_and_counts_for_the_next_batch():
    processor = BatchProcessor()
    for number in range(9):
        processor.accept(update(f"agent {number}"))
    processor.max_batch_size = 3
    assert processor.max_batch_size == 3
    assert len(flush(processor, 1.0)) == 3
    for wrong in (0, -1, 2.5, True, "3", None):
        with pytest.raises(ConfigurationError, match="max_batch_size"):
            processor.max_batch_size = wrong
    assert processor.max_batch_size == 3


@pytest.mark.parametrize("wrong", [-1, 60_001, True, "5", None, math.nan, math.inf])
def test_batch_timeout_ms_is_checked(wrong):
    processor = BatchProcessor()
    with pytest.raises(ConfigurationError, match="batch_timeout_ms"):
        processor.batch_timeout_ms = wrong
    assert processor.batch_timeout_ms == 20.0


def test_a_new_window_moves_the_deadlines_of_what_comes():
    processor = BatchProcessor()
    processor.batch_timeout_ms = 100
    assert processor.queue.windows_s == pytest.approx((0.0, 0.05, 0.1, 0.4))


def test_pending_updates_are_queues_by_priority():
    processor = BatchProcessor()
    for number, priority in enumerate((LOW, LOW, HIGH)):
        processor.accept(update(f"agent {number}", priority, at=-float(number)))
    pending = processor.pending_updates
    assert list(pending) == [CRITICAL, HIGH, NORMAL, LOW]
    assert [len(queue) for queue in pending.values()] == [0, 1, 0, 2]
    assert [u.agent_id for u in pending[LOW]] == ["agent 1", "agent 0"]
    assert processor.get_pending_count() == {CRITICAL: 0, HIGH: 1, NORMAL: 0, LOW: 2}
    pending[LOW].clear()
    assert len(pending[LOW]) == 0
    assert processor.queue.account.snapshot()["low"]["cleared"] == 2
    assert [u.agent_id for u in flush(processor, 1.0)] == ["agent 2"]


def test_clear_can_be_led_through_the_door():
    processor = BatchProcessor()
    cleared = []
    processor.clear = cleared.append
    processor.pending_updates[HIGH].clear()
    assert cleared == [HIGH]


def test_a_policy_of_ones_own_needs_only_its_methods():
    class Fixed:
        max_batch_size, batch_timeout_ms = 4, 10.0

        def windows_s(self):
            return 0.0, 0.0, 0.0, 0.0

        def due_at(self, priority, now):
            return now + 1.0

        def limit(self):
            return 3

        def flushed(self, classes, now):
            self.seen = set(classes), now

        def measured(self, size, duration_s, is_behind=False): ...

    policy = Fixed()
    processor = BatchProcessor(policy)
    for number in range(4):
        processor.accept(update(f"agent {number}", LOW if number else HIGH))
    assert processor.take_due(0.5) == []
    assert [len(flush(processor, 1.0)) for _ in range(2)] == [3, 1]
    assert policy.seen == ({HIGH, LOW}, 1.0)


# what was measured, and what is made of it

#: Sizes, milliseconds and whether more was left behind; and the limits after each, as they have been since the fit was
#: settled: a change of the fit shows here, and is then looked at with the laws.
COURSES = {
    "small batches that get larger": (
        [
            (1, 1.0, False),
            (2, 1.5, False),
            (4, 2.5, False),
            (7, 4.0, False),
            (12, 6.4, False),
            (19, 10.1, False),
            (30, 15.2, False),
            (46, 23.0, False),
            (48, 24.5, False),
        ],
        [25, 26, 29, 33, 37, 40, 46, 49, 49],
    ),
    "one size only": ([(2, 60.0, False), (2, 60.0, False), (1, 40.0, False), (1, 40.0, False)], [1, 1, 1, 1]),
    "the machine gets slower, then faster": (
        [
            (10, 10.0, False),
            (15, 12.5, False),
            (20, 15.0, False),
            (25, 90.0, False),
            (12, 46.0, False),
            (6, 24.0, False),
            (6, 4.0, False),
            (10, 5.0, False),
        ],
        [25, 25, 31, 12, 6, 6, 37, 39],
    ),
    "nothing fixed, then all of it": (
        [(5, 5.0, False), (10, 10.0, False), (20, 20.0, False), (40, 20.0, False), (60, 20.0, False)],
        [25, 25, 25, 44, 64],
    ),
    "left behind, then caught up": (
        [
            (20, 20.0, True),
            (20, 20.0, True),
            (24, 23.0, True),
            (30, 31.0, True),
            (30, 30.0, False),
            (30, 30.0, False),
            (28, 28.0, False),
        ],
        [31, 39, 49, 61, 48, 39, 31],
    ),
    "a size that shrinks the largest": (
        [
            (100, 10.0, False),
            (3, 1.0, False),
            (3, 1.0, False),
            (3, 1.0, False),
            (3, 1.0, False),
            (3, 1.0, False),
            (3, 1.0, False),
        ],
        [250, 248, 245, 243, 241, 238, 235],
    ),
}


@pytest.mark.parametrize("name", COURSES)
def test_the_limit_follows_what_was_measured(name):
    course, limits = COURSES[name]
    policy = AdaptiveBatching(BatchingConfig(max_batch_size=1000))
    seen = []
    for size, duration_ms, is_behind in course:
        policy.measured(size, duration_ms / 1000, is_behind)
        seen.append(policy.limit())
    assert seen == limits


def test_a_measure_of_no_time_at_all_is_one():
    """A clock of milliseconds measures 0; the next batch may be as large as allowed."""
    policy = AdaptiveBatching(BatchingConfig(max_batch_size=30))
    policy.measured(5, 0.0)
    assert policy.limit() == 30
    policy.measured(5, 0.020)
    assert policy.limit() < 30
    policy.measured(5, 0.0)
    assert policy.limit() == 30


# what the fit takes for a cost, and what for chance


def after(*course, times=60):
    """A policy that has measured these sizes and milliseconds, over and over."""
    policy = AdaptiveBatching(BatchingConfig(max_batch_size=1000, target_flush_ms=10.0))
    for size, duration_ms in course * times:
        policy.measured(size, duration_ms / 1000)
    return policy


def test_sizes_that_hardly_differ_say_nothing_about_the_cost_of_one_more() -> None:
    """Where 101 updates took longer than 100 by chance: a fit would take it for a millisecond each, and stay there."""
    assert after((100, 9.0), (101, 10.0)).limit() == 152, "a step, to learn of another size"
    by_chance_less = after((100, 10.0), (101, 9.0))
    assert by_chance_less.limit() == 152
    by_chance_less.measured(10, 0.00095)  # a tenth of the work in a tenth of the time
    assert by_chance_less.limit() == pytest.approx(105, abs=3), "what was measured before still counts"


def test_sizes_that_differ_by_a_tenth_tell_the_cost() -> None:
    """1 ms and 0.08 ms for each: of the 10 ms that a flush may take, nine are enough for 112."""
    policy = after((90, 8.2), (110, 9.8))
    assert policy.limit() == 112
    policy.measured(50, 0.015)  # 5 ms were to be expected
    assert policy.limit() == 33, "it takes three times as long now: what was measured before is forgotten"


def test_a_fit_that_is_too_steep_does_not_make_a_small_batch_a_surprise() -> None:
    """Where times differ by more than sizes do, a line through them has a batch of twenty take less than no time."""
    policy = after((90, 6.0), (110, 11.0))
    before = policy.limit()
    policy.measured(20, 0.002)  # a fifth of the work in a fifth of the time
    assert policy.limit() == before


def test_the_largest_size_of_late_fades() -> None:
    """A size is raised by half of the largest seen of late, a tenth less with each flush that is smaller."""
    policy = after((40, 9.0), times=1)
    limits = []
    for _ in range(6):
        policy.measured(3, 0.009)
        limits.append(policy.limit())
    assert limits == [int(1.5 * 40 * 0.9**n + 1) for n in range(1, 7)]
    dearer = after((40, 1.0), times=1)
    dearer.measured(3, 0.008)
    assert dearer.limit() == int(1.5 * 40 * 0.9 + 1), "also where the times before are forgotten"


def test_the_end_of_a_window_and_of_a_rest_are_quiet() -> None:
    """Halves of halves of a second: sums are exact, and the very end counts."""
    policy = AdaptiveBatching(BatchingConfig(batch_timeout_ms=15.625))
    for _ in range(3):
        policy.flushed([NORMAL], 64.0)
    assert policy.due_at(NORMAL, 64.0) == 64.004
    assert policy.due_at(NORMAL, 64.015625) == 64.015625
    for _ in range(3):
        policy.flushed([NORMAL], 128.0)
    assert policy.due_at(NORMAL, 128.0) == 128.004, "it started afresh at 1 ms"
    policy.measured(5, 0.03125)
    assert policy.due_at(NORMAL, 128.046875) == 128.046875
    policy.flushed([NORMAL], 256.0)
    assert policy.due_at(NORMAL, 256.0) == 256.001, "so it does at the end of a rest"


def test_a_longer_window_is_grown_into() -> None:
    """Of one flush after the other a class paused 20 ms; with the new window 40, not at once a second."""
    policy = AdaptiveBatching(BatchingConfig(batch_timeout_ms=20))
    for _ in range(30):
        policy.flushed([NORMAL], 1.0)
    policy.batch_timeout_ms = 1000.0
    assert policy.due_at(NORMAL, 1.0) == pytest.approx(1.020)
    policy.flushed([NORMAL], 1.0)
    assert policy.due_at(NORMAL, 1.0) == pytest.approx(1.040)


def test_the_ends_of_a_window_and_of_a_pause_are_due():
    policy = AdaptiveBatching(BatchingConfig(batch_timeout_ms=16))
    policy.flushed([HIGH, NORMAL, LOW], 1.0)
    for priority in (HIGH, NORMAL, LOW):
        assert policy.due_at(priority, 1.0) == 1.001
        assert policy.due_at(priority, 1.001) == 1.001
    for _ in range(9):
        policy.flushed([HIGH, NORMAL, LOW], 2.0)
    assert [policy.due_at(priority, 2.0) - 2.0 for priority in (HIGH, NORMAL, LOW)] == pytest.approx(
        [0.008, 0.016, 0.064]
    )
    policy.flushed([NORMAL], 2.0)
    assert policy.due_at(NORMAL, 2.0 + 0.016) == 2.0 + 0.016, (
        "at the window's end it is due, and the pause over"
    )
    policy.flushed([NORMAL], 3.0)
    assert policy.due_at(NORMAL, 3.0) == pytest.approx(3.001)


def test_accepting_says_whether_it_may_be_due_earlier():
    processor = BatchProcessor()
    assert processor.is_behind is False
    assert processor.accept(update("a", at=1.0)) is True
    state = update("s", at=1.0, kind=UpdateKind.REPLACE)
    assert processor.accept(state) is True
    assert processor.accept(update("s", at=1.0, kind=UpdateKind.REPLACE)) is False, (
        "it went into the waiting one"
    )


def test_one_update_is_a_batch_and_the_rest_is_left_behind():
    processor = BatchProcessor(AdaptiveBatching(BatchingConfig(max_batch_size=1)))
    for number in range(2):
        processor.accept(update(f"agent {number}", at=1.0))
    assert len(processor.take_due(1.0)) == 1
    assert processor.is_behind is True
    assert processor.wait_until() == 1.0
    assert len(processor.take_due(1.0)) == 1
    assert processor.is_behind is False


def test_what_comes_after_a_long_flush_rests_half_as_long() -> None:
    """Else a flush to a thousand connections, longer than a window, would follow the other with one update each."""
    policy = AdaptiveBatching(BatchingConfig(batch_timeout_ms=20))
    policy.flushed([NORMAL, HIGH], 100.0)
    assert policy.due_at(NORMAL, 100.030) == 100.030, "the flush is not over: nothing is known of it"
    policy.measured(5, 0.024)
    assert policy.due_at(NORMAL, 100.024) == pytest.approx(100.036)
    assert policy.due_at(HIGH, 100.024) == pytest.approx(100.034), "never more than the class's window"
    assert policy.due_at(CRITICAL, 100.024) == 100.024
    assert policy.due_at(NORMAL, 100.036001) == 100.036001
    policy.flushed([NORMAL], 200.0)
    policy.measured(5, 9.0)
    assert policy.due_at(NORMAL, 209.001) == pytest.approx(209.020), (
        "a machine that slept is waited for no longer"
    )
