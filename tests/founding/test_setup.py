"""The founding set-ups, served: with Django Channels routing the sockets, and with a Redis layer between servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from django_update_pipeline.control import ControlClient
from tests.contract.conftest import RedisServer, redis_binary, redis_server  # noqa: F401 - fixtures
from tests.logs import trouble

from .document import in_both_words
from .serving import EXAMPLE, STAFF, Client, Server, client, serve, session_cookie

pytestmark = [pytest.mark.channels, pytest.mark.slow]

OUR_ASGI = """
import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dating_show.settings")
pages = get_asgi_application()

from dating_show.services.websocket_consumer import get_websocket_routing

sockets = AuthMiddlewareStack(URLRouter(get_websocket_routing()))
application = ProtocolTypeRouter({"http": pages, "websocket": sockets})
"""

OUR_LAYER = """
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [("127.0.0.1", 6379)]},
    },
}
"""


ENHANCED = "2. Enhanced Setup (With Django Channels)"


@pytest.fixture
def asgi_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "founding_asgi.py").write_text(request.param)
    # The sample itself says which settings are meant.
    with serve(tmp_path, "founding_asgi:application", without=("DJANGO_SETTINGS_MODULE",)) as server:
        yield server
        assert not trouble(server.log.read_text())


@pytest.mark.parametrize("asgi_server", in_both_words(OUR_ASGI, ENHANCED, 2), indirect=True)
async def test_the_channels_application_serves_the_page_the_villa_and_the_admin(asgi_server: Server) -> None:
    async with client(asgi_server) as viewer:
        assert (await viewer.next())["type"] == "connection_established"
        await viewer.until(lambda _: len(viewer.agents) >= 8)
        await viewer.send(type="ping", timestamp=1)
        await viewer.until(lambda frame: frame["type"] == "pong")
        await viewer.send(
            type="agent_action", agent_id="agent_001", action="move", params={"location": "pool"}
        )
        assert (await viewer.until(lambda frame: frame["type"] in ("error", "action_queued")))[
            "type"
        ] == "error"

    admin = "/ws/dating_show/admin/"
    with pytest.raises(InvalidStatus):
        async with client(asgi_server, admin):
            pass
    asgi_server.environment["DJANGO_SETTINGS_MODULE"] = "dating_show.settings"
    await asyncio.to_thread(asgi_server.python, "manage.py", "migrate", "--verbosity", "0")
    cookie = await asyncio.to_thread(session_cookie, asgi_server, STAFF)
    async with client(asgi_server, admin, cookie) as operator:
        assert (await operator.next())["type"] == "admin_connected"
        await operator.send(command="get_metrics")
        metrics = await operator.next()
        assert metrics["type"] == "performance_metrics"
        assert "successful_updates" in str(metrics)


@pytest.mark.parametrize("text", in_both_words(OUR_LAYER, "Redis Backend (Channels)"))
async def test_two_servers_share_what_happens_over_a_redis_layer(
    redis_server: RedisServer,  # noqa: F811 - the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
) -> None:
    """An agent that comes to one server is seen by a viewer of the other."""
    pytest.importorskip("channels_redis", reason="python -m pip install channels-redis")
    installed: dict[str, Any] = {}
    exec(
        text, installed
    )  # a configuration is a program too: it must be valid Python that names these settings
    (host,) = installed["CHANNEL_LAYERS"]["default"]["CONFIG"]["hosts"]
    assert host[1] == 6379
    layered = text.replace(str(host[0]), "127.0.0.1").replace("6379", str(redis_server.port))
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "layered.py").write_text(
            f"from dating_show.settings import *\nALL_APPS = INSTALLED_APPS\n{layered}\nINSTALLED_APPS = ALL_APPS\n"
        )
    environment = {"DJANGO_SETTINGS_MODULE": "layered", "DATING_SHOW_SIMULATION": "off"}
    application = "dating_show.asgi:application"
    with serve(here, application, **environment) as near, serve(there, application, **environment) as far:
        monkeypatch.setenv("UPDATE_PIPELINE_RUNTIME_DIR", near.environment["UPDATE_PIPELINE_RUNTIME_DIR"])
        movement = {"position": {"x": 70, "y": 50}, "activity": "reading", "place": {"sector": "library"}}

        def arrive() -> dict[str, Any]:
            with ControlClient.connect(f"layered:{EXAMPLE}", pid=near.process.pid) as control:
                params = {"step": 1, "movements": {"Maria Lopez": movement}}
                control.call("action", agent_id="all", action="replay_step", params=params)
                metrics: dict[str, Any] = control.call("get_metrics")
                return metrics

        async with client(near) as here_too, client(far) as viewer:
            await here_too.next()
            await viewer.next()
            metrics = await asyncio.to_thread(arrive)
            assert metrics["transport"] == "channels"

            def arrived(one: Client) -> bool:
                return one.agents.get("guest_maria_lopez", {}).get("current_location") == "library"

            await here_too.until(lambda _: arrived(here_too))
            await viewer.until(lambda _: arrived(viewer))
            assert viewer.agents == here_too.agents
