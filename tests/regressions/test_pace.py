"""A batch that was settled makes due what it held back, and nothing else."""

from __future__ import annotations

import asyncio

from django_update_pipeline import PipelineConfig, UpdatePipeline
from django_update_pipeline.core.publication import Publication
from django_update_pipeline.runtime.parts import default_parts
from django_update_pipeline.testing import LoopClock, RecordingTransport, in_virtual_time


class Slow(RecordingTransport):
    """Takes three milliseconds for a publication; `times` has when each was acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    async def publish(self, publication: Publication) -> None:
        await asyncio.sleep(0.003)
        await super().publish(publication)
        self.times.append(asyncio.get_running_loop().time())


def slow_pipeline() -> tuple[UpdatePipeline, Slow]:
    config, clock, transport = PipelineConfig(), LoopClock(), Slow()
    parts = default_parts(config, clock)
    parts.transport = transport
    return UpdatePipeline(config, parts=parts, clock=clock), transport


@in_virtual_time
async def test_what_comes_while_a_batch_is_out_still_waits_for_its_class_s_pause() -> None:
    """Law W2: it was flushed as soon as the batch was settled, so a busy pipeline never coalesced."""
    pipeline, transport = slow_pipeline()
    async with pipeline:
        for number in range(1000):
            pipeline.queue_agent_update(f"agent_{number % 100}", data={"n": number})
            await asyncio.sleep(0.001)
        assert len(transport.published) < 100, "about one a window of 20 ms, and its first few sooner"


@in_virtual_time
async def test_what_an_agent_held_back_goes_out_right_after_its_batch() -> None:
    pipeline, transport = slow_pipeline()
    async with pipeline:
        for number in range(40):  # until the pause is the whole window
            pipeline.queue_agent_update("other", data={"n": number})
            await asyncio.sleep(0.021 if number == 39 else 0.004)
        await asyncio.sleep(0.1)
        transport.times.clear()
        pipeline.queue_agent_update("agent_001", data={"n": 1})
        await asyncio.sleep(0.001)
        pipeline.queue_agent_update("agent_001", data={"n": 2})
        await asyncio.sleep(0.05)
        first, second = transport.times
        assert second - first < 0.005
