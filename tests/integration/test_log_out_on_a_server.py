"""Logging out over HTTP from a real server: the socket falls silent, also when another process handled it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.logs import trouble

ROOT = Path(__file__).resolve().parents[2]

PROJECT = """
import os, sys
from django.conf import settings

settings.configure(
    SECRET_KEY="tests-only", ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF="project", USE_TZ=True,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions",
                    "django_update_pipeline"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"],
                           "OPTIONS": {"timeout": 20}}},
    UPDATE_PIPELINE={"CONNECTIONS": {"recheck_s": float(os.environ["RECHECK_S"])}},
)
import django

django.setup()
from django.contrib.auth import login, logout
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

from django_update_pipeline import get_update_pipeline
from django_update_pipeline.routing import with_update_pipeline


def sign_in(request):
    login(request, User.objects.get(), backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("in")


def sign_out(request):
    logout(request)
    return HttpResponse("out")


def tell(request):
    get_update_pipeline().queue_agent_update("agent", "state_change", {"n": request.GET["n"]})
    return HttpResponse("told")


urlpatterns = [path("in/", sign_in), path("out/", sign_out), path("tell/", tell)]
application = with_update_pipeline(get_asgi_application())
if __name__ == "__main__":
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    User.objects.create_user("rose")
"""


class Server:
    """One process of the project on uvicorn."""

    def __init__(self, folder: Path, environment: dict[str, str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.log = folder / f"{port}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "project:application", "--port", str(port)],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def get(self, path: str, cookie: str = "") -> tuple[str, str]:
        """The body, and the session's cookie if one was set."""
        request = urllib.request.Request(self.url + path, headers={"Cookie": cookie} if cookie else {})
        with urllib.request.urlopen(request, timeout=20) as answer:
            made = (answer.headers.get("Set-Cookie") or "").partition(";")[0]
            return answer.read().decode(), made

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.get("/tell/?n=0")
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the server did not come up:\n{self.log.read_text()}")
                time.sleep(0.1)

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(params=["3600", "2"], ids=["by signal", "by looking"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """Two processes on one database. The first serves the socket; log-outs go to it, or to the other one."""
    (tmp_path / "project.py").write_text(PROJECT)
    with tempfile.TemporaryDirectory(prefix="dup-") as runtime, ExitStack() as cleanup:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
            "DATABASE": str(tmp_path / "db.sqlite3"),
            "RECHECK_S": request.param,
            "UPDATE_PIPELINE_RUNTIME_DIR": runtime,
        }
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        subprocess.run([sys.executable, "project.py"], cwd=tmp_path, env=environment, check=True, timeout=60)
        made = []
        for _ in range(2):
            made.append(Server(tmp_path, environment, free_port()))
            cleanup.callback(made[-1].end)
        for server in made:
            server.wait()
        yield made[0], made[1]


@asynccontextmanager
async def signed_in(server: Server) -> AsyncIterator[tuple[Any, str]]:
    _, cookie = await asyncio.to_thread(server.get, "/in/")
    assert cookie.startswith("sessionid=")
    async with connect(
        f"ws://127.0.0.1:{server.port}/ws/updates/",
        origin=server.url,  # type: ignore[arg-type]
        additional_headers={"Cookie": cookie},
        open_timeout=20,
        proxy=None,
    ) as client:
        assert json.loads(await client.recv())["type"] == "connection_established"
        yield client, cookie


async def close_code(client: Any) -> int | None:
    async with asyncio.timeout(30):
        while True:
            try:
                await client.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd is not None else None


async def test_logging_out_over_http_silences_the_socket(
    servers: tuple[Server, Server], request: pytest.FixtureRequest
) -> None:
    """By a signal where the process that serves the socket handles it; else by the next look (here: two seconds,
    and hours where only a signal could be it)."""
    here, there = servers
    handles = here if "signal" in request.node.name else there
    async with signed_in(here) as (client, cookie), signed_in(here) as (stays, _):
        assert (await asyncio.to_thread(handles.get, "/out/", cookie))[0] == "out"
        assert await close_code(client) == 4001
        await asyncio.to_thread(here.get, "/tell/?n=after")
        async with asyncio.timeout(20):
            while json.loads(await stays.recv()).get("data") != {"n": "after"}:
                pass
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert not trouble(here.log.read_text())
