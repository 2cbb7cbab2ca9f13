"""The founding contract of `UpdatePipeline`: life, connections, queueing, monitoring, and its tests of itself."""

from __future__ import annotations

import inspect
import json
import re
import time
from typing import Any

import pytest

import django_update_pipeline
from dating_show.services import update_pipeline as founding
from dating_show.services.update_pipeline import (
    UpdateMessage,
    UpdatePipeline,
    UpdatePriority,
    get_update_pipeline,
    setup_update_pipeline_integration,
    start_update_pipeline_service,
)

from .conftest import Screen
from .serving import eventually


async def shown(pipeline: UpdatePipeline) -> None:
    """Waits until every connection has been handed what was delivered so far."""
    await pipeline.websocket_manager.caught_up(5)


def test_the_applications_own_import_path_gives_the_packages_objects() -> None:
    for name in founding.__all__:
        assert getattr(founding, name) is getattr(django_update_pipeline, name)
    assert {"UpdatePipeline", "UpdatePriority", "UpdateMessage", "CircuitState"} <= set(founding.__all__)
    assert {"get_update_pipeline", "setup_update_pipeline_integration"} <= set(founding.__all__)
    assert "start_update_pipeline_service" in founding.__all__


# Life


async def test_start_and_stop_may_be_said_twice() -> None:
    pipeline = UpdatePipeline()
    assert not pipeline.is_running
    await pipeline.start()
    await pipeline.start()
    assert pipeline.is_running
    await pipeline.stop()
    await pipeline.stop()
    assert not pipeline.is_running


async def test_a_stopped_pipeline_starts_again_and_delivers(screen: Screen) -> None:
    pipeline = UpdatePipeline()
    for round_ in (1, 2):
        await pipeline.start()
        await pipeline.register_websocket("ws_1", screen)
        await pipeline.publish(agent_id="agent_001", update_type="state_change", data={"round": round_})
        await shown(pipeline)
        await pipeline.stop()
    assert [json.loads(text)["data"] for text in screen.texts][-1] == {"round": 2}


async def test_stop_delivers_what_was_queued_before(screen: Screen) -> None:
    pipeline = UpdatePipeline()
    await pipeline.start()
    await pipeline.register_websocket("ws_1", screen)
    for number in range(300):
        pipeline.queue_agent_update(agent_id="agent_001", update_type="said", data={"n": number})
    report = await pipeline.stop()
    assert [json.loads(text)["data"]["n"] for text in screen.texts] == list(range(300))
    assert (report.accepted, report.delivered, report.pending) == (300, 300, 0)
    assert screen.is_closed


async def test_what_is_queued_before_the_start_is_delivered_after_it(screen: Screen) -> None:
    pipeline = UpdatePipeline()
    pipeline.queue_agent_update(agent_id="agent_001", update_type="state_change", data={"early": True})
    assert pipeline.get_performance_metrics()["total_updates"] == 1
    async with pipeline:
        await pipeline.register_websocket("ws_1", screen)
        await pipeline.publish(agent_id="agent_002", update_type="state_change", data={})
        await shown(pipeline)
    assert {"agent_001", "agent_002"} == {json.loads(text)["agent_id"] for text in screen.texts}


# Connections


async def test_a_registered_connection_gets_updates_until_it_is_unregistered(
    pipeline: UpdatePipeline, screen: Screen
) -> None:
    assert await pipeline.register_websocket("ws_1", screen) is True
    assert pipeline.websocket_manager.get_connection_count() == 1
    assert list(pipeline.websocket_manager.connections) == ["ws_1"]
    assert pipeline.get_performance_metrics()["websocket_connections"] == 1

    await pipeline.publish(
        agent_id="agent_001", update_type="state_change", data={"current_location": "pool"}
    )
    await shown(pipeline)
    (text,) = screen.texts
    frame = json.loads(text)
    assert frame.pop("timestamp") == pytest.approx(time.time(), abs=60)
    assert frame == {
        "type": "agent_update",
        "agent_id": "agent_001",
        "update_type": "state_change",
        "data": {"current_location": "pool"},
    }

    await pipeline.unregister_websocket("ws_1")
    assert pipeline.websocket_manager.get_connection_count() == 0
    await pipeline.publish(
        agent_id="agent_001", update_type="state_change", data={"current_location": "villa"}
    )
    await shown(pipeline)
    assert len(screen.texts) == 1
    await pipeline.unregister_websocket("ws_1")  # nobody is there: nothing happens


async def test_a_new_connection_is_shown_what_is_known_already(
    pipeline: UpdatePipeline, screen: Screen
) -> None:
    await pipeline.publish(agent_id="agent_001", update_type="state_change", data={"mood": "calm"})
    await pipeline.register_websocket("ws_late", screen)
    await shown(pipeline)
    assert [json.loads(text)["data"] for text in screen.texts] == [{"mood": "calm"}]


async def test_the_third_argument_names_the_channels_a_connection_wants(pipeline: UpdatePipeline) -> None:
    """Original clients pass a set of names, by position; who passes none is on the default channel."""
    news, everything, default = Screen(), Screen(), Screen()
    assert await pipeline.register_websocket("ws_1", news, {"agent_notifications"})
    assert await pipeline.register_websocket("ws_2", everything, {"agent_notifications", "updates"})
    assert await pipeline.register_websocket("ws_3", default)
    await pipeline.publish(agent_id="a", update_type="state_change", data={"is": "state"})
    await pipeline.publish(
        agent_id="a", update_type="said", data={"is": "event"}, channels=["agent_notifications"]
    )
    await shown(pipeline)

    def kinds(screen: Screen) -> list[str]:
        return [json.loads(text)["data"]["is"] for text in screen.texts]

    assert kinds(news) == ["event"]
    assert kinds(everything) == ["state", "event"]
    assert kinds(default) == ["state"]


async def test_a_connection_that_fails_harms_no_other(pipeline: UpdatePipeline, screen: Screen) -> None:
    class Broken(Screen):
        async def send(self, text: str) -> None:
            raise ConnectionResetError("gone")

    await pipeline.register_websocket("ws_broken", Broken())
    await pipeline.register_websocket("ws_1", screen)
    await pipeline.publish(agent_id="agent_001", update_type="state_change", data={})
    await shown(pipeline)
    assert len(screen.texts) == 1
    assert list(pipeline.websocket_manager.connections) == ["ws_1"]
    assert pipeline.get_performance_metrics()["circuit_breaker_state"] == "closed"


# Queueing and metrics


async def test_the_metrics_count_an_update_as_soon_as_it_is_queued() -> None:
    """Nothing is awaited between the call and the look."""
    pipeline = UpdatePipeline()
    await pipeline.start()
    pipeline.queue_agent_update(
        agent_id="test_001", update_type="test", data={"test": True}, priority=UpdatePriority.NORMAL
    )
    assert pipeline.get_performance_metrics()["total_updates"] == 1
    assert pipeline.performance_metrics.total_updates == 1, "original clients read it as an attribute"
    await pipeline.stop()
    assert pipeline.get_performance_metrics()["successful_updates"] == 1


def test_queueing_needs_no_loop_and_no_keyword() -> None:
    pipeline = UpdatePipeline()
    pipeline.queue_agent_update("agent_001", "state_change", {"a": 1}, UpdatePriority.HIGH)
    assert pipeline.batch_processor.get_pending_count()[UpdatePriority.HIGH] == 1


async def test_the_metrics_have_the_founding_keys(pipeline: UpdatePipeline) -> None:
    await pipeline.publish(agent_id="agent_001", update_type="state_change", data={})
    await shown(pipeline)
    metrics = pipeline.get_performance_metrics()
    lines = [
        f"Updates/second: {metrics['updates_per_second']}",
        f"Average latency: {metrics['average_latency_ms']}ms",
        f"Success rate: {metrics['success_rate']:.2%}",
        f"WebSocket connections: {metrics['websocket_connections']}",
        f"Circuit breaker state: {metrics['circuit_breaker_state']}",
    ]
    assert lines[2:] == ["Success rate: 100.00%", "WebSocket connections: 0", "Circuit breaker state: closed"]
    counts = {
        "total_updates",
        "successful_updates",
        "failed_updates",
        "last_batch_size",
        "last_batch_duration_ms",
    }
    latencies = {f"p{n}_latency_ms" for n in (50, 95, 99)}
    terms = {"accepted", "delivered", "conflated", "dead_lettered", "cleared", "pending"}
    assert counts | latencies | terms | {"queue_depth"} <= metrics.keys()
    assert latencies <= metrics["by_priority"]["normal"].keys()
    assert metrics["queue_depth"].keys() == {"critical", "high", "normal", "low"}
    json.dumps(metrics)


async def test_the_health_report_has_the_founding_keys_and_names_mends(pipeline: UpdatePipeline) -> None:
    health = pipeline.get_health_status()
    assert f"Health score: {health['health_score']}/100" == "Health score: 100/100"
    assert health["health_status"] == "healthy"
    assert health["issues"] == []
    pipeline.circuit_breaker.force_open("a test")
    health = pipeline.get_health_status()
    assert health["health_score"] < 70
    assert health["health_status"] in ("degraded", "critical")
    assert ", ".join(health["issues"])
    pipeline.circuit_breaker.force_close()


async def test_a_health_endpoint_alerts_when_the_service_does_badly(the_show: object) -> None:
    """The document's `health_check` asks the process's own pipeline."""
    alerts: list[str] = []

    async def health_check() -> dict[str, Any]:
        health = get_update_pipeline().get_health_status()
        if health["health_score"] < 70:
            alerts.append("degraded")
        if health["health_status"] == "critical":
            alerts.append("critical")
        return health

    assert any("start" in issue for issue in (await health_check())["issues"]), "it does not run yet"
    pipeline = await start_update_pipeline_service()
    try:
        assert (await health_check())["health_score"] == 100
        assert alerts == []
        pipeline.circuit_breaker.force_open("a test")
        await health_check()
        assert "degraded" in alerts
    finally:
        pipeline.circuit_breaker.force_close()
        await pipeline.stop()


def test_an_update_message_tracks_its_retries() -> None:
    message = UpdateMessage.of("agent_001", "state_change", {"a": 1}, UpdatePriority.HIGH, 1.0)
    assert message.retry_count == 0
    assert message.max_retries == 3
    assert (message.agent_id, message.update_type, message.data) == ("agent_001", "state_change", {"a": 1})
    assert message.priority is UpdatePriority.HIGH


async def test_an_update_that_always_fails_is_tried_again_as_often_as_stated() -> None:
    """Its own failures are counted, four attempts in all; the updates beside it arrive."""

    class Refusing:
        attempts = 0

        def transform(self, agent_id: str, update_type: str, data: dict[str, Any]) -> dict[str, Any]:
            if agent_id == "bad":
                self.attempts += 1
                raise ValueError("cannot be shown")
            return data

    from django_update_pipeline.core.config import PipelineConfig, RetryConfig
    from django_update_pipeline.runtime.clock import SystemClock
    from django_update_pipeline.runtime.parts import default_parts

    config = PipelineConfig(retry=RetryConfig(base_delay_s=0.001, max_delay_s=0.002))
    parts = default_parts(config, SystemClock())
    refusing = Refusing()
    parts.transformers = (refusing,)
    async with UpdatePipeline(config, parts=parts) as pipeline:
        pipeline.queue_agent_update(agent_id="bad", update_type="said", data={})
        await pipeline.publish(agent_id="good", update_type="said", data={})
        await eventually(pipeline.dead_letters.list)
        metrics = pipeline.get_performance_metrics()
    assert refusing.attempts == 1 + 3
    assert (metrics["successful_updates"], metrics["failed_updates"]) == (1, 1)
    assert metrics["success_rate"] == 0.5


# The process's one pipeline


def test_the_integration_is_set_up_at_once_and_starts_nothing(the_show: object) -> None:
    assert not inspect.iscoroutinefunction(setup_update_pipeline_integration)
    pipeline = setup_update_pipeline_integration()
    assert pipeline is setup_update_pipeline_integration() is get_update_pipeline()
    assert not pipeline.is_running
    from dating_show.services.frontend_state_adapter import get_frontend_state_adapter

    assert pipeline.frontend_adapter is get_frontend_state_adapter()


async def test_an_application_starts_the_service_does_its_work_and_stops_it(the_show: object) -> None:
    async def main() -> UpdatePipeline:
        pipeline = await start_update_pipeline_service()
        assert pipeline.is_running
        await pipeline.stop()
        return pipeline

    assert await main() is get_update_pipeline()
    assert not get_update_pipeline().is_running


async def test_a_thousand_updates_of_ten_agents_are_all_accounted_for(
    the_show: object, screen: Screen
) -> None:
    """The load sample. Its type is no state, so each of the thousand arrives, in the order of its agent."""
    pipeline = get_update_pipeline()
    await pipeline.start()
    await pipeline.register_websocket("ws_1", screen, {"agent_notifications"})
    for i in range(1000):
        pipeline.queue_agent_update(
            agent_id=f"load_test_{i % 10}",
            update_type="load_test",
            data={"iteration": i},
            priority=UpdatePriority.NORMAL,
        )
    report = await pipeline.stop()
    assert (report.accepted, report.delivered) == (1000, 1000)
    metrics = pipeline.get_performance_metrics()
    assert re.fullmatch(
        r"Average latency: \d+\.\dms", f"Average latency: {metrics['average_latency_ms']:.1f}ms"
    )
    frames = [json.loads(text) for text in screen.texts]
    assert len(frames) == 1000
    for agent in range(10):
        mine = [f["data"]["iteration"] for f in frames if f["agent_id"] == f"load_test_{agent}"]
        assert mine == list(range(agent, 1000, 10))


async def test_a_thousand_states_of_ten_agents_end_with_each_agents_last_one(
    pipeline: UpdatePipeline,
) -> None:
    screen = Screen()
    await pipeline.register_websocket("ws_1", screen)
    for i in range(1000):
        pipeline.queue_agent_update(agent_id=f"a{i % 10}", update_type="state_change", data={"iteration": i})
    await pipeline.stop()
    last = {(frame := json.loads(text))["agent_id"]: frame["data"]["iteration"] for text in screen.texts}
    assert last == {f"a{n}": 990 + n for n in range(10)}
    metrics = pipeline.get_performance_metrics()
    assert metrics["accepted"] == 1000 == metrics["delivered"] + metrics["conflated"]
