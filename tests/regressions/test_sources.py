"""One agent that can't be queued keeps no other from it."""

from __future__ import annotations

from typing import Any

from django_update_pipeline import PipelineConfig, UpdatePipeline
from django_update_pipeline.core.config import QueueConfig
from django_update_pipeline.plugins.sources import UnifiedAgentManagerSource


class Manager:
    def __init__(self) -> None:
        self.states: dict[str, Any] = {}
        self.listeners: list[Any] = []

    def get_all_agents_state(self) -> dict[str, Any]:
        return self.states

    def get_agent_state(self, agent_id: str) -> Any:
        return self.states.get(agent_id)

    def add_update_listener(self, listener: Any) -> None:
        self.listeners.append(listener)

    def remove_update_listener(self, listener: Any) -> None:
        self.listeners.remove(listener)


async def test_in_a_batch_of_changes_the_agents_after_a_refused_one_are_queued() -> None:
    """The rest of the batch was given up, and its agents stayed as they were until they changed again."""
    manager = Manager()
    manager.states = {"": {"n": 1}, "agent_001": {"n": 1}, "agent_002": {"n": 1}}
    source = UnifiedAgentManagerSource(manager)
    pipeline = UpdatePipeline(PipelineConfig(queue=QueueConfig(max_agents=2)))
    pipeline.parts.sources = [source]
    async with pipeline:
        await pipeline.publish("agent_002", data={"n": 0})
        assert set(pipeline.store.states("updates")) == {"agent_001", "agent_002"}
        for state in manager.states.values():
            state["n"] = 2
        manager.listeners[0]("batch_update", {"": {}, "agent_003": {}, **manager.states}, None)
        await pipeline.stop()
    assert pipeline.store.states("updates") == {"agent_001": b'{"n":2}', "agent_002": b'{"n":2}'}
    assert source.failures == 3, "the nameless one at the start, and both that are refused in the batch"
