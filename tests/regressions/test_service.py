"""The process's pipeline, however it was started."""

from __future__ import annotations

import asyncio

import pytest

from django_update_pipeline import service
from django_update_pipeline.control import ControlClient


@pytest.fixture
def fresh_service(settings: object) -> None:
    service.reset_update_pipeline()


async def test_commands_reach_a_server_whose_pipeline_was_started_by_its_founding_name(
    fresh_service: None,
) -> None:
    """Serving found it running and left the control socket closed."""
    pipeline = await service.start_update_pipeline_service()
    try:
        await service.start_serving(pipeline)
        server = service._control[pipeline]
        assert server.path is not None

        def ask() -> object:
            with ControlClient.connect() as client:
                return client.call("get_metrics")["total_updates"]

        assert await asyncio.to_thread(ask) == 0
    finally:
        await service.stop_serving(pipeline)
        service.reset_update_pipeline()


async def test_a_start_that_takes_longer_than_a_handshake_may_is_there_for_the_next_one(
    fresh_service: None,
) -> None:
    """Each handshake took back what it had begun, so that sockets alone never started a slow source."""

    class Slow:
        name = "slow"
        starts = 0
        is_there = asyncio.Event()

        async def start(self, pipeline: object) -> None:
            self.starts += 1
            await self.is_there.wait()

        def stop(self) -> None: ...

    pipeline = service.get_update_pipeline()
    source = Slow()
    pipeline.parts.sources = [source]
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await service.start_serving(pipeline)
        source.is_there.set()
        async with asyncio.timeout(5):
            while service._starting:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await service.start_serving(pipeline)
        assert pipeline.is_running
        assert source.starts == 1
    finally:
        await service.stop_serving(pipeline)
        service.reset_update_pipeline()
