"""Laws W1 to W5 of batching: when a flush is due, and how large its batches are."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from django_update_pipeline.core.batching import (
    FIRST_PAUSE_S,
    FLUSH_BYTES,
    FLUSH_UPDATES,
    NEVER,
    WINDOW_FACTORS,
    AdaptiveBatching,
    BatchProcessor,
)
from django_update_pipeline.core.config import BatchingConfig
from django_update_pipeline.core.messages import PRIORITIES, UpdateKind, UpdateMessage, UpdatePriority

CRITICAL = UpdatePriority.CRITICAL
pausing = st.sampled_from(PRIORITIES[1:])
windows_ms = st.sampled_from([0.0, 1.0, 20.0, 1000.0])
# Multiples of 1/8192 s: sums are exact. Most lie within a window, so that pauses grow.
gaps = st.sampled_from([0, 0, 1, 5, 9, 20, 50, 170, 700, 3000]).map(lambda n: n / 8192)


def event(number: int, priority: UpdatePriority, at: float, payload: bytes = b"{}") -> UpdateMessage:
    return UpdateMessage(
        f"agent {number}", "said", payload=payload, priority=priority, kind=UpdateKind.EVENT, accepted_at=at
    )


@given(
    window_ms=windows_ms,
    classes=st.lists(st.sampled_from(PRIORITIES), min_size=1, max_size=4),
    arrivals=st.lists(st.tuples(st.integers(0, 3), gaps), min_size=10, max_size=40),
)
def test_laws_w1_w2_and_w3_when_a_flush_is_due(
    window_ms: float, classes: list[UpdatePriority], arrivals: list[tuple[int, float]]
) -> None:
    """Laws W1, W2, W3: at once after a quiet window; else 1, 2, 4 ... ms after the last flush, up to the window.

    Each arrival is flushed when it is due, or with what comes in between. The model keeps, by class, the last
    flush and how many there were without a quiet window before them.
    """
    policy = AdaptiveBatching(BatchingConfig(batch_timeout_ms=window_ms))
    processor = BatchProcessor(policy)
    last: dict[UpdatePriority, float] = {}
    streak: dict[UpdatePriority, int] = {}
    due = NEVER
    waiting: set[UpdatePriority] = set()
    now = 1.0

    def flush() -> None:
        nonlocal due
        batch = processor.take_due(due)
        processor.queue.delivered(batch)
        assert {update.priority for update in batch} == waiting
        for priority in waiting:
            last[priority] = due
            streak[priority] = streak.get(priority, 0) + 1
        waiting.clear()
        due = NEVER

    for number, (choice, gap) in enumerate(arrivals):
        priority = classes[choice % len(classes)]
        now += gap
        while due <= now:
            assert processor.take_due(due - 1 / 8192) == [], "nothing is flushed before it is due"
            flush()
        processor.accept(event(number, priority, now))
        waiting.add(priority)
        window = window_ms / 1000 * WINDOW_FACTORS[priority]
        if now - last.get(priority, -NEVER) >= window:
            streak[priority] = 0
            mine = now
        else:
            pause = min(FIRST_PAUSE_S * 2.0 ** (streak[priority] - 1), window)
            mine = max(now, last[priority] + pause)
            assert mine <= now + window, "the window is a ceiling"
        if priority is CRITICAL:
            assert mine == now
        due = min(due, mine)
        assert abs(processor.next_due - due) < 1e-9
        due = processor.next_due
        assert processor.wait_until() == due


@given(size=st.integers(1, 7), counts=st.lists(st.integers(0, 12), min_size=4, max_size=4))
def test_law_w2_a_flush_of_several_batches_pauses_each_class_that_was_in_one(
    size: int, counts: list[int]
) -> None:
    """Law W2: a class that fitted into the first of three batches pauses as well."""
    processor = BatchProcessor(AdaptiveBatching(BatchingConfig(max_batch_size=size)))
    number = 0
    for priority, count in zip(PRIORITIES, counts, strict=True):
        for _ in range(count):
            number += 1
            processor.accept(event(number, priority, 1.0))
    while batch := processor.take_due(1.0):
        processor.queue.delivered(batch)
    for priority, count in zip(PRIORITIES, counts, strict=True):
        due = processor.policy.due_at(priority, 1.0)
        assert due == (1.0 + FIRST_PAUSE_S if count and priority is not CRITICAL else 1.0)


@given(
    maximum=st.integers(1, 60),
    waiting=st.integers(0, 200),
    answers=st.lists(st.integers(-5, 10**9), min_size=1, max_size=5),
)
def test_law_w4_a_batch_has_1_to_max_batch_size_updates(
    maximum: int, waiting: int, answers: list[int]
) -> None:
    """Law W4: also where a policy's answer is rubbish, and what waits is taken whole in the end."""

    class Rubbish(AdaptiveBatching):
        def limit(self) -> int:
            answers.append(answers.pop(0))
            return answers[-1]

    processor = BatchProcessor(Rubbish(BatchingConfig(max_batch_size=maximum)))
    for number in range(waiting):
        processor.accept(event(number, UpdatePriority.NORMAL, 1.0))
    taken = 0
    while taken < waiting:
        batch = processor.take_due(1.0)
        assert 1 <= len(batch) <= maximum
        processor.queue.delivered(batch)
        taken += len(batch)
    assert processor.take_due(1.0) == []
    assert processor.next_due == NEVER


@given(
    sizes=st.lists(st.integers(-1, 60), max_size=50),
    durations=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=50, max_size=50),
    maximum=st.integers(1, 60),
)
def test_law_w4_a_limit_is_one_or_more_whatever_was_measured(
    sizes: list[int], durations: list[float], maximum: int
) -> None:
    """Law W4: clocks that jump or stand still do no harm."""
    policy = AdaptiveBatching(BatchingConfig(max_batch_size=maximum))
    for size, duration_s in zip(sizes, durations, strict=False):
        policy.measured(size, duration_s)
        assert policy.limit() >= 1


@given(
    maximum=st.integers(1, 20) | st.integers(100, 200),
    limit=st.integers(-2, 90) | st.integers(100, 1000),
    waiting=st.integers(0, 100) | st.integers(100, 300),
    size=st.integers(2, 2000),
    late=st.integers(0, 30),
)
@example(maximum=5, limit=10, waiting=30, size=2, late=0)
@example(maximum=5, limit=90, waiting=60, size=2000, late=0)
@example(maximum=5, limit=1000, waiting=300, size=2, late=0)
@example(maximum=200, limit=1000, waiting=300, size=2, late=0)
def test_law_w6_full_batches_follow_each_other_within_a_flush(
    maximum: int, limit: int, waiting: int, size: int, late: int
) -> None:
    """Law W6: what it takes is never more than the limit, or than its bytes and one batch; the pause doubles once."""

    class Fixed(AdaptiveBatching):
        def limit(self) -> int:
            return limit

    payload = b"{" + b" " * (size - 2) + b"}"
    processor = BatchProcessor(Fixed(BatchingConfig(max_batch_size=maximum)))
    for number in range(waiting):
        processor.accept(event(number, UpdatePriority.NORMAL, 1.0, payload))
    flush = [processor.take_due(1.0)]
    for number in range(late):  # what comes meanwhile may go with it, and is no reason to go on
        processor.accept(event(waiting + number, UpdatePriority.NORMAL, 1.0, payload))
    while batch := processor.take_more(1.0, size * len(flush[-1])):
        flush.append(batch)
    sizes = [len(batch) for batch in flush]
    taken = sum(sizes)
    assert all(count == maximum for count in sizes[:-1]), "only a full one is followed"
    most = min(max(1, limit), max(FLUSH_UPDATES, maximum))
    assert taken <= most
    assert size * (taken - sizes[-1]) < FLUSH_BYTES
    left = waiting + late - taken
    if sizes[-1] == maximum and taken < most and size * taken < FLUSH_BYTES:
        assert left == 0, "nothing else ends it"
    if waiting and not left:
        assert processor.policy.due_at(UpdatePriority.NORMAL, 1.0) == 1.0 + FIRST_PAUSE_S


costs_ms = st.sampled_from([0.0, 0.01, 0.05, 0.2, 1.0, 3.0, 8.0, 20.0, 50.0])


@given(
    fixed_ms=costs_ms,
    marginal_ms=costs_ms,
    start=st.lists(st.integers(1, 50), max_size=30),
    noise=st.lists(st.floats(0.8, 1.2), min_size=1, max_size=40),
)
@example(fixed_ms=8.0, marginal_ms=0.01, start=[1] * 30, noise=[1.0])
@example(fixed_ms=20.0, marginal_ms=0.01, start=[1] * 30, noise=[1.0])
@example(fixed_ms=0.01, marginal_ms=20.0, start=[50], noise=[1.0])
def test_law_w5_under_load_the_size_settles_where_the_cost_is_right(
    fixed_ms: float, marginal_ms: float, start: list[int], noise: list[float]
) -> None:
    """Law W5: from any past (idle ones of single updates included) a burst finds its size, and keeps it."""
    policy = AdaptiveBatching()
    for size in start:
        policy.measured(size, (fixed_ms + marginal_ms * size) / 1000)
    sizes = []
    for turn in range(120):
        size = min(policy.limit(), policy.max_batch_size)
        sizes.append(size)
        policy.measured(size, (fixed_ms + marginal_ms * size) / 1000 * noise[turn % len(noise)])
    budget_ms = max(BatchingConfig().target_flush_ms, 2 * fixed_ms)
    best = 50 if marginal_ms == 0.0 else min(50, max(1, int((budget_ms - fixed_ms) / marginal_ms)))
    assert min(sizes) >= 1
    late = sorted(sizes[60:])
    median = late[len(late) // 2]
    slack = max(max(noise), 1.0) - min(min(noise), 1.0)  # noise is taken for one part or the other
    assert median >= best * (0.6 - slack) - 1
    assert median <= best * (1.5 + 2 * slack) + 1
    if not slack:
        assert late[-1] <= 1.5 * max(best, 1) + 1, "a larger size is tried a step at a time"
