"""The Channels doors: consumers that are thin adapters over the same socket.

A Channels consumer awaits a thread hop for each message it handles (`aclose_old_connections` in its dispatch). Ours
handle none there: an instance serves its socket itself, so nothing on it waits for another consumer's database call.

    websocket_urlpatterns = [path("ws/updates/", UpdatePipelineConsumer.as_asgi())]
"""

from __future__ import annotations

from typing import Any

try:
    from channels.consumer import AsyncConsumer
except ImportError as error:  # the extra is not installed
    raise ImportError(
        'django_update_pipeline.consumers needs Channels: pip install "django-update-pipeline[channels]", or use '
        "django_update_pipeline.routing.with_update_pipeline, which needs none"
    ) from error

from .routing import WebSocketDoor
from .runtime.socket import Receive


class UpdatePipelineConsumer(AsyncConsumer):
    """The classic socket as a Channels consumer. `scope["user"]` comes from AuthMiddlewareStack."""

    admin = False

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        await WebSocketDoor(admin=self.admin)(scope, receive, send)


class AdminConsumer(UpdatePipelineConsumer):
    """The admin socket as a Channels consumer."""

    admin = True
