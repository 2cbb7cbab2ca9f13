"""The doors: plain ASGI, Django's sessions and hosts, no Channels needed.

    from django.core.asgi import get_asgi_application
    from django_update_pipeline.routing import with_update_pipeline

    application = with_update_pipeline(get_asgi_application())

serves the sockets of both protocols at `ws/updates/`, the admin socket at `ws/updates/admin/`, server-sent events at
`ws/updates/stream/`, and everything else as before.
The pipeline starts with the server's lifespan where it has one, else with the first scope.
"""

from __future__ import annotations

import logging

from django.http import HttpRequest
from django.urls import get_script_prefix

from .conf import read_settings
from .core.config import PipelineConfig
from .doors import ASGIApplication, Scope, StreamDoor, WebSocketDoor, unknown_path
from .exceptions import ConfigurationError
from .runtime.complaints import complain
from .runtime.socket import Receive, SendMessage
from .service import get_update_pipeline, served_at, start_serving, stop_serving

logger = logging.getLogger(__name__)

#: Where an HTTP request's scope says at which path the application that it came through serves the sockets.
PATH_KEY = "update_pipeline.path"


class UpdatePipelineApplication:
    """Wraps an ASGI application: our sockets at `path` and `path + "admin/"`, server-sent events at `path + "stream/"`,
    lifespan, the rest as before.
    """

    def __init__(
        self, app: ASGIApplication, path: str | None = None, websocket: ASGIApplication | None = None
    ) -> None:
        self.app = app
        self.websocket = websocket
        self._has_failed = False
        self.path = base = _absolute(path or path_of_settings())
        self.doors = {base: WebSocketDoor(), f"{base}admin/": WebSocketDoor(admin=True)}
        self.streams = {f"{base}stream/": StreamDoor()}

    async def __call__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        kind = scope["type"]
        served_at(scope.get("server"), scope.get("root_path", "").rstrip("/") + next(iter(self.doors)))
        if kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind == "websocket":
            door = self.doors.get(_path(scope))
            if door is not None:
                await door(scope, receive, send)
            elif self.websocket is not None:
                await self.websocket(scope, receive, send)
            else:
                await unknown_path(scope, receive, send)
        elif kind == "http" and (stream := self.streams.get(_path(scope))) is not None:
            await stream(scope, receive, send)
        else:
            await self._start_if_possible()
            # Our pages learn from it where our sockets are, under whatever prefix the server mounts us.
            path = scope.get("root_path", "").rstrip("/") + self.path
            await self.app({**scope, PATH_KEY: path}, receive, send)

    async def _start_if_possible(self) -> None:
        """Pages are served also where the pipeline can't be; its sockets and `manage.py check` say why."""
        if self._has_failed:
            return
        try:
            await start_serving(get_update_pipeline())
        except Exception as error:  # the door's boundary: said once, not with each request
            self._has_failed = True
            complain(logger, error, "the pipeline could not be started; pages are served without it")

    async def _lifespan(self, receive: Receive, send: SendMessage) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await start_serving(get_update_pipeline(), has_lifespan=True)
                except Exception as error:
                    complain(logger, error, "the pipeline could not be started")
                    await send(
                        {"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"}
                    )
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await stop_serving(get_update_pipeline())
                await send({"type": "lifespan.shutdown.complete"})
                return


def with_update_pipeline(
    app: ASGIApplication, path: str | None = None, *, websocket: ASGIApplication | None = None
) -> UpdatePipelineApplication:
    """Adds the pipeline's sockets and its life cycle to an ASGI application.

    Args:
        app: what serves HTTP, as `get_asgi_application()` returns it.
        path: where the classic socket is; the admin socket is at `path + "admin/"`. `SOCKET_PATH` of the settings
            by default.
        websocket: serves sockets at other paths; without it they are refused.
    """
    return UpdatePipelineApplication(app, path, websocket)


def socket_path(request: HttpRequest | None) -> str:
    """Where the clients' socket is, for the page that a request asks for.

    The application that the request came through says it; else (Channels' router, WSGI beside an ASGI server, or no
    request at hand) the settings do.
    """
    scope: Scope = getattr(request, "scope", {})
    path: str = scope.get(PATH_KEY) or get_script_prefix().rstrip("/") + _absolute(path_of_settings())
    return path


def admin_socket_path(request: HttpRequest) -> str:
    """Where the admin socket is: beside the clients' one."""
    return f"{socket_path(request)}admin/"


def _absolute(path: str) -> str:
    return "/" + path.strip("/") + "/"


def path_of_settings() -> str:
    """`SOCKET_PATH`, or its default where the settings are wrong."""
    try:
        return read_settings().socket_path
    except ConfigurationError:  # `manage.py check` and the start of the pipeline say what is wrong
        return PipelineConfig().socket_path


def _path(scope: Scope) -> str:
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path
