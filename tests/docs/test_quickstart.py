"""The quickstart as a newcomer follows it: an empty folder, the page's own blocks, a real server, a WebSocket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.docs.markdown import ROOT, blocks

QUICKSTART = ROOT / "docs" / "quickstart.md"
SERVERS = {
    "runserver": ["manage.py", "runserver", "--noreload", "PORT"],
    "uvicorn": ["-m", "uvicorn", "django_update_pipeline.asgi:application", "--port", "PORT"],
}
pytestmark = [pytest.mark.channels, pytest.mark.slow]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `startproject` makes, with the quickstart's blocks at the end of the files they name."""
    folder = tmp_path_factory.mktemp("quickstart")
    manage(folder, "-m", "django", "startproject", "mysite", ".")
    steps = [block for block in blocks(QUICKSTART, "python") if block.file]
    assert [block.file for block in steps] == ["mysite/settings.py", "mysite/urls.py", "mysite/urls.py"]
    for block in steps:
        file = folder / str(block.file)
        assert file.exists(), "the quickstart promises that no new file is needed"
        file.write_text(file.read_text() + "\n\n" + block.code)
    manage(folder, "manage.py", "migrate", "--verbosity", "0")
    return folder


def environment() -> dict[str, str]:
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "mysite.settings", "PYTHONPATH": str(ROOT)}


def manage(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def served(folder: Path, command: list[str]) -> Iterator[str]:
    """The project, served by a command on a free port; yields `127.0.0.1:PORT`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    arguments = [port if word == "PORT" else word for word in command]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment(), stdout=log, stderr=log
        )
        try:
            host = f"127.0.0.1:{port}"
            wait_for_port(int(port), server, folder)
            yield host
        finally:
            server.terminate()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for_port(port: int, server: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 45
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not come up:\n" + (folder / "server.log").read_text())


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def frame(websocket: Any) -> dict[str, Any]:
    received: dict[str, Any] = json.loads(websocket.recv(timeout=10))
    return received


@pytest.mark.timeout(120)
@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS)
def test_an_update_of_the_quickstart_arrives_in_every_window(project: Path, command: list[str]) -> None:
    with served(project, command) as host:
        page = get(f"http://{host}/live/")
        assert "/ws/updates/" in page
        url, origin = f"ws://{host}/ws/updates/", f"http://{host}"
        with connect(url, origin=origin) as one, connect(url, origin=origin) as two:
            assert frame(one)["type"] == frame(two)["type"] == "connection_established"
            assert get(f"http://{host}/switch/?on") == "switched on"
            for window in (one, two):
                update = frame(window)
                assert (update["type"], update["agent_id"], update["update_type"]) == (
                    "agent_update",
                    "lamp",
                    "state_change",
                )
                assert update["data"] == {"on": True}
        with connect(url, origin=origin) as later:
            assert frame(later)["type"] == "connection_established"
            assert frame(later)["data"] == {"on": True}, "a later window shows the lamp at once"
