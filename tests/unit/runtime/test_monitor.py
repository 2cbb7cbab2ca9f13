"""What the pipeline says of itself: readiness, metrics and health."""

from __future__ import annotations

import asyncio

from django_update_pipeline.testing import FaultyTransport

from .conftest import MakePipeline


async def test_a_pipeline_is_ready_from_its_start_to_its_stop(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport)
    assert pipeline.get_readiness() == {"is_ready": False, "reasons": ["not_running"]}
    await pipeline.start()
    assert pipeline.is_ready
    assert pipeline.get_readiness() == {"is_ready": True, "reasons": []}

    seen: list[object] = []
    stop = transport.stop

    async def look() -> None:
        seen.append(pipeline.get_readiness()["reasons"])
        await stop()

    transport.stop = look  # type: ignore[method-assign]
    await pipeline.stop()
    assert seen == [["stopping"]]
    assert pipeline.get_readiness()["reasons"] == ["not_running"]


async def test_a_stop_that_is_cancelled_leaves_no_pipeline_that_says_it_stops(
    make_pipeline: MakePipeline,
) -> None:
    pipeline = make_pipeline(FaultyTransport())
    await pipeline.start()
    pipeline.circuit_breaker.force_open("held for the test")
    pipeline.queue_agent_update("lamp", data={})
    stopping = asyncio.create_task(pipeline.stop(timeout_s=30))
    while not pipeline.is_stopping:  # noqa: ASYNC110 - looking is the test
        await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait([stopping])
    assert not pipeline.is_stopping


async def test_an_open_breaker_is_not_ready_and_a_reset_one_is(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    async with pipeline:
        pipeline.circuit_breaker.force_open("held for the test")
        assert pipeline.get_readiness() == {"is_ready": False, "reasons": ["breaker_open"]}
        pipeline.reset_circuit_breaker()
        assert pipeline.is_ready
