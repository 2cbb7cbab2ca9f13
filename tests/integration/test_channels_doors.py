"""The same socket through Channels: as a consumer behind its middleware, and in the founding ProtocolTypeRouter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.consumer import AsyncConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.testing import WebsocketCommunicator
from django.core.asgi import get_asgi_application
from django.urls import path

from django_update_pipeline import UpdatePriority, hookimpl
from django_update_pipeline.consumers import AdminConsumer, UpdatePipelineConsumer
from django_update_pipeline.exceptions import ActionRefused
from django_update_pipeline.permissions import VIEW

from .asgi import HOST, ORIGIN
from .test_doors import make_user
from .test_permissions import grant

pytestmark = pytest.mark.django_db(transaction=True)

URLS = [
    path("ws/updates/", UpdatePipelineConsumer.as_asgi()),
    path("ws/updates/admin/", AdminConsumer.as_asgi()),
]


def applications() -> dict[str, Any]:
    routed = AuthMiddlewareStack(URLRouter(URLS))
    return {
        "consumer": UpdatePipelineConsumer.as_asgi(),
        "routed": routed,
        "founding": ProtocolTypeRouter(
            {"http": get_asgi_application(), "websocket": AllowedHostsOriginValidator(routed)}
        ),
    }


def communicator(app: Any, to: str = "/ws/updates/", *headers: tuple[bytes, bytes]) -> WebsocketCommunicator:
    return WebsocketCommunicator(app, to, headers=[HOST, ORIGIN, *headers])


@pytest.mark.parametrize("kind", ["consumer", "routed", "founding"])
async def test_the_whole_conversation(pipeline: Any, kind: str) -> None:
    running = pipeline(OPEN_CHANNELS=["news"])
    await running.start()
    await running.publish("a", "state_change", {"n": 1})
    client = communicator(applications()[kind])
    connected, _ = await client.connect()
    assert connected
    first = json.loads(await client.receive_from())
    assert first["type"] == "connection_established"
    assert first["connection_id"].startswith("ws_")
    assert json.loads(await client.receive_from())["data"] == {"n": 1}
    await client.send_to(text_data='{"type":"ping","timestamp":5}')
    assert json.loads(await client.receive_from())["timestamp"] == 5
    await client.send_to(text_data='{"type":"subscribe","channels":["news","secret"]}')
    assert json.loads(await client.receive_from()) == {"type": "subscription_confirmed", "channels": ["news"]}
    assert json.loads(await client.receive_from())["code"] == "channel_refused"
    running.queue_agent_update("a", "said", {"n": 2}, UpdatePriority.CRITICAL, channels=["news"])
    assert json.loads(await client.receive_from())["data"] == {"n": 2}
    await client.disconnect()
    assert running.websocket_manager.get_connection_count() == 0


@pytest.mark.parametrize("kind", ["consumer", "routed", "founding"])
async def test_a_foreign_origin_is_refused(pipeline: Any, kind: str) -> None:
    pipeline()
    client = WebsocketCommunicator(
        applications()[kind], "/ws/updates/", headers=[HOST, (b"origin", b"http://elsewhere.example")]
    )
    connected, code = await client.connect()
    assert not connected
    assert code in (4403, 1000)
    await client.disconnect()


class Tell:
    @hookimpl
    def authorize_action(self, client: Any, agent_id: str, action: str, params: Any) -> bool:
        return True

    @hookimpl
    def handle_action(self, client: Any, agent_id: str, action: str, params: Any) -> Any:
        raise ActionRefused(str(client.user))


TELL = Tell()


async def test_the_user_comes_from_channels_middleware(pipeline: Any) -> None:
    pipeline(PLUGINS=[f"{__name__}.TELL"])
    _, cookie = await make_user()
    client = communicator(applications()["routed"], "/ws/updates/", (b"cookie", cookie))
    assert (await client.connect())[0]
    await client.receive_from()
    await client.send_to(text_data='{"type":"agent_action","agent_id":"a","action":"who"}')
    assert json.loads(await client.receive_from())["message"] == "rose"
    await client.disconnect()


async def test_the_admin_consumer_is_for_staff(pipeline: Any) -> None:
    pipeline()
    user, cookie = await make_user()
    visitor = communicator(applications()["routed"], "/ws/updates/admin/", (b"cookie", cookie))
    assert not (await visitor.connect())[0]
    user.is_staff = True
    await sync_to_async(user.save)()
    visitor = communicator(applications()["routed"], "/ws/updates/admin/", (b"cookie", cookie))
    assert not (await visitor.connect())[0], "staff needs the permission, too"
    await sync_to_async(grant)(user, VIEW)
    client = communicator(applications()["routed"], "/ws/updates/admin/", (b"cookie", cookie))
    assert (await client.connect())[0]
    assert json.loads(await client.receive_from())["type"] == "admin_connected"
    await client.send_to(text_data='{"command":"get_health"}')
    assert json.loads(await client.receive_from())["type"] == "health_status"
    await client.disconnect()


async def test_no_message_goes_through_channels_dispatch(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would await a thread hop for each (facts: 77 to 280 µs, or another consumer's whole database call)."""
    running = pipeline()

    async def dispatch(self: Any, message: Any) -> None:
        raise AssertionError(f"dispatched: {message}")

    monkeypatch.setattr(AsyncConsumer, "dispatch", dispatch)
    client = communicator(applications()["consumer"])
    assert (await client.connect())[0]
    await client.receive_from()
    await client.send_to(text_data='{"type":"ping"}')
    assert json.loads(await client.receive_from())["type"] == "pong"
    running.queue_agent_update("a", "said", {"n": 1})
    assert json.loads(await client.receive_from())["data"] == {"n": 1}
    await client.disconnect()


async def test_a_client_can_not_name_a_handler(pipeline: Any) -> None:
    """Channels turns a message's type into a method; nothing of a client's frame comes near that."""
    pipeline()
    client = communicator(applications()["consumer"])
    assert (await client.connect())[0]
    await client.receive_from()
    for kind in ("websocket.disconnect", "dispatch", "__call__", "as_asgi"):
        await client.send_to(text_data=json.dumps({"type": kind}))
        assert json.loads(await client.receive_from())["code"] == "unknown_type"
    await client.disconnect()
