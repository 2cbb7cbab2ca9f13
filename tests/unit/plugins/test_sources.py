"""The sources that come with the package: what they send, and whose failures are whose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from django_update_pipeline import PipelineConfig, UpdatePipeline
from django_update_pipeline.core.config import QueueConfig
from django_update_pipeline.core.recording import parse_recording
from django_update_pipeline.plugins.sources import ReplaySource, UnifiedAgentManagerSource, movement_state
from django_update_pipeline.testing import in_virtual_time


class Manager:
    """The least a manager must be."""

    def __init__(self) -> None:
        self.agents: dict[str, dict[str, Any]] = {}
        self.listeners: list[Callable[[str, Any, Any], None]] = []

    def add_update_listener(self, listener: Callable[[str, Any, Any], None]) -> None:
        self.listeners.append(listener)

    def remove_update_listener(self, listener: Callable[[str, Any, Any], None]) -> None:
        self.listeners.remove(listener)

    def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
        return self.agents.get(agent_id)

    def get_all_agents_state(self) -> dict[str, dict[str, Any]]:
        return self.agents

    def tell(self, kind: str, agent_id: Any, state: Any = None) -> None:
        for listener in self.listeners:
            listener(kind, agent_id, state)


class Adapter:
    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.asked = 0

    def get_agent_for_frontend(self, agent_id: str) -> dict[str, Any] | None:
        self.asked += 1
        state = self.manager.get_agent_state(agent_id)
        return None if state is None else {"frontend": state}


def with_sources(*sources: Any, **config: Any) -> UpdatePipeline:
    pipeline = UpdatePipeline(PipelineConfig(**config))
    pipeline.parts.sources = list(sources)
    return pipeline


async def delivered(pipeline: UpdatePipeline) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while pipeline.get_performance_metrics()["pending"]:  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.001)
    return {agent_id: json.loads(text) for agent_id, text in pipeline.store.states("updates").items()}


async def test_a_managers_agents_are_sent_at_the_start_and_when_they_change() -> None:
    manager = Manager()
    adapter = Adapter(manager)
    manager.agents = {"a": {"n": 0}, "b": {"n": 0}}
    pipeline = with_sources(UnifiedAgentManagerSource(manager, adapter))
    async with pipeline:
        assert await delivered(pipeline) == {"a": {"frontend": {"n": 0}}, "b": {"frontend": {"n": 0}}}
        asked = adapter.asked
        for n in range(50):
            manager.agents["a"] = {"n": n}
            manager.tell("agent_updated", "a", manager.agents["a"])
        manager.agents["c"] = {"n": 1}
        manager.tell("agent_registered", "c", manager.agents["c"])
        manager.agents["b"] = {"n": 7}
        manager.tell("batch_update", {"b": {"n": 7}})
        assert await delivered(pipeline) == {
            "a": {"frontend": {"n": 49}},
            "b": {"frontend": {"n": 7}},
            "c": {"frontend": {"n": 1}},
        }
        assert adapter.asked - asked == 3, "once for however many changes"
        manager.tell("agent_removed", "c")
        assert set(await delivered(pipeline)) == {"a", "b"}
    assert manager.listeners == []
    manager.tell("agent_updated", "a", {})


async def test_a_manager_without_an_adapter_sends_its_own_state() -> None:
    manager = Manager()
    manager.agents = {"a": {"n": 0}}
    pipeline = with_sources(UnifiedAgentManagerSource(manager))
    async with pipeline:
        assert await delivered(pipeline) == {"a": {"n": 0}}


async def test_an_agent_the_manager_no_longer_knows_sends_nothing() -> None:
    manager = Manager()
    pipeline = with_sources(UnifiedAgentManagerSource(manager))
    async with pipeline:
        manager.tell("agent_updated", "ghost", {})
        assert await delivered(pipeline) == {}
        assert pipeline.get_performance_metrics()["cleared"] == 1


async def test_a_full_pipeline_is_not_the_managers_problem(caplog: pytest.LogCaptureFixture) -> None:
    manager = Manager()
    pipeline = with_sources(UnifiedAgentManagerSource(manager), queue=QueueConfig(max_agents=1))
    async with pipeline:
        for agent in ("a", "b", "\n"):
            manager.agents[agent] = {"n": 1}
            manager.tell("agent_updated", agent, {"n": 1})
        assert set(await delivered(pipeline)) == {"a"}
    assert "max_agents = 1" in caplog.text, "refused loudly"


async def test_a_loop_that_ended_without_stop_leaves_no_second_listener() -> None:
    manager = Manager()
    manager.agents = {"a": {"n": 1}}
    pipeline = with_sources(UnifiedAgentManagerSource(manager))

    def run_without_stop() -> None:
        asyncio.run(pipeline.start())

    for _ in range(3):
        await asyncio.to_thread(run_without_stop)
    async with pipeline:
        assert len(manager.listeners) == 1
    assert manager.listeners == []


def recording(steps: int) -> Any:
    """A recording in the simulation's own form: one object a step."""
    content = {
        str(step): {
            "Isabella": {
                "movement": [step, 2],
                "pronunciatio": "x",
                "description": f"walking @ the Ville:cafe:hall:{step}",
                "chat": None,
            }
        }
        for step in range(steps)
    }
    return parse_recording(json.dumps(content).encode(), "test.json")


@in_virtual_time
async def test_a_recording_is_played_step_by_step() -> None:
    source = ReplaySource(recording(5), steps_per_s=2.0)
    seen: list[tuple[float, str, Any]] = []
    loop = asyncio.get_running_loop()
    source._apply = lambda agent_id, state: seen.append((loop.time(), agent_id, state["position"]["x"]))
    began = loop.time()
    await source.start(UpdatePipeline())
    while not source.finished:  # noqa: ASYNC110 - the source tells nobody
        await asyncio.sleep(0.1)
    assert [(round(at - began, 3), agent, x) for at, agent, x in seen] == [
        (n * 0.5, "Isabella", n) for n in range(5)
    ]
    await source.stop()


async def test_a_recording_ends_with_its_last_state() -> None:
    source = ReplaySource(recording(40))
    pipeline = with_sources(source)
    async with pipeline:
        async with asyncio.timeout(10):
            while not source.finished:  # noqa: ASYNC110 - the source tells nobody
                await asyncio.sleep(0)
        final = movement_state(source.recording.steps[-1].agents["Isabella"])
        assert await delivered(pipeline) == {"Isabella": final}


@in_virtual_time
async def test_a_replay_that_fails_is_told_and_can_be_stopped(caplog: pytest.LogCaptureFixture) -> None:
    def broken(agent_id: str, state: Any) -> None:
        raise RuntimeError("no such agent")

    source = ReplaySource(recording(3), apply=broken)
    await source.start(UpdatePipeline())
    await asyncio.sleep(1)
    assert not source.finished
    assert "no such agent" in caplog.text
    await source.stop()
    await source.stop()


def test_a_replay_whose_loop_is_gone_can_be_stopped_on_another() -> None:
    source = ReplaySource(recording(1000), steps_per_s=1.0)

    async def start() -> None:
        await source.start(UpdatePipeline())

    asyncio.run(start())
    asyncio.run(source.stop())
