"""The queue by examples; its laws are in tests/property/test_queue_laws.py."""

from __future__ import annotations

import json
import random

import pytest

from django_update_pipeline.core.account import CLEARED, DEAD_LETTERED, DELIVERED
from django_update_pipeline.core.messages import UpdateKind, UpdateMessage, UpdatePriority
from django_update_pipeline.core.priority_queue import PriorityQueue

CRITICAL, HIGH, NORMAL, LOW = UpdatePriority
REPLACE, MERGE, REMOVE, EVENT = UpdateKind.REPLACE, UpdateKind.MERGE, UpdateKind.REMOVE, UpdateKind.EVENT


def state(value, agent="x", priority=NORMAL, at=0.0, channels=("a",)):
    return UpdateMessage(
        agent,
        payload=json.dumps({"f": value}).encode(),
        priority=priority,
        kind=REPLACE,
        accepted_at=at,
        channels=channels,
    )


def patch(fields, agent="x", priority=NORMAL, at=0.0, channels=("a",)):
    return UpdateMessage(
        agent,
        "state_patch",
        fields={key: None if value is None else json.dumps(value).encode() for key, value in fields.items()},
        priority=priority,
        kind=MERGE,
        accepted_at=at,
        channels=channels,
    )


def removal(agent="x", channels=("a",)):
    return UpdateMessage(agent, "state_removed", payload=b"{}", kind=REMOVE, channels=channels)


def event(name, agent="x", priority=NORMAL, at=0.0):
    return UpdateMessage(agent, name, payload=b"{}", priority=priority, accepted_at=at, channels=("a",))


def queue_of(*updates):
    queue = PriorityQueue()
    for update in updates:
        queue.accept(update)
    return queue


def said(batch):
    return [
        (u.agent_id, u.data.get("f", u.update_type) if u.kind is not EVENT else u.update_type) for u in batch
    ]


def drained(queue, limit=1):
    taken = []
    while batch := queue.take(limit):
        queue.delivered(batch)
        taken += batch
    return taken


# choice


def test_the_most_urgent_goes_first_then_the_earliest_deadline():
    queue = queue_of(
        state(1, "low", LOW), state(2, "normal"), state(3, "high", HIGH), state(4, "late", HIGH, at=1.0),
        state(5, "critical", CRITICAL, at=2.0),
    )  # fmt: skip
    assert [u.agent_id for u in queue.take(9)] == ["critical", "high", "normal", "low", "late"]


def test_a_low_update_gains_on_newer_ones_as_it_waits():
    """LOW's deadline lies four NORMAL windows away, no further: nothing starves."""
    queue = queue_of(state(1, "low", LOW, at=0.0), state(2, "normal", NORMAL, at=0.061))
    assert queue.take(1)[0].agent_id == "low"


def test_events_of_one_instant_keep_their_order_across_agents():
    queue = queue_of(*(event(str(n), f"agent {n % 3}") for n in range(9)))
    assert [u.update_type for u in drained(queue)] == [str(n) for n in (0, 1, 2, 3, 4, 5, 6, 7, 8)]


def test_an_urgent_update_takes_along_what_waits_before_it_for_its_agent():
    """Promise 1: the order of an agent is not broken, so what is before becomes as urgent."""
    queue = queue_of(event("first", priority=LOW), state(1, "other", HIGH), state(2, priority=CRITICAL))
    assert said(queue.take(3)) == [("x", "first"), ("x", 2), ("other", 1)]


def test_a_promotion_counts_for_the_account_of_nobody():
    queue = queue_of(event("first", priority=LOW), event("second", priority=CRITICAL))
    queue.delivered(queue.take(2))
    shown = queue.account.snapshot()
    assert shown["low"]["delivered"] == shown["critical"]["delivered"] == 1


def test_a_clock_that_runs_behind_does_not_overtake():
    queue = queue_of(event("first", "x", at=5.0), event("second", "y", at=1.0))
    assert [u.update_type for u in drained(queue)] == ["first", "second"]


# composition


def test_a_newer_state_takes_the_older_ones_place_in_the_chain():
    queue = queue_of(state(1), event("said"), state(2))
    assert said(queue.take(3)) == [("x", 2), ("x", "said")]
    assert queue.account.snapshot()["total"]["conflated"] == 1


def test_a_patch_is_laid_over_a_waiting_state():
    queue = queue_of(state(1), patch({"g": 2, "f": None}))
    (update,) = queue.take(1)
    assert (update.kind, update.data) == (REPLACE, {"g": 2})


def test_a_waiting_state_counts_what_is_composed_into_it():
    """Who keeps a state's place in a publication sees by that whether it is still the same."""
    waiting = patch({"mood": "1"})
    queue_of(waiting, patch({"mood": "2"}), patch({"mood": "3"}))
    assert waiting.revision == 2


def test_a_patch_after_a_removal_is_a_new_state():
    queue = queue_of(removal(), patch({"g": 2, "h": None}))
    (update,) = queue.take(1)
    assert (update.kind, update.data, update.update_type) == (REPLACE, {"g": 2}, "state_change")


def test_states_for_other_channels_wait_beside_each_other():
    queue = queue_of(state(1), state(2, channels=("b",)), state(3), state(4, channels=("b",)))
    assert [(u.channels, u.data["f"]) for u in queue.take(9)] == [(("a",), 3), (("b",), 4)]


def test_a_state_does_not_go_back_where_sets_of_channels_overlap():
    """What went wrong: the third state went in the first one's place, and in channel a the second one won."""
    queue = queue_of(state(1, channels=("a", "b")), state(2, channels=("a",)), state(3, channels=("a", "b")))
    shown = {}
    for update in queue.take(9):
        shown |= dict.fromkeys(update.channels, update.data["f"])
    assert shown == {"a": 3, "b": 3}
    assert queue.account.snapshot()["total"]["conflated"] == 1


def test_a_state_waits_behind_one_that_also_goes_to_other_channels():
    """Its content must not reach them, so it can't be laid over it either."""
    queue = queue_of(
        state(1, channels=("a", "b")), state(2, channels=("b", "c")), state(3, channels=("a", "b")),
        state(4, channels=("a", "b")),
    )  # fmt: skip
    taken = queue.take(9)
    assert [(u.channels, u.data["f"]) for u in taken] == [(("a", "b"), 1), (("b", "c"), 2), (("a", "b"), 4)]


def test_the_state_behind_keeps_its_own_fields_when_it_is_overlaid():
    queue = queue_of(
        state(1, channels=("a", "b")), patch({"g": 2}, channels=("a",)), patch({"f": 3}, channels=("a", "b"))
    )
    assert [u.data for u in queue.take(9)] == [{"f": 3}, {"g": 2, "f": 3}]
    assert queue.waiting_bytes == 0


@pytest.mark.parametrize("last", [patch({"f": 3}), state(3), removal()], ids=["patch", "state", "removal"])
def test_a_state_that_waits_to_be_loaded_composes(last):
    lazy = UpdateMessage("x", kind=REPLACE, load=lambda agent_id: {}, channels=("a",))
    queue = queue_of(lazy, last)
    (update,) = queue.take(9)
    assert (update.load is None) is (last.kind is not MERGE)
    assert queue.waiting_bytes == 0


def test_composition_keeps_everybody_who_waits():
    class Waiter:
        def delivered(self): ...

        def failed(self, outcome, reason): ...

    waiters = [Waiter() for _ in range(4)]
    updates = [state(1), state(2), patch({"g": 1}), state(3)]
    for update, waiter in zip(updates, waiters, strict=True):
        update.waiters = [waiter]
    queue = queue_of(*updates, state(4))
    (update,) = queue.take(9)
    assert update.waiters == waiters


# what accept says


def test_accept_says_whether_something_new_can_be_taken():
    queue = PriorityQueue()
    assert queue.accept(event("first"))
    assert queue.accept(state(1, priority=LOW))
    assert not queue.accept(state(2, priority=LOW)), "it conflates into what is known to wait"
    assert queue.accept(state(3, priority=HIGH)), "sooner than known"
    batch = queue.take(9)
    assert not queue.accept(event("held"))
    assert not queue.accept(state(4, priority=CRITICAL))
    assert not queue.accept(state(5, priority=CRITICAL, at=-1.0))
    queue.give_back(batch[:1])
    queue.back_off("x", 9.0)
    queue.delivered(batch[1:])
    assert not queue.accept(event("while it backs off", priority=CRITICAL))


# a batch that is out


def test_what_is_out_is_not_changed_by_what_comes_in():
    """Law Q4."""
    queue = queue_of(state(1))
    batch = queue.take(1)
    queue.accept(state(2))
    queue.accept(state(3))
    assert queue.take(9) == []
    assert said(batch) == [("x", 1)]
    queue.delivered(batch)
    assert said(queue.take(9)) == [("x", 3)]


def test_what_comes_back_goes_first_and_composes_with_the_newer_state():
    queue = queue_of(event("said"), state(1))
    batch = queue.take(9)
    queue.accept(event("heard"))
    queue.accept(patch({"g": 2}))
    queue.give_back(batch)
    queue.release(batch)
    assert said(queue.take(9)) == [("x", "said"), ("x", 1), ("x", "heard")]
    assert batch[1].data == {"f": 1, "g": 2}
    assert queue.account.snapshot()["total"]["conflated"] == 1


def test_what_comes_back_does_not_pull_a_newer_state_past_another_for_its_channels():
    """What went wrong: the state for a and b came to the front, ahead of an older one for a."""
    queue = queue_of(state(1, channels=("a", "b")))
    batch = queue.take(9)
    queue.accept(state(2, channels=("a",)))
    queue.accept(state(3, channels=("a", "b")))
    queue.give_back(batch)
    queue.release(batch)
    shown = {}
    for update in queue.take(9):
        shown |= dict.fromkeys(update.channels, update.data["f"])
    assert shown == {"a": 3, "b": 3}


def test_what_comes_back_may_pass_states_for_channels_it_does_not_share():
    queue = queue_of(state(1))
    batch = queue.take(9)
    queue.accept(state(2, channels=("b",)))
    queue.accept(state(3))
    queue.give_back(batch)
    queue.release(batch)
    assert [(u.channels, u.data["f"]) for u in queue.take(9)] == [(("a",), 3), (("b",), 2)]


def test_what_comes_back_is_as_urgent_as_what_waits_behind_it():
    queue = queue_of(event("said", priority=LOW), event("other", "y", HIGH))
    batch = queue.take(1)
    assert said(batch) == [("y", "other")]
    queue.delivered(batch)
    batch = queue.take(1)
    queue.accept(state(1, priority=CRITICAL))
    queue.accept(event("more", "y", HIGH))
    queue.give_back(batch)
    queue.release(batch)
    assert said(queue.take(3)) == [("x", "said"), ("x", 1), ("y", "more")]


def test_events_that_come_back_keep_their_order_across_agents():
    """What went wrong: of two given back together, the later one of another agent came first."""
    queue = queue_of(event("1", "x"), event("2", "y"), event("3", "z"))
    batch = queue.take(2)
    queue.give_back(batch)
    queue.release(batch)
    assert [u.update_type for u in drained(queue)] == ["1", "2", "3"]


def test_an_agent_that_backs_off_waits_with_all_its_updates():
    queue = queue_of(event("said"), state(1, "y"))
    batch = queue.take(9)
    queue.settle(batch[1], DELIVERED)
    queue.give_back(batch[:1])
    queue.back_off("x", 5.0)
    queue.release(batch)
    queue.accept(state(2, priority=CRITICAL))
    assert not queue.has_ready()
    assert queue.next_wake_up() == 5.0
    assert not queue.wake_up(4.9)
    assert queue.wake_up(5.0)
    assert said(queue.take(9)) == [("x", "said"), ("x", 2)]
    assert queue.next_wake_up() is None


def test_the_latest_back_off_counts():
    queue = queue_of(event("said"))
    batch = queue.take(1)
    queue.give_back(batch)
    queue.back_off("x", 5.0)
    queue.back_off("x", 9.0)
    queue.release(batch)
    assert not queue.wake_up(5.0)
    assert queue.wake_up(9.0)


def test_a_back_off_may_end_before_the_batch_is_let_go():
    queue = queue_of(event("said"))
    batch = queue.take(1)
    queue.give_back(batch)
    queue.back_off("x", 5.0)
    assert not queue.wake_up(6.0)
    queue.release(batch)
    assert queue.has_ready()


def test_settling_one_by_one_lets_go_of_agents_with_nothing_left():
    queue = queue_of(event("1"), event("2", "y"), event("3", "z"))
    batch = queue.take(9)
    for update, term in zip(batch, (DELIVERED, DEAD_LETTERED, CLEARED), strict=True):
        queue.settle(update, term)
    queue.release(batch)
    queue.release(batch)
    assert queue.chains == {}
    total = queue.account.snapshot()["total"]
    assert (total["delivered"], total["dead_lettered"], total["cleared"]) == (1, 1, 1)


# giving up


def test_the_oldest_event_makes_room_and_states_stay():
    queue = queue_of(state(1, "y", LOW), event("1", "x", LOW), event("2", "y", CRITICAL))
    assert queue.drop_oldest_event().update_type == "1"
    assert queue.drop_oldest_event().update_type == "2"
    assert queue.drop_oldest_event() is None
    assert said(queue.take(9)) == [("y", 1)]
    assert (queue.event_count, queue.event_bytes, queue.waiting_bytes) == (0, 0, 0)


def test_an_event_that_came_back_may_be_dropped_once():
    queue = queue_of(event("1"), event("2", "y"))
    batch = queue.take(1)
    queue.give_back(batch)
    queue.back_off("x", 1.0)
    queue.release(batch)
    assert queue.drop_oldest_event().update_type == "1"
    assert queue.drop_oldest_event().update_type == "2"
    assert queue.drop_oldest_event() is None
    queue.wake_up(2.0)
    assert queue.chains == {}


def test_many_events_taken_out_of_turn_leave_no_trace():
    """The list of events by age forgets those that were taken, also behind one that is never taken."""
    queue = queue_of(event("old", "slow"))
    batch = queue.take(1)
    queue.give_back(batch)
    queue.back_off("slow", 9.0)
    queue.release(batch)
    for number in range(3000):
        queue.accept(event(str(number), "fast"))
        queue.delivered(queue.take(1))
    assert len(queue._events) <= 2 * queue.event_count + 1000
    assert queue.event_count == 1
    assert queue.drop_oldest_event().update_type == "old"


def test_chains_that_tie_in_every_respect_do_not_break_the_heap():
    """A stale place and a valid one of the same chain are equal in deadline and order."""
    queue = queue_of(event("1"), event("2"), event("3", "y"))
    for _ in range(3):
        batch = queue.take(1)
        queue.give_back(batch)
        queue.release(batch)
    assert [u.update_type for u in queue.take(9)] == ["1", "2", "3"]


def test_clear_counts_by_priority_and_keeps_the_rest():
    queue = queue_of(event("1", priority=LOW), state(2, priority=HIGH), event("3", "y", LOW), event("4", "y"))
    assert len(queue.clear(LOW)) == 2
    assert queue.account.snapshot()["low"]["cleared"] == 2
    assert said(queue.take(1)) == [("x", 2)]
    assert len(queue.clear()) == 1
    assert queue.account.snapshot()["total"]["pending"] == 1


def test_clear_leaves_what_is_out_and_what_backs_off_is_let_go_in_time():
    queue = queue_of(event("1"), event("2", "y"))
    batch = queue.take(9)
    queue.give_back(batch[1:])
    queue.back_off("y", 5.0)
    queue.accept(event("3"))
    assert {u.update_type for u in queue.clear()} == {"2", "3"}
    queue.settle(batch[0], DELIVERED)
    queue.release(batch)
    assert set(queue.chains) == {"y"}
    assert not queue.wake_up(5.0)
    assert queue.chains == {}


def test_the_gauges_of_age_and_priority():
    queue = queue_of(event("1", at=3.0), state(2, "y", HIGH, at=2.0), state(3, "y", LOW, at=4.0))
    assert queue.oldest_accepted_at() == 3.0
    assert queue.pending_by_priority() == {CRITICAL: 0, HIGH: 0, NORMAL: 1, LOW: 1}
    queue.delivered(queue.take(9))
    assert queue.oldest_accepted_at() is None


def test_a_batch_that_comes_back_for_hours_leaves_no_trace():
    """Each time the next update of the agent asked for a place in the heap, and lost it again."""
    queue = queue_of(event("1"), event("2"), event("3", "y", LOW))
    for _ in range(3000):
        batch = queue.take(1)
        assert len(queue._critical) + len(queue._rest) <= 2 * len(queue.chains) + 1000
        assert len(queue._events) <= 2 * queue.event_count + 1000
        queue.give_back(batch)
        queue.release(batch)
    assert [u.update_type for u in drained(queue)] == ["1", "2", "3"]


def test_delivered_events_leave_no_trace_behind_one_that_backs_off():
    """The list of events is by acceptance: what was delivered lies behind the oldest, which waits for hours."""
    queue = queue_of(event("old", "x"))
    batch = queue.take(1)
    queue.give_back(batch)
    queue.back_off("x", 9999.0)
    queue.release(batch)
    for number in range(3000):
        queue.accept(event(str(number), "y"))
        batch = queue.take(1)
        assert len(queue._events) <= 2 * queue.event_count + 1000
        queue.delivered(batch)
    queue.accept(event("young", "y"))
    assert [queue.drop_oldest_event().update_type for _ in range(2)] == ["old", "young"]


def test_dropped_events_leave_no_trace_behind_a_chain_that_is_never_taken():
    queue = queue_of(state(1, "urgent", CRITICAL))
    for number in range(3000):
        queue.accept(event(str(number), f"agent {number % 3}"))
        if number > 5:
            queue.drop_oldest_event()
    assert len(queue._critical) + len(queue._rest) <= 2 * len(queue.chains) + 1000
    assert len(queue.take(9)) == 7


def test_places_that_are_no_longer_valid_are_passed_over():
    queue = queue_of(event("1", priority=LOW), state(2, "x", HIGH))
    queue.clear()
    assert not queue.has_ready()
    assert queue.take(1) == []
    assert queue.chains == {}


def test_an_event_that_was_taken_is_not_dropped_though_an_older_one_waits():
    queue = queue_of(event("old", "x", LOW), event("taken", "y", CRITICAL), event("young", "z", LOW))
    queue.delivered(queue.take(1))
    assert [queue.drop_oldest_event().update_type for _ in range(2)] == ["old", "young"]
    assert queue.drop_oldest_event() is None


def test_an_urgent_state_lends_its_deadline_as_far_as_it_is_sooner():
    queue = queue_of(
        event("1", priority=HIGH, at=1.0), event("2", priority=LOW, at=1.0), state(3, priority=NORMAL, at=1.0),
        event("other", "y", HIGH, at=1.0),
    )  # fmt: skip
    assert [u.deadline for u in queue.chains["x"].updates] == [1.01, 1.02, 1.02]
    queue.accept(state(4, priority=CRITICAL, at=1.001))
    assert {(u.rank, u.deadline) for u in queue.chains["x"].updates} == {(0, 1.001)}


def test_a_patch_that_comes_back_takes_the_newer_ones_urgency():
    queue = queue_of(patch({"f": 1}, priority=LOW))
    batch = queue.take(1)
    queue.accept(patch({"g": 2}, priority=HIGH))
    queue.give_back(batch)
    queue.release(batch)
    queue.accept(state(5, "y", NORMAL))
    (update,) = queue.take(1)
    assert update.data == {"f": 1, "g": 2}
    assert update.priority is HIGH


def test_a_state_that_comes_back_alone_waits_as_before():
    queue = queue_of(state(1))
    batch = queue.take(1)
    queue.give_back(batch)
    queue.release(batch)
    queue.accept(state(2))
    assert said(queue.take(9)) == [("x", 2)]


def test_events_between_overlapping_states_stay_where_they_are():
    queue = queue_of(
        state(1, channels=("a", "b")), event("said"), state(2, channels=("b",)), event("heard"),
        state(3, channels=("a", "b")),
    )  # fmt: skip
    assert said(queue.take(9)) == [("x", 3), ("x", "said"), ("x", 3), ("x", "heard")]


def test_a_state_does_not_pass_one_behind_for_channels_it_shares_though_others_lie_between():
    queue = queue_of(
        state(1, channels=("a", "b")), state(2, channels=("c",)), state(3, channels=("b", "d")),
        state(4, channels=("a", "b")),
    )  # fmt: skip
    assert [u.data["f"] for u in queue.take(9)] == [1, 2, 3, 4]


# storms: any order of calls, and the gauges hold at every step


class Storm:
    """A queue, what is out of it, and what every gauge must be: counted afresh from what waits."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.queue = PriorityQueue()
        self.out: list[UpdateMessage] = []
        self.now = 0.0

    def update(self) -> UpdateMessage:
        rng = self.random
        made = UpdateMessage(
            rng.choice("xyz"),
            priority=rng.choice((CRITICAL, HIGH, NORMAL, NORMAL, LOW)),
            kind=rng.choice((REPLACE, REPLACE, REPLACE, MERGE, REMOVE, EVENT, EVENT)),
            accepted_at=self.now,
            channels=rng.choice((("a",), ("a",), ("b",), ("a", "b"))),
        )
        size = rng.randrange(40)
        if made.kind is MERGE:
            made.fields = {rng.choice("fg"): rng.choice((None, b"1" * (size + 1)))}
        else:
            made.payload = b"{}" if made.kind is REMOVE else b'{"f":"' + b"x" * size + b'"}'
        return made

    def step(self) -> None:
        rng, queue = self.random, self.queue
        self.now += rng.choice((0.0, 0.001, 0.03))
        match rng.randrange(12):
            case 0 | 1 | 2 | 3 | 4 | 5:
                ready = queue.accept(self.update())
                if ready:
                    assert queue.has_ready()
            case 6 | 7 if not self.out:
                self.out = queue.take(rng.randrange(1, 4))
                assert bool(self.out) or not queue.has_ready()
            case 8 if self.out:
                queue.delivered(self.out)
                self.out = []
            case 9 if self.out:
                queue.give_back(self.out)
                if rng.random() < 0.4:
                    queue.back_off(self.out[0].agent_id, self.now + rng.choice((0.0, 0.05)))
                assert queue.release(self.out) is queue.has_ready() or queue.has_ready()
                self.out = []
            case 10:
                dropped = queue.drop_oldest_event()
                assert dropped is None or dropped.kind is EVENT
            case 11 if rng.random() < 0.3:
                queue.clear(rng.choice((None, NORMAL, CRITICAL)))
            case _:
                woken = queue.wake_up(self.now)
                assert not woken or queue.has_ready()

    def look(self) -> None:
        waiting = [update for chain in self.queue.chains.values() for update in chain.updates]
        events = [update for update in waiting if update.kind is EVENT]
        assert self.queue.waiting_bytes == sum(update.size_bytes() for update in waiting)
        assert self.queue.event_count == len(events)
        assert self.queue.event_bytes == sum(update.size_bytes() for update in events)
        snapshot = self.queue.account.snapshot()
        for priority in UpdatePriority:
            row, held = snapshot[priority.label], [u for u in self.out if u.priority is priority]
            assert row["pending"] == sum(u.priority is priority for u in waiting) + len(held)
            assert min(row.values()) >= 0
        for chain in self.queue.chains.values():
            assert chain.updates or chain.held or chain.is_backing_off
            assert all(update.seq > 0 for update in chain.updates)
            order = [(update.rank, update.deadline) for update in chain.updates]
            assert order == sorted(order), "nothing waits behind something less urgent of its own agent"
            states = [update for update in chain.updates if update.kind is not EVENT]
            known = [state for state in (chain.state, *(chain.others or {}).values()) if state is not None]
            assert set(map(id, known)) <= set(map(id, states)), "the newest of each set of channels"

    def drain(self) -> None:
        self.queue.release(self.out)
        self.out = []
        self.queue.wake_up(self.now + 1.0)
        while batch := self.queue.take(3):
            self.queue.delivered(batch)
        assert self.queue.chains == {}
        assert (self.queue.waiting_bytes, self.queue.event_count, self.queue.event_bytes) == (0, 0, 0)
        assert self.queue.next_wake_up() is None


@pytest.mark.parametrize("seed", range(60))
def test_in_any_storm_the_gauges_are_those_of_what_waits(seed):
    storm = Storm(seed)
    for _ in range(60):
        storm.step()
        storm.look()
    if storm.out:
        storm.queue.delivered(storm.out)
        storm.out = []
    storm.drain()


def test_a_full_state_takes_the_place_of_a_full_state_with_its_own_marks():
    first, second = state(1, at=1.0, priority=HIGH), state(22, at=2.0, priority=HIGH)
    second.update_type, second.timestamp, second.max_retries = "moved", 7.5, 9
    queue = queue_of(first)
    place = (first.seq, first.rank, first.deadline)
    assert queue.accept(second) is False
    assert list(queue.chains["x"].updates) == [second]
    assert (second.seq, second.rank, second.deadline) == place
    assert queue.account.snapshot()["high"]["conflated"] == 1
    assert queue.accept(state(333, at=3.0, priority=HIGH)) is False
    assert queue.account.snapshot()["high"]["conflated"] == 2
    assert queue.waiting_bytes == len('{"f": 333}')


def test_a_composed_update_is_the_newer_one_in_all_but_its_place():
    older, newer = state(1, at=1.0), removal()
    newer.accepted_at, newer.timestamp, newer.retry_count, newer.max_retries = 2.0, 8.5, 2, 7
    newer.priority = LOW
    queue = queue_of(older)
    seq = older.seq
    queue.accept(newer)
    [waiting] = queue.chains["x"].updates
    assert (waiting.kind, waiting.update_type, waiting.payload) == (REMOVE, "state_removed", b"{}")
    assert (waiting.priority, waiting.accepted_at, waiting.timestamp) == (LOW, 2.0, 8.5)
    assert (waiting.retry_count, waiting.max_retries, waiting.seq) == (2, 7, seq)


def test_a_state_to_be_loaded_takes_everything_s_place():
    lazy = UpdateMessage("x", kind=REPLACE, load=lambda agent_id: {}, channels=("a",), update_type="moved")
    lazy.fields = {"g": b"2"}
    queue = queue_of(patch({"f": 1}), lazy)
    [waiting] = queue.chains["x"].updates
    assert (waiting.kind, waiting.load, waiting.update_type) == (REPLACE, lazy.load, "moved")
    assert waiting.fields == {"g": b"2"}
    assert waiting.fields is not lazy.fields
    queue.accept(patch({"h": None}))
    assert waiting.fields == {"g": b"2", "h": None}, "what is not loaded yet may hold it"


def test_fields_of_a_patch_laid_over_a_patch_are_kept_as_removals():
    queue = queue_of(patch({"f": 1, "g": 1}), patch({"g": None}))
    [waiting] = queue.chains["x"].updates
    assert waiting.fields == {"f": b"1", "g": None}
    queue = queue_of(state(1), patch({"f": None, "g": 2}))
    [waiting] = queue.chains["x"].updates
    assert (waiting.fields, waiting.payload) == ({"g": b"2"}, None)


def test_one_place_in_twenty_is_for_the_rest():
    queue = PriorityQueue()
    for number in range(40):
        queue.accept(event(f"c{number}", agent=f"c{number}", priority=CRITICAL))
        queue.accept(event(f"l{number}", agent=f"l{number}", priority=LOW))
    order = [update.update_type[0] for update in drained(queue)]
    assert [place for place, kind in enumerate(order[:42]) if kind == "l"] == [19, 39]


def test_a_state_to_be_loaded_takes_a_full_state_s_place():
    lazy = UpdateMessage("x", kind=REPLACE, load=lambda agent_id: {}, channels=("a",))
    queue = queue_of(state(1), lazy)
    [waiting] = queue.chains["x"].updates
    assert (waiting.payload, waiting.load) == (None, lazy.load)
    assert queue.waiting_bytes == 0
    assert queue.accept(state(2)) is False
    [waiting] = queue.chains["x"].updates
    assert (waiting.data, waiting.load) == ({"f": 2}, None)
    assert queue.waiting_bytes == waiting.size_bytes()


def test_an_event_without_content_has_no_size():
    queue = queue_of(UpdateMessage("x", "left", kind=EVENT, channels=("a",)))
    assert (queue.waiting_bytes, queue.event_bytes, queue.event_count) == (0, 0, 1)


def test_when_one_set_of_channels_is_served_the_other_still_composes():
    queue = queue_of(state(1, channels=("a",)), state(2, channels=("b",)))
    batch = queue.take(1)
    assert queue.accept(state(3, channels=("b",))) is False
    assert [update.data for update in queue.chains["x"].updates] == [{"f": 3}]
    queue.delivered(batch)


def test_who_waits_for_the_newer_one_is_kept_where_nobody_waited_for_the_older():
    waiter = object()
    newer = patch({"g": 2})
    newer.waiters = [waiter]
    queue = queue_of(patch({"f": 1}), newer)
    [waiting] = queue.chains["x"].updates
    assert waiting.waiters == [waiter]


def test_letting_go_says_whether_something_waited_for_it():
    queue = queue_of(event("one"))
    batch = queue.take(1)
    assert queue.release(batch) is False
    queue = queue_of(event("one"))
    batch = queue.take(1)
    queue.accept(event("two"))
    assert queue.release(batch) is True


def test_the_end_of_one_agent_s_back_off_is_not_another_s():
    queue = queue_of(event("one", "x"), event("two", "y"))
    batch = queue.take(2)
    queue.give_back(batch)
    queue.back_off("x", 1.0)
    queue.back_off("y", 2.0)
    queue.release([batch[1]])
    assert queue.wake_up(3.0) is True, "x is still out, y is not"
    assert said(queue.take(9)) == [("y", "two")]


@pytest.mark.parametrize("how", ["drop", "clear"])
def test_an_agent_whose_first_update_goes_takes_the_place_of_its_next(how):
    queue = queue_of(event("gone", "x", HIGH, at=0.0), event("y", "y", at=1.0), event("x", "x", at=2.0))
    if how == "drop":
        assert queue.drop_oldest_event().update_type == "gone"
    else:
        assert [update.update_type for update in queue.clear(HIGH)] == ["gone"]
    assert said(drained(queue)) == [("y", "y"), ("x", "x")]


@pytest.mark.parametrize("how", ["drop", "clear"])
@pytest.mark.parametrize("why", ["out", "backs off"])
def test_what_is_given_up_lets_nobody_pass_who_has_to_wait(how, why):
    """Law Q4: behind a batch that is out, or in a back-off, the next update waits though the one before it went."""
    queue = queue_of(event("first"))
    batch = queue.take(1)
    if why == "backs off":
        queue.back_off("x", 5.0)
        queue.delivered(batch)
    queue.accept(event("gone", priority=LOW))
    queue.accept(event("next"))
    if how == "drop":
        assert queue.drop_oldest_event().update_type == "gone"
    else:
        assert [update.update_type for update in queue.clear(LOW)] == ["gone"]
    assert not queue.has_ready()
    assert queue.take(9) == []
    if why == "backs off":
        assert queue.wake_up(5.0)
    else:
        queue.delivered(batch)
    assert said(queue.take(9)) == [("x", "next")]


def test_what_is_urgent_can_be_taken_by_itself():
    """While a batch is being handed out, CRITICAL goes between; what waits before it for its agent goes along."""
    queue = queue_of(
        event("calm", "x", HIGH), event("before", "y", LOW), event("urgent", "y", CRITICAL), event("after", "y"),
        state(1, "z", CRITICAL),
    )  # fmt: skip
    assert said(queue.take(9, critical_only=True)) == [("y", "before"), ("y", "urgent"), ("z", 1)]
    assert queue.take(9, critical_only=True) == []
    assert said(queue.take(9)) == [("x", "calm")]


def test_an_agent_whose_later_update_goes_keeps_its_place():
    queue = queue_of(event("x", "x", at=0.0), event("gone", "x", LOW, at=0.0), event("y", "y", at=1.0))
    assert len(queue.clear(LOW)) == 1
    assert said(drained(queue)) == [("x", "x"), ("y", "y")]
