"""The doors: plain ASGI, Django's sessions and hosts, no Channels needed.

    from django.core.asgi import get_asgi_application
    from django_update_pipeline.routing import with_update_pipeline

    application = with_update_pipeline(get_asgi_application())

serves the classic socket at `ws/updates/`, the admin socket at `ws/updates/admin/`, and everything else as before.
The pipeline starts with the server's lifespan where it has one, else with the first scope.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest
from django.urls import get_script_prefix

from .conf import read_settings
from .core.codes import FORBIDDEN, INTERNAL_ERROR, LOGIN_REQUIRED, SERVER_STOPPING, UNKNOWN_PATH
from .core.commands import COMMANDS
from .core.config import PipelineConfig
from .core.origin import LOCAL_HOSTS, Refused, check_handshake
from .exceptions import ConfigurationError
from .permissions import may_operate_now, may_view_now
from .runtime.admin_socket import AdminSocket
from .runtime.pipeline import UpdatePipeline
from .runtime.socket import (
    ClassicSocket,
    Receive,
    SendMessage,
    SocketClient,
    first_message,
    refuse,
)
from .service import get_update_pipeline, is_ending, served_at, start_serving, stop_serving

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
#: Any ASGI application; frameworks type its messages in their own ways.
ASGIApplication = Callable[[Any, Any, Any], Awaitable[None]]

#: Where an HTTP request's scope says at which path the application that it came through serves the sockets.
PATH_KEY = "update_pipeline.path"


class WebSocketDoor:
    """The ASGI application of one socket: judges the handshake, finds the user, serves.

    `scope["user"]` is used where something before us (Channels' AuthMiddleware) put it, else Django's session.
    """

    def __init__(self, *, admin: bool = False, pipeline: UpdatePipeline | None = None) -> None:
        self.admin = admin
        self._pipeline = pipeline

    async def __call__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        try:
            pipeline = self._pipeline or get_update_pipeline()
        except Exception:  # the door's boundary: wrong settings, which `manage.py check` explains
            logger.exception("there is no pipeline for a socket")
            await receive()
            await refuse(send, INTERNAL_ERROR)
            return
        limits = pipeline.config.connections
        if not await first_message(receive, limits.accept_timeout_s):
            return
        verdict = check_handshake(scope.get("headers", ()), allowed_hosts(), limits.allowed_origins)
        if isinstance(verdict, Refused):
            logger.info("socket refused: %s: %s", verdict.rule, verdict.reason)
            await refuse(send, FORBIDDEN)
            return
        try:
            async with asyncio.timeout(limits.accept_timeout_s):
                await start_serving(pipeline)
                user = scope["user"] if "user" in scope else await session_user(scope)
        except Exception:  # the door's boundary: this socket is refused, the server goes on
            logger.exception("a socket could not be let in")
            await refuse(send, INTERNAL_ERROR)
            return
        if is_ending(pipeline):
            await refuse(send, SERVER_STOPPING)
            return
        client = SocketClient(pipeline.websocket_manager.new_connection_id(), user)
        if not self.admin:
            await ClassicSocket(pipeline, client).serve(receive, send)
        elif await may_view_now(user):
            await AdminSocket(pipeline, client, _still_may(user)).serve(receive, send)
        else:
            await refuse(send, FORBIDDEN if getattr(user, "is_authenticated", False) else LOGIN_REQUIRED)


class UpdatePipelineApplication:
    """Wraps an ASGI application: our sockets at `path` and `path + "admin/"`, lifespan, the rest as before."""

    def __init__(
        self, app: ASGIApplication, path: str | None = None, websocket: ASGIApplication | None = None
    ) -> None:
        self.app = app
        self.websocket = websocket
        self._has_failed = False
        self.path = base = _absolute(path or _path_of_settings())
        self.doors = {base: WebSocketDoor(), f"{base}admin/": WebSocketDoor(admin=True)}

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
                await receive()
                await refuse(send, UNKNOWN_PATH)
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
        except Exception:  # the door's boundary: said once, not with each request
            self._has_failed = True
            logger.exception("the pipeline could not be started; pages are served without it")

    async def _lifespan(self, receive: Receive, send: SendMessage) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await start_serving(get_update_pipeline(), has_lifespan=True)
                except Exception as error:
                    logger.exception("the pipeline could not be started")
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


def admin_socket_path(request: HttpRequest) -> str:
    """Where the admin socket is, for the page that a request asks for.

    The application that the request came through says it; else (Channels' router, or WSGI beside an ASGI server) the
    settings do.
    """
    scope: Scope = getattr(request, "scope", {})
    path: str = scope.get(PATH_KEY) or get_script_prefix().rstrip("/") + _absolute(_path_of_settings())
    return f"{path}admin/"


def _absolute(path: str) -> str:
    return "/" + path.strip("/") + "/"


def _path_of_settings() -> str:
    try:
        return read_settings().socket_path
    except ConfigurationError:  # `manage.py check` and the start of the pipeline say what is wrong
        return PipelineConfig().socket_path


def _path(scope: Scope) -> str:
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path


def allowed_hosts() -> Sequence[str]:
    """ALLOWED_HOSTS, or the local names where it is empty in DEBUG, as Django has it."""
    hosts: Sequence[str] = settings.ALLOWED_HOSTS
    return LOCAL_HOSTS if not hosts and settings.DEBUG else hosts


async def session_user(scope: Scope) -> Any:
    """The user of the handshake's session cookie; None without one, or where django.contrib.auth is not used."""
    from django.apps import apps
    from django.http import parse_cookie

    if not (apps.is_installed("django.contrib.auth") and apps.is_installed("django.contrib.sessions")):
        return None
    cookies = b"; ".join(value for name, value in scope.get("headers", ()) if name == b"cookie")
    key = parse_cookie(cookies.decode("latin-1")).get(settings.SESSION_COOKIE_NAME) if cookies else None
    if not key:
        from django.contrib.auth.models import AnonymousUser

        return AnonymousUser()
    return await sync_to_async(_load_user, thread_sensitive=True)(key)


def _load_user(session_key: str) -> Any:
    from importlib import import_module

    from django.contrib.auth import get_user
    from django.http import HttpRequest

    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return get_user(request)


def _still_may(user: Any) -> Callable[[str], Awaitable[bool]]:
    """Asked before each command of an admin socket: the user is read again each time."""

    async def may_command(command: str) -> bool:
        return await (may_operate_now(user) if COMMANDS[command].needs_operator else may_view_now(user))

    return may_command
