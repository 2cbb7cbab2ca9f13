"""The sockets as Channels consumers, for an application that routes with `URLRouter`.

The example itself is served without Channels (see `asgi.py`); these give the same sockets at the same
addresses where Channels does the routing, and need the extra `channels`.
"""

from __future__ import annotations

from typing import Any

from django.urls import re_path

from dating_show.villa.source import enable_simulation
from django_update_pipeline.consumers import AdminConsumer, UpdatePipelineConsumer


class DatingShowConsumer(UpdatePipelineConsumer):
    """A viewer of the villa, at `ws/dating_show/`."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one socket. The first one starts the pipeline, and with it the villa: this is a server."""
        enable_simulation()
        await super().__call__(scope, receive, send)


class DatingShowAdminConsumer(AdminConsumer):
    """Who watches over the pipeline, at `ws/dating_show/admin/`; for staff with the permission."""


def get_websocket_routing() -> list[Any]:
    """The URL patterns of both sockets, for `channels.routing.URLRouter`."""
    return [
        re_path(r"ws/dating_show/$", DatingShowConsumer.as_asgi()),
        re_path(r"ws/dating_show/admin/$", DatingShowAdminConsumer.as_asgi()),
    ]
