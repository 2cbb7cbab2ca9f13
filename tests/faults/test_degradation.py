"""The four kinds of degradation: an open breaker, overload, memory, and connections that are lost or stuck."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from django_update_pipeline import CircuitState, UpdatePipeline, UpdatePriority
from django_update_pipeline.core.account import TERMS
from django_update_pipeline.core.config import config_from_mapping
from django_update_pipeline.runtime.parts import default_parts
from django_update_pipeline.testing import FaultyTransport, LoopClock, RecordingSocket, in_virtual_time

CRITICAL, NORMAL, LOW = UpdatePriority.CRITICAL, UpdatePriority.NORMAL, UpdatePriority.LOW


def made(transport: Any, **config: Any) -> UpdatePipeline:
    checked = config_from_mapping(config)
    clock = LoopClock()
    parts = default_parts(checked, clock)
    parts.transport = transport
    return UpdatePipeline(checked, parts=parts, clock=clock)


async def until(condition: Callable[[], Any], timeout_s: float = 3600.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.01)


def balanced(pipeline: UpdatePipeline) -> dict[str, int]:
    rows: dict[str, dict[str, int]] = pipeline.get_performance_metrics()["conservation"]
    for row in rows.values():
        assert row["accepted"] == sum(row[term] for term in TERMS if term != "accepted"), rows
    return rows["total"]


async def opened(pipeline: UpdatePipeline) -> None:
    await until(lambda: pipeline.circuit_breaker.state is CircuitState.OPEN)


# an open breaker: CRITICAL is tried first


@pytest.mark.parametrize("worked_before", [True, False])
@pytest.mark.parametrize("half_opens", [1, 2, 6])
@in_virtual_time
async def test_the_first_trial_is_critical(half_opens: int, worked_before: bool) -> None:
    transport = FaultyTransport()
    pipeline = made(transport)
    async with pipeline:
        if worked_before:
            await pipeline.publish("before", "said", {})
        transport.begin_outage()
        for n in range(10):
            pipeline.queue_agent_update(f"low{n}", "said", {"n": n}, LOW)
        await opened(pipeline)
        for n in range(3):
            pipeline.queue_agent_update(f"critical{n}", "said", {"n": n}, CRITICAL)
            pipeline.queue_agent_update(f"normal{n}", "said", {"n": n}, NORMAL)
        for n in range(
            half_opens - 1
        ):  # the outage goes on: each trial is CRITICAL, and opens the breaker again
            tried = len(transport.attempts)
            openings = pipeline.circuit_breaker.get_state()["opened_count"]
            await until(
                lambda openings=openings: pipeline.circuit_breaker.get_state()["opened_count"] > openings
            )
            if worked_before or n < 3:  # else there is nothing to compare with, and what failed goes last
                assert transport.attempts[tried].changes[0].priority is CRITICAL
            balanced(pipeline)
        acknowledged = len(transport.published)
        transport.end_outage()
        await until(lambda: balanced(pipeline)["pending"] == 0)
        order = [change.agent_id for change in transport.changes()]
        if worked_before or half_opens < 6:
            first = transport.published[acknowledged].changes[0]
            assert first.priority is CRITICAL
    assert sorted(set(order)) == sorted(
        ["before"] * worked_before
        + [f"low{n}" for n in range(10)]
        + [f"{name}{n}" for name in ("critical", "normal") for n in range(3)]
    )
    assert pipeline.store.channel("updates").event_count == 16 + worked_before, "each event once"
    assert not pipeline.dead_letters.list()


@in_virtual_time
async def test_what_is_critical_does_not_pass_its_own_agents_earlier_updates() -> None:
    transport = FaultyTransport()
    pipeline = made(transport)
    async with pipeline:
        transport.begin_outage()
        pipeline.queue_agent_update("a", "said", {"n": 0}, LOW)
        await opened(pipeline)
        pipeline.queue_agent_update("a", "said", {"n": 1}, CRITICAL)
        pipeline.queue_agent_update("b", "said", {"n": 0}, LOW)
        pipeline.queue_agent_update("b", "said", {"n": 1}, CRITICAL)
        transport.end_outage()
        await until(lambda: balanced(pipeline)["pending"] == 0)
        order = [(change.agent_id, change.content) for change in transport.changes()]
    assert order == [(agent, b'{"n":%d}' % n) for agent in "ba" for n in (0, 1)]


@in_virtual_time
async def test_critical_that_was_in_flight_first_stays_first() -> None:
    """Events of one priority keep their order across agents."""
    transport = FaultyTransport()
    pipeline = made(transport)
    async with pipeline:
        await pipeline.publish("before", "state_change", {})
        transport.begin_outage()
        pipeline.queue_agent_update("first", "said", {}, CRITICAL)
        await opened(pipeline)
        for n in range(5):
            pipeline.queue_agent_update(f"later{n}", "said", {}, CRITICAL)
        await asyncio.sleep(200)
        transport.end_outage()
        await until(lambda: balanced(pipeline)["pending"] == 0)
    events = pipeline.store.channel("updates").events_between(0, pipeline.store.head)
    assert [event.agent_id for event in events] == ["first", *(f"later{n}" for n in range(5))]


@in_virtual_time
async def test_a_long_outage_takes_no_more_out_of_the_queue_than_a_batch() -> None:
    """What is in flight is not bounded by the queue's limits, so it must not grow with the trials."""
    transport = FaultyTransport()
    pipeline = made(transport, batching={"max_batch_size": 5})
    async with pipeline:
        transport.begin_outage()
        pipeline.queue_agent_update("low", "said", {}, LOW)
        await opened(pipeline)
        for n in range(200):
            pipeline.queue_agent_update(f"c{n}", "said", {}, CRITICAL)
        for _ in range(20):
            await asyncio.sleep(300)
            assert len(pipeline._delivery.in_flight) <= 6 + 5  # the urgent batch, and companions of one agent
        transport.end_outage()
        await until(lambda: balanced(pipeline)["pending"] == 0)
    assert pipeline.store.channel("updates").event_count == 201


# overload: LOW conflates first


@in_virtual_time
async def test_under_saturation_low_waits_and_conflates_and_critical_keeps_its_class() -> None:
    """A node that can carry a fifth of what is queued: LOW conflates most, CRITICAL is on time."""

    class Slow(FaultyTransport):
        async def _pass_on(self, publication: Any) -> None:
            await asyncio.sleep(0.002 * len(publication.changes))
            await super()._pass_on(publication)

    pipeline = made(Slow())
    waits: dict[UpdatePriority, list[float]] = {CRITICAL: [], NORMAL: [], LOW: []}
    loop = asyncio.get_running_loop()

    async def publish(priority: UpdatePriority, n: int) -> None:
        began = loop.time()
        await pipeline.publish(f"{priority.label}{n % 100}", "state_change", {"n": n}, priority)
        waits[priority].append(loop.time() - began)

    async with pipeline, asyncio.TaskGroup() as tasks:
        for n in range(800):
            for priority in (NORMAL, LOW):
                tasks.create_task(publish(priority, n))
            if n % 20 == 0:
                tasks.create_task(publish(CRITICAL, n))
            await asyncio.sleep(0.001)
    conserved = pipeline.get_performance_metrics()["conservation"]
    share = {
        name: conserved[name]["conflated"] / conserved[name]["accepted"]
        for name in ("critical", "normal", "low")
    }
    assert share["low"] > share["normal"] > share["critical"], share
    assert sorted(waits[CRITICAL])[int(0.99 * len(waits[CRITICAL]))] < 0.2, "at most the batch in flight"
    assert max(waits[LOW]) < 10.0, "nobody starves"
    assert pipeline.batch_processor.policy.limit() < 50, (
        "batches got smaller: each update costs the loop more"
    )


# memory: what is stuck is let go


@pytest.mark.fault(
    "F34", "a socket that takes nothing at all is closed after a minute, and nothing of it is left"
)
@in_virtual_time
async def test_a_connection_that_is_stuck_is_closed_and_leaves_nothing() -> None:
    pipeline = made(FaultyTransport(), connections={"stuck_timeout_s": 8.0})
    stuck, slow, quick = RecordingSocket(), RecordingSocket(delay_s=7.0), RecordingSocket()
    async with pipeline:
        for name, socket in (("stuck", stuck), ("slow", slow), ("quick", quick)):
            await pipeline.register_websocket(name, socket)
        await pipeline.publish("a", "state_change", {"n": 0})
        await asyncio.sleep(60)
        assert pipeline.websocket_manager.get_connection_count() == 3, "who waits for news is not stuck"
        stuck.block()
        for n in range(1, 100):
            await pipeline.publish("a", "state_change", {"n": n})
            await asyncio.sleep(0.1)
            if stuck.is_closed:
                break
        await until(lambda: stuck.is_closed, 15.0)
        assert set(pipeline.websocket_manager.connections) == {"slow", "quick"}
        assert quick.states["a"] == {"n": n}
        issue = str(pipeline.get_health_status()["issues"])
        assert "1 connections were closed in the last minute" in issue
        await asyncio.sleep(65)
        assert "connections_stuck" not in pipeline.get_health_status()["deductions"]
        assert slow.states["a"] == {"n": n}
        assert sum(task.get_name() == "update-pipeline-writer" for task in asyncio.all_tasks()) == 2
        assert not pipeline.websocket_manager.stuck._seen
    assert pipeline.websocket_manager.stuck._timer is None


@pytest.mark.fault("F9", "the pipeline's own stall is not taken for dead clients")
@in_virtual_time
async def test_after_a_stall_of_our_own_nobody_is_taken_for_stuck() -> None:
    """It looks once when the loop is back, however long that was: clients had no chance to read meanwhile."""
    pipeline = made(FaultyTransport(), connections={"stuck_timeout_s": 8.0})
    socket = RecordingSocket()
    loop: Any = asyncio.get_running_loop()
    async with pipeline:
        await pipeline.register_websocket("one", socket)
        socket.block()
        pipeline.queue_agent_update("a", "state_change", {"n": 1})
        await asyncio.sleep(0.1)
        for _ in range(3):
            loop._jumping.now += 30.0  # nothing ran for half a minute
            await asyncio.sleep(0.01)
        assert pipeline.websocket_manager.stuck.closed_count == 0
        socket.unblock()
        await socket.until(lambda: "a" in socket.states)
        socket.block()  # and where it is the client that takes nothing, its time is up
        pipeline.queue_agent_update("a", "state_change", {"n": 2})
        await asyncio.sleep(11)
        assert pipeline.websocket_manager.stuck.closed_count == 1
