"""What is published again is published as it was (Law Q4)."""

from __future__ import annotations

from django_update_pipeline import PipelineConfig, UpdatePipeline
from django_update_pipeline.runtime.parts import default_parts
from django_update_pipeline.testing import FaultyTransport, LoopClock, in_virtual_time


@in_virtual_time
async def test_the_publication_that_shows_whether_the_transport_works_is_repeated_whole() -> None:
    """Its first part was repeated: to a transport that numbers what it sends, news that undid another node's."""
    config, clock, transport = PipelineConfig(), LoopClock(), FaultyTransport()
    parts = default_parts(config, clock)
    parts.transport = transport
    pipeline = UpdatePipeline(config, parts=parts, clock=clock)
    pipeline.queue_agent_update("agent_001", data={"n": 1})
    pipeline.queue_agent_update("agent_002", data={"n": 1})
    async with pipeline:
        await pipeline.publish("agent_003", data={"n": 1})
        acknowledged = transport.published[-1]
        transport.poison(lambda change: change.agent_id == "bad")
        pipeline.queue_agent_update("bad", "event", {"n": 1})
        report = await pipeline.stop(timeout_s=120)
    assert report.dead_lettered == 1
    assert [one for one in transport.published if one.id == acknowledged.id][1:], (
        "it was used to compare with"
    )
    assert {one.part for one in transport.attempts if one.id == acknowledged.id} == {-1}
