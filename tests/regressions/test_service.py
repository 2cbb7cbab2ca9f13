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
