"""The founding application: in this process with a fresh manager, and served in a process of its own."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from dating_show import settings as example
from dating_show.services import frontend_state_adapter, unified_agent_manager
from dating_show.services.unified_agent_manager import UnifiedAgentManager
from dating_show.villa import source
from django_update_pipeline import UpdatePipeline
from django_update_pipeline.service import reset_update_pipeline
from tests.logs import trouble

from .serving import PRODUCER, STAFF, Server, serve, session_cookie


class Screen:
    """Anything with `async send(text)`: what the founding document calls a WebSocket connection."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.is_closed = False

    async def send(self, text: str) -> None:
        self.texts.append(text)

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def the_show(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[UnifiedAgentManager]:
    """The application's settings and plugins, and its one manager, which knows nobody yet; no villa runs."""
    settings.CHANNEL_LAYERS = {}
    settings.UPDATE_PIPELINE = example.UPDATE_PIPELINE
    monkeypatch.setattr(unified_agent_manager, "_manager", None)
    monkeypatch.setattr(frontend_state_adapter, "_adapter", None)
    monkeypatch.setattr(source, "_enabled", threading.Event())
    reset_update_pipeline()
    yield unified_agent_manager.get_unified_agent_manager()
    reset_update_pipeline()


@pytest.fixture
async def pipeline() -> AsyncIterator[UpdatePipeline]:
    """A bare pipeline that runs."""
    async with UpdatePipeline() as running:
        yield running


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The example as anybody serves it, from an empty folder, villa and all."""
    with serve(tmp_path_factory.mktemp("served"), "dating_show.asgi:application") as server:
        yield server
        assert not trouble(server.log.read_text()), "something went wrong behind the scenes"


@pytest.fixture(scope="module")
def staff_cookie(served: Server) -> str:
    return session_cookie(served, STAFF)


@pytest.fixture(scope="module")
def producer_cookie(served: Server) -> str:
    return session_cookie(served, PRODUCER)
