"""Promise 5: queueing works from any thread, before start and after stop, and never waits."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from django_update_pipeline import UNSET, InvalidUpdate, PipelineFull, UpdatePipeline, UpdatePriority
from django_update_pipeline.testing import FaultyTransport, RecordingSocket

from .conftest import MakePipeline, account, settled

THREADS = 20
CALLS = 2_000


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads change places as often as the interpreter can, so that races have a chance to show."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Reader(threading.Thread):
    """Reads the account all the time; the identity must hold whenever it looks."""

    def __init__(self, pipeline: UpdatePipeline) -> None:
        super().__init__(daemon=True)
        self.pipeline = pipeline
        self.reads = 0
        self.wrong: list[Any] = []
        self.totals: list[int] = []
        self._done = threading.Event()

    def run(self) -> None:
        cells = self.pipeline.batch_processor.queue.account
        while not self._done.is_set():
            total = cells.snapshot()["total"]
            if (
                total["accepted"] != sum(v for k, v in total.items() if k != "accepted")
                or total["pending"] < 0
            ):
                self.wrong.append(total)
            self.totals.append(self.pipeline.total_updates)
            self.reads += 1

    def finish(self) -> None:
        self._done.set()
        self.join()
        assert not self.wrong
        assert self.reads
        assert self.totals == sorted(self.totals), "total_updates never goes back"


def queue_from_threads(
    pipeline: UpdatePipeline, threads: int = THREADS, calls: int = CALLS
) -> list[BaseException]:
    """Each thread queues events of its own agent, and states of agents that all threads share."""
    errors: list[BaseException] = []
    priorities = list(UpdatePriority)

    def work(number: int) -> None:
        try:
            for n in range(calls // 2):
                pipeline.queue_agent_update(f"own_{number}", "said", {"n": n}, priorities[number % 4])
                pipeline.queue_agent_update(f"shared_{n % 7}", "state_change", {"by": number, "n": n})
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return errors


def events_in_order(transport: FaultyTransport) -> dict[str, list[int]]:
    seen: dict[str, list[int]] = {}
    for change in transport.changes():
        if change.update_type == "said":
            seen.setdefault(change.agent_id, []).append(msgspec.json.decode(change.content)["n"])
    return seen


async def test_twenty_threads_queue_into_a_running_pipeline(
    make_pipeline: MakePipeline, frequent_switches: None
) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, queue={"max_events": 1_000_000})
    async with pipeline:
        reader = Reader(pipeline)
        reader.start()
        errors = await asyncio.to_thread(queue_from_threads, pipeline)
        total = await settled(pipeline)
        reader.finish()
    assert errors == []
    assert total["accepted"] == THREADS * CALLS == pipeline.total_updates
    assert total["dead_lettered"] == total["cleared"] == 0
    expected = list(range(CALLS // 2))
    assert events_in_order(transport) == {f"own_{number}": expected for number in range(THREADS)}


def test_twenty_threads_queue_without_a_loop_and_all_of_it_is_delivered_later(
    make_pipeline: MakePipeline, frequent_switches: None
) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, queue={"max_events": 1_000_000})
    assert queue_from_threads(pipeline) == []
    before = account(pipeline)
    assert before["accepted"] == THREADS * CALLS
    assert before["pending"] == THREADS * CALLS // 2 + 7

    async def deliver() -> None:
        async with pipeline:
            await settled(pipeline)

    asyncio.run(deliver())
    expected = list(range(CALLS // 2))
    assert events_in_order(transport) == {f"own_{number}": expected for number in range(THREADS)}


async def test_clearing_and_tuning_from_other_threads_lose_no_wake_up(
    make_pipeline: MakePipeline, frequent_switches: None
) -> None:
    """Whoever is at the door does the others' work, and has to wake the loop for it."""
    pipeline = make_pipeline(queue={"max_events": 1_000_000}, batching={"batch_timeout_ms": 1})
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            pipeline.batch_processor.pending_updates[UpdatePriority.LOW].clear()
            pipeline.batch_processor.batch_timeout_ms = 1
            time.sleep(0.0002)  # who never leaves the door keeps everybody out, the loop too

    async with pipeline:
        disturber = threading.Thread(target=disturb)
        disturber.start()
        try:
            for _ in range(30):
                await asyncio.to_thread(queue_from_threads, pipeline, 4, 50)
                await settled(pipeline, 30)
        finally:
            stop.set()
            disturber.join()


def test_a_signal_handler_may_queue_while_it_interrupts_queueing(make_pipeline: MakePipeline) -> None:
    """The handler runs between two byte codes of the thread that holds the door: waiting there would never end."""
    pipeline = make_pipeline(queue={"max_events": 10_000_000})
    handled = 0
    inside = 0

    def handler(number: int, frame: Any) -> None:
        nonlocal handled, inside
        handled += 1
        inside += pipeline._ingress._lock.locked()
        pipeline.queue_agent_update("signal", "said", {"n": handled})

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    queued = 0
    try:
        while inside < 3 and queued < 400_000:
            pipeline.queue_agent_update(f"agent_{queued % 50}", "state_change", {"n": queued})
            queued += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert inside >= 3, "no signal came while the door was held: the test proves nothing"
    assert account(pipeline)["accepted"] == queued + handled
    waiting = [
        u.data["n"]
        for u in pipeline.batch_processor.pending_updates[UpdatePriority.NORMAL]
        if u.agent_id == "signal"
    ]
    assert sorted(waiting) == list(range(1, handled + 1)), "handlers interrupt each other, too"


async def test_what_is_queued_before_start_and_after_stop_is_delivered(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport)
    pipeline.queue_agent_update("a", "said", {"n": 0})
    async with pipeline:
        await settled(pipeline)
    pipeline.queue_agent_update("a", "said", {"n": 1})
    assert account(pipeline)["pending"] == 1
    async with pipeline:
        await settled(pipeline)
    assert events_in_order(transport) == {"a": [0, 1]}


async def test_what_was_queued_is_what_is_sent(make_pipeline: MakePipeline) -> None:
    """Promise 4."""
    pipeline = make_pipeline()
    data = {"mood": "happy", "nested": {"n": [1]}}
    pipeline.queue_agent_update("a", "state_change", data)
    data["mood"] = "sad"
    data["nested"]["n"].append(2)  # type: ignore[index]
    socket = RecordingSocket()
    async with pipeline:
        await pipeline.register_websocket("one", socket)
        await socket.until(lambda: "a" in socket.states)
    assert socket.states == {"a": {"mood": "happy", "nested": {"n": [1]}}}


class Lazy:
    def __str__(self) -> str:
        raise AssertionError("nobody asks")


CYCLE: dict[str, Any] = {}
CYCLE["self"] = CYCLE


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"data": None}, "not a dict"),
        ({"data": [1]}, "not a dict"),
        ({"data": {"a": float("nan")}}, r"nan at data\.a"),
        ({"data": {"a": [1, float("inf")]}}, r"inf at data\.a\[1\]"),
        ({"data": {"a": {"b": Lazy()}}}, r"data\.a\.b"),
        ({"data": {b"bytes": object()}}, "data"),
        ({"data": CYCLE}, "data"),
        ({"data": {"a": "\ud800"}}, r"data\.a"),
        ({"data": {"a": "x" * 2_000_000}}, "max_update_bytes = 1048576"),
        ({"agent_id": ""}, "agent_id ''"),
        ({"agent_id": "x" * 201}, "1 to 200 characters"),
        ({"agent_id": "a\nb"}, "control"),
        ({"agent_id": "__proto__"}, "__proto__"),
        ({"agent_id": "\udc00"}, "agent_id"),
        ({"agent_id": 7}, "agent_id 7"),
        ({"update_type": ""}, "update_type"),
        ({"update_type": "half \ud800"}, "update_type"),
        ({"update_type": "x" * 101}, "update_type"),
        ({"update_type": ["a"]}, "update_type"),
        ({"update_type": "system_notification"}, "update_type"),
        ({"priority": "high"}, "priority 'high'"),
        ({"priority": 9}, "CRITICAL, HIGH, NORMAL, LOW"),
        ({"channels": ["no spaces"]}, "channel 'no spaces'"),
        ({"channels": ["update_pipeline.system"]}, "channel"),
        ({"channels": [["nested"]]}, "channel"),
        ({"channels": 5}, "channels"),
    ],
)
def test_what_can_not_be_sent_is_refused_at_the_call(
    make_pipeline: MakePipeline, arguments: dict[str, Any], text: str
) -> None:
    """F16, and promise 4: the caller hears of it, with the agent and the path."""
    pipeline = make_pipeline()
    values: dict[str, Any] = {"agent_id": "a", "update_type": "state_change", "data": {"n": 1}}
    for known in (False, True):
        with pytest.raises(InvalidUpdate, match=text):
            pipeline.queue_agent_update(**(values | arguments))
        if not known:
            pipeline.queue_agent_update(**values)  # the path of an agent that waits is another one
    assert account(pipeline)["accepted"] == 1


def test_patches_compose_and_unset_removes(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    pipeline.queue_agent_update("a", "state_change", {"x": 1, "y": 2})
    pipeline.queue_agent_update("a", "state_patch", {"y": UNSET, "z": None})
    (update,) = pipeline.batch_processor.pending_updates[UpdatePriority.NORMAL]
    assert update.data == {"x": 1, "z": None}


# bounds


def test_events_at_their_bound_are_refused_with_the_limit_named(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(queue={"max_events": 3})
    for n in range(3):
        pipeline.queue_agent_update("a", "said", {"n": n})
    with pytest.raises(PipelineFull, match=r"max_events = 3.*drop_oldest") as caught:
        pipeline.queue_agent_update("a", "said", {"n": 3})
    assert (caught.value.limit, caught.value.value) == ("max_events", 3)
    pipeline.queue_agent_update("a", "state_change", {"n": 1})  # state is never refused for that
    assert account(pipeline)["accepted"] == 4


def test_events_meet_a_bound_of_bytes_too(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(queue={"max_event_bytes": 100})
    pipeline.queue_agent_update("a", "said", {"text": "x" * 60})
    with pytest.raises(PipelineFull, match="max_event_bytes = 100"):
        pipeline.queue_agent_update("b", "said", {"text": "x" * 60})


def test_with_drop_oldest_the_oldest_event_dies_and_can_be_seen(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(queue={"max_events": 3, "overflow": "drop_oldest"})
    for n in range(5):
        pipeline.queue_agent_update(f"agent_{n}", "said", {"n": n})
    total = account(pipeline)
    assert (total["accepted"], total["pending"], total["dead_lettered"]) == (5, 3, 2)
    assert [(one.agent_id, one.reason) for one in pipeline.dead_letters.list()] == [
        ("agent_0", "overflow"),
        ("agent_1", "overflow"),
    ]


def test_one_agent_too_many_is_refused_and_known_ones_are_not(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(queue={"max_agents": 2})
    pipeline.queue_agent_update("a", "state_change", {"n": 1})
    pipeline.queue_agent_update("b", "state_change", {"n": 1})
    with pytest.raises(PipelineFull, match="max_agents = 2"):
        pipeline.queue_agent_update("c", "state_change", {"n": 1})
    pipeline.queue_agent_update("a", "state_change", {"n": 2})


async def test_an_observer_that_queues_when_an_update_dies_makes_no_endless_loop(
    make_pipeline: MakePipeline,
) -> None:
    """F15: each of its updates lets another one die, of which it is told, and so on."""
    pipeline = make_pipeline(queue={"max_events": 2, "overflow": "drop_oldest"})
    told: list[str] = []

    def observer(update: Any, reason: str, cause: str) -> None:
        told.append(update.agent_id)
        assert not pipeline._ingress._lock.locked(), "nobody is told while the door is held"
        pipeline.queue_agent_update("obituary", "said", {"of": update.agent_id})

    pipeline.parts.observers.dead_lettered = (observer,)
    for n in range(10):
        pipeline.queue_agent_update(f"agent_{n}", "said", {"n": n})
    assert 1 <= len(told) <= 100
    account(pipeline)


# replies to `total_updates` and deferral


class Deferral:
    """A transaction, without a database."""

    def __init__(self) -> None:
        self.is_open = False
        self.later: list[Any] = []

    def __call__(self, go_on: Any) -> bool:
        if self.is_open:
            self.later.append(go_on)
        return self.is_open

    def commit(self) -> None:
        self.is_open = False
        later, self.later = self.later, []
        for go_on in later:
            go_on()


def test_deferred_updates_count_as_queued_at_once_and_as_accepted_at_the_commit(
    make_pipeline: MakePipeline,
) -> None:
    deferral = Deferral()
    pipeline = make_pipeline(defer=deferral)
    deferral.is_open = True
    pipeline.queue_agent_update("a", "state_change", {"n": 1})
    pipeline.queue_agent_update("a", "said", {"n": 2})
    assert (pipeline.total_updates, account(pipeline)["accepted"]) == (2, 0)
    deferral.commit()
    assert (pipeline.total_updates, account(pipeline)["accepted"]) == (2, 2)
    deferral.is_open = True
    pipeline.queue_agent_update("a", "said", {"n": 3})
    deferral.later.clear()  # rolled back
    deferral.is_open = False
    assert (pipeline.total_updates, account(pipeline)["accepted"]) == (3, 2)


def test_deferring_in_many_threads_counts_each(make_pipeline: MakePipeline, frequent_switches: None) -> None:
    def defer(go_on: Any) -> bool:
        go_on_later.append(go_on)
        return True

    go_on_later: list[Any] = []
    pipeline = make_pipeline(defer=defer, queue={"max_events": 1_000_000})
    reader = Reader(pipeline)
    reader.start()
    errors = queue_from_threads(pipeline, 8, 400)
    assert (errors, pipeline.total_updates) == ([], 3200)
    for go_on in go_on_later:
        go_on()
    reader.finish()
    assert pipeline.total_updates == account(pipeline)["accepted"] == 3200
