"""The promises of docs/guarantees.md and their limits, each as a small scene with a real pipeline."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction

from django_update_pipeline import (
    UNSET,
    CircuitState,
    InvalidUpdate,
    PipelineConfig,
    PipelineFull,
    UpdatePipeline,
    UpdatePriority,
    get_update_pipeline,
)
from django_update_pipeline.core.config import (
    CircuitBreakerConfig,
    QueueConfig,
    RetryConfig,
    StoreConfig,
)
from django_update_pipeline.runtime.clock import SystemClock
from django_update_pipeline.runtime.parts import Parts, default_parts
from django_update_pipeline.service import reset_update_pipeline
from django_update_pipeline.testing import FaultyTransport, RecordingSocket, RecordingTransport

TERMS = ("delivered", "conflated", "dead_lettered", "cleared", "pending")


def made(config: PipelineConfig | None = None, **parts: Any) -> UpdatePipeline:
    config = config or PipelineConfig()
    default: Parts = default_parts(config, SystemClock())
    return UpdatePipeline(config, parts=replace(default, **parts))


def total(pipeline: UpdatePipeline) -> dict[str, int]:
    metrics = pipeline.get_performance_metrics()
    account: dict[str, int] = metrics["conservation"]["total"]
    return account


def balanced(pipeline: UpdatePipeline) -> bool:
    account = total(pipeline)
    return account["accepted"] == sum(account[term] for term in TERMS)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def viewer(pipeline: UpdatePipeline, name: str = "viewer", *channels: str) -> RecordingSocket:
    socket = RecordingSocket()
    assert await pipeline.register_websocket(name, socket, channels or None)
    return socket


# 1 Order


async def test_events_come_in_order_each_after_the_state_queued_before_it() -> None:
    async with UpdatePipeline() as pipeline:
        socket = await viewer(pipeline)
        for n in range(50):
            pipeline.queue_agent_update("a", "state_change", {"n": n}, UpdatePriority.LOW)
            pipeline.queue_agent_update("a", "said", {"n": n}, UpdatePriority(n % 4))
        await socket.until(lambda: len(socket.events) == 50)
    assert [event["data"]["n"] for event in socket.events] == list(range(50))
    shown = -1
    for frame in socket.frames:
        if frame["update_type"] == "said":
            assert shown >= frame["data"]["n"], "an event was ahead of its state"
        else:
            assert frame["data"]["n"] > shown, "state went back"
            shown = frame["data"]["n"]


async def test_a_new_connection_gets_the_state_and_no_earlier_event() -> None:
    async with UpdatePipeline() as pipeline:
        await pipeline.publish("a", "state_change", {"n": 1})
        await pipeline.publish("a", "said", {"n": 1})
        socket = await viewer(pipeline)
        await pipeline.publish("a", "said", {"n": 2})
        await socket.until(lambda: socket.events)
    assert socket.states == {"a": {"n": 1}}
    assert [event["data"]["n"] for event in socket.events] == [2]
    assert socket.notifications == []


async def test_events_that_the_ring_let_go_are_told_as_a_warning() -> None:
    async with UpdatePipeline(PipelineConfig(store=StoreConfig(max_events=3))) as pipeline:
        socket = await viewer(pipeline)
        socket.block()
        await pipeline.publish("a", "state_change", {})
        await until(socket.blocked.is_set)
        for n in range(10):
            await pipeline.publish("a", "said", {"n": n})
        socket.unblock()
        await socket.until(lambda: len(socket.events) == 3)
    assert [event["data"]["n"] for event in socket.events] == [7, 8, 9]
    (warning,) = socket.notifications
    assert warning["level"] == "warning"
    assert warning["message"].startswith("7 event(s)")


# 2 Convergence


@pytest.mark.fault(
    "F34",
    "a client that stopped reading gets the newest state when it reads again, and not what came between",
)
async def test_a_connection_that_was_stuck_ends_with_the_newest_state_and_skips_the_rest() -> None:
    async with UpdatePipeline() as pipeline:
        slow, quick = await viewer(pipeline, "slow"), await viewer(pipeline, "quick")
        slow.block()
        for n in range(40):
            await pipeline.publish("a", "state_change", {"n": n})
        await quick.until(lambda: quick.states.get("a") == {"n": 39})
        slow.unblock()
        await slow.until(lambda: slow.states.get("a") == {"n": 39})
    assert len(slow.frames) < 10


async def test_a_state_with_equal_content_is_delivered_and_sends_nothing() -> None:
    async with UpdatePipeline() as pipeline:
        socket = await viewer(pipeline)
        await pipeline.publish("a", "state_change", {"x": 1, "y": 2})
        await pipeline.publish("a", "state_change", {"y": 2, "x": 1})
        await pipeline.publish("b", "state_change", {})
        await socket.until(lambda: "b" in socket.states)
        assert total(pipeline)["delivered"] == 3
    assert len(socket.frames) == 2


async def test_patches_are_shown_as_full_states_and_removals_empty() -> None:
    async with UpdatePipeline() as pipeline:
        socket = await viewer(pipeline)
        await pipeline.publish("a", "state_change", {"x": 1, "y": 2})
        await pipeline.publish("a", "state_patch", {"x": None, "y": UNSET, "z": 3})
        await socket.until(lambda: socket.states.get("a") == {"x": None, "z": 3})
        await pipeline.publish("a", "state_removed", {})
        await socket.until(lambda: "a" not in socket.states)
    assert socket.frames[-1]["data"] == {}


async def test_an_integer_beyond_2_53_is_sent_as_it_is() -> None:
    async with UpdatePipeline() as pipeline:
        socket = await viewer(pipeline)
        await pipeline.publish("a", "state_change", {"n": 2**60 + 1})
        await socket.until(lambda: socket.texts)
    assert f'"n":{2**60 + 1}' in socket.texts[0]


async def test_of_an_agent_in_two_channels_of_one_viewer_the_newest_state_is_sent() -> None:
    async with UpdatePipeline() as pipeline:
        live = await viewer(pipeline, "live", "one", "two")
        await pipeline.publish("a", "state_change", {"n": 1}, channels=["two"])
        await pipeline.publish("a", "state_change", {"n": 2}, channels=["one"])
        await live.until(lambda: live.states.get("a") == {"n": 2})
        late = await viewer(pipeline, "late", "one", "two")
        await late.until(lambda: len(late.frames) == 1)
    assert late.states["a"] == {"n": 2}


async def test_two_processes_on_memory_do_not_see_each_other() -> None:
    async with UpdatePipeline() as one, UpdatePipeline() as two:
        await one.publish("a", "state_change", {})
        assert one.store.states("updates")
        assert not two.store.states("updates")


# 3 Conservation


async def test_the_account_balances_after_every_fault() -> None:
    transport = FaultyTransport()
    config = PipelineConfig(retry=RetryConfig(max_retries=0), queue=QueueConfig(max_events=5))
    async with made(config, transport=transport) as pipeline:
        transport.reject(lambda change: change.agent_id == "bad")
        for n in range(20):
            pipeline.queue_agent_update("a", "state_change", {"n": n})
        pipeline.queue_agent_update("bad", "said", {})
        await until(lambda: total(pipeline)["dead_lettered"] == 1)
        transport.fail(times=3)
        pipeline.queue_agent_update("b", "said", {}, UpdatePriority.CRITICAL)
        await until(lambda: total(pipeline)["pending"] == 0)
        assert balanced(pipeline)
        transport.hang()
        for n in range(3):
            pipeline.queue_agent_update("c", "said", {"n": n})
        pipeline.batch_processor.pending_updates[UpdatePriority.NORMAL].clear()
        assert balanced(pipeline)
        transport.go_on()
    account = total(pipeline)
    assert balanced(pipeline)
    assert account["pending"] == 0
    assert account["cleared"] > 0
    assert account["conflated"] > 0


async def test_the_memory_transports_queue_ends_with_its_process_and_stop_says_what_was_left() -> None:
    transport = FaultyTransport()
    pipeline = made(transport=transport)
    await pipeline.start()
    transport.begin_outage()
    pipeline.queue_agent_update("a", "said", {})
    report = await pipeline.stop(timeout_s=0.05)
    assert (report.pending, report.in_time) == (1, False)


# 4 Isolation


@pytest.mark.fault("F17", "what was queued is what is sent, whatever the caller does to the data afterwards")
async def test_changing_the_data_after_the_call_changes_nothing() -> None:
    async with UpdatePipeline() as pipeline:
        data = {"list": [1]}
        pipeline.queue_agent_update("a", "state_change", data)
        data["list"].append(2)
        await until(lambda: pipeline.store.states("updates"))
        assert pipeline.store.states("updates") == {"a": b'{"list":[1]}'}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {"deep": [float("-inf")]}])
@pytest.mark.fault(
    "F16", "data that can't be encoded is refused at the call, with the agent and the path of the bad value"
)
def test_what_browsers_can_not_read_is_refused_at_the_call_with_its_path(value: object) -> None:
    with pytest.raises(InvalidUpdate, match="agent 'a'") as refused:
        UpdatePipeline().queue_agent_update("a", "state_change", {"bad": value})
    assert refused.value.path.startswith("data.bad")


@pytest.mark.parametrize("data", [None, [1], "text"])
def test_data_that_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(InvalidUpdate):
        UpdatePipeline().queue_agent_update("a", "state_change", data)


async def test_a_changed_agent_is_asked_for_its_state_at_the_flush() -> None:
    state = {"n": 1}
    pipeline = UpdatePipeline()
    pipeline.queue_agent_changed("a", lambda agent_id: state)
    state = {"n": 2}
    async with pipeline:
        await until(lambda: pipeline.store.states("updates"))
        assert pipeline.store.states("updates") == {"a": b'{"n":2}'}


# 5 Never blocks; refuses only loudly


def test_queueing_needs_no_loop_and_no_start_from_any_thread() -> None:
    pipeline = UpdatePipeline()
    threads = [
        threading.Thread(target=lambda: [pipeline.queue_agent_update("a", "said", {}) for _ in range(100)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total(pipeline)["pending"] == 400


def test_events_at_their_bound_are_refused_with_the_limit_and_state_is_not() -> None:
    pipeline = UpdatePipeline(PipelineConfig(queue=QueueConfig(max_events=2)))
    pipeline.queue_agent_update("a", "state_change", {"n": 0})
    for _ in range(2):
        pipeline.queue_agent_update("a", "said", {})
    with pytest.raises(PipelineFull) as full:
        pipeline.queue_agent_update("a", "said", {})
    assert (full.value.limit, full.value.value) == ("max_events", 2)
    pipeline.queue_agent_update("a", "state_change", {"n": 1})
    assert balanced(pipeline)


def test_an_overflow_may_drop_the_oldest_event_into_the_dead_letters() -> None:
    pipeline = UpdatePipeline(PipelineConfig(queue=QueueConfig(max_events=2, overflow="drop_oldest")))
    for n in range(3):
        pipeline.queue_agent_update("a", "said", {"n": n})
    (letter,) = pipeline.dead_letters.list()
    assert (letter.reason, letter.payload) == ("overflow", b'{"n":0}')
    assert balanced(pipeline)


def test_too_large_a_state_is_refused_with_the_limit() -> None:
    pipeline = UpdatePipeline(PipelineConfig(queue=QueueConfig(max_update_bytes=100)))
    with pytest.raises(InvalidUpdate, match="max_update_bytes"):
        pipeline.queue_agent_update("a", "state_change", {"text": "x" * 100})


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_an_update_waits_for_the_commit_and_a_rollback_sends_nothing() -> None:
    reset_update_pipeline()
    pipeline = get_update_pipeline()
    with transaction.atomic():
        pipeline.queue_agent_update("a", "state_change", {})
        assert (pipeline.total_updates, total(pipeline)["accepted"]) == (1, 0)
    assert (pipeline.total_updates, total(pipeline)["accepted"]) == (1, 1)
    with transaction.atomic():
        pipeline.queue_agent_update("b", "state_change", {})
        transaction.set_rollback(True)
    assert total(pipeline)["accepted"] == 1
    reset_update_pipeline()


@pytest.mark.django_db
def test_in_djangos_test_case_nothing_is_committed_unless_told(
    django_capture_on_commit_callbacks: Any,
) -> None:
    reset_update_pipeline()
    pipeline = get_update_pipeline()
    pipeline.queue_agent_update("a", "state_change", {})
    assert total(pipeline)["accepted"] == 0
    with django_capture_on_commit_callbacks(execute=True):
        pipeline.queue_agent_update("a", "state_change", {})
    assert total(pipeline)["accepted"] == 1
    reset_update_pipeline()


# 7 Failure is contained


async def test_an_outage_spends_no_retries_state_conflates_and_old_events_make_room() -> None:
    transport = FaultyTransport()
    config = PipelineConfig(
        queue=QueueConfig(max_events=3),
        circuit_breaker=CircuitBreakerConfig(failure_threshold=2, recovery_timeout=60.0),
    )
    async with made(config, transport=transport) as pipeline:
        transport.begin_outage()
        pipeline.queue_agent_update("first", "state_change", {})
        await until(lambda: pipeline.circuit_breaker.state is CircuitState.OPEN)
        for n in range(100):
            pipeline.queue_agent_update("a", "state_change", {"n": n})
            pipeline.queue_agent_update("b", "said", {"n": n})
        letters = pipeline.dead_letters.list()
        assert [json.loads(letter.payload)["n"] for letter in letters] == list(range(97))
        transport.end_outage()
        pipeline.reset_circuit_breaker()
        await until(lambda: total(pipeline)["pending"] == 0)
        assert pipeline.store.states("updates")["a"] == b'{"n":99}'
        assert pipeline.replay_dead_letter(letters[0].number)
        await until(lambda: total(pipeline)["pending"] == 0)
        assert pipeline.get_performance_metrics()["failed_attempts"] == 0
        assert balanced(pipeline)


async def test_an_update_that_fails_alone_does_not_hold_up_the_others_and_dead_state_is_not_replayed() -> (
    None
):
    class Picky:
        def transform(self, agent_id: str, update_type: str, data: dict[str, Any]) -> dict[str, Any]:
            if agent_id == "bad":
                raise ValueError("not this one")
            return data

    async with made(
        PipelineConfig(retry=RetryConfig(base_delay_s=0.001)), transformers=[Picky()]
    ) as pipeline:
        pipeline.queue_agent_update("bad", "state_change", {"x": 1})
        await pipeline.publish("good", "state_change", {})
        await until(lambda: len(pipeline.dead_letters) == 1)
        (letter,) = pipeline.dead_letters.list()
        assert letter.agent_id == "bad"
        assert letter.cause.startswith("transformer ")
        assert letter.cause.endswith("Picky of plugin tests.docs.test_guarantees: ValueError: not this one")
        assert not pipeline.replay_dead_letter(letter.number)
        assert pipeline.get_performance_metrics()["failed_attempts"] == 4


async def test_a_socket_that_fails_is_gone_and_nobody_elses_business() -> None:
    async with UpdatePipeline() as pipeline:
        broken, sound = await viewer(pipeline, "broken"), await viewer(pipeline, "sound")
        broken.fail(ConnectionResetError())
        await pipeline.publish("a", "state_change", {})
        await sound.until(lambda: sound.states)
        await until(lambda: pipeline.websocket_manager.get_connection_count() == 1)
        assert pipeline.circuit_breaker.failure_count == 0


async def test_no_client_means_delivered_all_the_same() -> None:
    transport = RecordingTransport()
    async with made(transport=transport) as pipeline:
        await pipeline.publish("a", "state_change", {})
        assert total(pipeline)["delivered"] == 1
    assert len(transport.published) == 1
