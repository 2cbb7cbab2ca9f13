"""The example under test: its own settings where Django is needed, a fresh manager, a real server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dating_show.services import unified_agent_manager
from dating_show.services.unified_agent_manager import UnifiedAgentManager

EXAMPLE = Path(__file__).resolve().parents[2] / "example_project"


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


@dataclass
class Served:
    """The example in a server of its own."""

    port: int
    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/dating_show/"

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=EXAMPLE,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=50,
        )


def serve_example(folder: Path, *command: str) -> Iterator[Served]:
    """Starts the example with `command` (`{port}` is filled in), waits for the page, stops it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runtime = tempfile.mkdtemp(prefix="dup-")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dating_show.settings",
        "DATING_SHOW_DATABASE": str(folder / "villa.sqlite3"),
        "PYTHONPATH": os.pathsep.join([str(EXAMPLE), str(EXAMPLE.parent)]),
        "PYTHONUNBUFFERED": "1",
        # The control socket of this server, and of no other; its path may have some 100 bytes only.
        "UPDATE_PIPELINE_RUNTIME_DIR": runtime,
    }
    folder.chmod(0o700)
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *(part.format(port=port) for part in command)],
            cwd=EXAMPLE,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    served = Served(port, process, environment, log)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(served.url, timeout=5) as answer:
                    assert answer.status == 200
                    break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the example did not come up:\n{log.read_text()}")
                time.sleep(0.1)
        yield served
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture(scope="module")
def villa_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The example on uvicorn, from an empty database."""
    folder = tmp_path_factory.mktemp("villa")
    yield from serve_example(
        folder, "-m", "uvicorn", "dating_show.asgi:application", "--port", "{port}", "--log-level", "warning"
    )
