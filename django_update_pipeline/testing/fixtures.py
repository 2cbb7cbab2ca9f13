"""Pytest fixtures for applications: `pytest_plugins = ["django_update_pipeline.testing.fixtures"]`.

They need pytest-asyncio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ..runtime.pipeline import UpdatePipeline
from .clocks import ManualClock
from .sockets import RecordingSocket


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that stands still until it is advanced."""
    return ManualClock()


@pytest_asyncio.fixture
async def update_pipeline() -> AsyncIterator[UpdatePipeline]:
    """A bare pipeline that runs on the test's loop; stopped afterwards."""
    async with UpdatePipeline() as pipeline:
        yield pipeline


@pytest_asyncio.fixture
async def recording_socket(update_pipeline: UpdatePipeline) -> RecordingSocket:
    """A client of that pipeline, on the default channel."""
    socket = RecordingSocket()
    await update_pipeline.register_websocket("recording", socket)
    return socket
