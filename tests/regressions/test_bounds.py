"""The bounds on agents and bytes count what is held, once."""

from __future__ import annotations

import pytest

from django_update_pipeline import PipelineConfig, PipelineFull, UpdatePipeline
from django_update_pipeline.core.config import QueueConfig


async def test_an_agent_counts_once_however_many_channels_have_it_and_though_it_waits() -> None:
    """One agent in two channels, delivered and waiting again, once filled a bound of two."""
    pipeline = UpdatePipeline(PipelineConfig(queue=QueueConfig(max_agents=2)))
    async with pipeline:
        await pipeline.publish("one", "state_change", {"n": 1}, channels=("a", "b"))
        pipeline.queue_agent_update("one", "state_change", {"n": 2}, channels=("a", "b"))
        pipeline.queue_agent_update("two", "state_change", {"n": 1})
        with pytest.raises(PipelineFull, match="max_agents = 2"):
            pipeline.queue_agent_update("three", "state_change", {"n": 1})
        pipeline.queue_agent_update("two", "state_change", {"n": 2})
        await pipeline.publish("one", "state_removed", {}, channels=("a", "b"))
        pipeline.queue_agent_update("three", "state_change", {"n": 1})


async def test_the_bound_on_bytes_holds_for_what_is_stored_too() -> None:
    """Only what waited was counted: a store of 50 kB stood under a bound of 10 kB."""
    pipeline = UpdatePipeline(PipelineConfig(queue=QueueConfig(max_total_bytes=10_000)))
    async with pipeline:
        for number in range(9):
            await pipeline.publish(f"agent_{number}", "state_change", {"text": "x" * 1000})
        await pipeline.publish("agent_9", "state_change", {"text": "x" * 1000})
        with pytest.raises(PipelineFull, match="max_total_bytes = 10000"):
            await pipeline.publish("agent_10", "state_change", {"text": "x" * 1000})
        with pytest.raises(PipelineFull, match="max_total_bytes"):
            pipeline.queue_agent_update("agent_0", "event", {"text": "x" * 2000})
        await pipeline.publish("agent_0", "state_change", {"text": "y" * 1000})  # known state is not refused
