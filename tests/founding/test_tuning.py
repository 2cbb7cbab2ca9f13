"""What the founding document assigns at run time takes effect: batches, breaker, queues, logging."""

from __future__ import annotations

import gc
import json
import logging
from typing import Any

import pytest

from dating_show.services.update_pipeline import CircuitState, UpdatePipeline, UpdatePriority
from django_update_pipeline.core.messages import PRIORITIES

from .conftest import Screen
from .serving import eventually

TARGETS_MS = {
    UpdatePriority.CRITICAL: 50.0,
    UpdatePriority.HIGH: 50.0,
    UpdatePriority.NORMAL: 100.0,
    UpdatePriority.LOW: 500.0,
}


class Recorder:
    """Takes the transport's place: notes the size of each batch, and fails when told to."""

    def __init__(self, pipeline: UpdatePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.error: Exception | None = None
        publish = pipeline.transport.publish

        async def recording(publication: Any) -> None:
            if self.error is not None:
                raise self.error
            self.sizes.append(len(publication.changes))
            await publish(publication)

        monkeypatch.setattr(pipeline.transport, "publish", recording)


# Batches


def test_batches_have_one_to_fifty_updates_unless_told_otherwise() -> None:
    pipeline = UpdatePipeline()
    assert pipeline.batch_processor.max_batch_size == 50
    assert pipeline.batch_processor.batch_timeout_ms == 20.0
    assert pipeline.batch_processor.get_pending_count() == dict.fromkeys(PRIORITIES, 0)


async def test_production_tuning_takes_effect_with_the_next_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = UpdatePipeline()
    pipeline.batch_processor.max_batch_size = 100
    pipeline.batch_processor.batch_timeout_ms = 25.0
    pipeline.circuit_breaker.metrics.failure_threshold = 15
    pipeline.circuit_breaker.metrics.recovery_timeout = 120.0
    recorder = Recorder(pipeline, monkeypatch)
    for n in range(250):
        pipeline.queue_agent_update(agent_id=f"agent_{n}", update_type="state_change", data={"n": n})
    await pipeline.start()
    await pipeline.stop()
    assert recorder.sizes[0] == 100, "more than the 50 of before, and no more than was asked for"
    assert max(recorder.sizes) == 100
    assert sum(recorder.sizes) == 250
    assert pipeline.batch_processor.policy.windows_s() == (0.0, 0.0125, 0.025, 0.1)
    state = pipeline.circuit_breaker.get_state()
    assert (state["failure_threshold"], state["recovery_timeout"]) == (15, 120.0)


async def test_a_smaller_batch_size_takes_effect_while_the_pipeline_runs(
    pipeline: UpdatePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(pipeline, monkeypatch)
    await pipeline.publish(agent_id="agent_0", update_type="state_change", data={})
    pipeline.batch_processor.max_batch_size = 2
    for n in range(10):
        pipeline.queue_agent_update(agent_id=f"agent_{n}", update_type="state_change", data={"n": n})
    await pipeline.stop()
    assert max(recorder.sizes) == 2
    assert sum(recorder.sizes) == 11


async def test_a_wider_window_holds_back_what_comes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause between two flushes grows to the window, which is asked for at each update."""
    policy = UpdatePipeline().batch_processor.policy
    for window_ms in (25.0, 250.0):
        policy.batch_timeout_ms = window_ms
        now = 1000.0
        for _ in range(20):  # a busy time: each flush doubles the pause, up to the window
            policy.flushed([UpdatePriority.NORMAL], now)
            due = policy.due_at(UpdatePriority.NORMAL, now)
            assert due - now <= window_ms / 1000 + 1e-9
            now = due
        assert due - now == 0
        policy.flushed([UpdatePriority.NORMAL], now)
        assert policy.due_at(UpdatePriority.NORMAL, now) - now == pytest.approx(window_ms / 1000)
        assert policy.due_at(UpdatePriority.CRITICAL, now) == now


# Latency classes


def test_each_priority_is_flushed_well_before_its_target() -> None:
    """The window is the longest an update waits for company; the rest of the target is for the delivery."""
    windows_s = UpdatePipeline().batch_processor.policy.windows_s()
    for priority, target_ms in TARGETS_MS.items():
        assert windows_s[priority] * 1000 <= 0.25 * target_ms
    assert windows_s[UpdatePriority.CRITICAL] == 0, "critical is immediate"
    assert list(PRIORITIES) == sorted(PRIORITIES) == list(TARGETS_MS)


async def test_every_priority_meets_its_target_below_saturation(pipeline: UpdatePipeline) -> None:
    await pipeline.register_websocket("ws_1", Screen())
    # Most updates are of normal priority, as in the founding application; every one finds a busy pipeline.
    mix = [UpdatePriority.NORMAL] * 60 + [UpdatePriority.HIGH] * 30 + [UpdatePriority.CRITICAL] * 30
    for n, priority in enumerate([*mix, UpdatePriority.LOW, UpdatePriority.LOW]):
        await pipeline.publish(
            agent_id=f"agent_{n % 7}", update_type="state_change", data={"n": n}, priority=priority
        )
    metrics = pipeline.get_performance_metrics()
    for priority, target_ms in TARGETS_MS.items():
        measured = metrics["by_priority"][priority.label]
        assert measured["count"] >= 2
        assert measured["p99_latency_ms"] < target_ms
    assert metrics["p95_latency_ms"] < 50
    assert metrics["p99_latency_ms"] < 100


async def test_what_is_more_urgent_goes_first() -> None:
    screen = Screen()
    pipeline = UpdatePipeline()
    for priority in reversed(PRIORITIES):
        pipeline.queue_agent_update(
            agent_id=priority.label, update_type="said", data={}, priority=priority, channels=["updates"]
        )
    await pipeline.register_websocket("ws_1", screen)
    await pipeline.start()
    await pipeline.stop()
    assert [json.loads(text)["agent_id"] for text in screen.texts] == ["critical", "high", "normal", "low"]


# Circuit breaker


def test_the_breaker_starts_closed_with_the_founding_limits() -> None:
    metrics = UpdatePipeline().circuit_breaker.metrics
    assert metrics.state is CircuitState.CLOSED
    assert (metrics.failure_threshold, metrics.recovery_timeout, metrics.failure_count) == (5, 30.0, 0)


def test_the_configured_number_of_failures_trips_the_breaker_and_no_fewer() -> None:
    breaker = UpdatePipeline().circuit_breaker
    breaker.metrics.failure_threshold = 10
    breaker.metrics.recovery_timeout = 60.0
    for _ in range(9):
        breaker.record_failure()
    assert breaker.can_execute()
    assert breaker.metrics.failure_count == 9
    breaker.record_failure()
    assert breaker.metrics.state is CircuitState.OPEN
    assert not breaker.can_execute()
    assert 59 < breaker.retry_after_s() <= 60


async def test_the_breaker_is_reset_by_assignment_and_what_waited_is_delivered(
    monkeypatch: pytest.MonkeyPatch, screen: Screen
) -> None:
    pipeline = UpdatePipeline()
    recorder = Recorder(pipeline, monkeypatch)
    pipeline.circuit_breaker.metrics.failure_threshold = 1
    pipeline.circuit_breaker.metrics.recovery_timeout = 3600.0
    await pipeline.start()
    await pipeline.register_websocket("ws_1", screen)
    recorder.error = ConnectionError("the transport is down")
    pipeline.queue_agent_update(agent_id="agent_001", update_type="state_change", data={"waits": True})
    await eventually(lambda: pipeline.circuit_breaker.metrics.state is CircuitState.OPEN)
    assert pipeline.get_performance_metrics()["circuit_breaker_state"] == "open"
    assert pipeline.get_performance_metrics()["pending"] == 1
    assert screen.texts == []

    # The delivery looks at an open breaker each half second at least; the reset has to be quicker than that.
    looks: list[bool] = []
    can_execute = pipeline.circuit_breaker.can_execute
    breaker_class = type(pipeline.circuit_breaker)
    monkeypatch.setattr(breaker_class, "can_execute", lambda _: looks.append(can_execute()) or looks[-1])
    await eventually(lambda: looks)
    recorder.error = None
    pipeline.circuit_breaker.metrics.state = CircuitState.CLOSED
    pipeline.circuit_breaker.metrics.failure_count = 0
    await eventually(lambda: screen.texts, 0.4)
    assert pipeline.get_performance_metrics()["circuit_breaker_state"] == "closed"
    assert json.loads(screen.texts[0])["data"] == {"waits": True}
    await pipeline.stop()


def test_half_open_admits_three_trials_and_closes_when_they_succeed() -> None:
    breaker = UpdatePipeline().circuit_breaker
    breaker.metrics.recovery_timeout = 0.0
    breaker.metrics.state = CircuitState.OPEN
    assert [breaker.can_execute() for _ in range(4)] == [True, True, True, False]
    assert breaker.get_state()["state"] == "half_open"
    for _ in range(3):
        breaker.record_success()
    assert breaker.metrics.state is CircuitState.CLOSED


# Clearing


async def test_clearing_the_pending_queues_gives_up_what_waits_and_counts_it() -> None:
    pipeline = UpdatePipeline()
    for priority in PRIORITIES:
        for n in range(3):
            pipeline.queue_agent_update(agent_id=f"agent_{n}", update_type="said", data={}, priority=priority)
    assert {p: len(q) for p, q in pipeline.batch_processor.pending_updates.items()} == dict.fromkeys(
        PRIORITIES, 3
    )
    for queue in pipeline.batch_processor.pending_updates.values():
        queue.clear()
    gc.collect()
    assert pipeline.batch_processor.get_pending_count() == dict.fromkeys(PRIORITIES, 0)
    metrics = pipeline.get_performance_metrics()
    assert (metrics["accepted"], metrics["cleared"], metrics["pending"]) == (12, 12, 0)
    report = await pipeline.stop()
    assert report.delivered == 0


# Logging


def test_the_founding_names_of_the_loggers_switch_debugging_on(caplog: pytest.LogCaptureFixture) -> None:
    """Who sets the level of the application's own modules wants to see what the package does for them."""
    ours = logging.getLogger("django_update_pipeline.runtime.connections")
    names = ("dating_show.services.update_pipeline", "dating_show.services.websocket_consumer")
    assert not ours.isEnabledFor(logging.DEBUG)
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.DEBUG)
        assert ours.isEnabledFor(logging.DEBUG)
        ours.debug("closing a connection")
        assert "closing a connection" in caplog.text, "and it still reaches the root's handlers"
    finally:
        for name in names:
            logging.getLogger(name).setLevel(logging.NOTSET)
    assert not ours.isEnabledFor(logging.DEBUG)
