"""What the pipeline says of itself: readiness, metrics and health."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from random import Random
from typing import Any

import pytest

from django_update_pipeline import UpdatePriority
from django_update_pipeline.core.account import TERMS
from django_update_pipeline.core.credit import Asked
from django_update_pipeline.core.health import MIN_P99_COUNT
from django_update_pipeline.core.messages import JSONObject
from django_update_pipeline.exceptions import PipelineFull
from django_update_pipeline.testing import FaultyTransport, ManualClock

from .conftest import MakePipeline, account, settled


async def test_a_pipeline_is_ready_from_its_start_to_its_stop(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport)
    assert pipeline.get_readiness() == {"is_ready": False, "reasons": ["not_running"]}
    await pipeline.start()
    assert pipeline.is_ready
    assert pipeline.get_readiness() == {"is_ready": True, "reasons": []}

    seen: list[object] = []
    stop = transport.stop

    async def look() -> None:
        seen.append(pipeline.get_readiness()["reasons"])
        await stop()

    transport.stop = look  # type: ignore[method-assign]
    await pipeline.stop()
    assert seen == [["stopping"]]
    assert pipeline.get_readiness()["reasons"] == ["not_running"]


async def test_a_stop_that_is_cancelled_leaves_no_pipeline_that_says_it_stops(
    make_pipeline: MakePipeline,
) -> None:
    pipeline = make_pipeline(FaultyTransport())
    await pipeline.start()
    pipeline.circuit_breaker.force_open("held for the test")
    pipeline.queue_agent_update("lamp", data={})
    stopping = asyncio.create_task(pipeline.stop(timeout_s=30))
    while not pipeline.is_stopping:  # noqa: ASYNC110 - looking is the test
        await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait([stopping])
    assert not pipeline.is_stopping


async def test_an_open_breaker_is_not_ready_and_a_reset_one_is(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    async with pipeline:
        pipeline.circuit_breaker.force_open("held for the test")
        assert pipeline.get_readiness() == {"is_ready": False, "reasons": ["breaker_open"]}
        pipeline.reset_circuit_breaker()
        assert pipeline.is_ready


# the account against what is there


@pytest.mark.slow
async def test_the_account_is_what_waits_and_is_in_flight_at_every_look_while_threads_queue(
    make_pipeline: MakePipeline,
) -> None:
    """Threads queue, clear and replay, the transport fails, transformers are late: at no look is there a difference."""
    transport = FaultyTransport()

    class Late:
        calls = 0

        async def transform(self, agent_id: str, update_type: str, data: JSONObject) -> JSONObject | None:
            self.calls += 1
            if self.calls % 7 == 0:
                await asyncio.sleep(0.02)  # longer than a batch waits
            if self.calls % 31 == 0:
                raise ValueError("it does not like this one")
            return None if self.calls % 53 == 0 else data

    pipeline = make_pipeline(
        transport,
        transformers=[Late()],
        retry_s=0.001,
        queue={"max_events": 50, "overflow": "drop_oldest"},
        containment={"max_failures": 0, "max_blocks": 0},  # on a busy machine it would be switched off
    )
    is_over = threading.Event()

    def queue(seed: int) -> None:
        random = Random(seed)
        while not is_over.is_set():
            for _ in range(50):
                kind = random.choice(["state_change", "state_patch", "noise", "state_removed"])
                priority = random.choice(list(UpdatePriority))
                pipeline.queue_agent_update(f"agent_{random.randrange(40)}", kind, {"n": 1}, priority)
            if random.random() < 0.1:
                pipeline.batch_processor.pending_updates[random.choice(list(UpdatePriority))].clear()
            for letter in pipeline.dead_letters.list()[:3]:
                with contextlib.suppress(PipelineFull):
                    pipeline.replay_dead_letter(letter.number)
            time.sleep(0.001)  # three that never pause would leave the loop's thread no turn

    threads = [threading.Thread(target=queue, args=(seed,)) for seed in range(3)]
    async with pipeline:
        for thread in threads:
            thread.start()
        looks = 0
        try:
            until = time.monotonic() + 3.0
            while time.monotonic() < until:
                if looks % 100 == 20:
                    transport.begin_outage()
                elif looks % 100 == 70:
                    transport.end_outage()
                assert pipeline._monitor.check_account() == 0
                looks += 1
                await asyncio.sleep(0)
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
            transport.end_outage()
            pipeline.reset_circuit_breaker()
        assert looks > 100
        await settled(pipeline)
    total = account(pipeline)
    assert min(total[name] for name in ("delivered", "conflated", "dead_lettered", "cleared")) > 0


@pytest.mark.parametrize("priority", list(UpdatePriority))
async def test_an_update_that_is_lost_is_an_issue(
    make_pipeline: MakePipeline, priority: UpdatePriority
) -> None:
    pipeline = make_pipeline()
    pipeline.queue_agent_update("lamp", data={}, priority=priority)
    monitor = pipeline._monitor
    assert monitor.check_account() == 0
    pipeline.batch_processor.queue.chains["lamp"].updates.clear()  # the bug
    assert monitor.check_account() == 1
    health = pipeline.get_health_status()
    assert health["deductions"]["account_divergent"] == 60
    assert "off by 1" in health["issues"][0]


async def test_an_account_that_is_wrong_only_between_priorities_is_an_issue(
    make_pipeline: MakePipeline,
) -> None:
    pipeline = make_pipeline()
    pipeline.queue_agent_update("lamp", data={})
    pipeline.batch_processor.queue.chains["lamp"].updates[0].priority = UpdatePriority.LOW  # the bug
    assert pipeline._monitor.check_account() == 1


async def test_the_account_is_not_looked_at_while_another_thread_is_at_the_door(
    make_pipeline: MakePipeline,
) -> None:
    pipeline = make_pipeline()
    pipeline.batch_processor.queue.account.cells[0] += 1
    with pipeline._ingress._lock:
        assert pipeline._monitor.check_account() == 0
    assert pipeline._monitor.check_account() == 1


def test_the_account_is_looked_at_every_five_seconds_and_seldom_where_much_waits(
    make_pipeline: MakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    pipeline = make_pipeline(clock=clock)
    monitor = pipeline._monitor
    looked: list[float] = []
    real = monitor.check_account
    monkeypatch.setattr(monitor, "check_account", lambda: looked.append(clock.monotonic()) or real())
    start = clock.monotonic()
    for _ in range(48):  # twelve seconds
        clock.advance(0.25)
        monitor.look_round()
    assert [at - start for at in looked] == [5.0, 10.0]
    for number in range(2001):
        pipeline.queue_agent_update(f"agent_{number}", data={})
    looked.clear()
    start = clock.monotonic()
    for _ in range(61 * 4):
        clock.advance(0.25)
        monitor.look_round()
    assert len(looked) == 1


# what is told


async def test_one_late_update_is_no_trouble(make_pipeline: MakePipeline) -> None:
    """Of few updates the 99th percentile is the slowest one."""
    pipeline = make_pipeline()
    for _ in range(MIN_P99_COUNT - 1):
        pipeline._monitor.latency.record(UpdatePriority.CRITICAL, 9.0)
    assert "p99_critical_high" not in pipeline.get_health_status()["deductions"]
    pipeline._monitor.latency.record(UpdatePriority.CRITICAL, 9.0)
    assert "p99_critical_high" in pipeline.get_health_status()["deductions"]


async def test_what_acknowledgements_say_is_told_beside_what_is_measured_here(
    make_pipeline: MakePipeline,
) -> None:
    pipeline = make_pipeline(clock=ManualClock())
    ages = pipeline.websocket_manager.ages
    now = 1_700_000_000.0
    asked = Asked("updates", 7, 10.0, now - 2.0, ((0, now - 2.0), (3, now - 1.0)))
    for _ in range(MIN_P99_COUNT):
        ages.heard(asked, 1900.0, 12.0, now)
    metrics = pipeline.get_performance_metrics()
    for key, after_s in (("applied", 0.1), ("acknowledged", 0.0)):
        rows = metrics[key]["by_priority"]
        assert rows["critical"]["p99_latency_ms"] == pytest.approx(1000 * (2.0 - after_s), rel=0.02)
        assert rows["low"]["p50_latency_ms"] == pytest.approx(1000 * (1.0 - after_s), rel=0.02)
        assert (rows["high"]["count"], metrics[key]["count"]) == (0, 2 * MIN_P99_COUNT)
    assert metrics["count"] == 0, "not mixed with the server's own"
    assert pipeline.get_health_status()["deductions"] == {"not_started": 30, "applied_p95_high": 10}
    assert pipeline.get_client_latencies()["applied"]["critical"].count == MIN_P99_COUNT


async def test_divergence_is_told_for_a_minute_and_counted_for_ever(make_pipeline: MakePipeline) -> None:
    clock = ManualClock()
    pipeline = make_pipeline(clock=clock)
    pipeline.websocket_manager.ages.repaired(3)
    deductions: list[bool] = []
    for _ in range(3):
        deductions.append("divergence_repaired" in pipeline.get_health_status()["deductions"])
        clock.advance(31.0)
        pipeline._monitor.look_round()
    assert deductions == [True, True, False]
    assert pipeline.get_performance_metrics()["divergence_repaired"] == 3


async def test_windows_end_also_when_nothing_is_delivered(make_pipeline: MakePipeline) -> None:
    """A bad minute must not stay in the report for as long as nobody queues."""
    clock = ManualClock()
    pipeline = make_pipeline(clock=clock)
    monitor = pipeline._monitor
    for _ in range(MIN_P99_COUNT):
        monitor.latency.record(UpdatePriority.CRITICAL, 9.0)
    pipeline.websocket_manager.count_refusal("max_connections")
    assert {"p99_critical_high", "connections_refused"} <= set(pipeline.get_health_status()["deductions"])
    for _ in range(2):
        clock.advance(31.0)
        monitor.look_round()
    assert not {"p99_critical_high", "connections_refused"} & set(pipeline.get_health_status()["deductions"])
    assert pipeline.get_latencies()["critical"].count == MIN_P99_COUNT
    assert pipeline.get_performance_metrics()["connections_refused"] == {"max_connections": 1}


async def test_a_connection_over_the_limit_is_counted_and_told(make_pipeline: MakePipeline) -> None:
    class Ws:
        async def send(self, text: str) -> None: ...

    async with make_pipeline(connections={"max_connections": 1}) as pipeline:
        assert await pipeline.register_websocket("one", Ws())
        assert not await pipeline.register_websocket("two", Ws())
        metrics = pipeline.get_performance_metrics()
        assert metrics["connections_opened"] == 1
        assert metrics["connections_refused"] == {"max_connections": 1}
        [issue] = pipeline.get_health_status()["issues"]
        assert "1 connections were refused" in issue
        assert "CONNECTIONS max_connections)" in issue


async def test_what_operators_need_is_counted(make_pipeline: MakePipeline) -> None:
    """One of each: a failed publish, a retry, a death by reason, a broken socket, frames, a breaker that opened."""
    transport = FaultyTransport()

    class Broken:
        async def send(self, text: str) -> None:
            raise OSError("gone")

    class Ws:
        def __init__(self) -> None:
            self.frames: list[str] = []

        async def send(self, text: str) -> None:
            self.frames.append(text)

    class Picky:
        def transform(self, agent_id: str, update_type: str, data: JSONObject) -> JSONObject | None:
            if agent_id == "bad":
                raise ValueError("not this one")
            return data

    ws = Ws()
    async with make_pipeline(
        transport, transformers=[Picky()], retry_s=0.001, retry={"max_retries": 2}
    ) as pipeline:
        transport.fail()
        pipeline.queue_agent_update("bad", "noise", {})
        await pipeline.publish("lamp", data={"on": True})
        await pipeline.register_websocket("good", ws)
        await pipeline.register_websocket("broken", Broken())
        await pipeline.publish("lamp", data={"on": False})
        await settled(pipeline)
        while len(ws.frames) < 2:  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.001)
        pipeline.circuit_breaker.force_open("for the test")
        metrics = pipeline.get_performance_metrics()
    assert metrics["transport_failures"] == 1
    assert metrics["retries"] == 2
    assert metrics["failed_attempts"] == 3
    assert metrics["dead_letters_by_reason"] == {"part_failed": 1}
    assert metrics["send_failures"] == 1
    assert metrics["frames_sent"] == len(ws.frames)
    assert metrics["circuit_breaker_openings"] == 1
    assert metrics["batches"] >= 2
    assert metrics["agents"] == 1
    assert metrics["store_bytes"] > 0


async def test_the_oldest_wait_counts_what_is_in_flight(make_pipeline: MakePipeline) -> None:
    """With the breaker open the batch that failed is what waits longest, and it is in no queue."""
    clock = ManualClock()
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock=clock)
    async with pipeline:
        pipeline.circuit_breaker.force_open("for the test")
        pipeline.queue_agent_update("lamp", data={})
        while not pipeline._delivery.in_flight:  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.001)
        clock.advance(7.0)
        assert pipeline.get_performance_metrics()["oldest_wait_s"] == pytest.approx(7.0)
        assert "oldest_wait_long" in pipeline.get_health_status()["deductions"]
        pipeline.reset_circuit_breaker()
        await settled(pipeline)
        assert pipeline.get_performance_metrics()["oldest_wait_s"] == 0.0


async def test_a_connection_is_behind_until_it_was_told(make_pipeline: MakePipeline) -> None:
    go_on = asyncio.Event()

    class Slow:
        def __init__(self) -> None:
            self.frames: list[str] = []

        async def send(self, text: str) -> None:
            await go_on.wait()
            self.frames.append(text)

    slow = Slow()
    async with make_pipeline() as pipeline:
        await pipeline.register_websocket("slow", slow)
        await pipeline.publish("lamp", data={"on": True})
        assert pipeline.get_performance_metrics()["connections_behind"] == 1
        go_on.set()
        while not slow.frames or pipeline.get_performance_metrics()["connections_behind"]:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert len(slow.frames) == 1


async def test_a_transport_s_and_the_control_socket_s_own_troubles_are_issues(
    make_pipeline: MakePipeline,
) -> None:
    transport = FaultyTransport()
    async with make_pipeline(transport) as pipeline:
        transport.problem = "two\nlines"  # type: ignore[attr-defined]
        pipeline.control_problem = lambda: "no folder"
        health = pipeline.get_health_status()
    assert set(health["deductions"]) == {"transport_problem", "control_unreachable"}
    assert "two\\nlines" in health["issues"][0]
    assert "no folder" in health["issues"][1]


async def test_a_health_check_that_fails_is_one_line_of_its_plugin(make_pipeline: MakePipeline) -> None:
    class Check:
        name = "radio"

        def check(self) -> str | None:
            raise ValueError("a\nb")

    pipeline = make_pipeline()
    pipeline.health_checks.append(Check())
    issues = pipeline.get_health_status()["issues"]
    assert "radio: the check itself failed: ValueError: a\\nb" in issues


def test_any_thread_may_read_while_the_loop_works(make_pipeline: MakePipeline) -> None:
    """Reports are made of numbers that fit together: what was settled or waits never exceeds what was accepted."""
    pipeline = make_pipeline()
    is_over = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        last: dict[str, Any] = {}
        try:
            while not is_over.is_set():
                metrics = pipeline.get_performance_metrics()
                pipeline.get_health_status()
                for row in metrics["conservation"].values():
                    assert row["accepted"] == sum(row[term] for term in TERMS if term != "accepted")
                latencies = pipeline.get_latencies()
                counted = sum(one.count for one in latencies.values())
                for key in ("total_updates", "delivered", "conflated", "batches", "frames_sent"):
                    assert metrics[key] >= last.get(key, 0), key
                assert counted >= last.get("counted", 0)
                last = {**metrics, "counted": counted}
        except BaseException as error:
            failures.append(error)

    async def work() -> None:
        class Ws:
            async def send(self, text: str) -> None:
                await asyncio.sleep(0)

        async with pipeline:
            until = time.monotonic() + 2.0
            round_ = 0
            while time.monotonic() < until:
                round_ += 1
                await pipeline.register_websocket(f"ws_{round_ % 20}", Ws())
                for agent in range(50):
                    pipeline.queue_agent_update(f"agent_{agent}_{round_ % 7}", data={"round": round_})
                await asyncio.sleep(0)
                if round_ % 5 == 0:
                    pipeline._monitor.latency.rotate()
                    await pipeline.unregister_websocket(f"ws_{round_ % 20}")

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        asyncio.run(work())
    finally:
        sys.setswitchinterval(interval)
        is_over.set()
        for thread in threads:
            thread.join()
    assert failures == []
