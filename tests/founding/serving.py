"""Servers of their own process for these tests, and clients that speak the founding protocol to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "example_project"

Frame = dict[str, Any]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Server:
    """A running server: where it listens, its process, what it printed, and its environment."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def socket_url(self, path: str = "/ws/dating_show/") -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def python(self, *arguments: str) -> str:
        """What a Python process in the server's environment prints; it runs in the example's folder."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=EXAMPLE,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def serve(
    folder: Path, application: str, *, without: tuple[str, ...] = (), **environment: str
) -> Iterator[Server]:
    """Serves an ASGI application by uvicorn from the example's folder; waits until it accepts connections.

    Args:
        folder: holds the database, the log and the control socket; modules in it can be imported.
        application: `module:name`.
        without: environment variables that the server must not have.
        environment: more variables for it.
    """
    folder.chmod(0o700)
    port = free_port()
    runtime = tempfile.mkdtemp(prefix="dup-")
    variables = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dating_show.settings",
        "DATING_SHOW_DATABASE": str(folder / "villa.sqlite3"),
        "PYTHONPATH": os.pathsep.join([str(folder), str(EXAMPLE), str(ROOT)]),
        "PYTHONUNBUFFERED": "1",
        # The control socket of this server, and of no other; its path may have some 100 bytes only.
        "UPDATE_PIPELINE_RUNTIME_DIR": runtime,
        **environment,
    }
    for name in without:
        variables.pop(name, None)
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port), "--log-level", "warning"]
    command += ["--ws-per-message-deflate", "false", "--timeout-graceful-shutdown", "3"]
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=EXAMPLE, env=variables, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"{application} did not come up:\n{log.read_text()}")
                time.sleep(0.05)
        yield Server(port, process, log, variables)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(runtime, ignore_errors=True)


STAFF = """
import django
django.setup()
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
user = get_user_model().objects.create_superuser("staff", password=None)
session = SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.create()
print(session.session_key)
"""

PRODUCER = STAFF.replace(
    'get_user_model().objects.create_superuser("staff", password=None)',
    '__import__("dating_show.producer").producer.demo_producer()',
)


def session_cookie(server: Server, who: str) -> str:
    """The cookie of somebody logged in: `STAFF` (a superuser) or `PRODUCER` (the demo producer)."""
    return f"sessionid={server.python('-c', who).strip()}"


async def eventually(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Waits for something in another task, thread or process to become true."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - nobody there can set an event of ours
            await asyncio.sleep(0.005)


@dataclass
class Client:
    """A founding client: keeps all frames, and replaces an agent by each `agent_update` it gets."""

    socket: ClientConnection
    frames: list[Frame] = field(default_factory=list)
    agents: dict[str, Frame] = field(default_factory=dict)

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def next(self, within_s: float = 10.0) -> Frame:
        async with asyncio.timeout(within_s):
            frame: Frame = json.loads(await self.socket.recv())
        self.frames.append(frame)
        if frame["type"] == "agent_update":
            self.agents[frame["agent_id"]] = frame["data"]
        return frame

    async def until(self, wanted: Callable[[Frame], object], within_s: float = 15.0) -> Frame:
        """The first frame, of those to come, that is wanted."""
        async with asyncio.timeout(within_s):
            while True:
                frame = await self.next(within_s)
                if wanted(frame):
                    return frame


@contextlib.asynccontextmanager
async def client(server: Server, path: str = "/ws/dating_show/", cookie: str = "") -> AsyncIterator[Client]:
    """Connects to one of the server's sockets, as a page of the same origin where there is a cookie."""
    headers = {"Cookie": cookie, "Origin": server.url} if cookie else {}
    async with connect(server.socket_url(path), additional_headers=headers, compression=None) as socket_:
        yield Client(socket_)
