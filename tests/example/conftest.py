"""The example under test: its own settings where Django is needed, a fresh manager, a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from dating_show.services import unified_agent_manager
from dating_show.services.unified_agent_manager import UnifiedAgentManager
from tests.browser import chromium as chromium
from tests.browser import playwright_api as playwright_api

from .browsing import open_window as open_window
from .serving import UVICORN, Served, serve_example


@dataclass
class HandTimer:
    """A timer factory whose timers run when the test says so."""

    waiting: list[Callable[[], None]] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    def __call__(self, delay_s: float, function: Callable[[], None]) -> Any:
        timers = self

        class Timer:
            def start(self) -> None:
                timers.delays.append(delay_s)
                timers.waiting.append(function)

        return Timer()

    def fire(self) -> None:
        waiting, self.waiting = self.waiting, []
        for function in waiting:
            function()


@pytest.fixture
def timer() -> HandTimer:
    return HandTimer()


@pytest.fixture
def manager(timer: HandTimer) -> UnifiedAgentManager:
    """A manager whose windows end by `timer.fire()`."""
    return UnifiedAgentManager(timer=timer)


@pytest.fixture
def the_manager(monkeypatch: pytest.MonkeyPatch, manager: UnifiedAgentManager) -> UnifiedAgentManager:
    """The same, as the process's one."""
    monkeypatch.setattr(unified_agent_manager, "_manager", manager)
    return manager


@pytest.fixture
def example_settings(settings: Any) -> Any:
    """The example's urls, templates and middleware on the test-suite's database."""
    from dating_show import settings as example

    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "dating_show"]
    settings.MIDDLEWARE = example.MIDDLEWARE
    settings.ROOT_URLCONF = example.ROOT_URLCONF
    settings.ALLOWED_HOSTS = [*example.ALLOWED_HOSTS, "testserver"]
    settings.SECURE_REFERRER_POLICY = example.SECURE_REFERRER_POLICY
    return settings


@pytest.fixture(scope="module")
def villa_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The example on uvicorn, from an empty database."""
    yield from serve_example(tmp_path_factory.mktemp("villa"), *UVICORN)
