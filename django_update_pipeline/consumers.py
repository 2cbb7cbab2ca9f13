"""The Channels doors: consumers that are thin adapters over the same socket.

A Channels consumer awaits a thread hop for each message it handles (`aclose_old_connections` in its dispatch). Ours
handle none there: an instance serves its socket itself, so nothing on it waits for another consumer's database call.

    application = AuthMiddlewareStack(SocketRouter(websocket_urlpatterns()))
"""

from __future__ import annotations

import re
from typing import Any

from django.urls import URLPattern, re_path

try:
    from channels.consumer import AsyncConsumer
    from channels.routing import URLRouter
except ImportError as error:  # the extra is not installed
    raise ImportError(
        'django_update_pipeline.consumers needs Channels: pip install "django-update-pipeline[channels]", or use '
        "django_update_pipeline.routing.with_update_pipeline, which needs none"
    ) from error

from .doors import WebSocketDoor, unknown_path
from .routing import path_of_settings
from .runtime.socket import Receive


class UpdatePipelineConsumer(AsyncConsumer):
    """The classic socket as a Channels consumer. `scope["user"]` comes from AuthMiddlewareStack."""

    admin = False

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        await WebSocketDoor(admin=self.admin)(scope, receive, send)


class AdminConsumer(UpdatePipelineConsumer):
    """The admin socket as a Channels consumer."""

    admin = True


def websocket_urlpatterns(path: str | None = None) -> list[URLPattern]:
    """The routes of both sockets, at `path` (`SOCKET_PATH` by default) and `path + "admin/"`, for a `URLRouter` or
    `SocketRouter`.

    They are anchored at both ends, so that nothing else reaches them.
    """
    base = re.escape((path or path_of_settings()).strip("/"))
    # An ASGI application is no Django view, though a router's route holds it in the same place.
    viewer: Any = UpdatePipelineConsumer.as_asgi()
    operator: Any = AdminConsumer.as_asgi()
    return [
        re_path(rf"^{base}/\Z", viewer),
        re_path(rf"^{base}/admin/\Z", operator),
    ]


class SocketRouter(URLRouter):
    """Channels' `URLRouter`, which raises for a path without a route (HTTP 500 and a traceback for each): this one
    closes the socket.

        application = ProtocolTypeRouter({"websocket": AuthMiddlewareStack(SocketRouter([...]))})
    """

    def __init__(self, routes: list[Any]) -> None:
        last: Any = unknown_path
        everything_else: Any = re_path("", last)
        super().__init__([*routes, everything_else])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        root, path = scope.get("root_path", ""), scope.get("path", "")
        if "path_remaining" not in scope and root and not path.startswith(root):
            return await unknown_path(scope, receive, send)
        return await super().__call__(scope, receive, send)
