"""Starting and stopping, with parts that do not behave."""

from __future__ import annotations

import asyncio

from django_update_pipeline import PipelineConfig, UpdatePipeline
from django_update_pipeline.core.publication import Publication
from django_update_pipeline.runtime.clock import SystemClock
from django_update_pipeline.runtime.parts import default_parts
from django_update_pipeline.testing import RecordingTransport


class Swallowing(RecordingTransport):
    """Takes its time, and takes a cancellation for an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun = asyncio.Event()

    async def publish(self, publication: Publication) -> None:
        self.has_begun.set()
        try:
            await asyncio.sleep(0.2)  # whoever stops it meanwhile cancels this
        except asyncio.CancelledError:
            pass
        await super().publish(publication)


async def test_a_transport_that_swallows_a_cancellation_does_not_stop_the_loop() -> None:
    """The dispatcher went round without ever waiting, and nothing else in the process ran again."""
    config = PipelineConfig()
    parts = default_parts(config, SystemClock())
    parts.transport = transport = Swallowing()
    pipeline = UpdatePipeline(config, parts=parts)
    await pipeline.start()
    pipeline.queue_agent_update("agent_001", data={"n": 1})
    await asyncio.wait_for(transport.has_begun.wait(), 10)
    report = await asyncio.wait_for(pipeline.stop(), 20)
    assert report.delivered == 1
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("update-pipeline")]
