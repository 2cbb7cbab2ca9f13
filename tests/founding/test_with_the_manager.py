"""The pipeline joined to the application's manager and adapter: a change becomes a full frontend state."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from dating_show.services.frontend_state_adapter import get_frontend_state_adapter
from dating_show.services.unified_agent_manager import UnifiedAgentManager
from dating_show.services.update_pipeline import UpdatePipeline, setup_update_pipeline_integration

from .conftest import Screen

SECTIONS = {"identity", "role", "skills", "position", "emotions", "relationships", "dialogue", "memory"}


class Client(Screen):
    """A founding client: replaces an agent by the data of each `agent_update`."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = asyncio.Event()

    async def send(self, text: str) -> None:
        await super().send(text)
        self.arrived.set()

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.texts]

    @property
    def agents(self) -> dict[str, Any]:
        return {frame["agent_id"]: frame["data"] for frame in self.frames if frame["type"] == "agent_update"}

    async def sees(self, agent_id: str, **fields: Any) -> None:
        async with asyncio.timeout(5):
            while not fields.items() <= self.agents.get(agent_id, {}).items():
                self.arrived.clear()
                await self.arrived.wait()


@pytest.fixture
def client() -> Client:
    return Client()


async def joined(client: Client) -> UpdatePipeline:
    pipeline = setup_update_pipeline_integration()
    await pipeline.start()
    await pipeline.register_websocket("ws_1", client)
    return pipeline


async def test_a_change_through_the_manager_arrives_as_a_full_frontend_state(
    the_show: UnifiedAgentManager, client: Client
) -> None:
    the_show.register_agent("agent_001", "Ava Stone", {"openness": 0.8})
    pipeline = await joined(client)
    before = pipeline.get_performance_metrics()["total_updates"]

    assert the_show.update_agent_state(
        "agent_001", {"location": "pool", "activity": "swimming"}, batch_mode=False
    )
    assert pipeline.get_performance_metrics()["total_updates"] == before + 1, "received at once"
    await client.sees("agent_001", current_location="pool", current_action="swimming")

    assert {frame["type"] for frame in client.frames} == {"agent_update"}
    assert {frame["update_type"] for frame in client.frames} == {"state_change"}
    state = client.agents["agent_001"]
    assert state == json.loads(json.dumps(get_frontend_state_adapter().get_agent_for_frontend("agent_001")))
    assert state.keys() >= SECTIONS | {"cultural", "governance", "personality", "attributes"}
    assert 2000 <= len(json.dumps(state, separators=(",", ":")).encode()) <= 4096
    await pipeline.stop()
    assert pipeline.get_performance_metrics()["successful_updates"] > 0


async def test_gathered_changes_arrive_too(the_show: UnifiedAgentManager, client: Client) -> None:
    for agent_id in ("agent_001", "agent_002"):
        the_show.register_agent(agent_id, f"Somebody {agent_id[-1]}")
    pipeline = await joined(client)
    for agent_id in ("agent_001", "agent_002"):
        the_show.update_agent_state(agent_id, {"location": "garden"})
    the_show.flush_updates()
    await client.sees("agent_001", current_location="garden")
    await client.sees("agent_002", current_location="garden")
    await pipeline.stop()


async def test_agents_that_were_there_before_the_start_are_shown(
    the_show: UnifiedAgentManager, client: Client
) -> None:
    the_show.register_agent("agent_001", "Ava Stone")
    the_show.update_agent_state("agent_001", {"location": "gym"}, batch_mode=False)
    pipeline = await joined(client)
    await client.sees("agent_001", current_location="gym")
    await pipeline.stop()


async def test_a_field_no_section_knows_is_not_lost(the_show: UnifiedAgentManager, client: Client) -> None:
    """Zero-loss conversion: whatever the simulation says of an agent is in what the browser gets."""
    pipeline = await joined(client)
    the_show.register_agent("agent_001", "Ava Stone")
    the_show.update_agent_state("agent_001", {"secret_crush": {"on": "agent_002"}}, batch_mode=False)
    async with asyncio.timeout(5):
        while "secret_crush" not in client.agents.get("agent_001", {}).get("attributes", {}):
            client.arrived.clear()
            await client.arrived.wait()
    assert client.agents["agent_001"]["attributes"]["secret_crush"] == {"on": "agent_002"}
    await pipeline.stop()


async def test_the_pipelines_adapter_may_be_used_as_the_document_does(
    the_show: UnifiedAgentManager, client: Client
) -> None:
    """Asking the adapter and queueing what it says is the same as letting the pipeline do it."""
    pipeline = await joined(client)
    the_show.register_agent("agent_001", "Ava Stone")
    frontend_data = pipeline.frontend_adapter.get_agent_for_frontend("agent_001")
    assert frontend_data
    pipeline.queue_agent_update("agent_001", "state_change", frontend_data)
    await client.sees("agent_001", name="Ava Stone")
    assert pipeline.frontend_adapter.get_agent_for_frontend("nobody") is None
    await pipeline.stop()


async def test_after_the_stop_changes_of_the_manager_are_queued_no_more(
    the_show: UnifiedAgentManager, client: Client
) -> None:
    the_show.register_agent("agent_001", "Ava Stone")
    pipeline = await joined(client)
    await pipeline.stop()
    before = pipeline.get_performance_metrics()["total_updates"]
    the_show.update_agent_state("agent_001", {"location": "pool"}, batch_mode=False)
    assert pipeline.get_performance_metrics()["total_updates"] == before
