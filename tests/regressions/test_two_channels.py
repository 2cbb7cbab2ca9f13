"""One agent in two channels of one viewer: the newest state is what the viewer ends with."""

from __future__ import annotations

import asyncio
import json

import pytest

from django_update_pipeline import UpdatePipeline


class Viewer:
    """A founding client: each agent_update replaces the agent."""

    def __init__(self) -> None:
        self.agents: dict[str, object] = {}
        self.frames = 0

    async def send(self, text: str) -> None:
        frame = json.loads(text)
        self.frames += 1
        self.agents[frame["agent_id"]] = frame["data"]


@pytest.mark.parametrize("channels", [("a", "b"), ("b", "a")])
async def test_a_late_joiner_has_the_newest_of_two_channels(channels: tuple[str, str]) -> None:
    """Channels were gone through by name, so the older state of the second one was shown last."""
    first, second = channels
    async with UpdatePipeline() as pipeline:
        early = Viewer()
        await pipeline.register_websocket("early", early, ("a", "b"))
        await pipeline.publish("lamp", "state_change", {"n": 1}, channels=(first,))
        await pipeline.publish("lamp", "state_change", {"n": 2}, channels=(second,))
        late = Viewer()
        await pipeline.register_websocket("late", late, ("a", "b"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert early.agents == late.agents == {"lamp": {"n": 2}}
        assert late.frames == 1


async def test_an_update_to_both_channels_is_told_once() -> None:
    async with UpdatePipeline() as pipeline:
        viewer = Viewer()
        await pipeline.register_websocket("viewer", viewer, ("a", "b"))
        await pipeline.publish("lamp", "state_change", {"n": 1}, channels=("a", "b"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert (viewer.frames, viewer.agents) == (1, {"lamp": {"n": 1}})
