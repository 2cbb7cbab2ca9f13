"""The ASGI application that the black-box yardstick drives (benchmarks/README.md says how it is run).

WebSockets at ``/ws/``, one channel ``bench``, anonymous clients, no rate limit; everything else is the
pipeline's ordinary configuration. The yardstick's environment chooses the rest:

- ``BENCH_DOOR``: ``native`` (our plain ASGI application) or ``channels`` (our consumer behind a Channels
  router, with Channels' in-memory layer as the transport)
- ``BENCH_UPDATE_TYPE``: ``load_test`` is an event (each one is delivered), ``state_change`` conflates
- ``BENCH_PRIORITY``: a name of ``UpdatePriority``

``driver`` comes from the yardstick's ``peers`` folder; it calls ``publish`` on the server's loop.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import django
import driver
from django.conf import settings

DOOR = os.environ.get("BENCH_DOOR", "native")
UPDATE_TYPE = os.environ.get("BENCH_UPDATE_TYPE", "load_test")

options: dict[str, Any] = {
    "SECRET_KEY": "bench",
    "ALLOWED_HOSTS": ["127.0.0.1", "localhost"],
    "INSTALLED_APPS": ["django.contrib.contenttypes", "django.contrib.auth", "django_update_pipeline"],
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    "UPDATE_PIPELINE": {"DEFAULT_CHANNEL": "bench", "CONNECTIONS": {"messages_per_s": 0}},
}
if DOOR == "channels":
    options["INSTALLED_APPS"].insert(0, "channels")
    options["CHANNEL_LAYERS"] = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
settings.configure(**options)
django.setup()

from django_update_pipeline import UpdatePriority, get_update_pipeline

PRIORITY = UpdatePriority[os.environ.get("BENCH_PRIORITY", "NORMAL")]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def publish(seq: int) -> None:
    """Queue update number ``seq`` through the public API."""
    agent_id, data = driver.make_update(seq)
    pipeline.queue_agent_update(agent_id=agent_id, update_type=UPDATE_TYPE, data=data, priority=PRIORITY)


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """What is behind the wrapper: nothing."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


if DOOR == "channels":
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.urls import path

    from django_update_pipeline.consumers import UpdatePipelineConsumer

    door: Any = ProtocolTypeRouter({"websocket": URLRouter([path("ws/", UpdatePipelineConsumer.as_asgi())])})
else:
    from django_update_pipeline.routing import with_update_pipeline

    door = with_update_pipeline(not_found, path="ws/")

pipeline = get_update_pipeline()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """The chosen door; the first connection starts the publisher."""
    if scope["type"] == "websocket":
        driver.start_once(publish)
    await door(scope, receive, send)
